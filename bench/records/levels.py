"""Results as records of three levels, where a fact stands once, and back again.

`joined(*split(results))` gives the same results. Records that say the same of a set or a student,
but for the seconds that it took, are one record.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from operator import attrgetter
from typing import Any, TypeVar

import msgspec
from msgspec import structs

from bench.contract.keys import digest
from bench.records.record import (
    LEVEL_OF,
    NOTES,
    Level,
    Note,
    ProbeRecord,
    Record,
    SetRecord,
    StudentRecord,
)
from bench.records.result import Result, order

Notes = dict[str, Any]
"""Values of notes, typed, by digest."""

AnyLevel = TypeVar("AnyLevel", SetRecord, StudentRecord)
Chain = tuple[SetRecord, StudentRecord, ProbeRecord]
BLOCKS = ("parameters", "code", "content", "passes", "seconds", "metrics", "refused")
BY_DIGEST = ("about", "scales")
DESCRIBED = {"parameters", "code", "about"}  # what is known of a cell that was declined
OF_SET = ("size", "bytes", "pictured")
OF_METRICS = ("metrics", "refused", "scales")
ALIKE = ("parameters", "code")  # blocks that many results have alike
WORDS = ("attack", "sampler", "images_hash", "norm", "attack_search", "attack_family")


def split(results: Iterable[Result]) -> tuple[list[Record], list[Note]]:
    """The records of results, each set before its students and each of those before its probes.

    A cell that was declined hangs on the measured set and student of its coordinate where there
    are some.
    """
    notes: dict[str, Note] = {}
    known = _Known(notes)
    ordered = sorted(results, key=lambda result: (not result.ok, order(result)))
    chains = [(result, known.chain(result)) for result in ordered]
    seen = set()
    records: list[Record] = []
    for _, (of_set, student, probe) in sorted(chains, key=lambda pair: _nested(pair[0])):
        for record in (of_set, student):
            if record.id not in seen:
                seen.add(record.id)
                records.append(record)
        records.append(probe)
    return records, sorted(notes.values(), key=lambda note: note.digest)


def name_of(one: Record | Note) -> str:
    """The digest by which a record or a note is named: of all that it says, but for seconds."""
    if isinstance(one, Note):
        return digest([one.kind, msgspec.to_builtins(one.value)])
    return _name(structs.replace(one, id="?", seconds={}))


def measured(probe: ProbeRecord) -> str:
    """The digest of what was measured: not of where, how long, in how much memory.

    A probe names its student, and that its set.
    """
    without = {"id": "?", "seconds": {}, "environment": "", "peak_mb": 0.0}
    return _name(structs.replace(probe, **without))


def _name(record: Record) -> str:
    """`digest` of what a record says, whose JSON is written by msgspec: five times as fast, and
    the same but for numbers that have an exponent and characters that are not ASCII."""
    text = msgspec.json.encode(record, order="sorted")
    other = b"\x7f" in text or b"0.0000" in text or _EXPONENT.search(text)
    if text.isascii() and not other:
        return sha256(text).hexdigest()[:16]
    return digest(msgspec.to_builtins(record))


_EXPONENT = re.compile(rb"e-?\d+[],}]")  # or what looks like one


def named(one: Record | Note) -> str:
    """The name that it has."""
    return one.digest if isinstance(one, Note) else one.id


def _nested(result: Result) -> tuple[Any, ...]:
    """Sort key of results: by set, student and probe."""
    place = order(result)
    return (*place[:4], place[-1], place[4], *place[6:-1], place[5])


class _Known:
    """The records of results, one after another; most of them say what others have said.

    What is known by `id` is of results that are there till the end.
    """

    def __init__(self, notes: dict[str, Note]) -> None:
        self.notes = notes
        self.names: dict[tuple[Any, ...], str] = {}  # of notes, by level, kind and `id`
        self.parts: dict[tuple[str, str, int], dict[str, Any]] = {}  # the same of blocks
        self.records: dict[str, Any] = {}  # by what they say, and by what describes them
        self.above: dict[tuple[Any, ...], tuple[SetRecord, StudentRecord]] = {}

    def chain(self, result: Result) -> Chain:
        """The three records of one result."""
        place = _above_probe(result)
        if place not in self.above:
            of_set = self._set(result)
            self.above[place] = of_set, self._student(result, of_set)
        of_set, student = self.above[place]
        probe = ProbeRecord(
            student=student.id,
            versions=self._noted(result, "versions"),
            environment=self._noted(result, "environment"),
            **_own(result),
            **self._level(result, "probe"),
        )
        return of_set, student, probe

    def _set(self, result: Result) -> SetRecord:
        record = SetRecord(
            id="?",
            **{name: getattr(result, name) for name in WHERE},
            evaluate=result.evaluate,
            data=result.data,
            **({name: getattr(result, name) for name in OF_SET} if result.ok else {}),
            **self._level(result, "set"),
        )
        return self._once(result, record, (*WHERE, "evaluate", "data", *DESCRIBED))

    def _student(self, result: Result, of_set: SetRecord) -> StudentRecord:
        record = StudentRecord(
            id="?",
            set=of_set.id,
            architecture=result.architecture,
            step=result.step,
            recipe=self._noted(result, "recipe"),
            **self._level(result, "student"),
        )
        described = ("set", "architecture", "step", "recipe", *DESCRIBED)
        return self._once(result, record, described)

    def _once(self, result: Result, record: AnyLevel, described: tuple[str, ...]) -> AnyLevel:
        """A record with its name; of a result that was declined, one that is described alike."""
        said = msgspec.to_builtins(structs.replace(record, seconds={}))
        place = digest([said["level"], {k: v for k, v in said.items() if k in described}])
        if not result.ok and place in self.records:
            found: AnyLevel = self.records[place]
            return found
        name = name_of(record)
        one: AnyLevel = self.records.setdefault(name, structs.replace(record, id=name))
        self.records.setdefault(place, one)
        return one

    def _level(self, result: Result, level: str) -> dict[str, Any]:
        """What all records have in common, of one level of a result."""
        found = {}
        for name in BLOCKS:
            if not (result.ok or name in DESCRIBED):
                continue
            if name not in ALIKE:
                found[name] = _part(result, name, level)
                continue
            key = (level, name, id(getattr(result, name)))
            if key not in self.parts:
                self.parts[key] = _part(result, name, level)
            found[name] = self.parts[key]
        noted = {name: self._noted(result, name, level) for name in BY_DIGEST}
        return found | noted

    def _noted(self, result: Result, kind: Any, level: str = "") -> str:
        """The digest of a note of what a result says, at one level if that says only part."""
        key = (level, kind, result.ok, id(getattr(result, kind)))
        if key not in self.names:
            value = _part(result, kind, level) if level else getattr(result, kind)
            asked = value and (result.ok or kind in DESCRIBED or not level)
            note = Note(digest="", kind=kind, value=msgspec.to_builtins(value))
            self.names[key] = name = name_of(note) if asked else ""
            if name:
                self.notes.setdefault(name, structs.replace(note, digest=name))
        return self.names[key]


def _own(result: Result) -> dict[str, Any]:
    """What a probe alone says of its result, beside what all records have."""
    if not result.ok:
        return {name: getattr(result, name) for name in DECLINED}
    return dict(zip(OF_PROBE, _of_probe(result), strict=True))


def _part(result: Result, name: str, level: str) -> dict[str, Any]:
    """Of what a result says under a name, what one level does."""
    value, scales = getattr(result, name), result.scales
    if not value:
        return {}
    if name in OF_METRICS:
        return {
            k: v for k, v in value.items() if (scales[k].of if k in scales else "probe") == level
        }
    return {k: v for k, v in value.items() if LEVEL_OF.get(k, "probe") == level}


def _above_probe(result: Result) -> tuple[Any, ...]:
    """What tells the set and the student of a result from those of others."""
    scales = result.scales
    return (
        result.ok,
        *_where(result),
        *map(id, _shared(result)),
        *(
            (k, v)
            for block in (result.content, result.passes)
            for k, v in block.items()
            if k in LEVEL_OF
        ),
        *(
            (k, v)
            for block in (result.metrics, result.refused)
            for k, v in block.items()
            if k in scales and scales[k].of != "probe"
        ),
    )


WHERE = ("dataset", "method", "ipc", "labels", "seed")
DECLINED = ("attack", "sampler", "reason", "protocol")
OF_PROBE = tuple(
    name
    for name in ProbeRecord.__struct_fields__
    if name not in (*Level.__struct_fields__, "id", "student", "versions", "environment")
)
_of_probe = attrgetter(*OF_PROBE)
_blocks, _by_digest = attrgetter(*BLOCKS), attrgetter(*BY_DIGEST)
_where = attrgetter(*WHERE, "evaluate", "architecture", "step", "size", "pictured")
_shared = attrgetter("parameters", "about", "code", "scales", "data", "recipe", "bytes")


def joined(
    sets: Mapping[str, SetRecord],
    students: Mapping[str, StudentRecord],
    probes: Iterable[ProbeRecord],
    notes: Notes,
) -> Iterator[Result]:
    """The results of probes; all that they name must be given.

    What many of them say alike is one object: of a large board, most of its memory.
    """
    above: dict[tuple[str, bool], Result] = {}
    same: dict[Any, Any] = {}
    for probe in probes:
        key = (probe.student, not probe.reason)
        if key not in above:
            student = students[probe.student]
            above[key] = _above(sets[student.set], student, notes, not probe.reason, same)
        shared = above[key]
        fields = dict(zip(OF_PROBE, _of_probe(probe), strict=True))
        for name in WORDS:
            fields[name] = same.setdefault(fields[name], fields[name])
        fields["versions"] = notes[probe.versions] if probe.versions else shared.versions
        fields["environment"] = (
            notes[probe.environment] if probe.environment else shared.environment
        )
        for name, own in zip(BLOCKS, _blocks(probe), strict=True):
            if own:
                others = getattr(shared, name)
                both = {**others, **own} if others else own
                fields[name] = _once(both, same) if name in ALIKE else both
        for name, named in zip(BY_DIGEST, _by_digest(probe), strict=True):
            if named:
                others = getattr(shared, name)
                place = (name, id(others), named)  # `above` keeps it alive
                if place not in same:
                    same[place] = {**others, **notes[named]}
                fields[name] = same[place]
        yield structs.replace(shared, **fields)


def _above(
    of_set: SetRecord, student: StudentRecord, notes: Notes, ok: bool, same: dict[Any, Any]
) -> Result:
    """What the results of one student share; of those that were declined, what describes them."""

    def both(name: str) -> Any:
        found = {**_said(of_set, name, notes), **_said(student, name, notes)}
        return _once(found, same) if name in (*ALIKE, *BY_DIGEST) else found

    names = (*WHERE, "evaluate", *(OF_SET if ok else ()))
    fields = {name: getattr(of_set, name) for name in names}
    return Result(
        **{name: _once(v, same) if name == "bytes" else v for name, v in fields.items()},
        data=_once(of_set.data, same),
        architecture=same.setdefault(student.architecture, student.architecture),
        step=student.step,
        recipe=notes[student.recipe] if student.recipe else {},
        **{name: both(name) for name in (*BLOCKS, *BY_DIGEST) if ok or name in DESCRIBED},
    )


def _once(value: Any, same: dict[Any, Any]) -> Any:
    """The first object that was given with this content; of `same` type, within one call."""
    return same.setdefault(msgspec.json.encode(value), value)


def _said(record: Level, name: str, notes: Notes) -> dict[str, Any]:
    value = getattr(record, name)
    if name in BY_DIGEST:
        return notes[value] if value else {}
    found: dict[str, Any] = value
    return found


def valued(note: Note) -> Any:
    """The value of a note, typed. Raises msgspec.ValidationError if it is of another type."""
    return msgspec.convert(note.value, NOTES[note.kind])
