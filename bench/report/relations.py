"""What must hold between the robust numbers of one student; where it does not, a flag says so.

A pure function of which images are right under which attack, the same for measured records and
for numbers in print: an ensemble is no weaker than its like and not far stronger than what
follows gradients, a larger ball no easier, and an attack that sees no gradients does not beat one
that follows them (Carlini et al., 2019; Athalye et al., 2018). A broken relation is no proof, but
a number that breaks one is not to be trusted. The same holds of what a probe has seen of the
slope of a student (`bench.training.masking`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from statistics import fmean

from msgspec import structs

from bench.records.result import Result
from bench.report.numbers import row_of

TOLERANCE = 0.01  # of the images: what seeds and random starts may do
SAME_RADIUS = 1e-4  # what a board rounds off a radius, and what is shown as one
FAR = 0.1  # of the images, that gradients may leave more than an ensemble; honest: 0 to 0.05
VANISHED = 0.05  # share of the images without a gradient from which it is told
HONEST = (0.5, 2.0)  # what a step changes, by what the slope says, in the worst tenth of images
UNFINISHED = 0.25  # of the images, that more steps may fell: cross-entropy leaves 0 to 0.25
AFTERWARDS = 0.002  # of the images, that a blind part may take after the others (AutoAttack's own)

SHARE = 0.009  # of the images that stand, as an example of what a sample may miss
RISK = 0.05  # of the bound on what it has missed

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
        if claims:
            return f"weaker than {_a(other.search)} attack ({left}): {why}"
        follows = one.search == "iterative" and other.search == "ensemble"
        far = one.standing > other.standing + FAR
        return f"far weaker than {_a(other.search)} ({left}): misled?" if follows and far else ""
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


def noted(record: Result, *, joined: bool = False) -> tuple[str, ...]:
    """The footnotes of a record's flags; in a column that joins attacks, they name theirs."""
    if not record.flags:
        return ()
    of = f" of {record.column}" if joined else ""
    return tuple(f"flag{of}: {flag}" for flag in record.flags)


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
        for (name, one), (other_name, other) in combinations(by_attack.items(), 2):
            seeds = [s for s in sorted({*one} & {*other}) if _seen(one[s]) == _seen(other[s])]
            if not seeds:
                continue
            mine, theirs = (_attacked([group[s] for s in seeds]) for group in (one, other))
            if said := breach(mine, theirs, other_name):
                found[*place, name].append(said)
            if said := breach(theirs, mine, name):
                found[*place, other_name].append(said)
        for name, group in by_attack.items():
            if doubts := _suspicions([*group.values()]):
                found[*place, name] += doubts
    return {cell: tuple(sentences) for cell, sentences in found.items()}


def _suspicions(group: Sequence[Result]) -> list[str]:
    """What the probes of an attack, of all seeds, have seen that honest students do not show."""
    found = []
    if (share := max(record.no_gradient for record in group)) > VANISHED:
        found.append(f"the loss has no gradient at up to {share:.0%} of the images: masked?")
    if share := max(record.not_finite for record in group):
        found.append(f"the gradient is no number at up to {share:.1%} of the images: masked?")
    if odd := [record.slope or 0.0 for record in group if masks(record, "slope")]:
        found.append(
            f"a step along the slope changes the margin by {min(odd) + 0.0:.2g} of what it says: "
            "masked?"
        )
    if (share := max(record.fell_further for record in group)) > UNFINISHED:
        found.append(f"a few more steps along the margin fell {share:.0%} of the images: too weak?")
    if (share := max(map(_taken_blindly, group))) > AFTERWARDS:
        found.append(
            f"its blind search took up to {share:.1%} of the images after all gradients: masked?"
        )
    found += _missed(group)
    return found


def _missed(group: Sequence[Result]) -> list[str]:
    """What the samples of an attack, drawn of the images that stood, may have missed."""
    drawn = [record.sampled for record in group if record.sampled]
    looked, of = sum(n for n, _ in drawn), sum(total for _, total in drawn)
    if looked >= of:
        return []
    chance = (1 - SHARE) ** looked
    most = 1 - RISK ** (1 / looked)
    said = (
        f"its last parts looked at {looked} of {of} images that stood, and fell none: that misses "
        f"a share of {SHARE:.1%} with a probability of {chance:.2g}; with {1 - RISK:.0%}, no more "
        f"than {most:.1%} of them would fall"
    )
    return [said]


def masks(record: Result, name: str) -> bool:
    """Does the field `slope` or `parts` of a record say that its student masks its slope?"""
    if name == "parts":
        return _taken_blindly(record) > AFTERWARDS
    return record.slope is not None and not HONEST[0] <= record.slope <= HONEST[1]


def _taken_blindly(record: Result) -> float:
    """The share of the images that the blind parts of an ensemble fell after the others."""
    taken, left = 0, record.images
    for number, part in enumerate(record.parts):
        if number and part.search == "black-box":
            taken += left - part.standing
        left = part.standing
    return taken / record.images if record.images else 0.0


def _seen(record: Result) -> tuple[object, ...]:
    return record.images_hash, record.content.get("student")


def _attacked(group: Sequence[Result]) -> Attacked:
    first = group[0]
    return Attacked(
        first.attack_search,
        first.norm,
        first.eps or 0.0,
        first.attack_family,
        fmean([record.share for record in group]),
    )


def _a(search: str) -> str:
    return f"an {search}" if search[0] in "aeiou" else f"a {search}"
