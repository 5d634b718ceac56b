"""Compare dataset-condensation methods: everything a plugin author imports.

`import bench` is light on purpose: torch is loaded by the verbs of components, never by
discovery, planning or the tables. What trains and looks through networks is in `bench.training`,
the contract kit in `bench.checks`.
"""

import pluggy

from bench.contract.data import (
    Data,
    Split,
    Subset,
    TensorSplit,
    as_float,
    crop_and_resize,
    digest_of_tensors,
)
from bench.contract.errors import BenchError, Missing, Unsupported
from bench.contract.task import CondensedSet, Selection, Task, Trial

hookimpl = pluggy.HookimplMarker("bench")

__all__ = [
    "BenchError",
    "CondensedSet",
    "Data",
    "Missing",
    "Selection",
    "Split",
    "Subset",
    "Task",
    "TensorSplit",
    "Trial",
    "Unsupported",
    "as_float",
    "crop_and_resize",
    "digest_of_tensors",
    "hookimpl",
]
