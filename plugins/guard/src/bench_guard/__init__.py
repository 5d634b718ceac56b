"""Teachers whose loss is flat around images (GUARD), their controls, and metrics of curvature."""

from collections.abc import Sequence
from typing import Any

from bench import hookimpl
from bench_guard.curvature import curvature, gradient_norm, loss_difference
from bench_guard.matching import FIRST_ORDER as GUARD_DC_FIRST_ORDER
from bench_guard.matching import GuardDC
from bench_guard.metrics import METRICS
from bench_guard.spectrum import top_curvature
from bench_guard.teachers import (
    CIFAR,
    FASHION,
    FIRST_ORDER,
    HALF,
    IMAGENETTE,
    Adversarial,
    GradientNorm,
    Guard,
)

__all__ = [
    "bench_methods",
    "bench_metrics",
    "bench_teachers",
    "curvature",
    "gradient_norm",
    "loss_difference",
    "top_curvature",
]


@hookimpl
def bench_teachers() -> Sequence[Any]:
    return [Guard(), CIFAR, FASHION, IMAGENETTE, HALF, FIRST_ORDER, Adversarial(), GradientNorm()]


@hookimpl
def bench_methods() -> Sequence[Any]:
    return [GuardDC(), GUARD_DC_FIRST_ORDER]


@hookimpl
def bench_metrics() -> Sequence[Any]:
    return METRICS
