"""Compare dataset-condensation methods: everything a plugin author imports, and a notebook.

`import bench` is light on purpose: torch is loaded by the verbs of components, never by
discovery, planning or the tables. What trains and looks through networks is in `bench.training`,
the contract kit in `bench.checks`; CONTRIBUTING.md lists the public names of all three. What
notebooks use (`evaluate`, `plots`, `read_board`, `table`) is loaded on first use.
"""

import sys

if (
    not sys.flags.safe_path
    and sys.argv[:1] == ["-m"]
    and sys.orig_argv[-len(sys.argv)] in ("bench", "-mbench")
):  # `python -m bench` would find what lies in the current folder before what is installed
    del sys.path[0]

from importlib import import_module
from typing import TYPE_CHECKING, Any

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
from bench.contract.keys import digest, later
from bench.contract.moved import MOVED, moved
from bench.contract.task import CondensedSet, Perturbed, Selection, Task, Trial

if TYPE_CHECKING:
    from bench.commands.evaluate import evaluate
    from bench.report.frames import plots, read_board, table

hookimpl = pluggy.HookimplMarker("bench")

__all__ = [
    "BenchError",
    "CondensedSet",
    "Data",
    "Missing",
    "Perturbed",
    "Selection",
    "Split",
    "Subset",
    "Task",
    "TensorSplit",
    "Trial",
    "Unsupported",
    "as_float",
    "crop_and_resize",
    "digest",
    "digest_of_tensors",
    "evaluate",
    "hookimpl",
    "later",
    "plots",
    "read_board",
    "table",
]

_LATER = {
    "evaluate": "bench.commands.evaluate",
    "plots": "bench.report.frames",
    "read_board": "bench.report.frames",
    "table": "bench.report.frames",
}
"""The modules of names that are loaded on first use."""


def __getattr__(name: str) -> Any:
    """What is loaded on first use; and where a module is that was imported from here before."""
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    if name == "__version__":
        from importlib.metadata import version

        return version("condensation-bench")
    old = f"bench.{name}"
    if old in MOVED:
        error = ImportError(name=old)
        error.msg = moved(error)
        raise error
    raise AttributeError(f"module 'bench' has no attribute {name!r}")
