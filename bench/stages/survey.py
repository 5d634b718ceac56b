"""What a method asks of the real data whatever its budget: found once for all that ask alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench.contract.errors import BenchError
from bench.contract.keys import seed_of
from bench.stages.condense import Condense
from bench.stages.stage import Result, Stage, Upstream

if TYPE_CHECKING:
    from torch import Tensor

    from bench.contract.task import Task
    from bench.stages.io import Desk


@dataclass(frozen=True, eq=False)
class Survey(Stage):
    """What a method asks of the real data, whatever its budget.

    Its draws are those that a set would make in its place, so that it moves no figure where a
    method finds the same by itself.
    """

    kind: ClassVar[str] = "survey"

    survey: Any
    teacher: Upstream | None
    scorer: Upstream | None
    backbone: Any  # of the fresh networks that it asks for, or None
    denoiser: Any

    @property
    def words(self) -> str:
        return f"survey {self.survey.name}"

    @property
    def seed(self) -> int:
        return seed_of(Condense.kind, self.dataset.name, self.seed_network, self.number)

    @property
    def effort(self) -> int:
        return sum(self.dataset.facts["counts"])

    def run(self, desk: Desk) -> Result:
        from bench.stages.closed import closed

        above = {"teacher": self.teacher, "scorer": self.scorer}
        fresh = {"backbone": self.backbone, "denoiser": self.denoiser}
        task = desk.task(self, 0, above, **fresh)
        with closed(desk.store.root):
            found = survey(self.survey, task)
        return {"result": found}, {"passes": desk.passes.as_json()}


def survey(component: Any, task: Task) -> dict[str, Tensor]:
    """Run a survey, and check what it returns: finite tensors by name."""
    from torch import Tensor

    found = component.survey(task)
    if not isinstance(found, Mapping) or not all(
        isinstance(name, str) and isinstance(one, Tensor) for name, one in found.items()
    ):
        raise BenchError(
            f"survey() of {component.name} returned {type(found).__name__}; expected a dict of "
            "tensors by name"
        )
    for name, one in found.items():
        if one.is_floating_point() and not bool(one.isfinite().all()):
            raise BenchError(f"survey() of {component.name}: {name} is NaN or infinite")
    return {name: one.detach().cpu().contiguous() for name, one in found.items()}
