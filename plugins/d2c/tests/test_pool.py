"""Where a pool begins, and what keeps it near images."""

from __future__ import annotations

import pytest
import torch

from bench import Task
from bench.training import toy
from bench_d2c.pool import begin, direction, nearest_to_means, pulled, variation


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
