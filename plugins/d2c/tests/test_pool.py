"""Where a pool begins, and what keeps it near images."""

from __future__ import annotations

import pytest
import torch

from bench import Task
from bench.training import toy
from bench_d2c.pool import (
    begin,
    centred,
    direction,
    moved,
    nearest_to_means,
    pulled,
    rounds,
    variation,
)


def task(data=toy.GRAY, ipc=3):
    loaded = data.load()
    facts = (loaded.train, loaded.classes, loaded.shape, loaded.mean, loaded.std, loaded.flip)
    return Task(*facts, ipc, 0)


@pytest.mark.parametrize("start", ["random", "kmeans"])
def test_a_pool_begins_with_different_real_images_of_each_class(start):
    given = task()
    images, labels = begin(given, start, torch.Generator().manual_seed(0))
    assert labels.tolist() == [k for k in range(8) for _ in range(3)]
    for image, label in zip(images, labels, strict=True):
        same = (given.train.images(torch.arange(320)) == image).flatten(1).all(1)
        assert same.sum() == 1
        assert given.train.labels[same.nonzero()[0, 0]] == label
    assert len(images.flatten(1).unique(dim=0)) == len(images)


def test_a_class_that_is_too_small_begins_with_all_of_it():
    images, labels = begin(task(ipc=50), "random", torch.Generator().manual_seed(0))
    assert len(images) == len(labels) == 320


def test_those_nearest_to_means_are_one_of_each_heap():
    torch.manual_seed(0)
    heaps = torch.tensor([[0.0, 0], [10, 0], [0, 10]]).repeat_interleave(5, 0)
    found = nearest_to_means(heaps + 0.1 * torch.randn(15, 2), 3)
    assert sorted((found // 5).tolist()) == [0, 1, 2]
    assert nearest_to_means(torch.zeros(4, 2), 9).unique().numel() == 4


def test_equal_points_are_chosen_once_each():
    assert sorted(nearest_to_means(torch.ones(3, 2), 3).tolist()) == [0, 1, 2]


def test_total_variation_counts_the_steps_between_neighbours():
    flat = torch.full((2, 1, 4, 4), 0.3)
    assert variation(flat) == 0
    step = torch.zeros(1, 1, 4, 4)
    step[..., 2:] = 1  # one step of one in each row
    assert float(variation(step)) == float(variation(step.mT)) == 4


def test_a_gradient_has_one_size_over_the_images_that_it_asks_about():
    gradient = torch.randn(3, 1, 4, 4) * torch.tensor([1.0, 0.0, 3.0]).view(-1, 1, 1, 1)
    found = direction(1e-6 * gradient, torch.zeros(()))
    assert float(found[[0, 2]].square().mean()) == pytest.approx(1, rel=1e-3)
    assert torch.allclose(found, found[0, 0, 0, 0] / gradient[0, 0, 0, 0] * gradient, rtol=1e-3)
    assert not direction(0 * gradient, torch.ones(())).any()


def test_a_regulariser_has_no_say_of_its_own():
    gradient = torch.randn(2, 1, 4, 4) * torch.tensor([5.0, 0.0]).view(-1, 1, 1, 1)
    found = direction(gradient, torch.ones(2, 1, 4, 4) / 100)
    plain = direction(gradient, torch.zeros(()))
    assert torch.allclose(found[0], plain[0] + 0.01)
    assert not found[1].any()  # the objective did not ask for it: no smoothing either


def test_what_has_gone_a_little_way_goes_all_the_way_back():
    start = torch.tensor([0.0, 1.0, -1.0, 0.5])
    part = start + torch.tensor([0.05, -0.05, 0.3, 0.0])
    assert torch.allclose(pulled(part, start, 0.1), start + torch.tensor([0, 0, 0.2, 0]))
    assert torch.equal(pulled(part, start, 0.0), part)


def test_even_rounds_ask_every_class_before_any_again_and_each_time_alike():
    times, classes = torch.tensor([5, 50, 500]), 6
    found = rounds(classes, times, torch.Generator().manual_seed(0), even=True)
    assert len({*found}) == len(found) == 18
    for turn in range(3):
        asked = found[turn * classes : (turn + 1) * classes]
        assert sorted(label for label, _ in asked) == [*range(classes)]
        assert sorted(time for _, time in asked) == [5, 5, 50, 50, 500, 500]
    plain = rounds(classes, times, torch.Generator().manual_seed(0), even=False)
    assert sorted(plain) == sorted(found)
    assert len({label for label, _ in plain[:classes]}) < classes


def test_embeddings_are_centred_and_what_an_image_is_told_stays():
    torch.manual_seed(0)
    of_class, of_image, labels = (
        torch.randn(3, 2, 4),
        torch.randn(5, 2, 4),
        torch.tensor([0] * 4 + [2]),
    )
    text, embedding = centred([of_class, of_image], labels)
    assert torch.allclose(text[labels] + embedding, of_class[labels] + of_image, atol=1e-6)
    assert torch.allclose(embedding[:4].mean(0), torch.zeros(2, 4), atol=1e-6)
    assert not embedding[4].abs().gt(1e-6).any()  # of an only image, nothing
    assert torch.equal(text[1], of_class[1])  # a class without images
    assert [*centred([of_class], labels)] == [of_class]


def test_movement_is_told_in_pixels_and_in_images():
    first = torch.rand(4, 1, 2, 2) / 2
    images = first.clone()
    images[0, 0, 0, 0] += 0.4
    images[1, 0, 0, 0] += 0.005
    images[2] += 1e-6  # what decoding rounds
    notes = moved(images, first, torch.tensor([3, 1, 0, 0]))
    assert float(notes["moved.mean"]) == pytest.approx(0.405 / 16, abs=1e-5)
    assert float(notes["moved.share"]) == 1 / 16
    assert float(notes["moved.untouched"]) == 0.5
    assert notes["moved.asked"].tolist() == [3, 1, 0, 0]
