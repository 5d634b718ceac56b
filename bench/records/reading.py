"""Lines of records files, and the results that they make, as far as they are sound."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import tee
from pathlib import Path
from typing import Any

import msgspec

from bench.contract.errors import BenchError
from bench.records.check import decoded, sound
from bench.records.levels import AnyLevel, Notes, joined, measured, valued
from bench.records.record import (
    FORMAT,
    Head,
    Note,
    ProbeRecord,
    Record,
    SetRecord,
    StudentRecord,
)
from bench.records.result import Result

RECORD = msgspec.json.Decoder(Record)
NOTE = msgspec.json.Decoder(Note)
_HEAD = msgspec.json.Decoder(Head)
_OLD = (b'"status":', b'"about":{')  # what each line of the first form has

Place = tuple[str, int, bytes]
"""The name of a file, the number of a line in it, and what it says."""


@dataclass(frozen=True)
class Fault:
    """A line that is not read, and why."""

    file: str  # its name
    line: int
    said: str
    text: bytes = b""

    def __str__(self) -> str:
        said = re.sub(r"\s", " ", self.said)  # a name in it may hold a line break
        return f"records/{self.file}:{self.line}: {said}"


def notes_of(path: Path, faults: list[Fault]) -> Notes:
    """What records share, by digest."""
    notes: Notes = {}
    for number, line in lines_of(path):
        try:
            note = decoded(NOTE, line, Note)
            notes[note.digest] = valued(note)
        except (BenchError, msgspec.ValidationError) as error:
            faults.append(Fault(path.name, number, str(error), line))
    return notes


class Reading:
    """The records of one file after another, as far as they are sound.

    A probe is a result as soon as it is read, if its student was: of a large board, no more than
    its results is held at once.
    """

    def __init__(self, paths: Sequence[Path], notes: Notes, faults: list[Fault]) -> None:
        self.paths, self.notes, self.faults = paths, notes, faults
        self.sets: dict[str, SetRecord] = {}
        self.students: dict[str, StudentRecord] = {}
        self.above: list[tuple[str, int, str]] = []  # file, line and id of sets and students
        self.named: set[str] = set()  # students of results
        self.measured: dict[int, str] = {}

    def results(self) -> Iterator[Result]:
        """Results of the probes whose sets and students are there, each of a cell of its own."""
        found, again = tee(self._probes())
        every = joined(self.sets, self.students, (probe for _, probe in again), self.notes)
        cells: dict[tuple[Any, ...], tuple[str, int]] = {}
        for (place, probe), result in zip(found, every, strict=True):
            at = place[:2]
            first = cells.setdefault(result.coordinate, at)
            if first is at:
                self.named.add(probe.student)
                self.measured[id(result)] = measured(probe)
                yield result
            else:
                there = f"records/{first[0]}:{first[1]}"
                said = f"{result.words} stands at {there} already; expected one probe a cell"
                self._fault(place, said)

    def unnamed(self) -> list[Fault]:
        """Sets and students without a result, in files with a fault."""
        files = {fault.file for fault in self.faults}
        named = self.named | {self.students[name].set for name in self.named}
        lines = {path.name: dict(lines_of(path)) for path in self.paths if path.name in files}
        return [
            Fault(file, line, "", lines[file][line])
            for file, line, name in self.above
            if file in files and name not in named
        ]

    def _probes(self) -> Iterator[tuple[Place, ProbeRecord]]:
        """Sound probes of measured sets, as they are read; those before their students at last."""
        students: list[tuple[Place, StudentRecord]] = []
        probes: list[tuple[Place, ProbeRecord]] = []
        for place, record in self._records():
            if isinstance(record, ProbeRecord):
                if record.student not in self.students:
                    probes.append((place, record))
                elif self._measured(place, record):
                    yield place, record
            elif isinstance(record, SetRecord):
                self._add(place, record, self.sets)
            elif record.set in self.sets:
                self._add(place, record, self.students)
            else:
                students.append((place, record))
        for place, student in students:
            if student.set in self.sets:
                self._add(place, student, self.students)
            else:
                self._fault(place, f"set is {student.set!r}; expected the id of one")
        for place, probe in probes:
            if probe.student not in self.students:
                self._fault(place, f"student is {probe.student!r}; expected the id of one")
            elif self._measured(place, probe):
                yield place, probe

    def _records(self) -> Iterator[tuple[Place, Record]]:
        """Each record with its place."""
        for path in self.paths:
            for number, line in lines_of(path):
                place = (path.name, number, line)
                try:
                    record = decoded(RECORD, line, Record)
                    sound(record, self.notes)
                    if isinstance(record, SetRecord) and path.name != f"{record.method}.jsonl":
                        raise BenchError(
                            f"a set of method {record.method!r}; expected only sets of "
                            f"{path.stem!r} in this file; move its lines to {record.method}.jsonl"
                        )
                except BenchError as error:
                    self._fault(place, str(error))
                else:
                    if not isinstance(record, ProbeRecord):
                        self.above.append((*place[:2], record.id))
                    yield place, record

    def _measured(self, place: Place, probe: ProbeRecord) -> bool:
        of_set = self.sets[self.students[probe.student].set]
        if measured := bool(probe.reason) or "set" in of_set.content:
            return measured
        self._fault(place, "its set holds no content; expected that of a measured set")
        return False

    def _add(self, place: Place, record: AnyLevel, known: dict[str, AnyLevel]) -> None:
        first = known.setdefault(record.id, record)
        if first is not record and first != record:
            self._fault(place, f"id is {record.id!r}, which another line has")

    def _fault(self, place: Place, said: str) -> None:
        file, line, text = place
        self.faults.append(Fault(file, line, said, text))


def lines_of(path: Path) -> Iterable[tuple[int, bytes]]:
    """The lines of a file but for its head, counted from 1. Raises BenchError for another form."""
    if not path.is_file():
        return
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines[:-1] if lines[-1] == b"" else lines, start=1):
        if number == 1 and line.startswith(b'{"format":'):
            try:
                form = _HEAD.decode(line).format
            except (msgspec.MsgspecError, RecursionError):
                form = None
            if form and form != FORMAT:
                raise BenchError(
                    f"{path} is of format {form}; this version reads format {FORMAT}; "
                    + ("upgrade condensation-bench" if form > FORMAT else _convert(path))
                )
            if form:
                continue
        if _OLD[0] in line and _OLD[1] in line:
            raise BenchError(
                f"{path}:{number}: a record of format 1; this version reads format {FORMAT}; "
                + _convert(path)
            )
        yield number, line


def _convert(path: Path) -> str:
    return f"run: bench convert {path.parent.parent}"
