"""The attack of a cell, on a student: all of it, one part of its images, or its parts joined."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench.contract.errors import Unsupported
from bench.stages.stage import Result, Stage, Upstream

if TYPE_CHECKING:
    from torch import Tensor

    from bench.stages.io import Desk


@dataclass(frozen=True, eq=False)
class Attacking(Stage):
    """What the attack of a cell and a part of it are given."""

    student: Upstream
    source: Upstream | None  # the student on which a transferred attack makes its images
    attack: Any
    images: int

    @property
    def words(self) -> str:
        return f"{self.attack.name} on {self.student.words}"

    @property
    def tested(self) -> int:
        """How many test images are attacked."""
        return self.images or int(self.dataset.facts["test"])

    def attacked(self, desk: Desk, number: int = 0, size: int = 0) -> Result:
        """The attack on the block `number` of `size` test images; 0: on all of them."""
        from bench.stages.judge import judging
        from bench.stages.probing import probe
        from bench.training.loading import probed_images

        student, source = self.student, self.source
        if source and source.key == student.key:
            raise Unsupported("its source is the student itself: that is no transfer")
        with judging(lambda: desk.network(student, self.dataset), desk.device) as judge:
            test = desk.source(self.dataset).split("test")
            index = probed_images(test, self.dataset.facts["digest"], self.images)
            found = probe(
                self.attack,
                desk.network(student, self.dataset),
                test,
                index[number * size : (number + 1) * size] if size else index,
                seed=self.seed,
                part=number,
                source=desk.network(source, self.dataset) if source else None,
                judge=judge,
                device=desk.device,
                progress=desk.progress,
            )
        return _files(*found)


@dataclass(frozen=True, eq=False)
class Probe(Attacking):
    """The attack of a cell. A slow one is a stage for every block of its images (`parts`)."""

    kind: ClassVar[str] = "probe"

    parts: tuple[Upstream, ...] = ()

    @property
    def effort(self) -> int:
        return len(self.parts) or self.tested

    def run(self, desk: Desk) -> Result:
        from bench.stages.probing import joined

        if not self.parts:
            return self.attacked(desk)
        stages = [desk.found(part) for part in self.parts]
        found = [(desk.store.read(one), {**one.value}) for one in stages]
        found[0][0].update(desk.store.read(stages[0], "pictures"))
        return _files(*joined(found, desk.source(self.dataset).split("test")))


@dataclass(frozen=True, eq=False)
class Attack(Attacking):
    """A part of an attack: the block `number` of `size` test images."""

    kind: ClassVar[str] = "attack"

    block: int
    size: int

    @property
    def words(self) -> str:
        first = self.block * self.size
        return f"{super().words}, images {first} to {min(self.tested, first + self.size)}"

    @property
    def effort(self) -> int:
        return self.size

    def run(self, desk: Desk) -> Result:
        return self.attacked(desk, self.block, self.size)


def _files(tensors: dict[str, Tensor], value: dict[str, Any]) -> Result:
    """Two files: what metrics read, and pictures."""
    from bench.stages.probing import NAMES

    pictures = {name: tensor for name, tensor in tensors.items() if name not in NAMES}
    result = {name: tensors[name] for name in NAMES}
    return {"result": result, "pictures": pictures} if pictures else {"result": result}, value
