"""Files that a board carries: a folder, and in it a table that says what each of them is."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from msgspec import Meta

from bench.contract.errors import BenchError
from bench.contract.files import own, write_bytes, write_text
from bench.contract.typed import known, toml, unique
from bench.contract.typed import read as typed

FileName = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9][^/\\]*\.safetensors$", description="NAME.safetensors")
]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", description="64 hex digits")]


@dataclass(frozen=True, kw_only=True)
class Entry(ABC):
    """What a table says of a file."""

    file: FileName
    sha256: Sha256

    @property
    @abstractmethod
    def place(self) -> tuple[Any, ...]:
        """What it stands for: a board carries one file of it at most."""

    def told(self) -> dict[str, Any]:
        """The fields that its table states."""
        return asdict(self)


AnyEntry = TypeVar("AnyEntry", bound=Entry)


def read(path: Path, key: str, kind: type[AnyEntry]) -> tuple[AnyEntry, ...]:
    """The entries [[key]] of a table. Raises BenchError for whatever is wrong with it."""
    document = toml(path, f"expected tables [[{key}]]")
    try:
        known(document, (key,), "the file")
        tables = document.get(key, [])
        if not isinstance(tables, list) or not all(isinstance(t, Mapping) for t in tables):
            raise BenchError(f"{key} is no array of tables; expected entries [[{key}]]")
        found = tuple(
            kind(**typed(kind, one, f"[[{key}]] number {n}")) for n, one in enumerate(tables, 1)
        )
        unique((one.file for one in found), "file")
        unique((one.place for one in found), f"{key}s")
    except BenchError as error:
        raise BenchError(f"{path}: {error}") from None
    return found


def add(path: Path, key: str, old: Iterable[AnyEntry], new: AnyEntry, blob: bytes) -> None:
    """Put a file beside its table, and name it there. Another of the same place makes room."""
    others = (one for one in old if one.place != new.place)
    write_bytes(own(path.parent) / new.file, blob)
    text = "\n".join(_table(key, one) for one in sorted((*others, new), key=lambda one: one.file))
    write_text(path, f"# Written by `bench run`; see docs/boards.md.\n\n{text}")


def damage(path: Path, one: Entry, again: str) -> str:
    """What is wrong with a file that a table names, and `again`, what to do; "" if nothing is."""
    file = path.parent / one.file
    if not file.is_file():
        return f"{file} is missing; {again}"
    if hashlib.sha256(file.read_bytes()).hexdigest() != one.sha256:
        return f"{file} is not the file that {path.name} names: its SHA-256 differs; {again}"
    return ""


def _table(key: str, one: Entry) -> str:
    return "\n".join([f"[[{key}]]", *(f"{k} = {_value(v)}" for k, v in one.told().items()), ""])


def _value(value: Any) -> str:
    """A value of TOML, whose texts, numbers and lists are those of JSON."""
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{k} = {_value(v)}' for k, v in value.items())} }}"
    return json.dumps(value)
