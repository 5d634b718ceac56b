"""A condensed set, made by a method."""

from __future__ import annotations

from typing import Any

from bench.contract.kinds import fact
from bench.contract.task import CondensedSet, Task
from bench.stages.io import Progress, Result, task_of
from bench.stages.stage import Work
from bench.store.store import Store
from bench.training import gates
from bench.training.passes import Passes
from bench.training.sets import to_tensors, weigh


def condense(method: Any, task: Task) -> CondensedSet:
    """Run a method, and check what it returns (`gates.check_condensed`)."""
    condensed: CondensedSet = method.condense(task)
    gates.check_condensed(
        condensed,
        shape=task.shape,
        classes=len(task.classes),
        train_size=len(task.train.labels),
        ipc=0 if fact("method", method, "ceiling") else task.ipc,
    )
    return condensed


def run(work: Work, store: Store, progress: Progress) -> Result:
    passes = Passes()
    task = task_of(work, store, progress, work.parts["ipc"], passes)
    condensed = condense(work.parts["method"], task)
    tensors = to_tensors(condensed)
    value = {"size": len(condensed), "bytes": weigh(tensors), "passes": passes.as_json()}
    return {"result": tensors}, value
