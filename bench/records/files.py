"""Records: one JSON object a line for every evaluated cell, one file for every method.

They live in `<board>/records/<method>.jsonl`. One file a method means that two submissions
never touch the same file; sorted keys, sorted lines and rounded floats mean that the same
results are the same bytes. `write` refuses whatever `read` would refuse.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from bench.contract.errors import BenchError
from bench.records.record import Record, as_line, check, coordinate, merge, order, rounded, words

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


def read(folder: Path) -> list[Record]:
    """All records of the board at `folder`, sorted; none where it has no records yet.

    Raises BenchError, with file and line, for a line that is not a sound record, for two
    records of one cell, and for a record in another method's file.
    """
    seen: dict[tuple[str | int, ...], str] = {}
    records = []
    for path in sorted((folder / "records").glob("*.jsonl")):
        for number, line in enumerate(_lines(path), start=1):
            where = f"{path}:{number}"
            record = _parse(line, where)
            check(record, where)
            if path.name != f"{record['method']}.jsonl":
                raise BenchError(
                    f"{where}: a record of method {record['method']!r}; expected only records of "
                    f"{path.stem!r} in this file; move the line to {record['method']}.jsonl"
                )
            cell = coordinate(record)
            if cell in seen:
                raise BenchError(
                    f"{where}: {words(record)} stands at {seen[cell]} already; expected one "
                    "record a cell; delete one of the two lines"
                )
            seen[cell] = where
            records.append(record)
    return sorted(records, key=order)


def sift(records: Iterable[Record]) -> tuple[list[Record], list[str]]:
    """The records that `write` takes, and one sentence for each that it would refuse."""
    sound, refused = [], []
    for record in records:
        try:
            check(rounded(record), words(record))
            as_line(rounded(record))
            _file_name(record["method"])
        except BenchError as error:
            refused.append(str(error))
        else:
            sound.append(record)
    return sound, refused


def write(folder: Path, records: Iterable[Record]) -> None:
    """Write the records files of the methods that occur in `records`, whole and atomically.

    Files whose bytes stay the same, and those of other methods, are not touched. So that no
    record is lost, pass `merge(read(folder), new)`. Raises BenchError for a record that `read`
    would refuse; nothing has been written then.
    """
    exact = [rounded(record) for record in records]
    for record in exact:
        check(record, words(record))
    ordered = merge(exact, ())
    if len(ordered) < len(exact):
        raise BenchError(
            f"{len(exact)} records of {len(ordered)} cells; expected one record a cell; use "
            "`merge`, where the newer record of a cell replaces the older one"
        )
    by_method = sorted(ordered, key=lambda record: str(record["method"]))  # stable: order is kept
    texts = {
        _file_name(method): "".join(f"{as_line(record)}\n" for record in group)
        for method, group in groupby(by_method, key=lambda record: str(record["method"]))
    }
    names = {*texts, *(path.name for path in (folder / "records").glob("*.jsonl"))}
    if len({name.lower() for name in names}) < len(names):
        raise BenchError(
            f"of {', '.join(sorted(names))} two differ by case alone; expected names that any "
            "file system can hold; rename one method"
        )
    for name, text in texts.items():
        write_text(folder / "records" / name, text)


def write_text(path: Path, text: str) -> None:
    """Make `text` (UTF-8) the content of a file, as `write_bytes` does."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Make `data` the content of a file, atomically; leave it alone if it is already."""
    if path.is_file() and path.read_bytes() == data:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_bytes().decode().split("\n")
    except UnicodeDecodeError as error:
        raise BenchError(f"{path}: {error}; expected UTF-8") from None
    return lines[:-1] if lines[-1] == "" else lines


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def _parse(line: str, where: str) -> Record:
    try:
        record = _DECODER.decode(line)
    except ValueError as error:
        raise BenchError(
            f"{where}: {error}; expected one JSON object a line; delete this one, and `bench run` "
            "brings back the record"
        ) from None
    if not isinstance(record, dict):
        raise BenchError(f"{where}: a JSON {type(record).__name__}; expected an object")
    return record


def _file_name(method: str) -> str:
    if not _FILE_NAME.fullmatch(method):
        raise BenchError(
            f"method {method!r} makes no safe file name; expected letters, digits and . _ + - "
            "with a letter or digit first; rename the method"
        )
    return f"{method}.jsonl"
