"""The nodes of a plan: stages, whose keys hold the content of the stages above them.

The key of a stage is known only when those have finished; its `id`, made of the inputs alone, is
known at once and says which stages are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from bench.board.matrix import Cell
from bench.contract.keys import digest, platform

STAGES = ("load", "squeeze", "adopt", "condense", "train", "attack", "probe", "sample", "measure")


@dataclass(frozen=True, eq=False)
class Dataset:
    """A loaded data set, as the plan needs it: `facts` is the value of its load stage."""

    name: str
    component: Any
    load: str  # the key of its load stage
    facts: Mapping[str, Any]

    @cached_property
    def identity(self) -> dict[str, str]:
        """Law 11: the content, the ordered class names, and what networks are built from."""
        return {
            "data": self.facts["digest"],
            "classes": digest(self.facts["classes"]),
            "facts": digest([self.facts[name] for name in ("shape", "mean", "std", "flip")]),
        }


@dataclass(frozen=True, eq=False)
class Stage:
    """A node of the plan."""

    id: str
    kind: str  # one of STAGES
    title: str  # for people
    spec: Mapping[str, Any]  # JSON: what the key is made of, besides the contents above
    above: Mapping[str, Stage]  # by role
    parts: Mapping[str, Any]  # components and values for the worker
    dataset: Dataset | None = None
    seed: int = 0


@dataclass(frozen=True)
class Planned:
    """A cell, and the stages whose results make its record."""

    cell: Cell
    condensed: Stage
    student: Stage | None  # None where the images of the set are judged as samples
    probe: Stage  # the attack, or what is sampled
    measures: Mapping[str, Stage]  # by metric
    teacher: Stage | None  # who labels the views, or else whom the method asks
    scorer: Stage | None  # a denoiser that the method asks
    components: Mapping[str, Any]  # by kind: what the record names


@dataclass(frozen=True)
class Plan:
    cells: tuple[Planned, ...]
    stages: tuple[Stage, ...]  # those above come first
    looking: Mapping[str, Stage] = field(default_factory=dict)  # by file: networks not kept yet
    lost: int = 0  # cells left out because their data cannot be had


@dataclass(frozen=True)
class Above:
    """A finished stage above, as a worker finds it; `architecture` where it is a network."""

    stage: str
    key: str
    architecture: Any = None


@dataclass(frozen=True)
class Work:
    """One stage, with all that a worker process needs to run it."""

    kind: str
    key: str
    seed: int
    device: str
    store: str
    parts: Mapping[str, Any]
    above: Mapping[str, Above] = field(default_factory=dict)
    data: str = ""  # key of the load stage
    dataset: Any = None  # the component, for data that do not stay in memory
    evaluate: str = "test"
    folder: str = ""  # $BENCH_DATA: a server of workers keeps the one that it was started with
    inputs: Mapping[str, Any] = field(default_factory=dict)


def key_of(stage: Stage, contents: Mapping[str, str], device: str) -> str:
    """The key of a stage, given the content hashes of the stages above it, by role."""
    return digest(
        {**platform(device), "stage": stage.kind, "spec": stage.spec, "above": dict(contents)}
    )
