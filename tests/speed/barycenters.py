"""`bench_wmdd.supports` against what else finds a few weighted points near a class.

Features are made up here: seven groups of unequal size and width, clipped at 0 as behind a ReLU.
One thread, CPU seconds; W2^2 is exact (POT) for the positions and weights that come out.

"released" restates the published solver of WMDD with weights: from normal noise, ten rounds of up
to a hundred exact transports for the weights (mirror descent) and a damped step of
`ot.lp.free_support_barycenter` for the positions; "released, uniform" is its branch without.
The first takes half a minute at k = 50, so it runs once, and ours before and after it.

    python tests/speed/barycenters.py [--n 1000] [--d 256 512] [--k 10 50] [--seeds 5]
    python tests/speed/barycenters.py --classes 1000 --processes 2 --n 1300 --d 512 --k 50

The second form measures wall seconds and the peak memory of many classes, each made on the fly,
with the allocator settings that the harness gives its workers.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import argparse
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import ot
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from bench_wmdd.supports import barycenter, barycenters

MALLOC = {"MALLOC_MMAP_THRESHOLD_": "2000000000", "MALLOC_TRIM_THRESHOLD_": "4000000000"}
Found = tuple[Any, Any]  # positions [k, d] and weights [k]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--n", type=int, default=1000)
    arguments.add_argument("--d", type=int, nargs="+", default=[256, 512])
    arguments.add_argument("--k", type=int, nargs="+", default=[10, 50])
    arguments.add_argument("--seeds", type=int, default=5)
    arguments.add_argument("--classes", type=int, default=0)
    arguments.add_argument("--processes", type=int, default=2)
    args = arguments.parse_args()
    torch.set_num_threads(1)
    barycenter(features(100, 8, 0), 3)  # the first call of a library pays for its start
    for d in args.d:
        for k in args.k:
            if args.classes:
                many(args.classes, args.processes, args.n, d, k)
            else:
                compare(args.n, d, k, args.seeds)


def features(n: int, d: int, seed: int, groups: int = 7) -> Tensor:
    rng = np.random.default_rng(seed)
    owner = rng.choice(groups, n, p=rng.dirichlet(np.full(groups, 2.0)))
    width = rng.uniform(0.3, 1, groups).astype(np.float32)[owner, None]
    means = rng.standard_normal((groups, d), dtype=np.float32)
    points = means[owner] + width * rng.standard_normal((n, d), dtype=np.float32)
    return torch.from_numpy(points.clip(0))


# ---- one class


def compare(n: int, d: int, k: int, seeds: int) -> None:
    points = features(n, d, 0)
    print(f"\nn = {n}, d = {d}, k = {k}; CPU seconds (median), W2^2 (least, median, most)")

    def ours(seeds: range) -> list[tuple[float, float]]:
        return [timed(points, lambda seed=seed: barycenter(points, k, seed=seed)) for seed in seeds]

    before = ours(range(seeds))
    slow = timed(points, lambda: released(points.numpy(), k, 0))
    mine = before + ours(range(seeds, 2 * seeds))
    rows = {
        "released": [slow],
        "released, uniform": [timed(points, lambda: released_uniform(points.numpy(), k, 0))],
        "KMeans, one start": [
            timed(points, lambda seed=seed: k_means(points.numpy(), k, seed, 1))
            for seed in range(10)
        ],
        "KMeans, best of ten": [timed(points, lambda: k_means(points.numpy(), k, 0, 10))],
        "barycenter, uniform": [
            timed(points, lambda seed=seed: barycenter(points, k, weights="uniform", seed=seed))
            for seed in range(seeds)
        ],
        "barycenter": mine,
        "random points": [timed(points, lambda: random(points, k))],
    }
    unit = statistics.median(seconds for seconds, _ in mine)
    best = min(rows["KMeans, best of ten"][0][1], *(w2 for _, w2 in rows["KMeans, one start"]))
    for name, runs in rows.items():
        seconds = statistics.median(s for s, _ in runs)
        values = [w2 for _, w2 in runs]
        spread = f"{min(values):8.3f} {statistics.median(values):8.3f} {max(values):8.3f}"
        print(
            f"{name:<22}{seconds:9.4f} s {seconds / unit:8.1f}x ours   {spread}"
            f"   worst {max(values) / best - 1:+8.2%} of KMeans' best"
        )


def timed(points: Tensor, solve: Callable[[], Found]) -> tuple[float, float]:
    """CPU seconds, and W2^2 of what comes out."""
    start = time.process_time()
    positions, weights = solve()
    seconds = time.process_time() - start
    masses = np.asarray(weights, dtype=np.float64)
    costs = ot.dist(np.asarray(positions, np.float64), points.double().numpy())
    return seconds, float(ot.emd2(masses / masses.sum(), ot.unif(len(points)), costs))


def released(points: Any, k: int, seed: int) -> Found:
    points = points.astype(np.float64)
    positions = np.random.default_rng(seed).normal(size=(k, points.shape[1]))
    mass, weights = ot.unif(len(points)), ot.unif(k)
    for _ in range(10):
        costs = ot.dist(positions, points)
        costs /= costs.max()
        before, weights = weights, ot.unif(k)
        for _ in range(100):
            _, log = ot.emd(weights, mass, costs, log=True)
            step = np.maximum(weights * np.exp(-10 * log["u"]), 1e-12)  # 0 would divide by 0
            step /= step.sum()
            moved, weights = np.abs(step - weights).sum(), step
            if moved < 1e-9:
                break
        target = ot.lp.free_support_barycenter([points], [mass], positions, b=weights)
        positions = 0.8 * positions + 0.2 * target
        if np.linalg.norm(weights - before) < 1e-6:
            break
    return positions, weights


def released_uniform(points: Any, k: int, seed: int) -> Found:
    points = points.astype(np.float64)
    start = np.random.default_rng(seed).normal(size=(k, points.shape[1]))
    found = ot.lp.free_support_barycenter([points], [ot.unif(len(points))], start, b=ot.unif(k))
    return found, ot.unif(k)


def k_means(points: Any, k: int, seed: int, starts: int) -> Found:
    found = KMeans(k, n_init=starts, random_state=seed).fit(points)
    return found.cluster_centers_, np.bincount(found.labels_, minlength=k) / len(points)


def random(points: Tensor, k: int) -> Found:
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(0))
    return points[order[:k]].numpy(), ot.unif(k)


# ---- many classes


def many(classes: int, processes: int, n: int, d: int, k: int) -> None:
    start = time.perf_counter()
    shares = [range(part, classes, processes) for part in range(processes)]
    os.environ.update(MALLOC)
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        parts = list(pool.map(share, shares, [n] * processes, [d] * processes, [k] * processes))
    wall = time.perf_counter() - start
    solving, making, memory = (sum(part[i] for part in parts) for i in range(3))
    print(
        f"{classes} classes, n = {n}, d = {d}, k = {k}, {processes} processes: {wall:.1f} s; CPU "
        f"{solving:.1f} s for the barycenters and {making:.1f} s for the features; peak memory "
        f"{memory:.2f} GB, all processes together"
    )


def share(labels: range, n: int, d: int, k: int) -> tuple[float, float, float]:
    """CPU seconds of barycenters and of features, and the peak memory of the process in GB."""
    torch.set_num_threads(1)
    making = 0.0

    def made() -> Iterator[Tensor]:
        nonlocal making
        for label in labels:
            start = time.process_time()
            points = features(n, d, label)
            making += time.process_time() - start
            yield points

    start = time.process_time()
    kept = torch.empty(len(labels), k, d)  # at once: small tensors would lie between large ones
    for row, (positions, _) in zip(kept, barycenters(made(), k), strict=True):
        row.copy_(positions)
    seconds = time.process_time() - start - making
    return seconds, making, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
