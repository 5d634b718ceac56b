"""A teacher, trained: a classifier, or a denoiser."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench.contract.errors import BenchError
from bench.contract.task import Task
from bench.stages.stage import Result, Stage

if TYPE_CHECKING:
    from torch import nn

    from bench.stages.io import Desk


@dataclass(frozen=True, eq=False)
class Squeeze(Stage):
    """A teacher, trained on the real data: a classifier, or a denoiser."""

    kind: ClassVar[str] = "squeeze"

    teacher: Any
    architecture: Any

    @property
    def words(self) -> str:
        return f"teacher {self.teacher.name} ({self.architecture.name})"

    @property
    def seed_network(self) -> str:
        return str(self.architecture.name)

    @property
    def effort(self) -> int:
        return sum(self.dataset.facts["counts"])

    def run(self, desk: Desk) -> Result:
        from bench.training import networks
        from bench.training.diffusion import Denoiser
        from bench.training.sets import bytes_of

        trained = squeeze(self.teacher, desk.task(self, 0, backbone=self.architecture))
        state = networks.state(trained)
        value = {"bytes": bytes_of(state), "passes": desk.passes.as_json()}
        if isinstance(trained, Denoiser):
            value |= {"schedule": asdict(trained.schedule), "extras": {}}
        return {"result": state}, value


def squeeze(teacher: Any, task: Task) -> nn.Module:
    """Train a teacher: a network whose state fits `task.network()` and is finite."""
    from torch import nn

    from bench.training import networks
    from bench.training.gates import check_finite

    trained = teacher.squeeze(task)
    if not isinstance(trained, nn.Module):
        raise BenchError(f"squeeze() returned {type(trained).__name__}; expected the network")
    state = networks.state(trained)
    networks.load(task.network(), state)
    check_finite(state)
    return trained
