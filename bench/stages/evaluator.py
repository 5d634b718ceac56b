"""The networks that a board's metrics look with, kept beside its records.

Processors round differently, so one training gives two networks on two machines, and figures that
two networks have found cannot be compared. So the first run of a board keeps its networks in
`features/`, and every later run, anywhere, looks with those.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bench.board.components import Components
from bench.board.matrix import FULL
from bench.contract.errors import BenchError
from bench.contract.keys import digest
from bench.records.files import write_bytes, write_text
from bench.records.result import Result as CellResult
from bench.stages.stage import OUTSIDE, Result, Stage, Upstream
from bench.store.store import Finished, Store

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bench.stages.io import Desk

FOLDER = "features"
HEAVIEST = 4 * 2**20  # bytes; a larger network is not for a repository, and is trained or fetched
RESULT = "result.safetensors"
DIGITS = 8  # of its hash, in the name of a network


@dataclass(frozen=True, eq=False)
class Evaluator(Stage):
    """The network that metrics look with, one for the whole board: as kept, or as trained now.

    Either way it has one content, so that nothing is measured again once it is kept. The key holds
    the hash of a file that is kept, so that it names what the stage will give.
    """

    kind: ClassVar[str] = "adopt"

    name: str
    architecture: Any
    trained: Upstream | None = None
    sha256: str = ""  # of the file
    file: str = field(default="", metadata=OUTSIDE)

    @property
    def words(self) -> str:
        return f"network {self.name}"

    @property
    def seed_network(self) -> str:
        return str(self.architecture.name)

    def run(self, desk: Desk) -> Result:
        from bench.stages.io import built
        from bench.training import networks
        from bench.training.sets import bytes_of

        if self.trained:
            state = networks.state(desk.network(self.trained, self.dataset))
        else:
            state = _kept(self, built(self.architecture, self.dataset, 0))
        return {"result": state}, {"bytes": bytes_of(state), "passes": desk.passes.as_json()}


def _kept(stage: Evaluator, network: nn.Module) -> dict[str, Tensor]:
    """The weights in a file. Raises BenchError where they are not those of this network."""
    from safetensors import SafetensorError
    from safetensors.torch import load as of_bytes

    from bench.training import networks
    from bench.training.gates import check_finite

    path, again = stage.file, "get it from the repository again, or delete it"
    blob = Path(path).read_bytes()
    if hashlib.sha256(blob).hexdigest() != stage.sha256:
        raise BenchError(f"{path} has changed since the run began; run again")
    try:
        networks.load(network, of_bytes(blob))
        state = networks.state(network)
        check_finite(state)
    except (SafetensorError, BenchError) as error:
        raise BenchError(f"{path} is no network of this board ({error}); {again}") from None
    return state


def file_of(components: Components, dataset: str, teacher: str) -> str:
    """The name of the file of a network, which holds what the board sets of it.

    Not its code, nor what it leaves to the defaults: a network that is kept outlives a
    refactoring, and not a change of the board.
    """
    matrix = components.matrix
    whole = {"dataset": dataset, "method": "", "ipc": FULL}  # nobody's set in particular
    made_of: list[tuple[str, str, dict[str, Any]]] = [
        ("dataset", dataset, {"dataset": dataset}),
        ("architecture", matrix.backbone, {"dataset": dataset}),
        ("teacher", teacher, whole),
    ]
    settings = [
        (
            components.entry(kind, name).name,
            components.differs(kind, components.get(kind, name, **where)),
        )
        for kind, name, where in made_of
    ]
    mark = digest([matrix.evaluate, *settings])[:8]
    return f"{dataset}.{matrix.backbone}.{teacher}.{mark}.safetensors"


def keep(board: Path, name: str, found: Finished, store: Store) -> bool:
    """Give a board a network of the store that it does not have; whether it was kept.

    Of one that is larger than `HEAVIEST` only the hash is.
    """
    path = board / FOLDER / name
    source = store.folder(found.stage, found.key) / RESULT
    if path.exists():
        return False
    if source.stat().st_size > HEAVIEST:
        note = path.with_suffix(".sha256")
        if not note.exists():
            write_text(note, f"{found.files[RESULT]}\n")
        return False
    write_bytes(path, source.read_bytes())
    return True


def missing(board: Path, results: Iterable[CellResult]) -> list[str]:
    """The networks that most figures of a data set were found with, and that are not kept."""
    looked: dict[str, Counter[str]] = defaultdict(Counter)
    for record in results:
        looked[record.dataset].update(
            scale.features for scale in record.scales.values() if scale.features
        )
    files = [*(board / FOLDER).glob("*.safetensors")]
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    hashes += [path.read_text() for path in (board / FOLDER).glob("*.sha256")]
    usual = [max((n, name) for name, n in names.items())[1] for names in looked.values() if names]
    return [name for name in usual if not any(h.startswith(name[-DIGITS:]) for h in hashes)]
