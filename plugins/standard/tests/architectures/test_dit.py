import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench import BenchError, Unsupported
from bench.checks import checks_for
from bench.training import diffusion
from bench_standard.architectures.dit import DIT_B, DIT_L, DIT_NANO, DIT_S, DIT_XL, DIT_XS, DiT

SHAPE, CLASSES = (1, 8, 8), 3
ROWS = {"class.text": (4, 6), "image.features": (5, 2, 2)}


@pytest.mark.slow
@pytest.mark.parametrize("check", checks_for("architecture", DIT_XS), ids=str)
def test_contract(check):
    check.run()


@pytest.mark.parametrize(
    ("architecture", "published"),
    [(DIT_S, 33), (DIT_B, 130), (DIT_L, 458), (DIT_XL, 675)],  # millions, table 1 of Peebles & Xie
    ids=lambda value: getattr(value, "name", value),
)
def test_on_latents_of_imagenet_the_number_of_parameters_is_the_published_one(
    architecture, published
):
    with torch.device("meta"):
        network = architecture.build((4, 32, 32), 1000, {})
    count = sum(p.numel() for p in network.parameters())
    assert round(count / 1e6) == published


def test_the_small_one_has_a_third_of_a_million():
    count = sum(p.numel() for p in DIT_XS.build((1, 28, 28), 10, {}).parameters())
    assert count == 330_512


def shaken(architecture, shape=SHAPE, rows=None):
    """A network whose weights are all drawn: a fresh one says nothing."""
    torch.manual_seed(0)
    network = architecture.build(shape, CLASSES, rows or {})
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(torch.randn(weight.shape) / max(1, weight[0].numel()) ** 0.5)
    return network.eval()


def inputs(shape=SHAPE, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4, *shape, generator=generator).to(dtype)
    return x, torch.tensor([0.0, 0.25, 0.777, 1.0]), torch.tensor([0, 2, 1, CLASSES])


@pytest.mark.parametrize("shape", [(1, 8, 16), (3, 16, 8)])
def test_images_that_are_no_squares_come_back_in_their_shape(shape):
    network = shaken(DIT_NANO, shape)
    x, t, labels = inputs(shape)
    assert network(x, t, labels, {}).shape == x.shape
    assert len(network.positions.unique(dim=0)) == 8  # no two tokens are in one place


def test_a_fresh_one_predicts_zeros():
    network = DIT_NANO.build(SHAPE, CLASSES, {})
    x, t, labels = inputs()
    assert not network(x, t, labels, {}).any()


def test_it_is_told_the_time_the_class_and_the_text():
    network = shaken(DIT_NANO, rows=ROWS)
    x, t, labels = inputs()
    extras = {"class.text": torch.randn(CLASSES, 4, 6)}
    said = network(x, t, labels, extras)
    assert not torch.allclose(network(x, t.flip(0), labels, extras), said, atol=1e-3)
    assert not torch.allclose(network(x, t, labels.flip(0), extras), said, atol=1e-3)
    other = network(x, t, labels, {"class.text": torch.zeros(CLASSES, 4, 6)})
    changed = ((other - said).abs().amax((1, 2, 3)) > 1e-3).tolist()
    assert changed == [True, True, True, False]  # the last has no class


def test_what_it_says_of_an_image_is_the_same_in_training():
    network = shaken(DIT_NANO)
    x, t, labels = inputs()
    said = network(x, t, labels, {})
    assert torch.equal(network.train()(x, t, labels, {}), said)


def test_features_are_those_after_the_block_that_is_named():
    network = shaken(DiT(patch=4, width=16, depth=3, heads=2, projected_from=2), rows=ROWS)
    x, t, labels = inputs()
    extras = {"class.text": torch.randn(CLASSES, 4, 6)}

    def features():
        return network.projected(x, t, labels, extras)[1]["image.features"]

    before = features()
    assert before.shape == (4, 5, 2, 2)
    with torch.no_grad():
        network.blocks[2].mlp.net[2].weight.zero_()
        assert torch.equal(features(), before)
        network.blocks[1].mlp.net[2].weight.zero_()
        assert not torch.allclose(features(), before, atol=1e-3)


def test_with_features_it_predicts_what_it_predicts_without():
    network = shaken(DIT_NANO, rows={"image.features": (5, 2, 2)})
    said, features = network.projected(*inputs(), {})
    assert torch.equal(said, network(*inputs(), {}))
    assert list(features) == ["image.features"]


@pytest.mark.parametrize(
    ("architecture", "block"), [(DIT_NANO, 1), (DIT_XS, 2), (DIT_S, 4), (DIT_L, 8), (DIT_XL, 8)]
)
def test_features_are_those_after_a_third_of_the_blocks_and_those_of_repa(architecture, block):
    with torch.device("meta"):
        assert architecture.build((4, 32, 32), 2, {}).projected_from == block


@pytest.mark.parametrize("of", ["the image", "the weights"])
def test_a_second_derivative_agrees_with_finite_differences(of):
    denoiser = diffusion.build(DIT_NANO, SHAPE, CLASSES)
    denoiser.network = shaken(DIT_NANO).double()
    x, _, labels = inputs(dtype=torch.float64)
    noise, time = torch.randn_like(x), torch.tensor([10, 300, 700, 990])
    x.requires_grad_()
    wanted = [x] if of == "the image" else list(denoiser.parameters())
    direction = [torch.randn_like(tensor) for tensor in wanted]

    def gradient(create_graph=False):
        loss = diffusion.losses(denoiser, x, labels, time, noise, {}).sum()
        return torch.autograd.grad(loss, wanted, create_graph=create_graph)

    def moved(step):
        with torch.no_grad():
            for tensor, way in zip(wanted, direction, strict=True):
                tensor += step * way
        return gradient()

    with sdpa_kernel(SDPBackend.MATH):
        inner = sum((g * v).sum() for g, v in zip(gradient(True), direction, strict=True))
        product = torch.cat([g.flatten() for g in torch.autograd.grad(inner, wanted)])
        step = 1e-6
        ahead, behind = moved(step), moved(-2 * step)
    difference = [(a - b) / (2 * step) for a, b in zip(ahead, behind, strict=True)]
    difference = torch.cat([d.flatten() for d in difference])
    assert product.norm() > 1e-3
    assert (product - difference).norm() < 1e-5 * product.norm()


def test_images_that_patches_do_not_tile_are_declined():
    with pytest.raises(Unsupported, match=r"patches of 4 do not tile 30x28; .* multiples of 4"):
        DIT_XS.build((1, 30, 28), 10, {})


def test_attachments_that_it_has_no_use_for_are_declined():
    with pytest.raises(Unsupported, match=r"dit-xs has no use for the attachment 'image\.depth'"):
        DIT_XS.build(SHAPE, CLASSES, {"image.depth": (1, 8, 8)})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"width": 64, "heads": 5}, "width is 64; expected a multiple of heads = 5 and of 4"),
        ({"width": 6, "heads": 2}, "width is 6; expected a multiple of heads = 2 and of 4"),
        ({"depth": 0}, "depth is 0; expected 1 or more"),
        ({"projected_from": 13}, "projected_from is 13; expected a block from 1 to depth = 12"),
    ],
)
def test_a_field_that_makes_no_sense_is_refused(wrong, said):
    with pytest.raises(BenchError, match=said):
        DiT(**wrong)
