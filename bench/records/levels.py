"""Results as records of three levels, where a fact stands once, and back again.

`joined(*split(results))` gives the same results. Records that say the same of a set or a student,
but for the seconds that it took, are one record.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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
from bench.records.result import Result, order, rounded

Notes = dict[str, Any]
"""Values of notes, typed, by digest."""

AnyLevel = TypeVar("AnyLevel", SetRecord, StudentRecord)
Chain = tuple[SetRecord, StudentRecord, ProbeRecord]
BLOCKS = ("parameters", "code", "content", "passes", "seconds", "metrics", "refused")
BY_DIGEST = ("about", "scales")
DESCRIBED = {"parameters", "code", "about"}  # what is known of a cell that was declined
OF_SET = ("size", "bytes", "pictured")
ALIKE = ("parameters", "code")  # blocks that many results have alike
WORDS = ("attack", "sampler", "images_hash", "norm", "attack_search", "attack_family")


def split(results: Iterable[Result]) -> tuple[list[Record], list[Note]]:
    """The records of results, each set before its students and each of those before its probes.

    A cell that was declined hangs on the measured set and student of its coordinate where there
    are some.
    """
    notes: dict[str, Note] = {}
    known: dict[str, Any] = {}
    ordered = sorted(results, key=lambda result: (not result.ok, order(result)))
    chains = [(result, _chain(result, notes, known)) for result in ordered]
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
    return digest(msgspec.to_builtins(structs.replace(one, id="?", seconds={})))


def version(results: Iterable[Result]) -> str:
    """The digest of what was measured, in any order: not of where, how long, in how much memory.

    A probe names its student, and that its set. "" where there are no results.
    """
    probes = (one for one in split(map(rounded, results))[0] if isinstance(one, ProbeRecord))
    names = sorted(name_of(structs.replace(one, environment="", peak_mb=0.0)) for one in probes)
    return digest(names) if names else ""


def named(one: Record | Note) -> str:
    """The name that it has."""
    return one.digest if isinstance(one, Note) else one.id


def _nested(result: Result) -> tuple[Any, ...]:
    """Sort key of results: by set, student and probe."""
    place = order(result)
    return (*place[:4], place[-1], place[4], *place[6:-1], place[5])


def _chain(result: Result, notes: dict[str, Note], known: dict[str, Any]) -> Chain:
    """The three records of one result. `known` holds those of results before it, by what they say
    and, for results that were declined, by what describes them."""

    def noted(kind: Any, value: Any) -> str:
        if not value:
            return ""
        plain = msgspec.to_builtins(value)
        note = Note(digest="", kind=kind, value=plain)
        name = name_of(note)
        notes.setdefault(name, structs.replace(note, digest=name))
        return name

    def once(record: AnyLevel, described: tuple[str, ...]) -> AnyLevel:
        said = msgspec.to_builtins(structs.replace(record, seconds={}))
        place = digest([said["level"], {k: v for k, v in said.items() if k in described}])
        if not result.ok and place in known:
            found: AnyLevel = known[place]
            return found
        name = name_of(record)
        one: AnyLevel = known.setdefault(name, structs.replace(record, id=name))
        known.setdefault(place, one)
        return one

    of_set = once(
        SetRecord(
            id="?",
            **{name: getattr(result, name) for name in WHERE},
            evaluate=result.evaluate,
            data=result.data,
            **({name: getattr(result, name) for name in OF_SET} if result.ok else {}),
            **_level(result, "set", noted),
        ),
        (*WHERE, "evaluate", "data", *DESCRIBED),
    )
    student = once(
        StudentRecord(
            id="?",
            set=of_set.id,
            architecture=result.architecture,
            step=result.step,
            recipe=noted("recipe", result.recipe),
            **_level(result, "student", noted),
        ),
        ("set", "architecture", "step", "recipe", *DESCRIBED),
    )
    own = OF_PROBE if result.ok else DECLINED
    probe = ProbeRecord(
        student=student.id,
        versions=noted("versions", result.versions),
        environment=noted("environment", result.environment),
        **{name: getattr(result, name) for name in own},
        **_level(result, "probe", noted),
    )
    return of_set, student, probe


WHERE = ("dataset", "method", "ipc", "labels", "seed")
DECLINED = ("attack", "sampler", "reason", "protocol")
OF_PROBE = tuple(
    name
    for name in ProbeRecord.__struct_fields__
    if name not in (*Level.__struct_fields__, "id", "student", "versions", "environment")
)
_of_probe = attrgetter(*OF_PROBE)


def _level(result: Result, level: str, noted: Any) -> dict[str, Any]:
    """What all records have in common, of one level of a result."""

    def of(name: str) -> str:
        return result.scales[name].of if name in result.scales else "probe"

    found = {
        name: {k: v for k, v in getattr(result, name).items() if LEVEL_OF.get(k, "probe") == level}
        for name in ("parameters", "about", "code", "content", "passes", "seconds")
        if result.ok or name in DESCRIBED
    }
    if result.ok:
        for name in ("metrics", "refused", "scales"):
            found[name] = {k: v for k, v in getattr(result, name).items() if of(k) == level}
    return found | {name: noted(name, found.get(name)) for name in BY_DIGEST}


def joined(
    sets: Mapping[str, SetRecord],
    students: Mapping[str, StudentRecord],
    probes: Iterable[ProbeRecord],
    notes: Notes,
) -> Iterator[Result]:
    """The results of probes; all that they name must be given.

    What many of them say alike is one object: of a large board, most of its memory.
    """
    above: dict[tuple[str, bool], dict[str, Any]] = {}
    same: dict[Any, Any] = {}
    for probe in probes:
        key = (probe.student, not probe.reason)
        if key not in above:
            student = students[probe.student]
            above[key] = _above(sets[student.set], student, notes, not probe.reason, same)
        shared = above[key]
        fields = dict(zip(OF_PROBE, _of_probe(probe), strict=True))
        fields |= {name: same.setdefault(fields[name], fields[name]) for name in WORDS}
        for name in ("versions", "environment"):
            if named := getattr(probe, name):
                fields[name] = notes[named]
        for name in BLOCKS:
            if own := getattr(probe, name):
                both = {**shared[name], **own} if shared.get(name) else own
                fields[name] = _once(both, same) if name in ALIKE else both
        for name in BY_DIGEST:
            if named := getattr(probe, name):
                place = (name, id(shared.get(name)), named)  # `above` keeps it alive
                if place not in same:
                    same[place] = {**shared.get(name, {}), **notes[named]}
                fields[name] = same[place]
        yield Result(**{**shared, **fields})


def _above(
    of_set: SetRecord, student: StudentRecord, notes: Notes, ok: bool, same: dict[Any, Any]
) -> dict[str, Any]:
    """What the results of one student share; of those that were declined, what describes them."""

    def both(name: str) -> Any:
        found = {**_own(of_set, name, notes), **_own(student, name, notes)}
        return _once(found, same) if name in (*ALIKE, *BY_DIGEST) else found

    names = (*WHERE, "evaluate", *(OF_SET if ok else ()))
    fields = {name: getattr(of_set, name) for name in names}
    return {
        **{name: _once(v, same) if name == "bytes" else v for name, v in fields.items()},
        "data": _once(of_set.data, same),
        "architecture": same.setdefault(student.architecture, student.architecture),
        "step": student.step,
        "recipe": notes[student.recipe] if student.recipe else {},
        **{name: both(name) for name in (*BLOCKS, *BY_DIGEST) if ok or name in DESCRIBED},
    }


def _once(value: Any, same: dict[Any, Any]) -> Any:
    """The first object that was given with this content; of `same` type, within one call."""
    return same.setdefault(msgspec.json.encode(value), value)


def _own(record: Level, name: str, notes: Notes) -> dict[str, Any]:
    value = getattr(record, name)
    if name in BY_DIGEST:
        return notes[value] if value else {}
    found: dict[str, Any] = value
    return found


def valued(note: Note) -> Any:
    """The value of a note, typed. Raises msgspec.ValidationError if it is of another type."""
    return msgspec.convert(note.value, NOTES[note.kind])
