"""Records of format 1 (before 0.2.0) -> those of today. This module goes with 0.2.0.

Format 1 had one line a cell, which repeated the facts of its set and its student.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from bench.contract.errors import BenchError
from bench.records.files import SHARED, write
from bench.records.record import Moved, Passes, Scale
from bench.records.result import Result

Old = dict[str, Any]
PROTOCOL = 3  # of all that was recorded in format 1 and released; records did not say so
SAME = {*Result.__struct_fields__} - {"scales", "passes", "perturbation", "seconds", "peak_mb"}


def convert(board: Path) -> int:
    """Bring the records of a board into the form of today; the number of cells that had another.

    Each file is written whole; a board that has the form already is not touched. Raises BenchError,
    with file and line, for what is no record, and has written nothing then.
    """
    if not (board / "records").is_dir():
        raise BenchError(f"{board} has no records; expected a board's folder, with records/ in it")
    old = [
        (f"{path}:{number}", line)
        for path in sorted((board / "records").glob("*.jsonl"))
        if path.name != SHARED and not path.read_bytes().startswith(b'{"format":')
        for number, line in enumerate(path.read_bytes().splitlines(), start=1)
    ]
    records = {where: _parsed(where, line) for where, line in old}
    levels = _levels(records.values())
    results = [_result(record, levels, where) for where, record in records.items()]
    if results:
        write(board, results)
    return len(results)


def _parsed(where: str, line: bytes) -> Old:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{where}: {error}; expected one JSON object a line") from None
    blocks = ("metrics", "scales", "refused", "content", "cost")
    known = isinstance(record, dict) and "status" in record
    if not known or not all(isinstance(record.get(name, {}), dict) for name in blocks):
        raise BenchError(f"{where}: expected a record of format 1; delete the line")
    found: Old = record
    return found


def _result(old: Old, levels: Mapping[str, str], where: str) -> Result:
    """One line, typed."""
    try:
        cost = old.get("cost", {})
        found = {name: value for name, value in old.items() if name in SAME and name != "flags"}
        found["scales"] = {
            name: _scale(old.get("scales", {}).get(name, {"better": "neither"}), levels.get(name))
            for name in {**old.get("metrics", {}), **old.get("refused", {})}
            if name in old.get("scales", {}) or name in levels
        }
        found["passes"] = msgspec.convert(old.get("passes", {}), dict[str, Passes])
        found["perturbation"] = msgspec.convert(old.get("perturbation", {}), dict[str, Moved])
        found |= {
            "protocol": PROTOCOL,
            "seconds": cost.get("seconds", {}),
            "peak_mb": cost.get("peak_mb", 0.0),
        }
        return msgspec.convert(found, Result)
    except (msgspec.ValidationError, AttributeError, TypeError, KeyError) as error:
        raise BenchError(f"{where}: {error}; expected a record of format 1") from None


def _scale(old: Old, level: Any) -> Scale:
    unit = "fraction" if old.get("rate") else ""
    named = {name: old[name] for name in ("features", "measured_by") if name in old}
    return Scale(better=old["better"], unit=unit, of=level or "probe", **named)


def _levels(records: Iterable[Old]) -> dict[str, str]:
    """The level of each metric: the highest one whose every record has one figure.

    Format 1 does not say what a metric looks at; a level counts if it has been seen to share.
    """
    measured = [record for record in records if record.get("metrics")]
    metrics = {name for record in measured for name in record["metrics"]}
    found = {}
    for name in metrics:
        having = [record for record in measured if name in record["metrics"]]
        found[name] = "probe"
        if _shared(having, name, _student, _cell):
            found[name] = "student"
            if _shared(having, name, _set, _student):
                found[name] = "set"
    return found


def _shared(
    records: Iterable[Old], name: str, above: Callable[[Old], str], below: Callable[[Old], str]
) -> bool:
    """Has each place one figure only, and some place more than one part below it?"""
    figures: dict[str, set[str]] = defaultdict(set)
    parts: dict[str, set[str]] = defaultdict(set)
    for record in records:
        scale = record.get("scales", {}).get(name)
        figures[above(record)].add(json.dumps([record["metrics"][name], scale]))
        parts[above(record)].add(below(record))
    return all(len(f) == 1 for f in figures.values()) and any(len(p) > 1 for p in parts.values())


def _set(record: Old) -> str:
    axes = ("dataset", "method", "ipc", "labels", "seed")
    return json.dumps([*(record.get(axis) for axis in axes), record["content"].get("set")])


def _student(record: Old) -> str:
    own = (record.get("architecture"), record.get("step"), record["content"].get("student"))
    return json.dumps([_set(record), *own])


def _cell(record: Old) -> str:
    return json.dumps([_student(record), record.get("attack"), record.get("sampler")])
