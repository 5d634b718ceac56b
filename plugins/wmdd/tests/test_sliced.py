import numpy as np
import ot
import pytest
import torch

from bench import BenchError
from bench_wmdd.sliced import quantiles, sliced
from bench_wmdd.supports import barycenter


def features(n, d, seed=0):
    generator = torch.Generator().manual_seed(seed)
    groups = torch.randn(4, d, generator=generator, dtype=torch.float64)[torch.arange(n) % 4]
    return (groups + 0.5 * torch.randn(n, d, generator=generator, dtype=torch.float64)).relu()


def squared_sw2(positions, points):
    """By POT, on directions that the solver has not seen."""
    return (
        ot.sliced_wasserstein_distance(
            positions.numpy(), points.numpy(), n_projections=500, seed=11
        ).item()
        ** 2
    )


@pytest.mark.parametrize(("n", "k"), [(10, 5), (10, 3), (7, 7), (5, 1), (9, 4)])
def test_quantiles_are_the_nearest_points_of_equal_mass_on_a_line(n, k):
    values = torch.rand(n, 3, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    found = quantiles(values, k)
    for column, wanted in zip(values.T, found.T, strict=True):
        plan = ot.emd_1d(wanted.numpy(), column.numpy())  # rows: the k points, by rank
        assert np.allclose(k * plan @ column.numpy(), wanted.numpy())


@pytest.mark.parametrize(("n", "d", "k"), [(200, 20, 5), (150, 80, 12)])
def test_the_sliced_distance_falls(n, d, k):
    points = features(n, d)
    found, weights = sliced(points, k)
    assert weights.tolist() == pytest.approx([1 / k] * k)
    random = points[torch.randperm(n, generator=torch.Generator().manual_seed(1))[:k]]
    assert squared_sw2(found, points) < 0.8 * squared_sw2(random, points)
    uniform, _ = barycenter(points, k, weights="uniform")  # nearer in another sense
    assert squared_sw2(found, points) < squared_sw2(uniform, points)


def test_on_a_line_it_is_exact():
    points = features(101, 1)
    found, _ = sliced(points, 6)
    assert torch.allclose(found.sort(0).values, quantiles(points, 6))


def test_one_position_is_the_mean_and_all_are_the_points():
    points = features(12, 4)
    assert torch.allclose(sliced(points, 1)[0][0], points.mean(0))
    found = sliced(points, 12)[0]
    assert torch.allclose(found[torch.cdist(points, found).argmin(1)], points)


def test_same_seed_same_bytes_and_the_process_is_as_found():
    points, state = features(60, 8).float(), torch.get_rng_state()
    first, again = sliced(points, 6, seed=3)[0], sliced(points, 6, seed=3)[0]
    assert torch.equal(first, again)
    assert first.dtype == torch.float32
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(first, sliced(points, 6, seed=4)[0])


def test_too_few_points_are_named():
    with pytest.raises(BenchError, match="2 points for a support of 3"):
        sliced(torch.rand(2, 4), 3)
