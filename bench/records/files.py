"""Records on disk: `<board>/records/<method>.jsonl`, and what they share in `_shared.jsonl`.

One file a method means that two submissions never touch the same file, and sorted lines in
`_shared.jsonl` that git merges what two of them add there. Sorted keys, sorted lines and rounded
figures mean that the same results are the same bytes. `write` refuses whatever `read` would
refuse. What a line is no record for is a `Fault`: it stays where it is, and costs its own cells.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
from msgspec import structs

from bench.contract.errors import BenchError
from bench.contract.files import own, write_bytes
from bench.contract.keys import canonical, digest
from bench.records.check import checked, sound
from bench.records.levels import name_of, named, split, valued
from bench.records.reading import NOTE, RECORD, Fault, Reading, lines_of, notes_of
from bench.records.record import (
    FORMAT,
    Head,
    Note,
    ProbeRecord,
    Record,
    SetRecord,
    StudentRecord,
)
from bench.records.result import Result, merge, order, rounded

SHARED = "_shared.jsonl"
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


@dataclass(frozen=True)
class Board:
    """The results of a board, sorted, and the lines that are none.

    `preserved` are lines that stay where they are: those at fault, and sets and students that
    only they may name. `measured` has the digest of what was measured of each result, by its `id`.
    """

    results: list[Result]
    measured: Mapping[int, str]
    faults: tuple[Fault, ...] = ()
    preserved: tuple[Fault, ...] = ()

    def sentences(self, folder: Path) -> list[str]:
        """What is wrong, with file and line."""
        return [f"{folder / str(fault)}; mend the line, or delete it" for fault in self.faults]

    def version(self, results: Iterable[Result]) -> str:
        """The digest of what was measured of some of the results, in any order; "" of none."""
        names = sorted(self.measured[id(result)] for result in results)
        return digest(names) if names else ""


def read(folder: Path) -> list[Result]:
    """All results of the board at `folder`, sorted. Raises BenchError for the first fault."""
    return read_whole(folder).results


def read_whole(folder: Path) -> Board:
    """The board at `folder`. Raises BenchError for the first fault."""
    found = read_all(folder)
    for sentence in found.sentences(folder):
        raise BenchError(sentence)
    return found


def read_all(folder: Path) -> Board:
    """The results of the board at `folder`, and its faults; nothing where it has no records yet.

    Raises BenchError for files of another form.
    """
    faults: list[Fault] = []
    notes = notes_of(folder / "records" / SHARED, faults)
    paths = sorted((folder / "records").glob("*.jsonl"))
    reading = Reading([path for path in paths if path.name != SHARED], notes, faults)
    results = sorted(reading.results(), key=order)
    faults.sort(key=lambda fault: (fault.file, fault.line))
    return Board(results, reading.measured, tuple(faults), (*faults, *reading.unnamed()))


def edited(folder: Path) -> list[str]:
    """Records and notes whose name, a digest of what they say, says otherwise.

    Probes have one if any of the board has: an earlier version gave them none.
    """
    wrong, probes = [], False
    for path in sorted((folder / "records").glob("*.jsonl")):
        for number, line in lines_of(path):
            with suppress(msgspec.MsgspecError, RecursionError):  # that is a fault
                one = (NOTE if path.name == SHARED else RECORD).decode(line)
                probes |= isinstance(one, ProbeRecord) and bool(one.id)
                if not named(one) or name_of(one) != named(one):
                    wrong.append((f"{path}:{number}", named(one)))
    return [
        f"{where} was changed after it was written: {name or 'no name'} is not the name of "
        "what it says; put it back, or measure what hangs on it again"
        for where, name in wrong
        if name or probes  # sets, students and notes always have one
    ]


def split_valid(results: Iterable[Result]) -> tuple[list[Result], list[str]]:
    """The results that `write` takes, and one sentence for each that it would refuse."""
    valid, refused = [], []
    for result in results:
        try:
            _check(rounded(result))
        except BenchError as error:
            refused.append(str(error))
        else:
            valid.append(result)
    return valid, refused


def write(folder: Path, results: Iterable[Result], preserved: Iterable[Fault] = ()) -> None:
    """Write the records of the methods that occur in `results`, whole and atomically.

    Files whose bytes stay the same, and those of other methods, are not touched. So that no
    result is lost, pass `merge(read(folder), new)`, and the `preserved` lines: they stay
    where they are. Raises BenchError for a result that `read` would refuse, and has written nothing
    then.
    """
    exact = [rounded(result) for result in results]
    for result in exact:
        _check(result)
    if (cells := len(merge(exact, ()))) < len(exact):
        raise BenchError(
            f"{len(exact)} results of {cells} cells; expected one a cell; use `merge`, where the "
            "newer result of a cell replaces the older one"
        )
    texts, notes = _texts(exact, preserved)
    names = {*texts, *(path.name for path in (folder / "records").glob("*.jsonl"))}
    if len({name.lower() for name in names}) < len(names):
        raise BenchError(
            f"of {', '.join(sorted(names))} two differ by case alone; expected names that any "
            "file system can hold; rename one method"
        )
    shared = _shared(folder / "records", texts, notes, preserved)
    for name, text in {SHARED: shared, **texts}.items():
        write_bytes(own(folder / "records") / name, text)


def _texts(
    results: list[Result], preserved: Iterable[Fault]
) -> tuple[dict[str, bytes], list[Note]]:
    """The content of files by name, and the notes that they name."""
    records, notes = split(results)
    lines: dict[str, list[bytes]] = defaultdict(list)
    methods: dict[str, str] = {}  # of a set, or of a student
    for record in records:
        if isinstance(record, SetRecord):
            methods[record.id] = record.method
        elif isinstance(record, StudentRecord):
            methods[record.id] = methods[record.set]
        at = record.student if isinstance(record, ProbeRecord) else record.id
        if isinstance(record, ProbeRecord):  # which nobody else names
            record = structs.replace(record, id=name_of(record))
        lines[_file_name(methods[at])].append(_line(record))
    return {name: _whole(found, name, preserved) for name, found in lines.items()}, notes


def _shared(
    folder: Path, texts: dict[str, bytes], notes: list[Note], preserved: Iterable[Fault]
) -> bytes:
    """What `_shared.jsonl` is to hold: new notes, and old ones that some line still names."""
    others = [
        path.read_bytes()
        for path in folder.glob("*.jsonl")
        if path.name not in texts and path.name != SHARED
    ]
    named = {*re.findall(rb'"([0-9a-f]{16})"', b"".join([*others, *texts.values()]))}
    lines = {note.digest: _line(note) for note in notes}
    for _, line in lines_of(folder / SHARED):
        try:
            digest = NOTE.decode(line).digest
        except msgspec.MsgspecError:
            continue  # a fault
        if digest.encode() in named:
            lines.setdefault(digest, line)
    return _whole([lines[digest] for digest in sorted(lines)], SHARED, preserved)


def _whole(lines: list[bytes], name: str, preserved: Iterable[Fault]) -> bytes:
    """A file: its head, its lines, and the preserved lines where they stood."""
    every = [_line(Head(format=FORMAT)), *lines]
    for one in sorted((k for k in preserved if k.file == name), key=lambda one: one.line):
        if one.text not in every:
            every.insert(one.line - 1, one.text)
    return b"".join(line + b"\n" for line in every)


def _line(value: msgspec.Struct) -> bytes:
    return canonical(msgspec.to_builtins(value)).encode()


def _check(result: Result) -> None:
    """Raise BenchError for a result that could not be read again."""
    try:
        records, notes = split([result])
        known = {note.digest: valued(note) for note in notes}
        for record in records:
            sound(checked(msgspec.to_builtins(record), Record), known)
        for one in (*notes, *records):
            _line(one)
        _file_name(result.method)
    except BenchError as error:
        raise BenchError(f"{result.words}: {error}") from None
    except (TypeError, ValueError, RecursionError) as error:  # msgspec's are ValueErrors
        raise BenchError(f"{result.words}: {error}; expected what JSON can hold") from None


def _file_name(method: str) -> str:
    if not _FILE_NAME.fullmatch(method):
        raise BenchError(
            f"method {method!r} makes no safe file name; expected letters, digits and . _ + - "
            "with a letter or digit first; rename the method"
        )
    return f"{method}.jsonl"
