"""Which records a recomputation has borne out: `<board>/checked.jsonl`.

The nightly check writes it, and a pull request that changes it is refused. A line names a record by
the digest of all that it says, down from its set; so it is of no record that was changed since.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from bench.contract.errors import BenchError
from bench.contract.files import write_bytes
from bench.contract.keys import canonical
from bench.records.levels import name_of, split
from bench.records.record import Count, Name, Plain
from bench.records.result import Result, rounded

FILE = "checked.jsonl"
CLAIMED, CHECKED = "claimed", "checked"


class Check(Plain, frozen=True, kw_only=True):
    """One record that held when it was measured again."""

    record: Name
    protocol: Count  # of the harness that measured it again


_CHECK = msgspec.json.Decoder(Check)


def name(result: Result) -> str:
    """The digest of what the records of a result say, but for seconds."""
    return name_of(split([rounded(result)])[0][-1])


def read(folder: Path) -> frozenset[str]:
    """The names of the records of a board that held. Raises BenchError for a line that is none."""
    return frozenset(one.record for one in _lines(folder))


def tiers(folder: Path, results: Iterable[Result]) -> list[str]:
    """Of each result, `CHECKED` or `CLAIMED`."""
    known = read(folder)
    return [CHECKED if known and name(one) in known else CLAIMED for one in results]


def add(folder: Path, held: Iterable[Result], results: Iterable[Result]) -> None:
    """Say that some results of a board held; of `results`, all that it has, no other stays."""
    known = {one.record: one for one in _lines(folder)}
    known |= {n: Check(record=n, protocol=one.protocol) for one in held for n in (name(one),)}
    there = {name(one) for one in results}
    lines = (canonical(msgspec.to_builtins(known[n])) for n in sorted(known.keys() & there))
    write_bytes(folder / FILE, "".join(f"{line}\n" for line in lines).encode())


def _lines(folder: Path) -> Iterable[Check]:
    path = folder / FILE
    lines = path.read_bytes().splitlines() if path.is_file() else []
    for number, line in enumerate(lines, 1):
        try:
            yield _CHECK.decode(line)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise BenchError(
                f"{path}:{number}: {error}; expected what the nightly check writes; delete the line"
            ) from None
