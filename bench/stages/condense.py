"""A condensed set, made by a method."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from bench.contract.kinds import fact
from bench.contract.task import CondensedSet, Task
from bench.stages.stage import Identity, Result, Stage, Upstream

if TYPE_CHECKING:
    from bench.stages.io import Desk


@dataclass(frozen=True, eq=False)
class Condense(Stage):
    """A condensed set, made by a method; its seed knows no network, so that a set is drawn alike
    on boards with other backbones."""

    kind: ClassVar[str] = "condense"

    method: Any
    ipc: int
    teacher: Upstream | None
    scorer: Upstream | None
    backbone: Any  # of the fresh networks that the method asks for, or None
    denoiser: Any
    survey: Upstream | None = None  # what the method has asked of the data

    @property
    def words(self) -> str:
        return f"{self.method.name}, ipc {self.ipc or 'all'}"

    @property
    def images(self) -> int:
        """How many the set has at most."""
        counts = self.dataset.facts["counts"]
        return self.ipc * len(counts) if self.ipc else sum(counts)

    @property
    def effort(self) -> int:
        return self.images

    def spec(self, named: Identity) -> dict[str, Any]:
        found = super().spec(named)
        return found if self.survey else {k: v for k, v in found.items() if k != "survey"}

    def run(self, desk: Desk) -> Result:
        from bench.stages.closed import closed
        from bench.training.sets import index_bytes, to_tensors, weigh

        above = {"teacher": self.teacher, "scorer": self.scorer}
        fresh = {"backbone": self.backbone, "denoiser": self.denoiser}
        task = desk.task(self, self.ipc, above, **fresh)
        if self.survey:
            asked = fact("method", self.method, "survey")
            task = replace(task, surveys={asked: desk.store.read(desk.found(self.survey))})
        with closed(desk.store.root):
            condensed = condense(self.method, task)
        tensors = to_tensors(condensed)
        value = {
            "size": len(condensed),
            "bytes": weigh(tensors, self.dataset.facts["shape"]),
            "index": index_bytes(tensors),  # beside those of the images
            "passes": desk.passes.as_json(),
        }
        return {"result": tensors}, value


def condense(method: Any, task: Task) -> CondensedSet:
    """Run a method, check what it returns (`gates`), and bring its images into eight bits."""
    from bench.training import gates, sets

    condensed: CondensedSet = method.condense(task)
    gates.check_condensed(
        condensed,
        shape=task.shape,
        classes=len(task.classes),
        train_size=len(task.train.labels),
        ipc=0 if fact("method", method, "ceiling") else task.ipc,
    )
    gates.check_selects(condensed, selects=fact("method", method, "selects"))
    return condensed if fact("method", method, "float_images") else sets.quantised(condensed)
