"""The small worlds that components are checked in: two toy data sets and the networks on them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.contract.data import Data, Split
from bench.contract.errors import require
from bench.contract.kinds import KINDS, fact
from bench.contract.task import Task
from bench.store.store import Store
from bench.training import diffusion, networks, toy
from bench.training.toy_generation import ToyDenoiser, ToyDiffusion

SEED = 1
CASES = ((toy.GRAY, 2), (toy.COLOR, 1))
"""Data set and images per class."""
DATASETS = {dataset.name: dataset for dataset, _ in CASES}


def network(
    architecture: Any,
    data: Data,
    seed: int = SEED,
    extras: Mapping[str, Sequence[int]] | None = None,
) -> nn.Module:
    """A fresh network as the harness holds it; a denoiser is built for attachments, if any."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if fact("architecture", architecture, "track") == "generation":
            return diffusion.build(architecture, data.shape, len(data.classes), extras=extras)
        return networks.build(architecture, data.shape, len(data.classes), data.mean, data.std)


def trained(dataset: toy.ToyData) -> nn.Module:
    """A classifier that has learnt the data set, in eval mode; a new copy every time."""
    return _squeezed(toy.ToyTeacher(), toy.ToyConvNet(), dataset)


def denoiser(dataset: toy.ToyData) -> nn.Module:
    """A denoiser trained a little on the data set, in eval mode; a new copy every time."""
    return _squeezed(ToyDiffusion(), ToyDenoiser(), dataset)


def _squeezed(teacher: Any, architecture: Any, dataset: toy.ToyData) -> nn.Module:
    found = network(architecture, dataset.load())
    networks.load(found, _state(teacher, dataset))
    return found.eval()


@cache
def _state(teacher: Any, dataset: toy.ToyData) -> Mapping[str, Tensor]:
    return networks.state(teacher.squeeze(task(teacher, dataset, 0)))


def task(component: Any, dataset: toy.ToyData, ipc: int) -> Task:
    """What the harness would give: toy networks stand in for the teachers that a method names."""
    data = dataset.load()
    kind = "teacher" if hasattr(component, KINDS["teacher"].verb) else "method"
    asked = _asked(kind, component)
    for role, stands_in in (("teacher", toy.ToyTeacher()), ("scorer", ToyDiffusion())):
        if role in asked:
            _state(stands_in, dataset)  # now, and not where a method first asks, say under no_grad
    generation = fact(kind, component, "track") == "generation"
    backbone: Any = ToyDenoiser() if generation else toy.ToyConvNet()
    calls = count()
    made: dict[str, Callable[..., nn.Module]] = {
        "backbone": lambda: network(backbone, data, SEED + next(calls)),
        "denoiser": lambda e=None: network(ToyDenoiser(), data, SEED + next(calls), e),
        "teacher": lambda: trained(dataset),
        "scorer": lambda: denoiser(dataset),
    }
    return Task(
        train=data.train,
        classes=data.classes,
        shape=data.shape,
        mean=data.mean,
        std=data.std,
        flip=data.flip,
        ipc=ipc,
        seed=SEED,
        networks={role: build for role, build in made.items() if role in asked},
    )


def _asked(kind: str, component: Any) -> set[str]:
    """The networks of its task: those that it asks for."""
    if kind == "teacher":
        return {"backbone"}
    by = {
        "teacher": "teacher",
        "scorer": "scorer",
        "backbone": "fresh_networks",
        "denoiser": "fresh_denoisers",
    }
    return {role for role, name in by.items() if fact(kind, component, name)}


def inputs(split: Split) -> dict[str, Tensor]:
    """The tensors of a toy training split, by the names under which a method reaches them."""
    pixels: Tensor = split.pixels  # type: ignore[attr-defined]
    return {"task.train.pixels": pixels, "task.train.labels": split.labels}


def stored(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors written to a store and read back."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        return store.read(store.publish("check", "key", {"result": tensors}, {}))


def check_beats_chance(student: nn.Module, data: Data) -> str:
    """It is right on test images three standard errors above guessing; the accuracy, in words.

    Toy images of a class are so alike that they are right or wrong together, so the standard
    error is that of one guess a class.
    """
    labels, classes = data.test.labels, len(data.classes)
    logits = networks.predict(student, data.test, torch.arange(len(labels)))
    chance = 1 / classes
    needed = chance + 3 * (chance * (1 - chance) / classes) ** 0.5
    accuracy = (logits.argmax(1) == labels).double().mean().item()
    require(
        accuracy >= needed,
        f"accuracy {accuracy:.2f} on {classes} classes that a tiny network learns in a second; "
        f"expected {needed:.2f} or more; if `quick` does too little, let it do more",
    )
    return f"accuracy {accuracy:.2f}, chance {chance:.2f}"
