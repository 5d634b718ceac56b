"""Do the committed records of a board still hold?"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from msgspec import structs

from bench.board.matrix import Cell
from bench.contract import keys
from bench.records.record import Scale
from bench.records.result import STANDARD_ERRORS, Result, by_chance, rounded
from bench.report.relations import masks
from bench.report.standing import SAME

ASIDE = {
    "seconds",
    "peak_mb",
    "environment",
    "versions",
}  # may differ without a result being another
STATED = (
    *("evaluate", "recipe", "parameters", "data", "images", "images_hash", "norm", "eps", "size"),
    *("bytes", "attack_search", "attack_family"),
)
LIKE_SLOPES = 0.05  # how far `no_gradient` and `not_finite` may differ elsewhere
LIKE_STEPS = 0.15  # how far `fell_further` may: of 32 images, five
LIKE_COSTS = 2  # by which factor passes may, but for those of an attack, which may stop early
LIKE_MOVES = 10  # by which factor what an attack takes and moves may
TOGETHER = 4  # standard errors that several students may lie off together: they scatter about 0


def misstated(board: Path, results: Iterable[Result]) -> list[str]:
    """One sentence for every figure that should be the share of the images that are right, as most
    figures of its metric are, and is another."""
    shares: dict[str, list[tuple[Result, float]]] = defaultdict(list)
    for result in results:
        if result.ok and result.correct:
            share = result.share
            for metric, scale in result.scales.items():
                if metric in result.metrics and scale.rate and scale.of == "probe":
                    shares[metric].append((result, share))
    found = []
    for metric, figures in shares.items():
        off = [(one, share) for one, share in figures if abs(one.metrics[metric] - share) > SAME]
        if 2 * len(off) < len(figures):
            found += [
                f"{board}: {one.words}: {metric} is {one.metrics[metric]:g}, and {share:g} of its "
                "images are right; measure the cell again"
                for one, share in off
            ]
    return found


def sample(cells: Sequence[Cell], count: int, salt: str) -> tuple[Cell, ...]:
    """`count` cells, drawn by a hash of the coordinate and `salt`: a choice is not possible."""
    drawn = sorted(cells, key=lambda cell: keys.digest([salt, *cell.coordinate]))
    return tuple(sorted(drawn[:count], key=cells.index))


def missing(cells: Sequence[Cell], records: Iterable[Result]) -> list[str]:
    """One sentence if some cells of a board have no record: rows may not vanish."""
    known = {record.coordinate for record in records}
    lost = [cell for cell in cells if cell.coordinate not in known]
    words = " ".join(map(str, lost[0].coordinate)) if lost else ""
    have = "cell has" if len(lost) == 1 else "cells have"
    return [f"{len(lost)} {have} no committed record, as {words}"] if lost else []


def disagreements(committed: Iterable[Result], recomputed: Iterable[Result]) -> list[str]:
    """One sentence for every committed record that a recomputation does not bear out.

    On a machine like the one that a record comes from, and wherever the probe has given the same
    bytes, all but cost and versions must be equal. Elsewhere (other processors round differently,
    and training amplifies that) what the board states must be, a rate must lie within four standard
    errors of a difference of two proportions and any other number within a tenth. A rate of part of
    the images, as of the worst class, is hardly held to there: another training may be far off in
    one class. Which machine it comes from is what the record says; so how wide an interval is, the
    recomputation says, and all students together must not lie to one side.
    """
    known = {r.coordinate: r for r in committed}
    found, elsewhere = [], []
    for new in map(rounded, recomputed):
        words = " ".join(map(str, new.coordinate))
        old = known.get(new.coordinate)
        if old is None:
            found.append(f"{words}: has no committed record")
        elif old.status != new.status:
            found.append(f"{words}: is {old.status}; recomputed, it is {new.status}")
        elif faults := [*_metrics_differ(old, new), *_facts_differ(old, new)]:
            found.append(f"{words}: {'; '.join(faults[:3])}")
        elif not _alike(old, new):
            elsewhere.append((old, new))
    return found + _to_one_side(elsewhere)


def _alike(old: Result, new: Result) -> bool:
    """Must two results be equal: of one kind of machine, or of the same bytes?"""
    probe = new.content.get("probe")
    return old.environment == new.environment or bool(probe and old.content.get("probe") == probe)


def _to_one_side(pairs: Iterable[tuple[Result, Result]]) -> list[str]:
    """One sentence where the shares of several students lie off the recomputed ones together.

    What another machine changes has no direction. Who says of each record that it is from another
    machine, to raise it by as much as its interval allows, is told by the sum.
    """
    off: dict[str, dict[Any, list[float]]] = defaultdict(lambda: defaultdict(list))
    for old, new in pairs:
        for name in new.metrics:
            if new.scales[name].rate and _is_share(new, name):
                error = by_chance(old.metrics[name], new.metrics[name], new.images)
                student = (*new.coordinate[:5], new.seed)  # whose attacks are not independent
                distance = (old.metrics[name] - new.metrics[name]) * STANDARD_ERRORS / error
                off[name][student].append(distance)
    found = []
    for name, students in off.items():
        mean = fmean(fmean(distances) for distances in students.values())
        if len(students) > 1 and abs(mean) * math.sqrt(len(students)) > TOGETHER:
            found.append(
                f"{name} of {len(students)} students lies {abs(mean):.1f} standard errors "
                f"{'above' if mean > 0 else 'below'} what is recomputed, on average; another "
                "machine moves them to both sides"
            )
    return found


def compared(committed: Iterable[Result], measured: Iterable[Result], board: str) -> str:
    """One sentence: are the figures of a run equal to committed ones, or as near as they must be?

    As near as `disagreements` wants them; cells that one side lacks are left out, and metrics that
    are held to nothing on another machine are named.
    """
    known = {r.coordinate: r for r in committed}
    pairs = [(known[c], r) for r in map(rounded, measured) if (c := r.coordinate) in known]
    if not pairs:
        return f"{board} has no records of these cells to compare with"
    moved = [(a, b) for a, b in pairs if (a.status, a.metrics) != (b.status, b.metrics)]
    if not moved:
        return f"all {len(pairs)} records have the figures of those of {board}"
    wrong = [
        f"{' '.join(map(str, new.coordinate))}: {faults[0]}"
        for old, new in moved
        if (faults := _status_differs(old, new) or _metrics_differ(old, new))
    ]
    if not wrong:
        free = {name for a, b in moved for name in b.metrics if _allowed(a, b, name) == 1.0}
        but = f"; {', '.join(sorted(free))} may differ freely" if free else ""
        return (
            f"all {len(pairs)} records agree with those of {board} within their intervals "
            f"({len(moved)} are not equal: another machine rounds differently{but})"
        )
    return f"{len(wrong)} of {len(pairs)} records do not agree with those of {board}: {wrong[0]}"


def _status_differs(old: Result, new: Result) -> list[str]:
    same = old.status == new.status
    return [] if same else [f"is {old.status}; measured anew, it is {new.status}"]


def _metrics_differ(old: Result, new: Result) -> list[str]:
    found = []
    for name in {**old.metrics, **new.metrics}:
        a, b = old.metrics.get(name), new.metrics.get(name)
        if a is None or b is None or abs(a - b) > _allowed(old, new, name) + 1e-6:
            found.append(f"{name} is {_shown(a)}; recomputed, it is {_shown(b)}")
        elif _is_share(new, name) and not _is_share(old, name):
            found.append(f"{name} is {_shown(a)}, which is not the share of its packed bits")
        elif _allowed(old, new, name) >= 1 and (said := _over(old, new, name)):
            found.append(f"{name} is {_shown(a)}, {said}")
    return found


def _over(old: Result, new: Result, metric: str) -> str:
    """What is odd about a rate that is held to nothing: it lies on another side of its share."""
    if not (old.correct and new.correct and new.scales[metric].rate):
        return ""
    off = [one.metrics[metric] - one.share for one in (old, new)]
    if off[0] * off[1] < 0 and abs(off[0]) > SAME:
        side = "above" if off[0] > 0 else "below"
        return f"{side} the share of its right images; recomputed, it is not"
    return ""


def _is_share(record: Result, metric: str) -> bool:
    """Does the metric equal the share of the images that are right?"""
    return bool(record.correct) and abs(record.metrics[metric] - record.share) < 1e-5


def _facts_differ(old: Result, new: Result) -> list[str]:
    alike = _alike(old, new)
    names = {*Result.__struct_fields__} - ASIDE - {"metrics"} if alike else {*STATED}
    wrong = {name for name in names if not _same(getattr(old, name), getattr(new, name))}
    if old.content and old.content == new.content:
        wrong -= {"code", "attack_family"}  # other code, as after a refactoring, and the same bytes
    wrong |= {name for name in ("no_gradient", "not_finite") if _off(name, old, new) > LIKE_SLOPES}
    wrong |= {"fell_further"} if _off("fell_further", old, new) > LIKE_STEPS else set()
    wrong |= {name for name in ("slope", "parts") if masks(new, name) and not masks(old, name)}
    wrong |= {name for name in ("passes", "perturbation") if not _near(name, old, new)}
    wrong |= {"scales"} if _read(old) != _read(new) else set()
    return [f"its {name} is not what is recomputed" for name in sorted(wrong)]


def _off(name: str, old: Result, new: Result) -> float:
    return abs(getattr(old, name) - getattr(new, name))  # type: ignore[no-any-return]


def _near(name: str, old: Result, new: Result) -> bool:
    """Are costs, or what an attack has moved, of the same order?"""
    one, other = getattr(old, name), getattr(new, name)
    if one.keys() != other.keys():
        return False
    for role, amounts in one.items():
        factor = LIKE_COSTS if name == "passes" and role != "probe" else LIKE_MOVES
        for a, b in zip(structs.astuple(amounts), structs.astuple(other[role]), strict=True):
            if max(a, b) > factor * min(a, b):
                return False
    return True


def _read(record: Result) -> dict[str, tuple[str, str]]:
    """How its figures are read."""
    known = record.scales.items()
    return {name: (scale.better, scale.unit) for name, scale in known if name in record.metrics}


def _same(old: Any, new: Any) -> bool:
    """Are two facts one? Records of 0.1.0 had six decimals, and did not say what metrics look at.

    A setting that was rounded to nothing says nothing, and is not the same.
    """
    if isinstance(old, float) and isinstance(new, float):
        return old == new or (old != 0 and old == round(new, 6))
    if isinstance(old, Scale) and isinstance(new, Scale):
        return old == structs.replace(new, of=old.of)
    if isinstance(old, dict) and isinstance(new, dict):
        return old.keys() == new.keys() and all(_same(old[key], new[key]) for key in old)
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(_same, old, new))
    return bool(old == new)


def _allowed(old: Result, new: Result, metric: str) -> float:
    if _alike(old, new):
        return 0.0
    a, b = old.metrics[metric], new.metrics[metric]
    if tolerance := new.scales[metric].tolerance:  # what the component says, not the record
        absolute, relative = tolerance
        return absolute + relative * abs(a)
    if not new.scales[metric].rate:
        return 0.1 * abs(a)
    if new.correct and not _is_share(new, metric):  # the record may claim anything
        return 1.0  # of part of the images: what another training makes of one class is not known
    return by_chance(a, b, new.images)


def _shown(value: float | None) -> str:
    return "missing" if value is None else f"{value:.6g}"
