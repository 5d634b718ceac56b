"""D2C: dataset condensation for diffusion models, as published and as a bilevel problem."""

from collections.abc import Sequence
from typing import Any

from bench import hookimpl
from bench_d2c.bilevel import D2C, STEADY
from bench_d2c.select import VARIANTS


@hookimpl
def bench_methods() -> Sequence[Any]:
    return [D2C(), STEADY, *VARIANTS]
