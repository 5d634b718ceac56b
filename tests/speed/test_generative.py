"""What the metrics of the generation track cost, beside what a user would pick instead.

Made-up features of samples and of as many real images; the looks at the images are timed apart.
The rivals: SciPy's matrix square root, of which pytorch-fid makes its FID; prdc, which makes all
four of its figures at once; precision and recall of torch-fidelity, both at once. Kernel distance
and score are torch-fidelity's own, and memorisation has no rival: they stand beside each other.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from prdc import compute_prdc
from pytest_benchmark.fixture import BenchmarkFixture
from scipy.linalg import sqrtm
from torch import Tensor, nn
from torch_fidelity.metric_prc import prc_features_to_metric

from bench import CondensedSet, Data, Trial
from bench.training import networks
from bench_standard.architectures.convnet import CONVNET
from bench_standard.generative import METRICS, extractors

CLASSES = 10
SIZES = [pytest.param((1000, 64), marks=pytest.mark.short), (2560, 128), (2560, 1280)]
OF = {metric.name: metric for metric in METRICS}
OF["fd"] = replace(OF["fd"], least=0)  # whatever the number of samples

Figures = dict[str, float]


def ours(trial: Trial, names: tuple[str, ...]) -> Figures:
    return {name: OF[name].measure(trial) for name in names}


def square_root(generated: Tensor, real: Tensor) -> Figures:
    one, two = (features.double().numpy() for features in (generated, real))
    shift = one.mean(0) - two.mean(0)
    a, b = np.cov(one.T), np.cov(two.T)
    return {"fd": float(shift @ shift + np.trace(a + b - 2 * sqrtm(a @ b).real))}


def prdc(generated: Tensor, real: Tensor) -> Figures:
    with contextlib.redirect_stdout(io.StringIO()):
        found: Figures = compute_prdc(real.numpy(), generated.numpy(), 5)
    return {name: found[name] for name in ("density", "coverage")}


def fidelity(generated: Tensor, real: Tensor) -> Figures:
    found: Figures = prc_features_to_metric(generated, real, verbose=False)
    return {name: found[name] for name in ("precision", "recall")}


RIVALS: dict[tuple[str, ...], tuple[str, Callable[[Tensor, Tensor], Figures]]] = {
    ("fd",): ("SciPy", square_root),
    ("density", "coverage"): ("prdc", prdc),
    ("precision", "recall"): ("torch-fidelity", fidelity),
}


SIDES = [(names, side) for names, (rival, _) in RIVALS.items() for side in ("ours", rival)]


@pytest.mark.parametrize(("names", "side"), SIDES, ids=lambda x: x if isinstance(x, str) else x[0])
@pytest.mark.parametrize("size", SIZES, ids="{0[0]} x {0[1]}".format)
def test_metric(
    size: tuple[int, int], names: tuple[str, ...], side: str, benchmark: BenchmarkFixture
) -> None:
    benchmark.group = f"{' and '.join(names)}, {size[0]:,} samples of {size[1]:,}"
    trial = made(*size)
    expected = ours(trial, names)  # what is seen is kept from here on
    pair = [images.flatten(1) for images in (trial.samples, trial.data.test.images(trial.index))]
    call, given = (ours, (trial, names)) if side == "ours" else (RIVALS[names][1], pair)
    found = benchmark.pedantic(call, given, rounds=3, warmup_rounds=side != "ours")
    benchmark.extra_info.update(found)
    assert found == pytest.approx(expected, rel=0.001)


@pytest.mark.parametrize("name", ["fd", "kd", "kd-sd", "score", "memorisation", "recall"])
@pytest.mark.parametrize("size", SIZES[1:], ids="{0[0]} x {0[1]}".format)
def test_every_metric(size: tuple[int, int], name: str, benchmark: BenchmarkFixture) -> None:
    benchmark.group = f"metrics beside each other, {size[0]:,} samples of {size[1]:,}"
    trial = made(*size)
    ours(trial, (name,))
    benchmark.extra_info.update(benchmark.pedantic(ours, (trial, (name,)), rounds=3))


@pytest.mark.benchmark(group="looks at 250 images of 1 x 28 x 28")
@pytest.mark.parametrize("eye", [extractors.CLASSIFIER, extractors.EFFICIENTNET])
def test_look(eye: str, benchmark: BenchmarkFixture) -> None:
    images = torch.rand(250, 1, 28, 28)
    torch.manual_seed(0)
    network: Any = networks.build(CONVNET, (1, 28, 28), CLASSES, (0.28,), (0.35,)).eval()
    if eye == extractors.EFFICIENTNET:
        network = extractors._network(eye)
    benchmark.pedantic(extractors._look, (network, images, eye, 64), rounds=3, warmup_rounds=1)
    benchmark.extra_info["images a second"] = round(len(images) / benchmark.stats["median"])


@cache
def made(count: int, dimensions: int) -> Trial:
    """Features are the pixels of images, logits a fixed map of them."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % CLASSES

    def images(shift: float) -> Tensor:
        mix = torch.randn(dimensions, dimensions, generator=generator) / dimensions**0.5
        found = torch.randn(count, dimensions, generator=generator) @ mix
        return (found + shift).view(count, 1, 1, dimensions)

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(dimensions, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.last(x.flatten(1))
            return logits

    real, samples, condensed = images(0), images(0.1), images(0)
    data = Data.from_tensors((real, labels), (real, labels), [str(k) for k in range(CLASSES)])
    torch.manual_seed(0)
    network = Classifier()
    return Trial(
        data,
        CondensedSet(condensed, nn.functional.one_hot(labels, CLASSES).float()),
        labels=labels,
        index=torch.arange(count),
        samples=samples,
        networks={"features": lambda: network},
    )
