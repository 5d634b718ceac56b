"""What a stage finds above it in the store: data, networks, sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

from bench.contract.data import Split, TensorSplit
from bench.contract.errors import BenchError
from bench.contract.kinds import fact
from bench.contract.task import CondensedSet, Selection, Task
from bench.stages.source import Source, described, finished
from bench.stages.stage import Above, Work
from bench.store.store import Store
from bench.training import diffusion, networks
from bench.training.classifier import Examples
from bench.training.diffusion import COSINE, Schedule
from bench.training.passes import Passes
from bench.training.sets import from_tensors

Progress = Callable[[int, int], None]
Result = tuple[dict[str, dict[str, Tensor]], dict[str, Any]]  # tensors by file name, JSON value


def source_of(work: Work, store: Store) -> Source:
    return Source(store, work.data, work.dataset, work.evaluate)


def condensed_of(work: Work, store: Store, role: str = "set") -> CondensedSet:
    above = work.above[role]
    return from_tensors(store.read(finished(store, above.stage, above.key)))


def examples_of(condensed: CondensedSet, real: Split) -> Examples:
    images, labels = condensed.images, condensed.labels
    if isinstance(images, Selection):
        return Examples(real, images.indices, labels, condensed.weights)
    split = TensorSplit(images, labels.argmax(1))
    return Examples(split, torch.arange(len(images)), labels, condensed.weights)


def built(
    architecture: Any,
    facts: Mapping[str, Any],
    seed: int,
    schedule: Schedule = COSINE,
    extras: Mapping[str, Sequence[int]] | None = None,
) -> nn.Module:
    """A fresh network, whose initial weights depend on the seed alone."""
    shape, classes = facts["shape"], len(facts["classes"])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if fact("architecture", architecture, "track") == "generation":
            return diffusion.build(architecture, shape, classes, schedule, extras)
        return networks.build(architecture, shape, classes, facts["mean"], facts["std"])


def network_of(
    above: Above, store: Store, facts: Mapping[str, Any], device: str, step: int = 0
) -> nn.Module:
    """A trained network from the store, in eval mode; one of the generation track at `step`."""
    found = finished(store, above.stage, above.key)
    network = built(above.architecture, facts, 0, **_denoising(found.value))
    networks.load(network, store.read(found, f"step-{step}" if step else "result"))
    return network.to(device).eval()


def _denoising(value: Mapping[str, Any]) -> dict[str, Any]:
    """What a denoiser is to be built with, out of the value of the stage that trained it."""
    if "schedule" not in value:
        return {}
    return {"schedule": Schedule(**value["schedule"]), "extras": value["extras"]}


def check_finite(state: Mapping[str, Tensor]) -> None:
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise BenchError(f"weights {name} are NaN or infinite; did the training diverge?")


def task_of(work: Work, store: Store, progress: Progress, ipc: int, passes: Passes) -> Task:
    source = source_of(work, store)
    facts = described(source.facts)

    def counted(network: nn.Module) -> nn.Module:
        passes.count(network)
        return network

    made: dict[str, Callable[..., nn.Module]] = {
        role: lambda above=above: counted(network_of(above, store, facts, work.device))
        for role, above in work.above.items()
    }
    calls = count()
    made |= {
        role: lambda extras=None, fresh=work.parts[role]: counted(
            built(fresh, facts, work.seed + next(calls), extras=extras).to(work.device)
        )
        for role in ("backbone", "denoiser")
        if role in work.parts
    }
    return Task(
        train=source.split("train"),
        ipc=ipc,
        seed=work.seed,
        device=work.device,
        progress=progress,
        networks=made,
        **{name: fact for name, fact in facts.items() if name != "digest"},
    )
