"""Which orderings in print hold: neighbours in rank, tested against their own ±.

A paper ranks methods by their means. Of each two neighbours in a column, Welch's t test (1947)
says whether means, ± and number of runs tell them apart; Holm's step-down (1979) keeps a column
at 5 %. It sees what is in print alone: neither the choice of test images, nor runs that were
paired.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from bench.report import model
from bench.report.matched import Printed
from bench.report.model import Block, Column, Form, Items, Name, Page, Paragraph, Section, Span
from bench.report.published import ASSUMED, InPrint, Table, Value, spread_said
from bench.report.verdicts import holm

LEVEL = 0.05
BUDGET = ", IPC "  # before the budget, in the name of a row
FEWER = 3  # runs, the other number that is common where a source says none


@dataclass(frozen=True)
class Ranking:
    """A table in print as columns that rank rows: column -> row -> (mean,) or (mean, ±).

    `n` is None where the source does not say how many runs ± is over, and `assumed_n` holds.
    """

    source: str
    url: str
    title: str
    columns: Mapping[str, Mapping[str, Value]]
    n: int | None
    assumed_n: int
    spread: str  # "sd", "se", or "" where the source does not say: taken as a deviation
    second_hand: bool

    @property
    def runs(self) -> int:
        return self.n or self.assumed_n


@dataclass(frozen=True)
class Pair:
    """Two neighbours in the ranking of a column; `p` after Holm, None where a ± is missing."""

    column: str
    higher: str
    lower: str
    p: float | None = None

    @property
    def tested(self) -> bool:
        return self.p is not None

    @property
    def separable(self) -> bool:
        return self.p is not None and self.p < LEVEL


def rankings(in_print: InPrint) -> tuple[Ranking, ...]:
    """What a `published.toml` ranks: its tables, and its values of several methods at one budget.

    Columns of a single row rank nothing, and are left out.
    """
    found = (*map(_of_table, in_print.tables), *map(_of_values, in_print.values))
    return tuple(one for one in found if one.columns)


def audit(ranking: Ranking) -> tuple[Pair, ...]:
    """The neighbours of all columns, from the highest mean down; Holm within a column."""
    return tuple(
        pair for column, rows in ranking.columns.items() for pair in _pairs(ranking, column, rows)
    )


def welch(a: Value, b: Value, runs: int, spread: str = "sd") -> float:
    """The two-sided p value of two means with a spread each, over `runs` runs each.

    `spread` "se" says that the spreads are standard errors. Two spreads of zero, which rounding
    makes, tell any two means apart.
    """
    from scipy.stats import ttest_ind_from_stats  # takes a second

    (mean_a, sd_a), (mean_b, sd_b) = a, b
    if mean_a == mean_b:
        return 1.0
    if not sd_a and not sd_b:
        return 0.0
    scale = math.sqrt(runs) if spread == "se" else 1.0
    stats = (mean_a, sd_a * scale, runs, mean_b, sd_b * scale, runs)
    return float(ttest_ind_from_stats(*stats, equal_var=False).pvalue)


def _of_table(table: Table) -> Ranking:
    """Rows that name a budget, as "sre2l, IPC 10" does, rank among those of the same one."""
    columns: dict[str, dict[str, Value]] = defaultdict(dict)
    for k, column in enumerate(table.columns):
        for row, values in table.rows.items():
            name, _, budget = row.rpartition(BUDGET)
            if values[k]:
                named = (f"{column}{BUDGET}{budget}", name) if name else (column, row)
                columns[named[0]][named[1]] = values[k]
    return _ranking(table, table.title, columns, table.assumed_n, table.spread)


def _of_values(printed: Printed) -> Ranking:
    budgets = dict.fromkeys(ipc for values in printed.rows.values() for ipc in values)
    columns = {
        f"IPC {ipc}": {name: values[ipc] for name, values in printed.rows.items() if ipc in values}
        for ipc in budgets
    }
    title = f"{printed.dataset}, {printed.architecture}, {printed.labels} labels"
    return _ranking(printed, title, columns, ASSUMED, "sd")


def _ranking(
    of: Table | Printed,
    title: str,
    columns: Mapping[str, Mapping[str, Value]],
    assumed_n: int,
    spread: str,
) -> Ranking:
    ranked = {column: rows for column, rows in columns.items() if len(rows) > 1}
    common = (of.n, assumed_n, spread, of.second_hand)
    return Ranking(of.source, of.url, title, ranked, *common)


def _pairs(ranking: Ranking, column: str, rows: Mapping[str, Value]) -> Iterable[Pair]:
    ranked = sorted(rows, key=lambda name: -rows[name][0])  # of equal means, as in print
    near = [*pairwise(ranked)]
    tested = [pair for pair in near if all(len(rows[name]) > 1 for name in pair)]
    ps = [welch(rows[a], rows[b], ranking.runs, ranking.spread) for a, b in tested]
    adjusted = dict(zip(tested, holm(ps).tolist(), strict=True))
    return (Pair(column, *pair, adjusted.get(pair)) for pair in near)


# ---- what is said of them


def table(found: Iterable[Ranking]) -> model.Table:
    """A row for each column that has a ±; `document` names the tables that have none."""
    heads = (
        Column("Table", key=True, left=True, merged=True),
        Column("Column", key=True, left=True),
        Column("Source", left=True),
        *map(Column, ("Methods", "Pairs", "With ±", "Separable", "Share")),
    )
    rows: list[tuple[model.Cell, ...]] = []
    for ranking in found:
        for column, ranked in ranking.columns.items():
            of_column = list(_pairs(ranking, column, ranked))
            tested, separable = _counts(of_column)
            if not tested:
                continue
            counts = (len(ranked), len(of_column), tested, separable)
            authors, _, _ = ranking.source.partition(",")
            names = map(Name, (ranking.title, column, authors))
            figures = (model.Value(count, form=Form(".0f")) for count in counts)
            share = model.Value(separable / tested, form=Form(".0f", percent=True))
            rows.append((*names, *figures, share))
    said = (
        "Separable at 5 %: Welch's t from means, ± and n; Holm within a column. ",
        "Share of the pairs with ±, in percent.",
    )
    return model.Table(heads, tuple(rows), (said,))


def document(found: Sequence[Ranking]) -> Page:
    """The page of all tables in print: how many orderings hold, then a line for each table."""
    audited = [(ranking, audit(ranking)) for ranking in found]
    judged = [(ranking, pairs) for ranking, pairs in audited if _counts(pairs)[0]]
    silent = [ranking for ranking, pairs in audited if not _counts(pairs)[0]]
    blocks: list[Block] = [
        Paragraph(_headline([pair for _, pairs in judged for pair in pairs], judged, silent)),
        Items(_rules(judged)),
        Section("With ±", (Items(tuple(_line(*one) for one in judged)),)),
        Section("Without ±", (Items(tuple(map(_named, silent))),)),
    ]
    return Page("Which orderings in print hold", tuple(blocks), (), (), model.Frame((), ()))


def _headline(
    pairs: Sequence[Pair],
    judged: Sequence[tuple[Ranking, Sequence[Pair]]],
    silent: Sequence[Ranking],
) -> model.Words:
    tested, separable = _counts(pairs)
    fewer = [pair for ranking, _ in judged for pair in audit(replace(ranking, assumed_n=FEWER))]
    sources, lacking = len({ranking.url for ranking, _ in judged}), len(pairs) - tested
    said = (
        f" of ranks in print are separable at 5 %, in {_counted(len(judged), 'table')} of "
        f"{_counted(sources, 'source')}. Where no number of runs is in print, {ASSUMED} are "
        f"assumed; with {FEWER}, {_counted(_counts(fewer)[1], 'pair')} would be separable."
    )
    if lacking:
        said += f" {_counted(lacking, 'further pair')} of these cannot be tested, for want of a ±."
    if silent:
        said += (
            f" No pair of {_counted(len(silent), 'further table')} has one: nobody can say whether "
            "their order holds."
        )
    return Span(f"{separable} of {tested} adjacent pairs", "strong"), said


def _rules(judged: Sequence[tuple[Ranking, Sequence[Pair]]]) -> tuple[model.Words, ...]:
    written = (
        *("Generated by ", Span("bench audit --out docs/literature.md", "code"), " from the "),
        *(Span("published.toml", "code"), " of the boards and from "),
        *(Span("docs/literature/", "code"), ", where tables of no board stand."),
    )
    test = (
        "A pair is two neighbours in a column, by mean. Welch's t test compares them, from means, "
        "± and number of runs; Holm's correction keeps a column at 5 %."
    )
    unsaid = sum(ranking.n is None for ranking, _ in judged)
    assumed = (
        f"{unsaid} of {len(judged)} tables do not say how many runs ± is over. A ± that is not "
        "explained is taken as a standard deviation: a standard error would separate fewer."
    )
    limits = (
        "A separable order may be wrong: ± knows neither which test images were drawn, nor of a "
        "baseline that was trained by another protocol."
    )
    second_hand = "Second-hand: the figures were read elsewhere than in the source."
    return written, (test,), (assumed,), (limits,), (second_hand,)


def _line(ranking: Ranking, pairs: Sequence[Pair]) -> model.Words:
    """ "9 of 12: title. Source. What ± is. Which are not separable." """
    tested, separable = _counts(pairs)
    said = spread_said(ranking.spread, ranking.n) or "± is not explained."
    assumed = "" if ranking.n else f" {ranking.assumed_n} runs assumed."
    ties: dict[str, list[str]] = {}
    for pair in pairs:
        if pair.tested and not pair.separable:
            ties.setdefault(pair.column, []).append(f"{pair.higher} and {pair.lower}")
    listed = "; ".join(f"{column}: {', '.join(names)}" for column, names in ties.items())
    return (
        Span(f"{separable} of {tested}", "strong"),
        *(": ", *_named(ranking), f" {said}{assumed}"),
        f" Not separable: {listed}." if ties else "",
    )


def _named(ranking: Ranking) -> model.Words:
    mark = " Second-hand." if ranking.second_hand else ""
    return (f"{ranking.title}. ", Span(ranking.source, "link", ranking.url), f".{mark}")


def _counts(pairs: Iterable[Pair]) -> tuple[int, int]:
    """How many pairs are tested, and how many of them are separable."""
    found = Counter((pair.tested, pair.separable) for pair in pairs)
    return found[True, False] + found[True, True], found[True, True]


def _counted(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
