"""What the metrics of the generation track cost, beside what a user would pick instead.

Made-up features of samples and of as many real images, one thread, CPU seconds; the looks at the
images are timed apart. All rows take turns, so that a busy machine slows all; the figure is the
median over rounds. Beside a row stands its rival, with the cost and, where both should say the
same, by how much they differ. The rivals: SciPy's matrix square root, of which pytorch-fid makes
its FID; prdc, which makes all four of its figures at once; precision and recall of torch-fidelity,
both at once. Kernel distance and score are torch-fidelity's own: no rival there.

    python tests/speed/generative.py [--images 2560] [--dimensions 128 1280] [--rounds 5]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

CLASSES = 10
OURS = ("fd", "kd", "kd-sd", "score", "precision", "recall", "density", "coverage", "memorisation")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--images", type=int, default=2560)
    arguments.add_argument("--dimensions", type=int, nargs="+", default=[128, 1280])
    arguments.add_argument("--rounds", type=int, default=5)
    args = arguments.parse_args()

    from bench.engine.fork import ENVIRONMENT

    environment = ENVIRONMENT | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    if not environment.items() <= os.environ.items():  # they are read when a process starts
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | environment)
    for dimensions in args.dimensions:
        of_features(args.images, dimensions, args.rounds)
    of_looks(args.rounds)


def of_features(count: int, dimensions: int, rounds: int) -> None:
    import torch
    from prdc import compute_prdc
    from torch_fidelity.metric_prc import prc_features_to_metric

    one = trial(count, dimensions)
    numbers = [images.flatten(1) for images in (one.samples, one.data.test.images(one.index))]
    generated, real = numbers
    measures = {name: lambda m=metric: m.measure(one) for name, metric in metrics().items()}
    rivals: dict[str, Callable[[], Mapping[str, float]]] = {
        "SciPy's square root": lambda: {"fd": square_root(generated, real)},
        "prdc, k = 5": lambda: silently(compute_prdc, real.numpy(), generated.numpy(), 5),
        "torch-fidelity, k = 3": lambda: prc_features_to_metric(generated, real, verbose=False),
    }
    for measure in measures.values():
        measure()  # the looks are kept from here on
    torch.set_num_threads(1)
    seconds, said = in_turns({**measures, **rivals}, rounds)
    print(f"{count:,} samples and as many real images, {dimensions:,} dimensions, {rounds} rounds")
    for name in measures:
        print(f"  {name:<24}{seconds[name]:8.2f} s   {said[name]:.6g}")
    print(f"  {'all of these':<24}{sum(seconds[name] for name in measures):8.2f} s")
    same = {
        "SciPy's square root": ("fd",),
        "prdc, k = 5": ("density", "coverage"),
        "torch-fidelity, k = 3": ("precision", "recall"),
    }
    for name, kinds in same.items():
        off = ", ".join(f"{k} off by {abs(said[name][k] - said[k]):.1g}" for k in kinds)
        print(f"  {name:<24}{seconds[name]:8.2f} s   {off}")


def of_looks(rounds: int) -> None:
    """Images a CPU second: of a board's classifier, and of EfficientNet-Lite0."""
    import torch

    from bench.training import networks
    from bench_standard.architectures.convnet import CONVNET
    from bench_standard.generative import extractors

    torch.set_num_threads(1)
    images = torch.rand(250, 1, 28, 28)
    torch.manual_seed(0)
    classifier = networks.build(CONVNET, (1, 28, 28), CLASSES, (0.28,), (0.35,)).eval()
    lite = extractors._network(extractors.EFFICIENTNET)
    rows = {
        "convnet": lambda: extractors._look(classifier, images, extractors.CLASSIFIER, 64),
        "efficientnet-lite0": lambda: extractors._look(lite, images, extractors.EFFICIENTNET, 64),
    }
    seconds, _ = in_turns(rows, rounds)
    print("Looks at images of 1 x 28 x 28")
    for name, value in seconds.items():
        print(f"  {name:<24}{len(images) / value:8.0f} images a second")


def metrics() -> dict[str, Any]:
    from dataclasses import replace

    from bench_standard.generative import METRICS

    found = {metric.name: metric for metric in METRICS if metric.name in OURS}
    return {**found, "fd": replace(found["fd"], least=0)}


def trial(count: int, dimensions: int) -> Any:
    """Features are the pixels of images, logits a fixed map of them."""
    import torch
    from torch import nn

    from bench import CondensedSet, Data, Trial

    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % CLASSES

    def images(shift: float) -> torch.Tensor:
        mix = torch.randn(dimensions, dimensions, generator=generator) / dimensions**0.5
        found = torch.randn(count, dimensions, generator=generator) @ mix
        return (found + shift).view(count, 1, 1, dimensions)

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(dimensions, CLASSES)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.last(x.flatten(1))
            return logits

    real, samples, condensed = images(0), images(0.1), images(0)
    classes = [str(k) for k in range(CLASSES)]
    data = Data.from_tensors((real, labels), (real, labels), classes)
    one_hot = nn.functional.one_hot(labels, CLASSES).float()
    torch.manual_seed(0)
    network = Classifier()
    return Trial(
        data,
        CondensedSet(condensed, one_hot),
        labels=labels,
        index=torch.arange(count),
        samples=samples,
        networks={"features": lambda: network},
    )


def square_root(generated: Any, real: Any) -> float:
    import numpy as np
    from scipy.linalg import sqrtm

    one, two = (features.double().numpy() for features in (generated, real))
    shift = one.mean(0) - two.mean(0)
    a, b = np.cov(one.T), np.cov(two.T)
    root = sqrtm(a @ b).real
    return float(shift @ shift + np.trace(a + b - 2 * root))


def silently(call: Callable[..., Any], *given: Any) -> Any:
    with contextlib.redirect_stdout(io.StringIO()):
        return call(*given)


def in_turns(
    rows: Mapping[str, Callable[[], Any]], rounds: int
) -> tuple[dict[str, float], dict[str, Any]]:
    """The median CPU seconds of each, and what it said."""
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    said: dict[str, Any] = {}
    for _ in range(rounds):
        for name, row in rows.items():
            start = time.process_time()
            said[name] = row()
            seconds[name].append(time.process_time() - start)
    return {name: statistics.median(found) for name, found in seconds.items()}, said


if __name__ == "__main__":
    main()
