"""A teacher, trained: a classifier, or a denoiser."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from torch import nn

from bench.contract.errors import BenchError
from bench.contract.task import Task
from bench.stages.io import Progress, Result, check_finite, task_of
from bench.stages.stage import Work
from bench.store.store import Store
from bench.training import networks
from bench.training.diffusion import Denoiser
from bench.training.passes import Passes
from bench.training.sets import bytes_of


def squeeze(teacher: Any, task: Task) -> nn.Module:
    """Train a teacher: a network whose state fits `task.network()` and is finite."""
    trained = teacher.squeeze(task)
    if not isinstance(trained, nn.Module):
        raise BenchError(f"squeeze() returned {type(trained).__name__}; expected the network")
    state = networks.state(trained)
    networks.load(task.network(), state)
    check_finite(state)
    return trained


def run(work: Work, store: Store, progress: Progress) -> Result:
    passes = Passes()
    trained = squeeze(work.parts["teacher"], task_of(work, store, progress, 0, passes))
    state = networks.state(trained)
    value = {"bytes": bytes_of(state), "passes": passes.as_json()}
    if isinstance(trained, Denoiser):
        value |= {"schedule": asdict(trained.schedule), "extras": {}}
    return {"result": state}, value
