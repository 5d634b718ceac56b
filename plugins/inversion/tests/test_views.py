import pytest
import torch

from bench import crop_and_resize
from bench_inversion.views import Views, beside, draw


def pictures(shape):
    return torch.rand(6, *shape, generator=torch.Generator().manual_seed(0))


def drawn(count=50, smallest=0.08, roll=3, flip=True, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return draw(torch.full((count,), smallest).double(), 1.0, roll, flip, generator)


def plain(images, box, mirrored, shift):
    seen = crop_and_resize(images, box.expand(len(images), 4))
    seen = seen.flip(3) if mirrored else seen
    return seen.roll(shift.tolist(), (2, 3))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 16), (3, 12, 20)])
def test_a_view_is_a_crop_then_its_mirror_image_then_a_shift(shape):
    images, views = pictures(shape), drawn()
    for number in range(50):
        view = views.step(slice(number, number + 1))
        expected = plain(images, views.boxes[number], views.mirrored[number], views.shifts[number])
        torch.testing.assert_close(view.of(images), expected, rtol=0, atol=1e-5)


def test_each_group_has_a_view_of_its_own():
    images, one, two = pictures((1, 8, 8)), drawn(5, seed=1), drawn(5, seed=2)
    together = beside([one, two]).step(3).of(images)
    first, second = images.chunk(2)
    apart = [one.step(slice(3, 4)).of(first), two.step(slice(3, 4)).of(second)]
    torch.testing.assert_close(together, torch.cat(apart))


def test_the_gradient_of_a_view_is_that_of_the_plain_one():
    views, towards = drawn(1), pictures((1, 8, 8)).flip(0)
    one, two = (pictures((1, 8, 8)).requires_grad_() for _ in range(2))
    (views.of(one) * towards).sum().backward()
    (plain(two, views.boxes[0], views.mirrored[0], views.shifts[0]) * towards).sum().backward()
    torch.testing.assert_close(one.grad, two.grad, rtol=0, atol=1e-5)


def test_the_whole_image_unmoved_is_the_image():
    images = pictures((3, 9, 7))
    whole = Views(torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([False]), torch.zeros(1, 2).long())
    torch.testing.assert_close(whole.of(images), images, rtol=0, atol=1e-6)


def test_areas_and_shifts_stay_in_their_ranges_and_fill_them():
    views = drawn(2000, smallest=0.25)
    left, top, right, bottom = views.boxes.unbind(1)
    area = (right - left) * (bottom - top)
    assert 0.25 - 1e-5 < area.min() < 0.27
    assert 0.98 < area.max() <= 1
    assert views.shifts.unique().tolist() == [0, 1, 2, 3]
    assert 0.4 < views.mirrored.double().mean() < 0.6


def test_nothing_is_mirrored_where_that_changes_the_label():
    assert not drawn(flip=False).mirrored.any()
    assert torch.equal(drawn(flip=False).boxes, drawn(flip=True).boxes)
