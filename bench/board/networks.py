"""Networks that a board carries: its teachers, and those that its metrics look with.

Processors round differently, so one training gives two networks on two machines: rows that two
teachers have labelled are not paired, and figures that two networks have found cannot be compared.
`teachers/` holds one file a network, and `teachers.toml`, which says what each is.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from bench.board import carried
from bench.board.carried import Entry
from bench.contract.errors import BenchError
from bench.contract.typed import Text
from bench.records.result import Result

FOLDER, TABLE = "teachers", "teachers.toml"
HEAVIEST = 10**6  # bytes; a larger network is not for a repository
REMEDY = f"get it from the repository again, or delete its lines in {TABLE}, and it is trained"
DIGITS = 8  # of its hash, in the name of a network
EVALUATOR_SEED = -1  # of networks that metrics look with: no method can have asked one of them

Fraction = Annotated[float, Meta(ge=0, le=1, description="a fraction in [0, 1]")]


@dataclass(frozen=True, kw_only=True)
class BoardNetwork(Entry):
    """A trained classifier in a file. It stands for the teacher of one data set, network and seed.

    Its code and what the board leaves to the defaults are not part of that: it outlives a
    refactoring, and neither a change of the board nor one of the data.
    """

    dataset: Text
    data: Text  # the digest of the data
    network: Text
    teacher: Text
    settings: Text  # the digest of what the board sets of these three
    seed: Annotated[int, Meta(ge=EVALUATOR_SEED)] = EVALUATOR_SEED  # none: metrics look with it
    recipe: Mapping[str, Any] = field(default_factory=dict)  # where the teacher is not the default
    accuracy: Fraction | None = None  # on the split that the board evaluates on
    passes: Mapping[str, int] = field(default_factory=dict)  # what its training took
    machine: str = ""

    @property
    def place(self) -> tuple[str, str, str, str, str, int]:
        return self.dataset, self.data, self.network, self.teacher, self.settings, self.seed

    def told(self) -> dict[str, Any]:
        given = {k: v for k, v in super().told().items() if v not in ({}, "", None)}
        if self.seed == EVALUATOR_SEED:
            del given["seed"]
        return given


def read(board: Path) -> tuple[BoardNetwork, ...]:
    """The networks that a board carries. Raises BenchError for whatever is wrong with the table."""
    path = board / FOLDER / TABLE
    if not path.is_file():
        if any((board / "features").glob("*.safetensors")):
            raise BenchError(
                f"{board / 'features'} is of the old form; move its files to {FOLDER}/ and name "
                f"them in {FOLDER}/{TABLE} (docs/boards.md says how)"
            )
        return ()
    return carried.read(path, "network", BoardNetwork)


def add(board: Path, new: BoardNetwork, blob: bytes) -> None:
    """Give a board a network. Another of the same place makes room."""
    carried.add(board / FOLDER / TABLE, "network", read(board), new, blob)


def damage(board: Path, one: BoardNetwork) -> str:
    """What is wrong with the file of a network; "" if it is the one that the table names."""
    return carried.damage(board / FOLDER / TABLE, one, REMEDY)


def wrong(board: Path, records: Iterable[Result]) -> list[str]:
    """What does not hold of the networks of a board: one sentence each."""
    found = filter(None, (damage(board, one) for one in read(board)))
    return [*found] + [
        f"{board / FOLDER} lacks {name}: metrics have looked with the network whose SHA-256 begins "
        f"with {name[-DIGITS:]}; get it from the repository, or from where the board was run"
        for name in missing(board, records)
    ]


def missing(board: Path, records: Iterable[Result]) -> list[str]:
    """The networks that most figures of a data set were found with, and that the board lacks."""
    looked: dict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        looked[record.dataset].update(
            scale.features for scale in record.scales.values() if scale.features
        )
    usual = [max((n, name) for name, n in names.items())[1] for names in looked.values() if names]
    hashes = [one.sha256 for one in read(board)]
    return [name for name in usual if not any(h.startswith(name[-DIGITS:]) for h in hashes)]
