"""What the paper says of its sets: crops of real images, realistic by the teacher, diverse."""

import dataclasses

import pytest
import torch

from bench import BenchError, Subset
from bench.checks import checks_for, fixtures, run_checks
from bench.training import toy
from bench_inversion.rded import RDED, WHOLE, best, cut, realism, stitched

SMALL = RDED(pool=10)


def task(ipc=2, method=SMALL, data=toy.COLOR):
    return fixtures.task(method, data, ipc)


@pytest.fixture
def seen(monkeypatch):
    """What was cropped: (index, boxes, crops) of each class, and the loss of each crop."""
    found = []

    def watched_cut(task, index, boxes, size):
        found.append([index, boxes, cut(task, index, boxes, size)])
        return found[-1][2]

    def watched_realism(task, crops, label):
        found[-1].append(realism(task, crops, label))
        return found[-1][3]

    monkeypatch.setattr("bench_inversion.rded.cut", watched_cut)
    monkeypatch.setattr("bench_inversion.rded.realism", watched_realism)
    return found


def tiles_of(images, factor):
    """Tiles [N, factor^2, C, h, w] of images."""
    rows = [row.chunk(factor, 3) for row in images.chunk(factor, 2)]
    return torch.stack([tile for row in rows for tile in row], 1)


@pytest.mark.slow
@pytest.mark.parametrize("method", [RDED(), WHOLE], ids=lambda m: m.name)
def test_the_contract_holds(method):
    verdicts = run_checks(checks_for("method", method))
    assert [v for v in verdicts if v.status != "passed"] == []


@pytest.mark.parametrize("factor", [1, 2])
def test_each_tile_is_a_crop_of_an_image_of_its_class_and_no_image_gives_two(seen, factor):
    given = task()
    made = dataclasses.replace(SMALL, factor=factor).condense(given)
    assert made.images.dtype == torch.uint8
    assert made.images.shape == (20, *given.shape)
    tiles = tiles_of(made.images, factor)
    for label, (index, _, crops, _) in enumerate(seen):
        assert (given.train.labels[index] == label).all()
        candidates = (crops * 255).round().to(torch.uint8).flatten(1)
        own = tiles[2 * label : 2 * label + 2].flatten(0, 1).flatten(1)
        where = [(candidates == tile).all(1).nonzero()[0, 0] for tile in own]
        sources = index[torch.stack(where)]
        assert len(sources.unique()) == len(sources) == 2 * factor**2


def test_of_each_image_the_best_crop_is_taken_and_of_these_the_best(seen):
    SMALL.condense(task())
    for _, _, _, loss in seen:
        by_image = loss.view(10, 5)
        chosen = best(by_image, 8)
        assert torch.equal(loss[chosen], by_image.amin(1).sort().values[:8])


def test_the_best_tiles_go_to_images_of_their_own(seen):
    made = SMALL.condense(task())
    _, _, crops, loss = seen[0]
    chosen = best(loss.view(10, 5), 8)
    first = (crops[chosen[:2]] * 255).round().to(torch.uint8)
    assert torch.equal(made.images[:2, :, : first.shape[2], : first.shape[3]], first)


def test_crops_are_square_and_of_published_areas(seen):
    SMALL.condense(task())
    boxes = torch.cat([boxes for _, boxes, _, _ in seen])
    width, height = (boxes[:, 2:] - boxes[:, :2]).unbind(1)
    torch.testing.assert_close(width, height, atol=1e-5, rtol=0)
    assert 0.08 - 1e-4 < (width * height).min() < 0.15
    assert (width * height).max() > 0.85


def test_a_crop_is_scored_amid_the_mean_colour():
    given = task()
    crops = given.train.images(torch.arange(3))[:, :, :4, :4]
    _, height, width = given.shape
    canvas = torch.tensor(given.mean).view(1, -1, 1, 1).repeat(3, 1, height, width)
    top, left = height // 2 - 2, width // 2 - 2
    canvas[:, :, top : top + 4, left : left + 4] = crops
    expected = -given.teacher(canvas).double().log_softmax(1)[:, 4]
    torch.testing.assert_close(realism(given, crops, 4), expected, atol=1e-5, rtol=1e-5)


def test_stitching_puts_tile_t_into_image_t_modulo_n():
    tiles = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 3, 2, 2)
    images = stitched(tiles, 2)
    assert images.shape == (2, 3, 4, 4)
    assert images[0, 0, ::2, ::2].tolist() == [[0, 2], [4, 6]]
    assert images[1, 0, 1::2, 1::2].tolist() == [[1, 3], [5, 7]]


def test_whole_boxes_at_full_size_are_the_images():
    given, index = task(), torch.arange(5)
    whole = torch.tensor([[0.0, 0, 1, 1]]).expand(5, 4)
    images = given.train.images(index)
    torch.testing.assert_close(cut(given, index, whole, given.shape[1:]), images)


def test_a_class_of_fewer_images_than_tiles_gives_second_best_crops():
    given = task(ipc=3)
    index = torch.cat([(given.train.labels == k).nonzero()[:2, 0] for k in range(10)])
    made = SMALL.condense(dataclasses.replace(given, train=Subset(given.train, index)))
    assert len(made) == 30
    loss = torch.tensor([[1.0, 0.5], [0.7, 2.0]])
    assert best(loss, 4).tolist() == [1, 2, 0, 3]


def test_labels_are_the_teachers_and_classes_those_of_the_crops():
    made = SMALL.condense(task())
    assert made.classes.tolist() == [k for k in range(10) for _ in range(2)]
    assert made.labels.amax(1).max() < 1


@pytest.mark.parametrize(
    ("field", "value"), [("factor", 0), ("crops", 0), ("pool", 0), ("scale", (0.5, 0.2))]
)
def test_a_field_that_makes_no_sense_is_refused(field, value):
    with pytest.raises(BenchError, match=rf"{field} is .*; expected"):
        RDED(**{field: value})


def test_a_factor_that_does_not_divide_the_image_is_refused():
    with pytest.raises(BenchError, match="factor is 3 and images are 16 x"):
        dataclasses.replace(SMALL, factor=3).condense(task())


def test_the_generator_of_crops_is_seeded():
    one, again = (SMALL.condense(task()).images for _ in range(2))
    assert torch.equal(one, again)
    other = SMALL.condense(dataclasses.replace(task(), seed=9)).images
    assert not torch.equal(one, other)
