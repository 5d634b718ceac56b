"""D2C as it is published (arXiv 2507.05914): real images, chosen by difficulty, and attachments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench import CondensedSet, Selection, Task
from bench.types import BenchError

if TYPE_CHECKING:
    from torch import Tensor

CHOICES = ("interval", "min", "max", "medium", "random")


@dataclass(frozen=True)
class Select:
    """Real images at even intervals of difficulty for a diffusion model, with attachments (D2C).

    Of each class, ranked from the easiest, every k-th image is kept, so that the hardest are left
    out. `text` and `visual` are attached: vectors of the class names, which a student is told,
    and features of the images, which its own are held against. The difficulty of all images and
    its reliability are kept as notes.
    """

    name: str = "d2c-select"
    scorer: str = "diffusion"  # the denoiser that images are hard for
    teacher: str = "standard"  # the classifier whose features are attached
    choose: str = "interval"  # "interval" | "min" (the easiest) | "max" | "medium" | "random"
    coverage: float = 0.75  # share of a class that the interval spans
    interval: int = 0  # k, as published; 0: by `coverage`
    times: int = 10  # at which images are scored
    noises: int = 1  # at each of them
    text: str = "hashed"  # "hashed" | "" (none) | a file of vectors below $BENCH_DATA
    tokens: int = 8  # words of hashed text
    size: int = 64  # dimensions of hashed text
    visual: bool = True
    grid: int = 4  # sides of the attached maps
    quick: ClassVar[dict[str, Any]] = {"times": 4, "grid": 2}

    def __post_init__(self) -> None:
        if self.choose not in CHOICES:
            raise BenchError(
                f"{self.name}: choose is {self.choose!r}; expected one of {', '.join(CHOICES)}"
            )
        if not 0 < self.coverage <= 1:
            raise BenchError(
                f"{self.name}: coverage is {self.coverage}; expected a share in (0, 1]"
            )
        for field in ("times", "noises", "tokens", "size", "grid"):
            if getattr(self, field) < 1:
                raise BenchError(
                    f"{self.name}: {field} is {getattr(self, field)}; expected 1 or more"
                )
        if self.interval < 0:
            raise BenchError(
                f"{self.name}: interval is {self.interval}; expected 1 or more, or 0 for `coverage`"
            )
        for field, needed in (("scorer", self.choose != "random"), ("teacher", self.visual)):
            if needed and not getattr(self, field):
                raise BenchError(f"{self.name}: {field} is empty; expected the name of a teacher")

    def condense(self, task: Task) -> CondensedSet:
        import torch
        from torch.nn import functional as F

        from bench_d2c import attach
        from bench_d2c.difficulty import difficulty, reliability

        labels, notes = task.train.labels, {}
        if self.choose == "random":
            generator = torch.Generator().manual_seed(attach.seed_of(task, "random"))
            scores = torch.rand(len(labels), generator=generator)
        else:
            losses = difficulty(task, self.times, self.noises)
            scores = losses.double().mean(1)
            notes = {
                "difficulty": scores.float(),
                "reliability": torch.tensor(reliability(losses)),
            }
        chosen = []
        for k in range(len(task.classes)):
            members = (labels == k).nonzero().squeeze(1)
            ranked = members[scores[members].argsort(stable=True)]  # easiest first
            places = self.places(len(ranked), min(task.ipc, len(ranked)))
            chosen.append(ranked[places])
        index = torch.cat(chosen)
        extras = {}
        if self.text == "hashed":
            extras[attach.TEXT] = attach.hashed_text(task.classes, self.tokens, self.size)
        elif self.text:
            extras[attach.TEXT] = attach.text_of_file(self.text, len(task.classes))
        if self.visual:
            extras[attach.FEATURES] = attach.features(task, index, self.grid)
        one_hot = F.one_hot(labels[index], len(task.classes)).float()
        return CondensedSet(Selection(index), one_hot, extras=extras, notes=notes)

    def places(self, size: int, count: int) -> Tensor:
        """The ranks [count], rising, that are kept of a class of `size`.

        A class too short for the published interval gets the widest that fits.
        """
        import torch

        if self.choose in ("min", "random"):  # random scores: the first are any
            return torch.arange(count)
        if self.choose == "max":
            return torch.arange(size - count, size)
        if self.choose == "medium":
            return (size - count) // 2 + torch.arange(count)
        widest = (size - 1) // (count - 1) if count > 1 else 1
        step = self.interval or max(1, int(self.coverage * size / count))
        return min(step, widest) * torch.arange(count)


PLAIN: dict[str, Any] = {"text": "", "visual": False, "teacher": ""}
SELECT = Select()
VARIANTS = (
    SELECT,
    Select("d2c-select-only", **PLAIN),
    Select("random-attach", choose="random", scorer=""),
    Select("d2c-min", choose="min"),
    Select("d2c-max", choose="max"),
    Select("d2c-medium", choose="medium"),
)
