import itertools

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans, kmeans_plusplus

from bench import BenchError
from bench_wmdd.quantisation import partition, spread
from bench_wmdd.supports import barycenter, barycenters, scattered


def features(n, d, seed=0, groups=7):
    """Like features behind a ReLU: groups of unequal size and width, clipped at 0."""
    rng = np.random.default_rng(seed)
    owner = rng.choice(groups, n, p=rng.dirichlet(np.full(groups, 2.0)))
    width = rng.uniform(0.3, 1, groups)[owner, None]
    points = rng.normal(size=(groups, d))[owner] + width * rng.normal(size=(n, d))
    return torch.from_numpy(points.clip(0))


def squared_w2(points, positions, weights=None):
    """By POT, exact."""
    k = len(positions)
    masses = np.full(k, 1 / k) if weights is None else weights.double().numpy()
    costs = ot.dist(positions.double().numpy(), points.double().numpy())
    return float(ot.emd2(masses / masses.sum(), ot.unif(len(points)), costs))


def nearest(points, positions):
    return torch.cdist(points, positions, compute_mode="donot_use_mm_for_euclid_dist").min(1)


@st.composite
def cases(draw):
    """Points [n, d] with d up to 6, perhaps with duplicates, and 1 <= k <= n."""
    n, d, seed = draw(st.integers(1, 40)), draw(st.integers(1, 6)), draw(st.integers(0, 10**6))
    points = features(n, d, seed, groups=3)
    different = draw(st.integers(1, n))
    return points[torch.arange(n) % different], draw(st.integers(1, n)), seed


# ---- free weights


@settings(max_examples=60, deadline=None, derandomize=True)
@given(cases())
def test_weights_are_cell_masses_and_positions_cell_means(case):
    points, k, seed = case
    positions, weights = barycenter(points, k, seed=seed)
    assert positions.shape == (k, points.shape[1])
    assert weights.min() > 0
    assert weights.sum().item() == pytest.approx(1)
    assert torch.allclose(weights @ positions, points.mean(0))  # the mean is kept
    # each point at its nearest position costs what the best transport costs: no weights are better
    squares = nearest(points, positions).values.square().mean().item()
    assert squared_w2(points, positions, weights) == pytest.approx(squares, abs=1e-9)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(1, 40), st.integers(1, 6), st.data(), st.sampled_from([(1, -3.5), (0.25, 9)]))
def test_moving_and_scaling_the_points_moves_and_scales_the_barycenter(n, d, data, change):
    scale, shift = change
    points = torch.from_numpy(np.random.default_rng(n).normal(size=(n, d)))  # all different
    k = data.draw(st.integers(1, n))
    positions, weights = barycenter(points, k)
    moved, mass = barycenter(scale * points + shift, k)
    distance, owner = nearest(scale * positions + shift, moved)  # ties may change their order
    assert distance.max() < 1e-9
    assert torch.equal(mass[owner], weights)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(cases())
def test_it_is_no_farther_than_seeds_of_k_means_or_random_points(case):
    points, k, seed = case
    found = squared_w2(points, *barycenter(points, k, seed=seed))
    rng = np.random.default_rng(seed)
    for start in (
        kmeans_plusplus(points.numpy(), k, random_state=seed)[0],
        points[rng.choice(len(points), k, replace=False)].numpy(),
    ):
        start = torch.from_numpy(start)
        owner = nearest(points, start).indices
        mass = owner.bincount(minlength=k) / len(points)  # the best for these positions
        assert found <= squared_w2(points, start, mass) + 1e-9


def test_it_is_the_best_partition_of_few_points():
    """Against all partitions of eight points into three cells, for five sets of points."""
    cells = np.array(list(itertools.product(range(3), repeat=8)))
    inside = (cells[..., None] == np.arange(3)).astype(float)  # [6561, 8, 3]
    for seed in range(5):
        points = features(8, 2, seed, groups=3)
        sums = np.einsum("pnj,nd->pjd", inside, points.numpy())
        explained = (np.square(sums).sum(2) / inside.sum(1).clip(1)).sum(1)
        best = float(points.square().sum() - explained.max()) / 8
        found = min(squared_w2(points, *barycenter(points, 3, seed=s)) for s in range(3))
        assert found == pytest.approx(best)


@pytest.mark.parametrize(("n", "d", "k"), [(400, 96, 10), (600, 128, 50), (800, 8, 20)])
def test_one_run_is_as_good_as_the_best_of_ten_of_scikit_learn(n, d, k):
    points = features(n, d)
    best = min(
        KMeans(k, n_init=1, random_state=seed).fit(points.numpy()).inertia_ for seed in range(10)
    )
    found = squared_w2(points.float(), *barycenter(points.float(), k))
    assert found <= best / n * 1.005


def test_a_missed_group_is_found_by_joining_and_halving():
    """Lloyd's algorithm stays where it starts: two cells in one group, one over two groups."""
    rng = np.random.default_rng(0)
    centres = 100 * np.eye(3, 16)
    points = torch.from_numpy(np.repeat(centres, 50, 0) + rng.normal(size=(150, 16)))
    for seed in range(20):
        positions, weights = barycenter(points, 3, seed=seed)
        assert weights.tolist() == pytest.approx([1 / 3] * 3)
        assert nearest(torch.from_numpy(centres), positions).values.max() < 2


def test_no_cell_is_empty_and_each_point_is_nearest_to_its_own_mean():
    points = features(900, 24, groups=4).float()
    cells = partition(points, 12, seed=3)
    count = cells.bincount(minlength=12)
    assert count.min() > 0
    means = torch.stack([points[cells == j].mean(0) for j in range(12)])
    distance, owner = nearest(points, means)
    assert torch.allclose((points - means[cells]).norm(dim=1), distance, rtol=1e-5)
    assert (owner == cells).double().mean() > 0.999


def test_starts_are_different_rows_even_among_duplicates():
    points = torch.zeros(6, 2)
    points[4] = 1
    picked = spread(points, 5, torch.Generator().manual_seed(0))
    assert len(set(picked.tolist())) == 5
    assert 4 in picked


# ---- uniform weights


def test_uniform_weights_are_a_fixed_point_of_the_transport():
    """The positions are the barycentric projection of the exact plan to them, by POT."""
    points = features(200, 12)
    positions, weights = barycenter(points, 8, weights="uniform")
    assert weights.tolist() == [1 / 8] * 8
    plan = ot.emd(weights.numpy(), ot.unif(200), ot.dist(positions.numpy(), points.numpy()))
    assert np.allclose(plan.sum(0), 1 / 200)
    assert np.allclose(8 * plan @ points.numpy(), positions.numpy(), atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_free_weights_are_nearer_than_uniform_and_uniform_than_random_points(seed):
    points = features(300, 32, seed)
    free = squared_w2(points, *barycenter(points, 10, seed=seed))
    uniform = squared_w2(points, *barycenter(points, 10, weights="uniform", seed=seed))
    random = points[torch.randperm(300, generator=torch.Generator().manual_seed(seed))[:10]]
    start = scattered(points, 10, seed)
    assert free <= uniform < min(squared_w2(points, random), squared_w2(points, start))


# ---- both


@pytest.mark.parametrize("weights", ["free", "uniform"])
def test_one_position_is_the_mean(weights):
    points = features(50, 5)
    positions, mass = barycenter(points, 1, weights=weights)
    assert torch.allclose(positions[0], points.mean(0))
    assert mass.tolist() == [1]


@pytest.mark.parametrize("weights", ["free", "uniform"])
def test_as_many_positions_as_points_are_the_points(weights):
    points = features(30, 5)
    positions, mass = barycenter(points, 30, weights=weights)
    assert squared_w2(points, positions) == pytest.approx(0, abs=1e-12)
    assert sorted(nearest(points, positions).indices.tolist()) == list(range(30))
    assert torch.allclose(mass, torch.full((30,), 1 / 30).double())


@pytest.mark.parametrize("weights", ["free", "uniform"])
def test_same_inputs_and_seed_give_the_same_bytes(weights):
    points = features(120, 16).float()
    state, given = torch.get_rng_state(), points.clone()
    first, again = (barycenter(points, 9, weights=weights, seed=5) for _ in range(2))
    assert all(map(torch.equal, first, again))
    assert first[0].dtype == first[1].dtype == torch.float32
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(points, given)
    assert not torch.equal(first[0], barycenter(points, 9, weights=weights, seed=6)[0])


def test_half_precision_is_computed_in_single():
    positions, _ = barycenter(features(20, 3).half(), 2)
    assert positions.dtype == torch.float32


def test_classes_come_one_by_one_and_do_not_depend_on_each_other():
    asked = []

    def classes():
        for label, n in enumerate((30, 12, 90)):
            asked.append(label)
            yield features(n, 6, seed=label)

    found = barycenters(classes(), 4, seed=2)
    first = next(found)
    assert asked == [0]
    rest = list(found)
    alone = [barycenter(features(n, 6, seed=label), 4, seed=2) for label, n in ((0, 30), (2, 90))]
    for one, other in zip((first, rest[1]), alone, strict=True):
        assert all(map(torch.equal, one, other))


@pytest.mark.parametrize(
    ("points", "k", "given", "message"),
    [
        (torch.ones(3, 2), 4, {}, "3 points for a support of 4; .* lower k"),
        (torch.ones(3, 2), 0, {}, "k is 0; expected 1 or more"),
        (torch.ones(3), 1, {}, r"shape \[3\]; expected \[n, d\]"),
        (torch.tensor([[1.0], [torch.nan]]), 1, {}, "1 of 2 points hold NaN or infinity"),
        (torch.ones(3, 2), 1, {"weights": "none"}, "'none'; expected one of free, uniform"),
    ],
)
def test_what_is_wrong_is_said(points, k, given, message):
    with pytest.raises(BenchError, match=message):
        barycenter(points, k, **given)


def test_the_class_of_a_fault_is_named():
    with pytest.raises(BenchError, match="class 1: there are 2 points"):
        list(barycenters([torch.rand(5, 2), torch.rand(2, 2)], 3))
