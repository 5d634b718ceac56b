"""Coresets by what a training tells of each image: EL2N, forgetting and coverage-centric selection.

Scores are those of `bench_standard.dynamics`, of fresh networks of the board's backbone. Each class
has its own budget. Published scores prune a part of the data; at a few images a class "hard" images
are mostly odd ones, which is why each method also stands with `keep = "easy"`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

from bench import BenchError, CondensedSet, Task
from bench_standard.coresets import coreset
from bench_standard.trainings import Trainings

if TYPE_CHECKING:
    from torch import Tensor

    from bench_standard.dynamics import Dynamics

KEPT = ("hard", "easy")
SCHEDULES = ("constant", "cosine")
SCORES = ("margin", "error", "forgotten")
QUICK = {"networks": 1, "epochs": 2, "batch": 16}


@dataclass(frozen=True)
class EL2N:
    """The images of each class with the largest ||softmax - one-hot|| early in training, averaged
    over some networks (Paul et al., NeurIPS 2021)."""

    name: str = "el2n"
    teacher: str = ""  # labels the views where a board asks for it; empty: the board's choice
    networks: int = 10
    epochs: int = 20  # after which each network is looked at
    batch: int = 128
    lr: float = 0.1
    schedule: str = "constant"  # of lr: as in the first of 200 epochs | "cosine", to 0
    crop: int = 0  # random shifts of up to this many pixels; as published, 4 on CIFAR
    flip: bool = True  # mirror images, where that keeps the label
    keep: str = "hard"  # "hard", as published | "easy"
    quick: ClassVar[dict[str, Any]] = QUICK
    fresh_networks: ClassVar[bool] = True
    selects: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check(self)

    @property
    def survey(self) -> Trainings:
        return trainings_of(self)

    def condense(self, task: Task) -> CondensedSet:
        return ordered(self, task, lambda seen: seen.error)


@dataclass(frozen=True)
class Forgetting:
    """The images of each class that went most often from right to wrong in a training (Toneva et
    al., ICLR 2019); those that were never right come before all others.

    Right is looked at after each epoch. Images with equal counts come in a random order.
    """

    name: str = "forgetting"
    teacher: str = ""  # labels the views where a board asks for it; empty: the board's choice
    networks: int = 1
    epochs: int = 200
    batch: int = 128
    lr: float = 0.1
    schedule: str = "cosine"  # of lr | "constant"; as published by steps at 60, 120 and 160 epochs
    crop: int = 0  # random shifts of up to this many pixels; as published, 4 on CIFAR
    flip: bool = True  # mirror images, where that keeps the label
    keep: str = "hard"  # "hard", as published | "easy": never forgotten
    quick: ClassVar[dict[str, Any]] = QUICK
    fresh_networks: ClassVar[bool] = True
    selects: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check(self)

    @property
    def survey(self) -> Trainings:
        return trainings_of(self)

    def condense(self, task: Task) -> CondensedSet:
        return ordered(self, task, difficulty_by_forgetting)


@dataclass(frozen=True)
class CCS:
    """Coverage-centric selection: the hardest images of each class are cut off, and the rest is
    drawn from strata of their scores, with equal budgets (Zheng et al., ICLR 2023)."""

    name: str = "ccs"
    teacher: str = ""  # labels the views where a board asks for it; empty: the board's choice
    score: str = "margin"  # "margin", of which AUM is the mean | "error" (EL2N) | "forgotten"
    beta: float = 0.3  # share of a class that is cut off; as published at 10 % of CIFAR-10
    strata: int = 50  # of equal width
    networks: int = 1
    epochs: int = 200
    batch: int = 256
    lr: float = 0.1
    schedule: str = "cosine"  # of lr | "constant"
    crop: int = 0  # random shifts of up to this many pixels; as published, 4 on CIFAR
    flip: bool = True  # mirror images, where that keeps the label
    quick: ClassVar[dict[str, Any]] = QUICK
    fresh_networks: ClassVar[bool] = True
    selects: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check(self)

    @property
    def survey(self) -> Trainings:
        return trainings_of(self)

    def condense(self, task: Task) -> CondensedSet:
        import torch

        seen = seen_of(task, self)
        scores = {
            "margin": -seen.margin,
            "error": seen.error,
            "forgotten": difficulty_by_forgetting(seen),
        }
        hard = scores[self.score]
        generator = torch.Generator().manual_seed(task.seed)
        return coreset(
            task,
            lambda members: covering(hard[members], task.ipc, self.beta, self.strata, generator),
        )


def check(method: Any) -> None:
    """Raise BenchError for a field that makes no sense."""
    for field, ok, expected in (
        ("networks", lambda v: v >= 1, "1 or more"),
        ("epochs", lambda v: v >= 1, "1 or more"),
        ("batch", lambda v: v >= 2, "2 or more"),
        ("lr", lambda v: v > 0, "more than 0"),
        ("crop", lambda v: v >= 0, "0 or more"),
        ("schedule", lambda v: v in SCHEDULES, " or ".join(map(repr, SCHEDULES))),
        ("keep", lambda v: v in KEPT, " or ".join(map(repr, KEPT))),
        ("score", lambda v: v in SCORES, " or ".join(map(repr, SCORES))),
        ("beta", lambda v: 0 <= v < 1, "a share in [0, 1)"),
        ("strata", lambda v: v >= 1, "1 or more"),
    ):
        value = getattr(method, field, None)
        if value is not None and not ok(value):
            raise BenchError(f"{method.name}: {field} is {value!r}; expected {expected}")


def trainings_of(method: Any) -> Trainings:
    """The trainings that a method asks for: one survey for all budgets, and for all like it."""
    asked = (f.name for f in fields(Trainings) if f.name != "name")
    return Trainings(**{name: getattr(method, name) for name in asked})


def seen_of(task: Task, method: Any) -> Dynamics:
    """What has been seen of the training images."""
    from bench_standard.dynamics import Dynamics

    return Dynamics(**task.surveyed(method.survey))


def difficulty_by_forgetting(seen: Dynamics) -> Tensor:
    """How often each image was forgotten: float [T]; what was never learnt leads."""
    counts = seen.forgotten.float()
    return counts.masked_fill(~seen.learnt, float(counts.max()) + 1)


def ordered(method: Any, task: Task, difficulty: Any) -> CondensedSet:
    """The hardest, or the easiest, of each class; those as hard as each other in random order."""
    import torch

    hard = difficulty(seen_of(task, method))
    generator = torch.Generator().manual_seed(task.seed)

    def order(members: Tensor) -> Tensor:
        shuffled = torch.randperm(len(members), generator=generator)
        score = hard[members[shuffled]]
        return shuffled[score.argsort(descending=method.keep == "hard", stable=True)]

    return coreset(task, order)


def covering(hard: Tensor, count: int, beta: float, strata: int, generator: Any) -> Tensor:
    """Positions [count] in `hard` [n], drawn from strata of what is left without the hardest.

    Strata have equal widths. The smallest come first, and each gets an equal share of what is left
    of the budget, or all that it has: so few images come from the largest strata. A share `beta` is
    cut off, or less, where that would leave fewer than `count`.
    """
    import torch

    kept = hard.argsort(stable=True)[: max(count, len(hard) - int(beta * len(hard)))]
    score = hard[kept].double()
    width = ((score.max() - score.min()) / strata).clamp_min(1e-12)
    stratum = ((score - score.min()) / width).long().clamp_max(strata - 1)
    sizes = torch.bincount(stratum, minlength=strata)
    left, picked = count, []
    for done, which in enumerate(sizes.argsort(stable=True).tolist()):
        members = kept[stratum == which]
        share = min(len(members), left // (strata - done))
        order = torch.randperm(len(members), generator=generator)
        picked.append(members[order[:share]])
        left -= share
    return torch.cat(picked)


# What is left of a score where a class keeps a few images: the ordinary ones.
EL2N_EASY = EL2N("el2n-easy", keep="easy")
FORGETTING_EASY = Forgetting("forgetting-easy", keep="easy")
