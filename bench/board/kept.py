"""Networks that a board carries: its teachers, and those that its metrics look with.

Processors round differently, so one training gives two networks on two machines: rows that two
teachers have labelled are not paired, and figures that two networks have found cannot be compared.
`teachers/` holds one file a network, and `teachers.toml`, which says what each is.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from bench.contract.errors import BenchError
from bench.contract.typed import Text, known, toml, unique
from bench.contract.typed import read as typed
from bench.records.files import own, write_bytes, write_text
from bench.records.result import Result

FOLDER, TABLE = "teachers", "teachers.toml"
HEAVIEST = 10**6  # bytes; a larger network is not for a repository
DIGITS = 8  # of its hash, in the name of a network
EVALUATOR_SEED = -1  # of networks that metrics look with: no method can have asked one of them

FileName = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9][^/\\]*\.safetensors$", description="NAME.safetensors")
]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", description="64 hex digits")]
Fraction = Annotated[float, Meta(ge=0, le=1, description="a fraction in [0, 1]")]


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A trained classifier in a file. It stands for the teacher of one data set, network and seed.

    Its code and what the board leaves to the defaults are not part of that: a network that is kept
    outlives a refactoring, and neither a change of the board nor one of the data.
    """

    file: FileName
    sha256: Sha256
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
        """What it stands for: one network at most is kept of it."""
        return self.dataset, self.data, self.network, self.teacher, self.settings, self.seed


def read(board: Path) -> tuple[Kept, ...]:
    """The networks that a board keeps. Raises BenchError for whatever is wrong with the table."""
    path = board / FOLDER / TABLE
    if not path.is_file():
        if any((board / "features").glob("*.safetensors")):
            raise BenchError(
                f"{board / 'features'} is of the old form; move its files to {FOLDER}/ and name "
                f"them in {FOLDER}/{TABLE} (docs/boards.md says how)"
            )
        return ()
    document = toml(path, "expected tables [[network]]")
    try:
        known(document, ("network",), "the file")
        tables = document.get("network", [])
        if not isinstance(tables, list) or not all(isinstance(t, Mapping) for t in tables):
            raise BenchError("network is no array of tables; expected entries [[network]]")
        found = tuple(
            Kept(**typed(Kept, one, f"[[network]] number {n}")) for n, one in enumerate(tables, 1)
        )
        unique((one.file for one in found), "file")
        unique((one.place for one in found), "networks")
    except BenchError as error:
        raise BenchError(f"{path}: {error}") from None
    return found


def add(board: Path, new: Kept, blob: bytes) -> None:
    """Give a board a network. Another of the same place makes room."""
    others = (one for one in read(board) if one.place != new.place)
    write_bytes(own(board / FOLDER) / new.file, blob)
    text = "\n".join(_table(one) for one in sorted((*others, new), key=lambda one: one.file))
    write_text(board / FOLDER / TABLE, f"# Written by `bench run`; see docs/boards.md.\n\n{text}")


def _table(one: Kept) -> str:
    given = {k: v for k, v in asdict(one).items() if v not in ({}, "", None)}
    if one.seed == EVALUATOR_SEED:
        del given["seed"]
    return "\n".join(["[[network]]", *(f"{k} = {_value(v)}" for k, v in given.items()), ""])


def _value(value: Any) -> str:
    """A value of TOML, whose texts, numbers and lists are those of JSON."""
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{k} = {_value(v)}' for k, v in value.items())} }}"
    return json.dumps(value)


def damage(board: Path, one: Kept) -> str:
    """What is wrong with the file of a network; "" if it is the one that the table names."""
    path = board / FOLDER / one.file
    again = f"get it from the repository again, or delete its lines in {TABLE}, and it is trained"
    if not path.is_file():
        return f"{path} is missing; {again}"
    if hashlib.sha256(path.read_bytes()).hexdigest() != one.sha256:
        return f"{path} is not the file that {TABLE} names: its SHA-256 differs; {again}"
    return ""


def wrong(board: Path, records: Iterable[Result]) -> list[str]:
    """What does not hold of the networks of a board: one sentence each."""
    found = filter(None, (damage(board, one) for one in read(board)))
    return [*found] + [
        f"{board / FOLDER} lacks {name}: metrics have looked with the network whose SHA-256 begins "
        f"with {name[-DIGITS:]}; get it from the repository, or from where the board was run"
        for name in missing(board, records)
    ]


def missing(board: Path, records: Iterable[Result]) -> list[str]:
    """The networks that most figures of a data set were found with, and that are not kept."""
    looked: dict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        looked[record.dataset].update(
            scale.features for scale in record.scales.values() if scale.features
        )
    usual = [max((n, name) for name, n in names.items())[1] for names in looked.values() if names]
    hashes = [one.sha256 for one in read(board)]
    return [name for name in usual if not any(h.startswith(name[-DIGITS:]) for h in hashes)]
