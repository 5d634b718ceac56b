"""Images recovered from a trained network: SRe2L and CDA, and the library that they stand on."""

from collections.abc import Sequence
from typing import Any

from bench import hookimpl
from bench_inversion.methods import CDA, SRe2L


@hookimpl
def bench_methods() -> Sequence[Any]:
    return [SRe2L(), CDA()]
