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
class Probe(Stage):
    """The attack of a cell. A slow one is a stage for every block of its images (`parts`)."""

    kind: ClassVar[str] = "probe"

    student: Upstream
    source: Upstream | None  # the student on which a transferred attack makes its images
    attack: Any
    images: int
    parts: tuple[Upstream, ...] = ()

    @property
    def words(self) -> str:
        return f"{self.attack.name} on {self.student.words}"

    @property
    def seed_network(self) -> str:
        return str(self.student.architecture.name)

    @property
    def effort(self) -> int:
        return len(self.parts) or self.images or int(self.dataset.facts["test"])

    def run(self, desk: Desk) -> Result:
        from bench.stages.probing import joined
        from bench.training.loading import probed_images

        source, facts = desk.source(self.dataset), self.dataset.facts
        test = source.split("test")
        if self.parts:
            stages = [desk.found(part) for part in self.parts]
            found = [(desk.store.read(one), {**one.value}) for one in stages]
            found[0][0].update(desk.store.read(stages[0], "pictures"))
            return _files(*joined(found, test))
        index = probed_images(test, facts["digest"], self.images)
        return _attacked(self, desk, test, index, 0)


@dataclass(frozen=True, eq=False)
class Attack(Stage):
    """A part of an attack: the block `number` of `size` test images."""

    kind: ClassVar[str] = "attack"

    student: Upstream
    source: Upstream | None
    attack: Any
    images: int
    block: int
    size: int

    @property
    def words(self) -> str:
        first, count = self.block * self.size, self.images or self.dataset.facts["test"]
        last = min(count, first + self.size)
        return f"{self.attack.name} on {self.student.words}, images {first} to {last}"

    @property
    def seed_network(self) -> str:
        return str(self.student.architecture.name)

    @property
    def effort(self) -> int:
        return self.size

    def run(self, desk: Desk) -> Result:
        from bench.training.loading import probed_images

        test = desk.source(self.dataset).split("test")
        index = probed_images(test, self.dataset.facts["digest"], self.images)
        part = index[self.block * self.size : (self.block + 1) * self.size]
        return _attacked(self, desk, test, part, self.block)


def _attacked(stage: Probe | Attack, desk: Desk, test: Any, index: Tensor, number: int) -> Result:
    from bench.stages.probing import probe

    student, source = stage.student, stage.source
    if source and source.key == student.key:
        raise Unsupported("its source is the student itself: that is no transfer")
    made_on = desk.network(source, stage.dataset) if source else None
    return _files(
        *probe(
            stage.attack,
            desk.network(student, stage.dataset),
            test,
            index,
            seed=stage.seed,
            part=number,
            source=made_on,
            device=desk.device,
            progress=desk.progress,
        )
    )


def _files(tensors: dict[str, Tensor], value: dict[str, Any]) -> Result:
    """Two files: what metrics read, and pictures."""
    from bench.stages.probing import NAMES

    pictures = {name: tensor for name, tensor in tensors.items() if name not in NAMES}
    result = {name: tensors[name] for name in NAMES}
    return {"result": result, "pictures": pictures} if pictures else {"result": result}, value
