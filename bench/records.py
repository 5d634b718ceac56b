"""Records: one JSON object a line for every evaluated cell, one file for every method.

They live in `<board>/records/<method>.jsonl`. One file a method means that two submissions
never touch the same file; sorted keys, sorted lines and rounded floats mean that the same
results are the same bytes. `write` refuses whatever `read` would refuse.
"""

from __future__ import annotations

import base64
import json
import math
import os
import re
from collections.abc import Iterable
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.keys import canonical
from bench.types import BenchError

Record = dict[str, Any]

COORDINATES = {
    "classification": ("dataset", "method", "ipc", "labels", "architecture", "attack", "seed"),
    "generation": (
        *("dataset", "method", "ipc", "labels", "architecture", "sampler", "step", "seed"),
    ),
}
"""The fields that say which cell a record is of, by track; no two records share all of them."""

REGIMES = ("hard", "soft", "teacher")
NORMS = ("linf", "l2", "")
DECIMALS = 6

_ALWAYS: dict[str, type] = {
    **dict.fromkeys(("dataset", "method", "labels", "architecture"), str),
    **dict.fromkeys(("ipc", "seed"), int),
    **dict.fromkeys(("status", "reason"), str),
    **dict.fromkeys(("versions", "data", "about", "parameters"), dict),
}
_OF_TRACK: dict[str, dict[str, type]] = {
    "classification": {"attack": str},
    "generation": {"sampler": str, "step": int},
}
_WHEN_OK: dict[str, type] = {
    **dict.fromkeys(("metrics", "scales", "bytes", "cost"), dict),
    **dict.fromkeys(("recipe", "code", "content", "environment"), dict),
    **dict.fromkeys(("images", "size"), int),
    "images_hash": str,
    "flags": list,
}
_WHEN_ATTACKED: dict[str, type] = {"perturbation": dict, "correct": str, "norm": str}
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


def track(record: Record) -> str:
    """ "classification", or "generation" where the student was sampled from."""
    return "generation" if "sampler" in record else "classification"


def coordinate(record: Record) -> tuple[str | int, ...]:
    """Which cell a record is of: the values of `COORDINATES`."""
    return tuple(record[name] for name in COORDINATES[track(record)])


def column(record: Record) -> str:
    """The column of a record in the tables: its attack, or its sampler and the step of training."""
    return record["attack"] if "attack" in record else at_step(record["sampler"], record["step"])


def at_step(sampler: str, step: int) -> str:
    """A sampler, at a checkpoint of the training (0: at its end)."""
    return f"{sampler} @ {step:,}" if step else sampler


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
            _check(record, where)
            if path.name != f"{record['method']}.jsonl":
                raise BenchError(
                    f"{where}: a record of method {record['method']!r}; expected only records of "
                    f"{path.stem!r} in this file; move the line to {record['method']}.jsonl"
                )
            cell = coordinate(record)
            if cell in seen:
                raise BenchError(
                    f"{where}: {_words(record)} stands at {seen[cell]} already; expected one "
                    "record a cell; delete one of the two lines"
                )
            seen[cell] = where
            records.append(record)
    return sorted(records, key=_order)


def merge(old: Iterable[Record], new: Iterable[Record]) -> list[Record]:
    """`old` with the cells of `new` replaced or added, sorted; no cell of either vanishes."""
    cells = {coordinate(record): record for record in (*old, *new)}
    return sorted(cells.values(), key=_order)


def sift(records: Iterable[Record]) -> tuple[list[Record], list[str]]:
    """The records that `write` takes, and one sentence for each that it would refuse."""
    sound, refused = [], []
    for record in records:
        try:
            _check(rounded(record), _words(record))
            _line(rounded(record))
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
        _check(record, _words(record))
    ordered = merge(exact, ())
    if len(ordered) < len(exact):
        raise BenchError(
            f"{len(exact)} records of {len(ordered)} cells; expected one record a cell; use "
            "`merge`, where the newer record of a cell replaces the older one"
        )
    by_method = sorted(ordered, key=lambda record: str(record["method"]))  # stable: order is kept
    texts = {
        _file_name(method): "".join(f"{_line(record)}\n" for record in group)
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


def pack(bits: NDArray[np.bool_]) -> str:
    """Correctness of P images (bool [P]) as base64 of one bit an image."""
    return base64.b64encode(np.packbits(np.asarray(bits, dtype=bool)).tobytes()).decode()


def unpack(text: str, n: int) -> NDArray[np.bool_]:
    """The `n` bits (bool [n]) that `pack` made `text` of. Raises BenchError if it has others."""
    data = np.frombuffer(_packed(text, n), dtype=np.uint8)
    return np.unpackbits(data, count=n).astype(bool)


def _packed(text: str, n: int) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise BenchError(f"packed bits are no base64 ({error}); expected those of `pack`") from None
    if len(data) != (n + 7) // 8:
        raise BenchError(
            f"packed bits fill {len(data)} bytes; expected {(n + 7) // 8} bytes for {n} images"
        )
    if n % 8 and data[-1] & (0xFF >> n % 8):
        raise BenchError(f"packed bits go on after image {n}; expected zeros in the last byte")
    return data


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


def _check(record: Record, where: str) -> None:
    """Raise BenchError unless a record is sound. In plain Python: boards have 10,000 of them."""
    _check_types(record, _ALWAYS, where)
    _check_types(record, _OF_TRACK[track(record)], where)
    if record["labels"] not in REGIMES:
        _wrong(where, "labels", record["labels"], _choices(REGIMES))
    for name in ("ipc", "seed", "step"):
        if record.get(name, 0) < 0:
            _wrong(where, name, record[name], "0 or more")
    if record["status"] not in ("ok", "unsupported"):
        _wrong(where, "status", record["status"], _choices(("ok", "unsupported")))
    if (record["status"] == "ok") != (record["reason"] == ""):
        _wrong(where, "reason", record["reason"], 'a reason if unsupported, "" if ok')
    for name, kind in (("parameters", dict), ("about", str)):
        for key, value in record[name].items():
            if type(value) is not kind:
                _wrong(where, f"{name}.{key}", value, f"a value of type {kind.__name__}")
    if record["status"] == "ok":
        _check_types(record, _WHEN_OK, where)
        if track(record) == "classification":
            _check_types(record, _WHEN_ATTACKED, where)
            _check_ball(record, where)
        _check_metrics(record, where)
        _check_sizes(record, where)


def _check_types(record: Record, schema: dict[str, type], where: str) -> None:
    for name, kind in schema.items():
        if name not in record:
            raise BenchError(f"{where}: no field {name!r}; expected one ({kind.__name__})")
        if type(record[name]) is not kind:
            _wrong(where, name, record[name], f"a value of type {kind.__name__}")


def _check_ball(record: Record, where: str) -> None:
    if record["norm"] not in NORMS:
        _wrong(where, "norm", record["norm"], _choices(NORMS))
    eps: Any = record.get("eps")
    if not (eps is None and record["norm"] == "") and not (_finite(eps) and eps >= 0):
        _wrong(where, "eps", eps, 'a radius of 0 or more (null only where norm is "")')


def _check_metrics(record: Record, where: str) -> None:
    for name, value in record["metrics"].items():
        scale = record["scales"].get(name)
        if (
            type(scale) is not dict
            or scale.get("better") not in ("higher", "lower", "neither")
            or type(scale.get("rate")) is not bool
        ):
            expected = '{"better": "higher", "lower" or "neither", "rate": true or false}'
            _wrong(where, f"scales.{name}", scale, expected)
        if not _finite(value):
            _wrong(where, f"metrics.{name}", value, "a finite number")
        if scale["rate"] and not 0 <= value <= 1:
            _wrong(where, f"metrics.{name}", value, "a fraction in [0, 1] (its scale is a rate)")


def _check_sizes(record: Record, where: str) -> None:
    for name in ("images", "size"):
        if record[name] < 0:
            _wrong(where, name, record[name], "0 or more")
    for name, value in record["bytes"].items():
        if type(value) is not int or value < 0:
            _wrong(where, f"bytes.{name}", value, "a whole number of bytes")
    for flag in record["flags"]:
        if type(flag) is not str:
            _wrong(where, "flags", flag, "strings")
    if record.get("correct"):
        try:
            _packed(record["correct"], record["images"])
        except BenchError as error:
            raise BenchError(f"{where}: correct: {error}") from None


def _finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _choices(values: Iterable[str]) -> str:
    return " or ".join(map(repr, values))


def _wrong(where: str, name: str, value: Any, expected: str) -> None:
    raise BenchError(f"{where}: {name} is {value!r}; expected {expected}")


def _words(record: Record) -> str:
    names = COORDINATES[track(record)]
    return "record of " + " ".join(f"{name}={record.get(name)}" for name in names)


def _file_name(method: str) -> str:
    if not _FILE_NAME.fullmatch(method):
        raise BenchError(
            f"method {method!r} makes no safe file name; expected letters, digits and . _ + - "
            "with a letter or digit first; rename the method"
        )
    return f"{method}.jsonl"


def rounded(value: Any) -> Any:
    """A record, or part of one, as it is written: DECIMALS digits, lists for tuples."""
    if isinstance(value, float):
        return round(value, DECIMALS) + 0.0  # + 0.0: no "-0.0"
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return value


def _line(record: Record) -> str:
    try:
        return canonical(record)
    except (ValueError, TypeError) as error:
        raise BenchError(
            f"{_words(record)}: {error}; expected finite numbers, as JSON has them"
        ) from None


@cache
def _natural(text: str) -> tuple[tuple[str, int, str], ...]:
    """Sort key that puts "x-9" before "x-10"."""
    parts = re.findall(r"(\D*)(\d*)", text)
    return tuple((letters, int(digits or -1), digits) for letters, digits in parts)


def _order(record: Record) -> tuple[Any, ...]:
    return tuple(
        _natural(value) if isinstance(value, str) else value for value in coordinate(record)
    )
