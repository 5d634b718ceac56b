"""Metrics of the generation track: what looks at samples, and what is said of them."""

from typing import Any

from bench_standard.generative.copies import OfSet, Uncopied
from bench_standard.generative.coverage import Density, Memorisation, Neighbours
from bench_standard.generative.denoising import DenoisingLoss
from bench_standard.generative.distances import (
    Frechet,
    Kernel,
    KernelSpread,
    SampleAccuracy,
    Score,
)
from bench_standard.generative.extractors import EFFICIENTNET, INCEPTION


def _seen_by(eye: str, suffix: str) -> tuple[Any, ...]:
    """The metrics of a network that the board does not train."""
    given: dict[str, Any] = {"features": "", "eye": eye}
    return (
        Neighbours(f"precision-{suffix}", "precision", **given),
        Neighbours(f"recall-{suffix}", "recall", **given),
        Density(f"density-{suffix}", **given),
        Neighbours(f"coverage-{suffix}", "coverage", k=5, **given),
    )


METRICS = (
    Frechet(),
    Kernel(),
    KernelSpread(),
    Score(),
    Neighbours(),
    Neighbours("recall", "recall"),
    Density(),
    Neighbours("coverage", "coverage", k=5),
    SampleAccuracy(),
    Memorisation(),
    Memorisation("memorisation-pixels", features="", space="pixels"),
    Uncopied(),
    OfSet(),
    DenoisingLoss(),
    Frechet("fd-efflite0", features="", eye=EFFICIENTNET),
    Kernel("kd-efflite0", features="", eye=EFFICIENTNET),
    KernelSpread("kd-efflite0-sd", features="", eye=EFFICIENTNET),
    Score("score-efflite0", features="", eye=EFFICIENTNET),
    *_seen_by(EFFICIENTNET, "efflite0"),
    Frechet("fid", features="", eye=INCEPTION),
    Kernel("kid", features="", eye=INCEPTION, subsets=100, size=1000),
    KernelSpread("kid-sd", features="", eye=INCEPTION, subsets=100, size=1000),
    Score("is", features="", eye=INCEPTION, splits=10),
    *_seen_by(INCEPTION, "inception"),
)
