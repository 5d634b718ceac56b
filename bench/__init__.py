"""Compare dataset-condensation methods: everything a plugin author imports.

`import bench` is light on purpose: torch is loaded by the verbs of components, never by
discovery, planning or the tables.
"""

import pluggy

from bench.types import (
    CondensedSet,
    Data,
    Missing,
    Selection,
    Split,
    Task,
    TensorSplit,
    Trial,
    Unsupported,
)

hookimpl = pluggy.HookimplMarker("bench")

__all__ = [
    "CondensedSet",
    "Data",
    "Missing",
    "Selection",
    "Split",
    "Task",
    "TensorSplit",
    "Trial",
    "Unsupported",
    "hookimpl",
]
