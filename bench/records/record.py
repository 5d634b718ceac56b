"""A record: what one evaluated cell has given, checked, rounded, and told in a line of JSON."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.contract.errors import BenchError
from bench.contract.keys import canonical
from bench.contract.kinds import REGIMES

Record = dict[str, Any]


COORDINATES = {
    "classification": ("dataset", "method", "ipc", "labels", "architecture", "attack", "seed"),
    "generation": (
        *("dataset", "method", "ipc", "labels", "architecture", "sampler", "step", "seed"),
    ),
}
"""The fields that say which cell a record is of, by track; no two records share all of them."""


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


def merge(old: Iterable[Record], new: Iterable[Record]) -> list[Record]:
    """`old` with the cells of `new` replaced or added, sorted; no cell of either vanishes."""
    cells = {coordinate(record): record for record in (*old, *new)}
    return sorted(cells.values(), key=order)


def carried(old: Iterable[Record], new: Iterable[Record], metrics: Iterable[str]) -> list[Record]:
    """New records, with what metrics that failed now have given earlier, on the same results.

    `metrics` are those of the board: one that it no longer asks for is let go.
    """
    asked = {*metrics}
    known = {coordinate(record): record for record in old}
    found = []
    for record in new:
        before = known.get(coordinate(record), {})
        if "content" in record and record["content"] == before.get("content"):
            blocks = ("metrics", "scales", "refused")
            known_before = {*before["metrics"], *before["refused"]}
            names = asked & known_before - {*record["metrics"], *record["refused"]}
            record = record | {k: {**record[k], **_only(before[k], names)} for k in blocks}
        found.append(record)
    return found


def _only(values: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: values[name] for name in names if name in values}


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


def check(record: Record, where: str) -> None:
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


def words(record: Record) -> str:
    names = COORDINATES[track(record)]
    return "record of " + " ".join(f"{name}={record.get(name)}" for name in names)


def rounded(value: Any) -> Any:
    """A record, or part of one, as it is written: DECIMALS digits, lists for tuples."""
    if isinstance(value, float):
        return round(value, DECIMALS) + 0.0  # + 0.0: no "-0.0"
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return value


def as_line(record: Record) -> str:
    try:
        return canonical(record)
    except (ValueError, TypeError) as error:
        raise BenchError(
            f"{words(record)}: {error}; expected finite numbers, as JSON has them"
        ) from None


@cache
def _natural(text: str) -> tuple[tuple[str, int, str], ...]:
    """Sort key that puts "x-9" before "x-10"."""
    parts = re.findall(r"(\D*)(\d*)", text)
    return tuple((letters, int(digits or -1), digits) for letters, digits in parts)


def order(record: Record) -> tuple[Any, ...]:
    return tuple(
        _natural(value) if isinstance(value, str) else value for value in coordinate(record)
    )
