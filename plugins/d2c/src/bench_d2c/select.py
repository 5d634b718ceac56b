"""D2C as it is published (arXiv 2507.05914): real images, chosen by difficulty, and attachments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench import BenchError, CondensedSet, Selection, Task
from bench_d2c.survey import Difficulty

if TYPE_CHECKING:
    from torch import Tensor

CHOICES = ("interval", "min", "max", "medium", "random")


@dataclass(frozen=True)
class Select:
    """Real images, evenly spaced in difficulty for a diffusion model (D2C, Huang et al., 2026).

    Of each class, ranked from the easiest, every k-th image is kept, so that the hardest are left
    out. `text` and `visual` are attached: vectors of the class names, which a student is told,
    and features of the images, which its own are held against. Notes say how hard each training
    image is ("difficulty" [T]), how far that can be relied on ("reliability"), and which ranks
    were kept ("ranks" [N]). Raises BenchError where a class has fewer images than `ipc`.
    """

    name: str = "d2c-select"
    scorer: str = "diffusion"  # the denoiser that images are hard for
    teacher: str = "standard"  # the classifier whose features are attached
    choose: str = "interval"  # "interval" | "min" (the easiest) | "max" | "medium" | "random"
    coverage: float = 0.75  # share of a class that the interval spans
    interval: int = 0  # k, as published; 0: by `coverage`
    times: int = 10  # at which images are scored
    noises: int = 1  # at each of them
    text: str = "hashed"  # "hashed" | "" (none) | a file of vectors, below $BENCH_DATA or absolute
    sha256: str = ""  # of that file; left empty, the error says what it is
    tokens: int = 8  # words of hashed text
    size: int = 64  # dimensions of hashed text
    visual: bool = True
    grid: int = 4  # sides of the attached maps
    quick: ClassVar[dict[str, Any]] = {"times": 4, "grid": 2}
    selects: ClassVar[bool] = True

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

    @property
    def survey(self) -> Difficulty | None:
        """What ranks images: found once for all budgets, and for all methods that choose by it."""
        if self.choose == "random":
            return None
        return Difficulty(scorer=self.scorer, times=self.times, noises=self.noises)

    def condense(self, task: Task) -> CondensedSet:
        import torch

        labels, classes = task.train.labels, len(task.classes)
        members = [(labels == k).nonzero().squeeze(1) for k in range(classes)]
        for name, of_class in zip(task.classes, members, strict=True):
            if not 1 <= task.ipc <= len(of_class):
                raise BenchError(
                    f"ipc is {task.ipc} but class {name!r} has {len(of_class)} training images; "
                    "expected 1 or more, and no more than the smallest class holds; change `ipc`"
                )
        text = self._text(task)
        orders, notes = self._orders(task, members)
        ranks = [self.places(len(order), task.ipc) for order in orders]
        index = torch.cat(
            [m[o[r]] for m, o, r in zip(members, orders, ranks, strict=True)]  # easiest first
        )
        if notes:
            notes["ranks"] = torch.cat(ranks)
        return self._attached(task, index, text, notes)

    def _text(self, task: Task) -> dict[str, Tensor]:
        from bench_d2c import attach

        if self.text == "hashed":
            return {attach.TEXT: attach.hashed_text(task.classes, self.tokens, self.size)}
        if self.text:
            vectors = attach.text_of_file(self.text, len(task.classes), self.sha256)
            return {attach.TEXT: vectors}
        return {}

    def _attached(
        self, task: Task, index: Tensor, text: dict[str, Tensor], notes: dict[str, Tensor]
    ) -> CondensedSet:
        """The real images at `index`, with what belongs to them."""
        import torch

        from bench_d2c import attach

        extras = text
        if self.visual:
            extras = extras | {attach.FEATURES: attach.features(task, index, self.grid)}
        labels, classes = task.train.labels[index], len(task.classes)
        one_hot = torch.zeros(len(index), classes).scatter_(1, labels[:, None], 1.0)
        return CondensedSet(Selection(index), one_hot, extras=extras, notes=notes)

    def _orders(self, task: Task, members: list[Tensor]) -> tuple[list[Tensor], dict[str, Tensor]]:
        """The order [n] of each class, and what is to be noted of it."""
        import torch

        from bench_d2c.difficulty import reliability

        if not self.survey:  # the draws of `random`: the same images, so rows are paired
            generator = torch.Generator().manual_seed(task.seed)
            return [torch.randperm(len(m), generator=generator) for m in members], {}
        losses = task.surveyed(self.survey)["losses"]
        scores = losses.double().mean(1)
        notes = {
            "difficulty": scores.float(),
            "reliability": torch.tensor(reliability(losses, members)),
        }
        return [scores[m].argsort(stable=True) for m in members], notes

    def places(self, size: int, count: int) -> Tensor:
        """The ranks [count], rising, that are kept of a class of `size`.

        A class too short for the published interval gets the widest that fits.
        """
        import torch

        if self.choose in ("min", "random"):
            return torch.arange(count)
        if self.choose == "max":
            return torch.arange(size - count, size)
        if self.choose == "medium":
            return (size - count) // 2 + torch.arange(count)
        widest = (size - 1) // (count - 1) if count > 1 else 1
        step = self.interval or max(1, int(self.coverage * size / count))
        return min(step, widest) * torch.arange(count)


@dataclass(frozen=True)
class Full(Select):
    """All real images, with the attachments of `d2c-select`: what these are worth alone.

    Of the fields, those of attachments count; nothing is chosen.
    """

    name: str = "full-attach"
    scorer: str = ""
    choose: str = "random"
    ceiling: ClassVar[bool] = True

    def condense(self, task: Task) -> CondensedSet:
        import torch

        index = torch.arange(len(task.train.labels))
        return self._attached(task, index, self._text(task), {})


PLAIN: dict[str, Any] = {"text": "", "visual": False, "teacher": ""}
SELECT = Select()
VARIANTS = (
    SELECT,
    Select("d2c-select-only", **PLAIN),
    Select("random-attach", choose="random", scorer=""),
    Select("d2c-min", choose="min"),
    Select("d2c-max", choose="max"),
    Select("d2c-medium", choose="medium"),
    Full(),
)
