"""Sets condensed by matching gradients or mean features: DC, DSA and DM, and their library."""

from collections.abc import Sequence
from typing import Any

from bench import hookimpl
from bench_matching.methods import DC, DM, DSA


@hookimpl
def bench_methods() -> Sequence[Any]:
    return [DC(), DSA(), DM()]
