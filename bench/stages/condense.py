"""A condensed set, made by a method."""

from __future__ import annotations

from typing import Any

from bench import gates
from bench.condensed_set import to_tensors, weigh
from bench.counting import Passes
from bench.graph import Work
from bench.stages.inputs import Progress, Result, task_of
from bench.store import Store
from bench.types import CondensedSet, Task


def condense(method: Any, task: Task) -> CondensedSet:
    """Run a method, and check what it returns (`gates.check_condensed`)."""
    condensed: CondensedSet = method.condense(task)
    gates.check_condensed(
        condensed,
        shape=task.shape,
        classes=len(task.classes),
        train_size=len(task.train.labels),
        ipc=0 if getattr(method, "ceiling", False) else task.ipc,
    )
    return condensed


def run(work: Work, store: Store, progress: Progress) -> Result:
    passes = Passes()
    task = task_of(work, store, progress, work.parts["ipc"], passes)
    condensed = condense(work.parts["method"], task)
    tensors = to_tensors(condensed)
    value = {"size": len(condensed), "bytes": weigh(tensors), "passes": passes.as_json()}
    return {"result": tensors}, value
