import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from bench.contract.data import crop_and_resize
from bench.contract.errors import BenchError
from bench.training import augment
from bench.training.recipe import DSA_OPERATIONS

PIXELS = (0.0,), (1.0,)
seeds = st.integers(0, 2**63 - 1)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images():
    return torch.rand(16, 3, 12, 10, generator=generator(9))


VIEWS = {
    "shift_crop": lambda images, g: augment.shift_crop(images, 2, g),
    "flip": augment.flip,
    "one_tile": lambda images, g: augment.one_tile(images, 2, g),
    "shuffle_patches": lambda images, g: augment.shuffle_patches(images, 2, g),
    "mixup": lambda images, g: augment.mixup(images, 1.0, g)[0],
    "cutmix": lambda images, g: augment.cutmix(images, 1.0, g)[0],
    "resized_crop": lambda images, g: crop_and_resize(
        images, augment.resized_crop(len(images), (0.2, 1), g)
    ),
    **{
        operation: lambda images, g, operation=operation: augment.dsa(
            images, operation, g, flip=True, units=PIXELS
        )
        for operation in DSA_OPERATIONS
    },
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_stay_in_range_and_leave_the_images_alone(images, name):
    before = images.clone()
    view = VIEWS[name](images, generator())
    assert view.shape == images.shape
    assert view.dtype == torch.float32
    assert name == "color" or 0 <= view.min() <= view.max() <= 1  # colours are not cut off
    assert not torch.equal(view, images)
    assert torch.equal(images, before)


@pytest.mark.parametrize("name", VIEWS)
def test_the_same_seed_gives_the_same_view(images, name):
    view = VIEWS[name]
    assert torch.equal(view(images, generator(1)), view(images, generator(1)))
    assert any(
        not torch.equal(view(images, generator(1)), view(images, generator(s))) for s in (2, 3)
    )


@pytest.mark.parametrize("name", VIEWS)
def test_views_leave_the_global_generator_alone(images, name):
    before = torch.get_rng_state()
    VIEWS[name](images, generator())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", [name for name in VIEWS if name != "resized_crop"])
def test_views_are_differentiable(name):
    images = (0.3 + 0.4 * torch.rand(2, 1, 6, 6, generator=generator(3))).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: VIEWS[name](x, generator(5)), images)


def test_a_shift_is_a_window_of_the_padded_image(images):
    view = augment.shift_crop(images, 2, generator())
    padded = F.pad(images, (2, 2, 2, 2))
    shifts = set()
    for image, shifted in zip(padded, view, strict=True):
        found = [
            (y, x)
            for y in range(5)
            for x in range(5)
            if torch.equal(image[:, y : y + 12, x : x + 10], shifted)
        ]
        assert len(found) == 1
        shifts |= {*found}
    assert len(shifts) > 8  # each image has its own


def test_shuffled_patches_are_those_of_the_image_in_whole_rows_and_columns(images):
    images = torch.arange(16 * 36.0).view(16, 1, 6, 6) / 576
    view = augment.shuffle_patches(images, 3, generator())
    corners = view[:, 0, ::2, ::2]  # [16, 3, 3], the first pixel of each tile
    assert torch.equal(view.flatten(1).sort(1)[0], images.flatten(1).sort(1)[0])
    inner = torch.tensor([[0, 1], [6, 7]]) / 576  # of a tile, beside its first pixel
    tiles = corners[:, :, None, :, None] + inner[:, None, :]
    torch.testing.assert_close(view, tiles.reshape(16, 1, 6, 6))
    torch.testing.assert_close(corners.diff(dim=1).diff(dim=2), torch.zeros(16, 2, 2))
    orders = {tuple((576 * (c - c.min()) / 2).round().long().flatten().tolist()) for c in corners}
    assert len(orders) > 6  # an order of its own for each image


def test_one_tile_is_any_of_the_four_scaled_up():
    corners = torch.tensor([[0.1, 0.2], [0.3, 0.4]])
    sheet = corners.repeat_interleave(3, 0).repeat_interleave(3, 1).expand(40, 2, 6, 6)
    view = augment.one_tile(sheet, 2, generator())
    assert view.shape == sheet.shape
    flat = view.flatten(1)
    torch.testing.assert_close(flat, flat[:, :1].expand_as(flat))  # of one colour
    assert {round(v, 4) for v in flat[:, 0].tolist()} == {0.1, 0.2, 0.3, 0.4}


@pytest.mark.parametrize("by", [5, 24])
def test_patches_that_do_not_fill_the_image_are_refused(images, by):
    with pytest.raises(BenchError, match=f"recipe.shuffle is {by} and images are 12 x 10 pixels"):
        augment.shuffle_patches(images, by, generator())


def test_flips_twice_give_the_image_back(images):
    once = augment.flip(images, generator())
    assert torch.equal(augment.flip(once, generator()), images)
    mirrored = [torch.equal(a, b.flip(2)) for a, b in zip(once, images, strict=True)]
    kept = [torch.equal(a, b) for a, b in zip(once, images, strict=True)]
    assert all(m != k for m, k in zip(mirrored, kept, strict=True))
    assert 0 < sum(mirrored) < 16


@given(seed=seeds, ends=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)))
def test_boxes_lie_in_the_image_with_the_area_asked_for(seed, ends):
    low, high = sorted(ends)
    boxes = augment.resized_crop(20, (low, high), generator(seed))
    assert boxes.shape == (20, 4)
    assert boxes.dtype == torch.float32
    left, top, right, bottom = boxes.double().unbind(1)
    assert (boxes >= 0).all()
    assert (boxes <= 1).all()
    assert (left < right).all()
    assert (top < bottom).all()
    area = (right - left) * (bottom - top)
    aspect = (right - left) / (bottom - top)
    assert (area >= low - 1e-5).all()
    assert (area <= high + 1e-5).all()
    assert (aspect >= 3 / 4 - 1e-4).all()
    assert (aspect <= 4 / 3 + 1e-4).all()


def test_a_crop_of_everything_is_the_image(images):
    boxes = augment.resized_crop(len(images), (1, 1), generator())
    torch.testing.assert_close(crop_and_resize(images, boxes), images, atol=1e-5, rtol=0)


@given(seed=seeds, alpha=st.floats(0.1, 5))
def test_the_label_fraction_of_cutmix_is_the_pixel_fraction(seed, alpha):
    images = torch.arange(1.0, 5).view(4, 1, 1, 1).expand(4, 3, 9, 7)
    mixed, permutation, lam = augment.cutmix(images, alpha, generator(seed))
    for i, partner in enumerate(permutation.tolist()):
        if partner != i:
            assert (mixed[i] == i + 1).float().mean().item() == pytest.approx(lam, abs=1e-6)
            assert ((mixed[i] == i + 1) | (mixed[i] == partner + 1)).all()


def test_mixup_mixes_by_lambda(images):
    mixed, permutation, lam = augment.mixup(images, 0.8, generator())
    assert 0 < lam < 1
    torch.testing.assert_close(mixed, lam * images + (1 - lam) * images[permutation])
    assert permutation.sort().values.tolist() == list(range(16))


def test_lambda_follows_the_beta_distribution(images):
    g = generator()
    draws = torch.tensor([augment.mixup(images[:2], 0.5, g)[2] for _ in range(2000)])
    assert draws.mean().item() == pytest.approx(0.5, abs=0.03)
    assert draws.var().item() == pytest.approx(1 / 8, abs=0.015)  # 1 / (4 (2 alpha + 1))


@pytest.mark.parametrize("operation", DSA_OPERATIONS)
def test_siamese_views_treat_two_batches_alike(images, operation):
    few = images[:3]
    many = torch.cat([few, images])
    a = augment.dsa(few, operation, generator(4), flip=True, units=PIXELS, siamese=True)
    b = augment.dsa(many, operation, generator(4), flip=True, units=PIXELS, siamese=True)
    torch.testing.assert_close(a, b[:3])


@pytest.mark.parametrize("operation", DSA_OPERATIONS)
def test_without_siamese_each_image_has_its_own_strength(images, operation):
    same = images[:1].expand(16, -1, -1, -1)
    views = augment.dsa(same, operation, generator(), flip=True, units=PIXELS)
    assert not torch.allclose(views, views[:1].expand_as(views))


def test_dsa_draws_one_operation_a_call(images):
    g, seen = generator(), set()
    for _ in range(30):
        view = augment.dsa(images, "crop_flip", g, flip=True, units=PIXELS)
        rows = zip(view, images, strict=True)
        is_flip = all(torch.equal(a, b) or torch.equal(a, b.flip(2)) for a, b in rows)
        seen.add("flip" if is_flip else "crop")
    assert seen == {"crop", "flip"}


def test_dsa_never_flips_where_that_changes_the_label(images):
    assert torch.equal(augment.dsa(images, "flip", generator(), flip=False, units=PIXELS), images)
    a = augment.dsa(images, "flip_cutout", generator(), flip=False, units=PIXELS)
    assert torch.equal(a, augment.dsa(images, "cutout", generator(), flip=False, units=PIXELS))


def test_dsa_is_that_of_normalised_pixels_and_what_is_cut_out_is_their_mean(images):
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    m, s = (torch.tensor(v).view(-1, 1, 1) for v in (mean, std))
    for operation in DSA_OPERATIONS:
        view = augment.dsa(images, operation, generator(3), flip=True, units=(mean, std))
        normal = augment.dsa((images - m) / s, operation, generator(3), flip=True, units=PIXELS)
        torch.testing.assert_close(view, m + s * normal)
    cut = augment.dsa(images, "cutout", generator(), flip=False, units=(m, s))
    assert (((cut - m).abs() < 1e-6).all(1) & (cut != images).all(1)).any()


def test_cutout_blackens_at_most_half_the_sides(images):
    view = augment.dsa(images + 0.01, "cutout", generator(), flip=False, units=PIXELS)
    black = (view == 0).all(1)
    assert (black.any(2).sum(1) <= 6).all()
    assert (black.any(1).sum(1) <= 5).all()
    assert black.any()


@pytest.mark.parametrize("matrix", [(1, 0, 0, 1), (0.9, 0.2, -0.3, 1.1), (2, 0, 0, 0.5)])
def test_a_warp_is_what_grid_sample_does(images, matrix):
    numbers = [torch.full((16,), float(m)) for m in matrix]
    theta = torch.tensor([[matrix[0], matrix[1], 0], [matrix[2], matrix[3], 0]]).expand(16, 2, 3)
    grid = F.affine_grid(theta.float(), list(images.shape), align_corners=False)
    expected = F.grid_sample(images, grid, align_corners=False)
    torch.testing.assert_close(augment._warped(images, *numbers), expected, atol=1e-5, rtol=0)
