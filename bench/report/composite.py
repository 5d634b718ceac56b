"""Composite scores of other benchmarks: arithmetic over the figures of several cells.

DD-Ranking (Li et al., 2025, arXiv 2505.13300): HLR, IOR, LRS, ARS. BEARD (Zhou et al., 2024, arXiv
2411.09265): RR, AE, CREI. Formulas are those of their repositories. Rates are fractions; the
released code of DD-Ranking puts percents into its exponentials. The scores mean what their weights
and their pool of attacks mean, so a page has them with their inputs, and ranks by none.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from itertools import product
from operator import attrgetter
from statistics import fmean
from typing import Any

import pandas as pd

from bench.contract.errors import BenchError
from bench.contract.keys import canonical
from bench.records.result import Result
from bench.report.figures import rows_of
from bench.report.gains import HARD, Gain, gains, natural
from bench.report.model import (
    COUNT,
    KEYS,
    PERCENT,
    Block,
    Cell,
    Column,
    Form,
    Name,
    Paragraph,
    Section,
    Table,
    Value,
    budget,
)
from bench.report.numbers import ROW, Board, ball, row_of, scales

CONDENSED = "accuracy on the condensed set"
AUGMENTATION = ("crop", "flip", "resized_crop", "cutmix", "mixup", "dsa")  # fields of a recipe
WEIGHT = 0.5  # what both papers use of every weight
SCORE, POINTS = Form(".3f"), Form("+.1f", percent=True)
Spot = tuple[int, str, str]  # IPC, method, column

# ---- DD-Ranking


def hlr(real: float, condensed: float) -> float:
    """Hard label recovery: accuracy on all real data minus that on the set, both with hard labels.

    Fractions; lower is better (DD-Ranking). Raises BenchError for what is no fraction, as all
    below do.
    """
    return _fraction(real, "accuracy on real data") - _fraction(condensed, CONDENSED)


def ior(condensed: float, baseline: float) -> float:
    """Improvement over random: accuracy on the set minus that on random images, labels alike.

    Fractions; higher is better (DD-Ranking).
    """
    return _fraction(condensed, CONDENSED) - _fraction(baseline, "accuracy of the baseline")


def lrs(hlr: float, ior: float, weight: float = WEIGHT) -> float:
    """Label-robust score in [0, 1]: w IOR - (1 - w) HLR, through `_squashed` (DD-Ranking).

    `hlr` and `ior` are differences of fractions, in [-1, 1].
    """
    _fraction(weight, "weight")
    return _squashed(weight * _difference(ior, "ior") - (1 - weight) * _difference(hlr, "hlr"))


def ars(
    augmented: tuple[float, float], plain: tuple[float, float], weight: float = WEIGHT
) -> float:
    """Augmentation-robust score in [0, 1] (DD-Ranking): gains over random with and without it.

    Each pair is (accuracy on the set, accuracy on random images), as fractions; `weight` is that of
    the pair with augmentation.
    """
    _fraction(weight, "weight")
    return _squashed(weight * ior(*augmented) + (1 - weight) * ior(*plain))


def _squashed(x: float) -> float:
    """(e^x - e^-1) / (e - e^-1): from [-1, 1] to [0, 1]."""
    return (math.exp(x) - math.exp(-1)) / (math.e - math.exp(-1))


# ---- BEARD


def rr(clean: Sequence[float], attacked: Sequence[float]) -> float:
    """Robustness ratio: 1 - (mean clean - mean attacked) / (mean clean - min attacked) (BEARD).

    Accuracies as fractions: of clean images, one for each budget that is pooled, and under all
    attacks of these. It knows how far apart attacks are, not how strong: one attack gives 0, a
    weak one more raises it. NaN where no attack does anything.
    """
    before = fmean(_fraction(a, "accuracy on clean images") for a in clean)
    after = [_fraction(a, "accuracy under attack") for a in attacked]
    span = before - min(after)
    return 1 - (before - fmean(after)) / span if span else math.nan


def ae(clean: float, attacks: Sequence[float]) -> float:
    """Attack efficiency ratio: (mean cost - clean) / (max cost - clean) (BEARD).

    Costs of the clean images and of each attack, in one unit: BEARD has seconds by the clock.
    NaN where no attack costs anything.
    """
    span = max(attacks) - clean
    return (fmean(attacks) - clean) / span if span else math.nan


def crei(rr: float, ae: float, weight: float = WEIGHT) -> float:
    """Comprehensive robustness-efficiency index: w RR + (1 - w) AE (BEARD)."""
    _fraction(weight, "weight")
    return weight * rr + (1 - weight) * ae


def _fraction(value: float, name: str) -> float:
    if not 0 <= value <= 1:
        raise BenchError(
            f"{name} is {value!r}; expected a fraction in [0, 1]; divide percents by 100"
        )
    return value


def _difference(value: float, name: str) -> float:
    if not -1 <= value <= 1:
        raise BenchError(f"{name} is {value!r}; expected a difference of fractions, in [-1, 1]")
    return value


# ---- the page


def sections(board: Board, records: Sequence[Result], table: pd.DataFrame) -> tuple[Section, ...]:
    """ "Composite scores", with a table for each place that has the inputs; nothing without any.

    `table` is that of `figures.tidy`, of the same records. The full set is the board's first
    ceiling that was measured.
    """
    metric, column = board.metrics[0], natural(board, records)
    scale = scales(board, records).get(metric)
    if not column or not scale or not scale.rate or scale.better != "higher":
        return ()
    means: dict[tuple[Any, ...], dict[Spot, float]] = defaultdict(dict)
    of_metric = table.loc[table["metric"] == metric, [*ROW, "column", "mean"]]
    for *where, ipc, method, attack, mean in rows_of(of_metric):
        means[tuple(where)][ipc, method, attack] = mean
    over: dict[tuple[Any, ...], list[Gain]] = defaultdict(list)
    for gain in gains(board, records, board.baseline):
        over[gain.dataset, gain.architecture, gain.labels].append(gain)
    of_places: dict[tuple[Any, ...], list[Result]] = defaultdict(list)
    trained: dict[tuple[str, str], dict[Any, Result]] = defaultdict(dict)  # one a kind of student
    for record in (r for r in records if r.ok):
        of_places[row_of(record)[:3]].append(record)
        kind = (record.architecture, record.ipc, *map(id, _training(record)))
        trained[record.dataset, record.labels].setdefault(kind, record)
    parts: list[Section] = []
    for place in product(board.datasets, board.architectures, board.labels):
        hard = means.get((*place[:2], HARD), {})
        full = next(((0, c, column) for c in board.ceiling if (0, c, column) in hard), None)
        blocks: list[Block] = []
        if full and over[place]:
            blocks.append(_dd_ranking(board, over[place], hard, full))
        for plain in _without_augmentation(place[1], trained[place[0], place[2]].values()):
            blocks += _ars(board, over[place], over[place[0], plain, place[2]], column)
        blocks += _beard(board, of_places[place], means.get(place, {}), column)
        if blocks:
            dataset, architecture, labels = place
            parts.append(Section(f"{dataset} · {architecture} · {labels} labels", tuple(blocks)))
    said = "Scores by which other benchmarks rank, with their inputs; nothing here ranks by them."
    return (Section("Composite scores", (Paragraph((said,)), *parts)),) if parts else ()


def _dd_ranking(
    board: Board, found: Sequence[Gain], hard: Mapping[Spot, float], full: Spot
) -> Table:
    """HLR of students with hard labels, IOR with the labels of the place, and LRS of both."""
    labels, column, baseline = found[0].labels, full[2], board.baseline
    by_row = {(gain.ipc, gain.method): gain for gain in found}
    soft = () if labels == HARD else (f"Method, {labels} labels",)
    inputs = (
        f"{full[1]}, hard labels",
        "Method, hard labels",
        *soft,
        f"{baseline}, {labels} labels",
    )
    rows: list[tuple[Cell, ...]] = []
    for ipc, method in board.rows:
        gain, own = by_row.get((ipc, method)), hard.get((ipc, method, column))
        if gain is None or own is None:
            continue
        recovery, gained = hlr(hard[full], own), ior(gain.of_method, gain.of_baseline)
        notes = (f"of {gain.over}, labelled by the same teacher",) if gain.over != baseline else ()
        accuracies = (hard[full], own, *((gain.of_method,) if soft else ()))
        rows.append(
            (
                *(budget(ipc), Name(method, board.role(method))),
                *(Value(accuracy, form=PERCENT) for accuracy in accuracies),
                Value(gain.of_baseline, form=PERCENT, notes=notes),
                *(Value(difference, form=POINTS) for difference in (recovery, gained)),
                Value(lrs(recovery, gained), form=SCORE),
            )
        )
    caption = (
        f"DD-Ranking (arXiv 2505.13300), w = {WEIGHT}, on {column}. HLR: {full[1]} minus method, "
        f"hard labels, in points (lower is better). IOR: method minus {baseline}, {labels} labels, "
        "in points (higher is better). LRS: in [0, 1] (higher is better)."
    )
    heads = (*KEYS, *map(Column, (*inputs, "HLR", "IOR", "LRS")))
    return Table(heads, tuple(rows), ((caption,),))


_training = attrgetter("recipe", "code", "parameters")


def _without_augmentation(network: str, records: Collection[Result]) -> list[str]:
    """Names of a network where its recipe is the same, but for no augmentation.

    A recipe belongs to a board, and may depend on the network's name: so one has siblings.
    """
    augmented: dict[str, set[bool]] = defaultdict(set)
    for r in records:
        augmented[r.architecture].add(any(r.recipe.get(name) for name in AUGMENTATION))
    if augmented.get(network) != {True} or {False} not in augmented.values():
        return []
    rest: dict[str, set[str]] = defaultdict(set)
    for r in records:
        others = {k: v for k, v in r.recipe.items() if k not in AUGMENTATION}
        built = (r.code.get("architecture"), r.parameters.get("architecture"))
        rest[r.architecture].add(canonical([r.ipc, built, others]))
    return [n for n in rest if augmented[n] == {False} and rest[n] <= rest[network]]


def _ars(board: Board, found: Sequence[Gain], plain: Sequence[Gain], column: str) -> list[Table]:
    """ARS of the methods whose gains are known with augmentation and without."""
    without = {(gain.ipc, gain.method): gain for gain in plain}
    both = [(g, without[g.ipc, g.method]) for g in found if (g.ipc, g.method) in without]
    if not both:
        return []
    by_row = {(gain.ipc, gain.method): (gain, other) for gain, other in both}
    rows: list[tuple[Cell, ...]] = []
    for ipc, method in board.rows:
        if pair := by_row.get((ipc, method)):
            augmented, plainly = ((one.of_method, one.of_baseline) for one in pair)
            inputs = (Value(accuracy, form=PERCENT) for accuracy in (*augmented, *plainly))
            score = Value(ars(augmented, plainly), form=SCORE)
            rows.append((budget(ipc), Name(method, board.role(method)), *inputs, score))
    one, other = both[0]
    caption = (
        f"DD-Ranking (arXiv 2505.13300), w = {WEIGHT}, on {column}. ARS: of the gains over "
        f"{board.baseline} with {one.architecture}, and with {other.architecture}, the same "
        "network trained without augmentation; in [0, 1] (higher is better)."
    )
    names = (one.architecture, other.architecture)
    heads = (f"{who}, {name}" for name in names for who in ("Method", board.baseline))
    return [Table((*KEYS, *map(Column, heads), Column("ARS")), tuple(rows), ((caption,),))]


def _beard(
    board: Board, records: Sequence[Result], means: Mapping[Spot, float], column: str
) -> list[Block]:
    """The table of a place where two attacks in a ball or more have met all rows.

    Noise is no attack. A score depends on its pool, so that all rows have the same.
    """
    pool = {r.column for r in records if ball(r) and r.attack_search != "noise"}
    met = {
        row: {attack for attack in pool if (*row, attack) in means}
        for row in board.rows
        if (*row, column) in means
    }
    met = {row: attacks for row, attacks in met.items() if attacks}
    attacks = [a for a in board.attacks if met and a in set.intersection(*met.values())]
    if len(attacks) < 2:
        return []
    costs: dict[Spot, list[float]] = defaultdict(list)
    for r in records:
        if r.images and "probe" in r.passes:
            passes = r.passes["probe"]
            costs[r.ipc, r.method, r.column].append((passes.forward + passes.backward) / r.images)
    cost = {spot: fmean(found) for spot, found in costs.items()}
    rows: list[tuple[Cell, ...]] = [
        (
            *(budget(row[0]), Name(row[1], board.role(row[1]))),
            *_scores([(*row, one) for one in (column, *attacks)], means, cost),
        )
        for row in met
    ]
    left = [attack for attack in board.attacks if attack in pool - {*attacks}]
    without = f" Not {', '.join(left)}, which some rows lack." if left else ""
    caption = (
        f"BEARD (arXiv 2411.09265), w = {WEIGHT}, attacks: {', '.join(attacks)}.{without} RR, AE "
        "and CREI are fractions, accuracies percents. AE is of passes through the network, forward "
        "and back, an image; BEARD has seconds."
    )
    inputs = (column, "Mean attacked", "Lowest attacked", "Mean passes", "Most passes")
    heads = (*KEYS, *map(Column, (*inputs, "RR", "AE", "CREI")))
    return [Table(heads, tuple(rows), ((caption,),))]


def _scores(
    spots: Sequence[Spot], means: Mapping[Spot, float], cost: Mapping[Spot, float]
) -> tuple[Cell, ...]:
    """The figures of a row; its first spot is that of the clean images."""
    clean, *attacked = (means[spot] for spot in spots)
    ratio = rr([clean], attacked)
    inputs = [Value(one, form=PERCENT) for one in (clean, fmean(attacked), min(attacked))]
    spent = [cost[spot] for spot in spots[1:] if spot in cost]
    if len(spent) < len(attacked):
        return *inputs, Value(), Value(), _score(ratio), Value(), Value()
    efficiency = ae(cost.get(spots[0], 0.0), spent)
    passes = [Value(one, form=COUNT) for one in (fmean(spent), max(spent))]
    return *inputs, *passes, *map(_score, (ratio, efficiency, crei(ratio, efficiency)))


def _score(value: float) -> Value:
    """A score; none where it is not defined."""
    return Value() if math.isnan(value) else Value(value, form=SCORE)
