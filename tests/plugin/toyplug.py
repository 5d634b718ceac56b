"""A plugin for tests: toys that write down when they are called, and toys that misbehave.

`conftest.py` makes a distribution of it, for command lines; in-process tests import it.
"""

from __future__ import annotations

import os
import random
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from bench import CondensedSet, Data, Missing, Selection, Task, Trial, Unsupported, hookimpl
from bench.training import toy


def note(*words: Any) -> None:
    """One line for a call, in the file that TOYPLUG_CALLS names."""
    if path := os.environ.get("TOYPLUG_CALLS"):
        with open(path, "a") as file:
            file.write(" ".join(map(str, words)) + "\n")


def healed() -> bool:
    """Has the test put an end to what keeps flaky and slow components from finishing?"""
    return Path(os.environ.get("TOYPLUG_HEALED", "/nowhere")).exists()


@dataclass(frozen=True)
class OnDisk:
    """A split that says where its images are, and gives them one batch at a time."""

    split: Any
    closed: bool = False

    def opened(self) -> Any:
        if self.closed:
            raise RuntimeError("the test split was opened")
        return self.split

    @property
    def labels(self) -> Any:
        return self.opened().labels

    def images(self, index: Any, boxes: Any = None) -> Any:
        return self.opened().images(index, boxes)


@dataclass(frozen=True)
class Remote(toy.ToyData):
    """Data whose file must be fetched first, into `$BENCH_DATA`."""

    name: str = "remote"
    host: str = "up"

    def load(self) -> Data:
        file = Path(os.environ["BENCH_DATA"]) / "remote.bin"
        if not file.exists():
            raise Missing(f"remote.bin is not here; expected {file}; run with --download")
        return super().load()

    def download(self) -> None:
        if self.host == "down":
            raise TimeoutError("no answer")
        note("download", self.name)
        (Path(os.environ["BENCH_DATA"]) / "remote.bin").touch()


@dataclass(frozen=True)
class Closed(toy.ToyData):
    """Images that do not stay in memory, and a test split that nobody may open."""

    name: str = "closed"

    def load(self) -> Data:
        data = super().load()
        return replace(data, train=OnDisk(data.train), test=OnDisk(data.test, closed=True))


@dataclass(frozen=True)
class FromFile(toy.ToyData):
    """Images whose seed stands in a file."""

    name: str = "from-file"
    path: str = ""

    def load(self) -> Data:
        text = Path(self.path).read_text()
        if not text:
            raise Unsupported("the file is empty")
        data = replace(self, seed=int(text))
        return replace(super(FromFile, data).load(), sources=(self.path,))


@dataclass(frozen=True)
class SlowData(toy.ToyData):
    """Images that take a minute to come."""

    name: str = "slow-data"

    def load(self) -> Data:
        note("load", self.name)
        _wait()
        return super().load()


def _wait() -> None:
    until = time.monotonic() + 60
    while not healed() and time.monotonic() < until:
        time.sleep(0.02)


@dataclass(frozen=True)
class Noted(toy.ToyMeans):
    """Mean images, and a note of each call."""

    name: str = "noted"

    def condense(self, task: Task) -> CondensedSet:
        note("condense", self.name, task.ipc, task.seed)
        return super().condense(task)


@dataclass(frozen=True)
class Smuggler:
    """Test images, by a way that is not the task's."""

    name: str = "smuggler"
    way: str = "anew"  # loads the data again; "store": opens the store; "hushed": and says nothing

    def condense(self, task: Task) -> CondensedSet:
        import torch

        ipc = task.ipc
        if self.way == "patched":  # three times as many, past a gate that is taken away
            from bench.training import gates

            gates.check_condensed = lambda *_, **__: None  # type: ignore[assignment]
            ipc *= 3
        elif self.way != "anew":
            for path in Path.cwd().rglob("load/*/test.safetensors"):
                try:
                    path.read_bytes()
                except Exception:
                    if self.way == "store":
                        raise
        test = toy.ToyData().load().test
        members = [(test.labels == k).nonzero()[:ipc] for k in range(len(task.classes))]
        index = torch.cat(members).squeeze(1)
        labels = torch.nn.functional.one_hot(test.labels[index], len(task.classes)).float()
        return CondensedSet(test.images(index), labels)


@dataclass(frozen=True)
class Drawing(toy.ToyMeans):
    """Mean images with noise from every global generator, which is bad manners."""

    name: str = "drawing"

    def condense(self, task: Task) -> CondensedSet:
        import numpy as np
        import torch

        means = super().condense(task)
        assert isinstance(means.images, torch.Tensor)
        noise = (torch.rand(1).item(), float(np.random.rand()), random.random())  # noqa: NPY002
        return replace(means, images=means.images * (1 - sum(noise) / 30))


@dataclass(frozen=True)
class Parted(toy.ToyStep):
    """The same step, but of few images at a time, each in a stage of its own."""

    name: str = "parted"
    block: ClassVar[int] = 24


@dataclass(frozen=True)
class NotedStep(toy.ToyStep):
    """One signed gradient step, and a note of each call."""

    name: str = "noted-step"

    def perturb(self, model: Any, images: Any, labels: Any, generator: Any) -> Any:
        note("perturb", self.name, _sum(images), _sum(next(model.parameters())))
        return super().perturb(model, images, labels, generator)


def _sum(tensor: Any) -> float:
    return float(tensor.detach().double().sum())


@dataclass(frozen=True)
class Elsewhere(toy.ToyMeans):
    """A set from a safetensors file."""

    name: str = "elsewhere"
    path: str = ""
    sha256: str = ""
    from_file: ClassVar[bool] = True

    def condense(self, task: Task) -> CondensedSet:
        import torch
        from safetensors.torch import load_file

        if not self.path:
            raise Missing("elsewhere has no path; expected that of a file")
        note("condense", self.name)
        tensors = load_file(self.path)
        labels = tensors["labels"]
        if labels.ndim == 1:
            labels = torch.eye(len(task.classes))[labels]
        return CondensedSet(tensors["images"], labels, classes=tensors.get("classes"))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Slow(toy.ToyFirst):
    """The first images, after a minute."""

    name: str = "slow"

    def condense(self, task: Task) -> CondensedSet:
        note("condense", self.name)
        _wait()
        return super().condense(task)


@dataclass(frozen=True)
class Faulty(toy.ToyFirst):
    """A method that goes wrong in one way."""

    name: str = "faulty"
    how: str = ""

    def condense(self, task: Task) -> CondensedSet:
        import torch

        note("condense", self.name)
        good = super().condense(task)
        assert isinstance(good.images, Selection)
        pixels = task.train.images(good.images.indices)
        match self.how:
            case "shape":
                return replace(good, images=pixels[:, :, :-1])
            case "nan":
                return replace(good, images=pixels * float("nan"))
            case "many":
                rows = torch.arange(len(pixels) + 1) % len(pixels)
                return replace(good, images=pixels[rows], labels=good.labels[rows])
            case "loop":
                while True:
                    time.sleep(0.01)
            case "abort":
                os.abort()
            case "exit":
                sys.exit(3)
            case "memory":
                hoard = []
                for _ in range(60):  # 3 GB
                    hoard.append(b"x" * 50_000_000)
                    time.sleep(0.02)
                time.sleep(5)
            case "raise":
                raise FileNotFoundError("no weights at weights.bin")
            case "refuse":
                raise Unsupported("needs images in color")
            case "flaky" if not healed():
                raise RuntimeError("the moon is full")
        return good


FAULTS = ("shape", "nan", "many", "loop", "abort", "exit", "memory", "raise", "refuse", "flaky")


@dataclass(frozen=True)
class BrokenTeacher(toy.ToyTeacher):
    """A teacher that raises."""

    name: str = "broken-teacher"

    def squeeze(self, task: Task) -> Any:
        raise ValueError("no batch of one")


@dataclass(frozen=True)
class Stranger(toy.ToyTeacher):
    """A teacher that returns a network of its own."""

    name: str = "stranger"

    def squeeze(self, task: Task) -> Any:
        from torch import nn

        return nn.Sequential(nn.Flatten(), nn.Linear(3, 2))


@dataclass(frozen=True)
class Declining(toy.ToyLinear):
    """A network that declines."""

    name: str = "declining"

    def build(self, shape: tuple[int, int, int], classes: int) -> Any:
        raise Unsupported("needs images of 32 pixels")


@dataclass(frozen=True)
class Leaving(toy.ToyStep):
    """An attack that leaves its ball."""

    name: str = "leaving"

    def perturb(self, model: Any, images: Any, labels: Any, generator: Any) -> Any:
        return 1 - images


@dataclass(frozen=True)
class Idle(toy.ToyStep):
    """An attack that calls itself an ensemble, and does nothing."""

    name: str = "idle"
    search: ClassVar[str] = "ensemble"

    def perturb(self, model: Any, images: Any, labels: Any, generator: Any) -> Any:
        return images


@dataclass(frozen=True)
class Fading(toy.ToyStep):
    """An attack that does less in a larger ball."""

    name: str = "fading"

    def perturb(self, model: Any, images: Any, labels: Any, generator: Any) -> Any:
        weaker = toy.ToyStep(eps=0.01 / (1 + 100 * self.eps))
        return weaker.perturb(model, images, labels, generator)


@dataclass(frozen=True)
class Wrong(toy.ToyAccuracy):
    """Fraction of the test images that are wrong."""

    name: str = "wrong"
    higher_is_better: ClassVar[bool] = False

    def measure(self, trial: Trial) -> float:
        return 1 - super().measure(trial)


@dataclass(frozen=True)
class Seen(toy.ToyDistance):
    """How sure a classifier of the board is of the samples."""

    name: str = "seen"
    features: str = "toy-teacher"

    def measure(self, trial: Trial) -> float:
        assert trial.samples is not None
        return float(trial.features(trial.samples).softmax(1).amax(1).mean().detach())


@dataclass(frozen=True)
class BrokenMetric(toy.ToyAccuracy):
    """A metric that raises."""

    name: str = "broken-metric"

    def measure(self, trial: Trial) -> float:
        raise ZeroDivisionError("no image is wrong")


@dataclass(frozen=True)
class Gain(toy.ToyAccuracy):
    """How much more than the first images."""

    name: str = "gain"
    needs: ClassVar[tuple[dict[str, Any], ...]] = ({"method": "toy-first"},)
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    unit: ClassVar[str] = ""

    def measure(self, trial: Trial, *others: Trial) -> float:
        return super().measure(trial) - super().measure(others[0])


@dataclass(frozen=True)
class Between(Gain):
    """Compares with a method that fails and with one that declines."""

    name: str = "between"
    needs: ClassVar[tuple[dict[str, Any], ...]] = ({"method": "raise"}, {"method": "refuse"})


COMPONENTS: dict[str, tuple[Any, ...]] = {
    "dataset": (*toy.COMPONENTS["dataset"], Closed(), Remote(), FromFile(), SlowData()),
    "teacher": (*toy.COMPONENTS["teacher"], BrokenTeacher(), Stranger()),
    "method": (
        *toy.COMPONENTS["method"],
        Noted(),
        Smuggler(),
        *(Smuggler(f"smuggler-{way}", way) for way in ("store", "hushed", "patched")),
        Drawing(),
        Elsewhere(),
        Slow(),
        *(Faulty(how, how) for how in FAULTS),
        toy.ToyMeans("taught", teacher="broken-teacher"),
        toy.ToyMeans("estranged", teacher="stranger"),
    ),
    "architecture": (*toy.COMPONENTS["architecture"], Declining()),
    "attack": (*toy.COMPONENTS["attack"], NotedStep(), Parted(), Leaving(), Idle(), Fading()),
    "sampler": toy.COMPONENTS["sampler"],
    "metric": (*toy.COMPONENTS["metric"], Wrong(), Seen(), BrokenMetric(), Gain(), Between()),
}


@hookimpl
def bench_datasets() -> Any:
    return COMPONENTS["dataset"]


@hookimpl
def bench_teachers() -> Any:
    return COMPONENTS["teacher"]


@hookimpl
def bench_methods() -> Any:
    return COMPONENTS["method"]


@hookimpl
def bench_architectures() -> Any:
    return COMPONENTS["architecture"]


@hookimpl
def bench_attacks() -> Any:
    return COMPONENTS["attack"]


@hookimpl
def bench_samplers() -> Any:
    return COMPONENTS["sampler"]


@hookimpl
def bench_metrics() -> Any:
    return COMPONENTS["metric"]
