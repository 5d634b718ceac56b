import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import rbf_kernel

from bench import BenchError
from bench_wmdd.mmd import discrepancy, median_distance, mmd
from bench_wmdd.supports import scattered


def features(n, d, seed=0):
    generator = torch.Generator().manual_seed(seed)
    groups = torch.randn(4, d, generator=generator, dtype=torch.float64)[torch.arange(n) % 4]
    return (groups + 0.5 * torch.randn(n, d, generator=generator, dtype=torch.float64)).relu()


def squared_mmd(x, points, width):
    """By scikit-learn's kernel."""
    gamma = 1 / (2 * width**2)
    x, y = x.numpy(), points.numpy()
    pairs = rbf_kernel(x, x, gamma), rbf_kernel(x, y, gamma), rbf_kernel(y, y, gamma)
    return pairs[0].mean() - 2 * pairs[1].mean() + pairs[2].mean()


def test_the_discrepancy_is_that_of_an_independent_kernel():
    x, points = features(7, 3, 1), features(40, 3)
    alone = rbf_kernel(points.numpy(), gamma=0.5).mean()
    assert float(discrepancy(x, points)) + alone == pytest.approx(squared_mmd(x, points, 1))


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_the_discrepancy_falls(factor):
    points = features(120, 16)
    width = factor * median_distance(points)
    found, weights = mmd(points, 6, factor=factor)
    assert weights.tolist() == pytest.approx([1 / 6] * 6)
    start = squared_mmd(scattered(points, 6, 0), points, width)
    assert 0 <= squared_mmd(found, points, width) < 0.5 * start


def test_the_found_positions_are_a_local_minimum():
    points = features(80, 5)
    width = median_distance(points)
    found, _ = mmd(points, 4, steps=300)
    lowest = squared_mmd(found, points, width)
    generator = torch.Generator().manual_seed(0)
    for _ in range(10):
        step = torch.randn(found.shape, generator=generator, dtype=torch.float64)
        assert squared_mmd(found + 0.02 * step, points, width) > lowest


def test_the_width_of_the_kernel_changes_what_comes_out():
    points = features(100, 8)
    narrow, wide = (mmd(points, 5, factor=factor)[0] for factor in (0.5, 4.0))
    assert not torch.allclose(narrow, wide, atol=0.05)


def test_the_median_is_over_different_points():
    points = torch.tensor([[0.0], [0.0], [0.0], [0.0], [3.0]])
    assert median_distance(points) == 3
    assert median_distance(points[:3]) == 1
    few = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))  # 15 pairs
    assert median_distance(few) == pytest.approx(np.median(torch.pdist(few).numpy()))


def test_points_of_one_place_stay_there():
    found, _ = mmd(torch.full((5, 3), 2.0), 2)
    assert torch.equal(found, torch.full((2, 3), 2.0))


def test_same_seed_same_bytes_even_without_grad():
    points, state = features(60, 8).float(), torch.get_rng_state()
    first = mmd(points, 5, seed=3)[0]
    with torch.no_grad():
        again = mmd(points, 5, seed=3)[0]
        assert not torch.is_grad_enabled()
    assert torch.equal(first, again)
    assert first.dtype == torch.float32
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan")])
def test_a_width_that_is_none_is_refused(factor):
    with pytest.raises(BenchError, match="expected a positive number"):
        mmd(torch.rand(5, 2), 2, factor=factor)
