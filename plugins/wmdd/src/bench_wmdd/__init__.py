"""Dataset distillation by Wasserstein barycenters, its ablation, and distances between sets."""

from collections.abc import Sequence
from typing import Any

from bench import hookimpl
from bench_wmdd.methods import BN, CE, CE_BN, FROM_NEAREST, MMD, NEAREST, SLICED, UNIFORM, WMDD
from bench_wmdd.metrics import CLASS_W1, ClassDisparity, ClassWasserstein, Diversity, RiskGap
from bench_wmdd.supports import barycenter, barycenters

__all__ = ["barycenter", "barycenters", "bench_methods", "bench_metrics"]


@hookimpl
def bench_methods() -> Sequence[Any]:
    return [WMDD(), UNIFORM, SLICED, MMD, BN, CE, CE_BN, FROM_NEAREST, NEAREST]


@hookimpl
def bench_metrics() -> Sequence[Any]:
    return [CLASS_W1, ClassWasserstein(), Diversity(), RiskGap(), ClassDisparity()]
