"""What must hold between the robust numbers of one student; where it does not, a flag says so.

A pure function of which images are right under which attack, the same for measured records and
for numbers in print: an ensemble is no weaker than its like, a larger ball no easier, and an attack
that sees no gradients does not beat one that follows them (Carlini et al., 2019; Athalye et al.,
2018). A broken relation is no proof, but a number that breaks one is not to be trusted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from msgspec import structs

from bench.records.result import Result, unpack
from bench.report.numbers import row_of

TOLERANCE = 0.01  # of the images: what seeds and random starts may do
SAME_RADIUS = 1e-4  # what a board rounds off a radius, and what is shown as one
VANISHED = 0.05  # share of the images without a gradient from which it is told

NO_WEAKER = {
    "single-step": {"noise"},
    "black-box": {"noise"},
    "iterative": {"noise", "single-step", "black-box"},
    "ensemble": {"noise", "single-step", "black-box", "iterative"},
}
"""The searches that each should be at least as strong as."""

MASKED = {"noise", "black-box", "single-step"}  # beating gradients, they tell of masked ones


@dataclass(frozen=True)
class Attacked:
    """What an attack left standing of one student."""

    search: str  # one of `kinds.SEARCHES`; "" makes no claim
    norm: str
    eps: float
    family: str  # attacks of one family differ in eps alone
    standing: float  # share of the images that stay right


def broken(attacks: Mapping[str, Attacked]) -> dict[str, list[str]]:
    """The relations that the attacks on one student break, as sentences by attack."""
    found: dict[str, list[str]] = defaultdict(list)
    for (name, one), (other_name, other) in permutations(attacks.items(), 2):
        if said := breach(one, other, other_name):
            found[name].append(said)
    return found


def breach(one: Attacked, other: Attacked, other_name: str) -> str:
    """What is odd about `one`, seen beside another attack on the same student; or ""."""
    if one.norm != other.norm or one.standing <= other.standing + TOLERANCE:
        return ""
    left = f"{other_name} leaves {other.standing:.1%}, this {one.standing:.1%}"
    claims = other.search in NO_WEAKER.get(one.search, ())
    if abs(one.eps - other.eps) < SAME_RADIUS:
        why = "masked gradients?" if other.search in MASKED else "too weak?"
        return f"weaker than {_a(other.search)} attack ({left}): {why}" if claims else ""
    if one.eps > other.eps and (claims or one.family == other.family):
        return f"weaker than in a smaller ball ({left})"
    return ""


def flagged(records: Sequence[Result]) -> list[Result]:
    """The records of a board, with the sentences about their cells among their flags."""
    said = flags(records)
    found = []
    for record in records:
        if sentences := said.get((*row_of(record), record.column)):
            record = structs.replace(record, flags=(*record.flags, *sentences))
        found.append(record)
    return found


def flags(records: Iterable[Result]) -> dict[tuple[object, ...], tuple[str, ...]]:
    """The sentences about every cell (`numbers.ROW` and attack) of a board's records.

    Two attacks are compared on the seeds on which both saw one student and the same images.
    """
    cells: dict[tuple[object, ...], dict[str, dict[int, Result]]] = defaultdict(dict)
    for record in records:
        if record.ok and record.norm and record.correct:
            cells[row_of(record)].setdefault(record.attack, {})[record.seed] = record
    found: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for place, by_attack in cells.items():
        for (name, one), (other_name, other) in permutations(by_attack.items(), 2):
            seeds = [s for s in sorted({*one} & {*other}) if _seen(one[s]) == _seen(other[s])]
            if not seeds:
                continue
            mine, theirs = (_attacked([group[s] for s in seeds]) for group in (one, other))
            if said := breach(mine, theirs, other_name):
                found[*place, name].append(said)
        for name, group in by_attack.items():
            share = max(record.no_gradient for record in group.values())
            if share > VANISHED:
                found[*place, name].append(
                    f"the loss has no gradient at up to {share:.0%} of the images: masked?"
                )
    return {cell: tuple(sentences) for cell, sentences in found.items()}


def _seen(record: Result) -> tuple[object, ...]:
    return record.images_hash, record.content.get("student")


def _attacked(group: Sequence[Result]) -> Attacked:
    shares = [np.mean(unpack(record.correct, record.images)) for record in group]
    first = group[0]
    return Attacked(
        first.attack_search,
        first.norm,
        first.eps or 0.0,
        first.attack_family,
        float(np.mean(shares)),
    )


def _a(search: str) -> str:
    return f"an {search}" if search[0] in "aeiou" else f"a {search}"
