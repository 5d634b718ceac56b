"""A teacher, trained: a classifier, or a denoiser; or one that the board carries, read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bench.board.components import Components
from bench.board.networks import REMEDY, TABLE
from bench.contract.errors import BenchError
from bench.contract.keys import digest
from bench.contract.task import Task
from bench.stages.stage import OUTSIDE, Identity, Result, Stage

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bench.stages.io import Desk

RESULT = "result.safetensors"


@dataclass(frozen=True, eq=False)
class Squeeze(Stage):
    """A teacher, trained on the real data: a classifier, or a denoiser.

    Where the board carries it, the key holds the hash of its file, and it is read from there. It
    has one content either way, so that nothing is made again once it is carried.
    """

    kind: ClassVar[str] = "squeeze"

    teacher: Any
    architecture: Any
    sha256: str = ""  # of the file that the board carries; "": it is trained
    file: str = field(default="", metadata=OUTSIDE)
    passes: Mapping[str, int] = field(default_factory=dict, metadata=OUTSIDE)  # of its training

    @property
    def words(self) -> str:
        return f"teacher {self.teacher.name} ({self.architecture.name})"

    @property
    def effort(self) -> int:
        return sum(self.dataset.facts["counts"])

    def spec(self, named: Identity) -> dict[str, Any]:
        found = super().spec(named)
        return found if self.sha256 else {k: v for k, v in found.items() if k != "sha256"}

    def run(self, desk: Desk) -> Result:
        from bench.stages.closed import closed
        from bench.training import networks
        from bench.training.diffusion import Denoiser
        from bench.training.sets import bytes_of

        if self.sha256:
            state = _read(self)
            return {"result": state}, {"bytes": bytes_of(state), "passes": dict(self.passes)}
        task = desk.task(self, 0, backbone=self.architecture)
        with closed(desk.store.root):
            trained = squeeze(self.teacher, task)
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


def _read(stage: Squeeze) -> dict[str, Tensor]:
    """The weights in a file. Raises BenchError where they are not those of this network."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    from bench.stages.io import built
    from bench.training import networks
    from bench.training.gates import check_finite

    blob = Path(stage.file).read_bytes()
    if hashlib.sha256(blob).hexdigest() != stage.sha256:
        raise BenchError(f"{stage.file} is not the file that {TABLE} names; {REMEDY}")
    try:
        network = built(stage.architecture, stage.dataset, 0)
        networks.load(network, load(blob))
        state = networks.state(network)
        check_finite(state)
    except (SafetensorError, BenchError) as error:
        raise BenchError(f"{stage.file} is no network of this board ({error}); {REMEDY}") from None
    return state


def settings_of(components: Components, dataset: Any, network: Any, teacher: Any) -> str:
    """Eight digits of what a board sets of a teacher, its network and its data set."""
    made_of = [("dataset", dataset), ("architecture", network), ("teacher", teacher)]
    settings = [
        (components.entry(kind, one.name).name, components.differs(kind, one))
        for kind, one in made_of
    ]
    return digest([components.matrix.evaluate, *settings])[:8]
