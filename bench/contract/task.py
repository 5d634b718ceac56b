"""What components are given and give back: a task, a condensed set, a trial.

Labels of a condensed set are distributions over the classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from bench.contract.data import Data, Split
from bench.contract.errors import BenchError

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Selection:
    """Real images, by index (int64 [N]) into the training split: a coreset, or everything."""

    indices: Tensor

    def __len__(self) -> int:
        return len(self.indices)


@dataclass(frozen=True, eq=False)
class CondensedSet:
    """What a method returns.

    images   [N, C, H, W] float32 in [0, 1] or uint8; or a `Selection`. Float images are rounded to
             uint8 by the harness, unless the method says `float_images = True`
    labels   [N, K] float32, each row a distribution over the classes
    weights  [N] float32, positive, or None for equal weights
    classes  [N] int64, the class that each image stands for; by default the arg max of its label.
             A published soft label may lean to another class
    extras   attachments: "image.*" with N rows, "class.*" with K rows. One to images of the name of
             one to classes adds to it in training, and is zero in the mean of a class
    notes    what the method would show of its work (scores, curves): kept with the set alone
    """

    images: Tensor | Selection
    labels: Tensor
    weights: Tensor | None = None
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    notes: Mapping[str, Tensor] = field(default_factory=dict)
    classes: Tensor = field(default=None, kw_only=True)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.classes is None and getattr(self.labels, "ndim", 0) == 2 and self.labels.numel():
            object.__setattr__(self, "classes", self.labels.argmax(1))  # of others a gate speaks

    def __len__(self) -> int:
        return len(self.images)


def _no_progress(done: int, total: int) -> None: ...


class Checkpoint(Protocol):
    """Where a long verb keeps its state, so that a run which was killed goes on from there.

    A verb that loads what it has saved, and draws from generators whose states are part of that,
    ends with the same bytes as one that was not interrupted.
    """

    def load(self) -> Mapping[str, Tensor]:
        """What was last kept of this stage; empty at first.

        The networks that a task had drawn by then count as drawn: the next one is the next.
        """

    def save(self, state: Callable[[], Mapping[str, Tensor]]) -> None:
        """Keep what `state()` returns. Call it after every step: it is asked once a minute."""


class _NotKept:
    def load(self) -> Mapping[str, Tensor]:
        return {}

    def save(self, state: Callable[[], Mapping[str, Tensor]]) -> None: ...


NOT_KEPT: Checkpoint = _NotKept()


@dataclass(frozen=True, eq=False)
class Task:
    """What a method (or a teacher) is given. Neither the test split nor the recipe is in here.

    `teacher` and `scorer` are the networks that the component's fields of those names ask for,
    in eval mode with normalisation inside, loaded on first use. `network()`, for teachers and for
    methods with the class variable `fresh_networks = True`, builds a fresh backbone, also with
    normalisation inside, whose last `nn.Linear` is the classifier; each call gives other initial
    weights, and the seed decides which. `denoiser()`, for methods with the class variable
    `fresh_denoisers = True`, is the same of the board's denoiser, built for the attachments whose
    rows have the shapes that it is given (`bench.training.diffusion.rows_of`); for a teacher of the
    generation track `network()` is one. Both are a `bench.training.diffusion.Denoiser`, as is
    `scorer`. `surveyed` gives what the survey of a method has found.
    """

    train: Split
    classes: tuple[str, ...]
    shape: tuple[int, int, int]  # C, H, W
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flip: bool
    ipc: int  # images per class; 0 for a teacher, or for the full set
    seed: int
    device: str = "cpu"
    progress: Callable[[int, int], None] = _no_progress  # done, total
    checkpoint: Checkpoint = NOT_KEPT
    networks: Mapping[str, Callable[..., nn.Module]] = field(default_factory=dict, repr=False)
    surveys: Mapping[Any, Mapping[str, Tensor]] = field(default_factory=dict, repr=False)

    @cached_property
    def teacher(self) -> nn.Module:
        return self._network("teacher")

    @cached_property
    def scorer(self) -> nn.Module:
        return self._network("scorer")

    def network(self) -> nn.Module:
        return self._network("backbone")

    def denoiser(self, extras: Mapping[str, Sequence[int]] | None = None) -> Any:
        return self._network("denoiser", *([extras] if extras else []))

    def surveyed(self, survey: Any) -> Mapping[str, Tensor]:
        """What the verb of a survey finds, which knows no budget: `survey.survey(task)`.

        The harness has it from a stage of its own, made once for all budgets, if the method says
        `survey`; else it is found here and now.
        """
        found: Mapping[str, Tensor] | None = self.surveys.get(survey)
        if found is None:
            found = survey.survey(replace(self, ipc=0))
        return found

    def _network(self, role: str, *given: Any) -> nn.Module:
        if role not in self.networks:
            way = f'a component field `{role}: str` that names one, as in `{role}: str = "..."`'
            asked = {"backbone": "fresh_networks", "denoiser": "fresh_denoisers"}.get(role)
            if asked:
                way = f"the component's class variable `{asked}: ClassVar[bool] = True`"
            raise BenchError(f"this task has no {role}; expected {way}")
        return self.networks[role](*given)


@dataclass(frozen=True, eq=False)
class Perturbed:
    """What an attack of several parts may return, where others return images alone.

    `images` [B, C, H, W] are the adversarial ones; `parts` are (name, search, how many images of
    the batch are still right after it), in the order in which they ran. A page then tells of an
    ensemble whose blind search took what its gradients had left. `sampled` says of how many images
    its last parts looked at how many, if not at all that stood and if none of these fell: a page
    then says what that misses.
    """

    images: Tensor
    parts: Sequence[tuple[str, str, int]] = ()
    sampled: tuple[int, int] = (0, 0)  # looked at, of those that stood


@dataclass(frozen=True, eq=False)
class Trial:
    """What a metric is given: one evaluated cell. What does not apply to it is None.

    `labels` [P] int64, `clean_logits` and `logits` (under the cell's attack) [P, K] float32
    belong to the test images at `index` [P]; `norm` is that of the attack's ball, "" if it stays
    in none. `samples` [P, C, H, W] (float32 in [0, 1]) are a generator's, one for the label of each
    test image at `index`. `features` is the classifier that a metric's field of that name asks for:
    one for the whole board, trained on the real data, to look at images with. Networks are loaded
    on first use. `cost` is counted, never timed: "size" (images in the set) and "bytes" (of its
    images, labels, weights, extras).
    """

    data: Data
    condensed: CondensedSet
    labels: Tensor | None = None
    index: Tensor | None = None
    clean_logits: Tensor | None = None
    logits: Tensor | None = None
    norm: str = ""
    samples: Tensor | None = None
    cost: Mapping[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    networks: Mapping[str, Callable[[], nn.Module]] = field(default_factory=dict, repr=False)

    @cached_property
    def student(self) -> nn.Module | None:
        return self.networks["student"]() if "student" in self.networks else None

    @cached_property
    def teacher(self) -> nn.Module | None:
        return self.networks["teacher"]() if "teacher" in self.networks else None

    @cached_property
    def features(self) -> nn.Module:
        if "features" not in self.networks:
            raise BenchError(
                "this trial has no features; expected a field `features: str` of the metric that "
                "names a teacher"
            )
        return self.networks["features"]()

    @cached_property
    def correct(self) -> Tensor:
        """Which test images [P] are right under the attack (bool).

        In a ball there is the clean image, too: one that is wrong there counts as broken under
        each attack of the ball (RobustBench). Corruptions stay in none: they count for themselves.
        """
        if self.labels is None or self.logits is None or self.clean_logits is None:
            raise BenchError("this trial has no logits; `correct` needs a metric of = 'probe'")
        right = self.logits.argmax(1) == self.labels
        return right & (self.clean_logits.argmax(1) == self.labels) if self.norm else right
