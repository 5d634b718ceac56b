"""Squeeze, recover, relabel: SRe2L, CDA, RDED and G-VBSM, and the library that they stand on."""

from collections.abc import Sequence
from typing import Any

from bench import hookimpl
from bench_inversion.gvbsm import GVBSM
from bench_inversion.methods import CDA, CDA_FROM_RANDOM, RANDOM_START, SRE2L_FROM_RANDOM, SRe2L
from bench_inversion.rded import RDED, WHOLE


@hookimpl
def bench_methods() -> Sequence[Any]:
    return [
        SRe2L(),
        CDA(),
        SRE2L_FROM_RANDOM,
        CDA_FROM_RANDOM,
        RANDOM_START,
        RDED(),
        WHOLE,
        GVBSM(),
    ]
