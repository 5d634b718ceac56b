"""Why a stage is made again: which fields of its key differ from those of the one made before."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.contract.errors import said
from bench.contract.keys import canonical
from bench.engine.estimate import Look
from bench.engine.scheduler import Engine
from bench.stages.stage import Stage
from bench.store.store import DONE

ABSENT = "nothing"  # what a field was, or is, that only the other key has

WORDS = {
    "data": "the data changed",
    "classes": "the names of the classes changed",
    "facts": "the shape, the statistics or the flip of the data changed",
}
UNKNOWN = "an earlier version made it, which did not keep what its key is made of"

LONGEST = 60  # characters of a value

Path = tuple[str, ...]


@dataclass(frozen=True)
class Reason:
    """A stage that would be run, and why; and those that follow from it alone, by kind."""

    stage: Stage
    sentence: str
    below: Mapping[str, int]

    def __str__(self) -> str:
        follow = ", ".join(f"{n} {kind}" for kind, n in self.below.items())
        text = f"{self.stage.title}: {self.sentence}"
        return f"{text} (so are those below it: {follow})" if follow else text


@dataclass(frozen=True)
class Reasons:
    """Why stages would be run: those made before, and how many have never been, by kind."""

    again: tuple[Reason, ...]
    new: Mapping[str, int]


def why(engine: Engine, found: Look) -> Reasons:
    """Why the missing stages of a plan would be run.

    A stage is compared with those in the store that have its title: the one that differs least,
    and the latest of these. One that differs in nothing but what is told of a stage above, or in
    its result, follows from that and is not told of on its own.
    """
    before = _earlier(engine, {(stage.kind, stage.title) for stage in found.missing})
    missing = {stage.id for stage in found.missing}
    told: dict[str, list[str]] = {}
    heard_of: dict[str, set[str]] = {}  # of a stage or of one above it
    below: dict[str, Counter[str]] = {}
    root: dict[str, str] = {}  # the stage from which one follows, both by id
    new: Counter[str] = Counter()
    for stage in found.missing:
        known = before.get((stage.kind, stage.title))
        if not known:
            new[stage.kind] += 1
            continue
        above = [one for one in stage.above.values() if one.id in missing]
        changes = _least(engine, stage, found, known)
        roots = [root[one.id] for one in above if one.id in root]
        heard = {change for one in above for change in heard_of.get(one.id, ())}
        heard_of[stage.id] = heard.union(changes)
        changes = [change for change in changes if change not in heard]
        if roots and not changes:
            root[stage.id] = roots[0]
            below[roots[0]][stage.kind] += 1
        else:
            told[stage.id] = changes or [f"{one.title} is new" for one in above]
            root[stage.id], below[stage.id] = stage.id, Counter()
    again = [stage for stage in found.missing if stage.id in told]
    return Reasons(tuple(Reason(s, "; ".join(told[s.id]), below[s.id]) for s in again), new)


def _earlier(
    engine: Engine, wanted: Collection[tuple[str, str]]
) -> dict[tuple[str, str], list[Any]]:
    """What the keys of finished stages were made of, by kind and title, the latest first."""
    found: dict[tuple[str, str], list[tuple[float, Any]]] = defaultdict(list)
    for one in engine.store.finished():
        inputs = one.inputs if isinstance(one.inputs, Mapping) else {}
        place = (one.stage, str(inputs.get("title")))
        if place in wanted:
            done = engine.store.folder(one.stage, one.key) / DONE
            found[place].append((done.stat().st_mtime, inputs.get("key")))
    latest_first = {k: sorted(v, key=lambda made: -made[0]) for k, v in found.items()}
    return {place: [key for _, key in made] for place, made in latest_first.items()}


def _least(engine: Engine, stage: Stage, found: Look, known: Sequence[Any]) -> list[str]:
    """The fewest changes that lead from an earlier key to that of a stage."""
    contents = {one.id: found.contents.get(one.id) for one in stage.above.values()}
    now = json.loads(canonical(engine.inputs(stage, contents)["key"]))
    unknown = [
        ("spec", *name.split("."))
        for name, one in stage.above.items()
        if one.id not in found.contents
    ]
    choices = []
    for was in known:
        if isinstance(was, Mapping):
            changed = _changed(was, now)
            own = [one for one in changed if not any(one[0][: len(u)] == u for u in unknown)]
            choices.append([_sentence(stage, *one) for one in own])
    return min(choices, key=len) if choices else [UNKNOWN]


def _changed(was: Any, now: Any, path: Path = ()) -> Iterator[tuple[Path, Any, Any]]:
    """Where two JSON values differ, and what stands there."""
    if isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        was, now = (dict(zip(map(str, range(len(v))), v, strict=True)) for v in (was, now))
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        for name in sorted({*was, *now}):
            yield from _changed(was.get(name, ABSENT), now.get(name, ABSENT), (*path, name))
    elif canonical(was) != canonical(now):
        yield path, was, now


def _sentence(stage: Stage, path: Path, was: Any, now: Any) -> str:
    """A change in the words of a board."""
    place = path[1:] if path[0] == "spec" else path
    if place[0] in WORDS:
        return WORDS[place[0]]
    for name, one in stage.above.items():
        where = tuple(name.split("."))
        if place[: len(where)] == where:
            rest = place[len(where) :]
            if rest[:1] != ("1",):  # see `Stage.hashed`: content, and network
                return f"the result of '{one.title}' changed"
            place = (f"network of {name}", *rest[1:])
    match place:
        case (part, "code"):
            component = stage.inputs.get(part)
            return f"the code of '{getattr(component, 'name', part)}' changed"
        case (part, "fields", name):
            place = (part, name)
        case (*_, "requires", name):
            place = (name,)
    return f"{'.'.join(place)} was {_shown(was)}, is {_shown(now)}"


def _shown(value: Any) -> str:
    return said((value or '""') if isinstance(value, str) else canonical(value), LONGEST)
