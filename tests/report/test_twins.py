"""Sets that two boards have judged stand with both ranks; others are named and left out."""

from __future__ import annotations

import pytest
from paired import MATRIX, measured
from support import changed

from bench.board.matrix import parse
from bench.records.result import Result
from bench.report.model import Items, Paragraph, Section, Span, Table, text_of
from bench.report.numbers import board_of
from bench.report.twins import Side, sections

METHODS = ("made", "made-otherwise", "dice", "dice-otherwise")
SHARED = {k: v for k, v in MATRIX.items() if k not in ("labels", "attacks", "backbone")}
CLASSIFYING = {"title": "Told apart", "attacks": ["plain"], "metrics": ["right"]}
GENERATING = {"track": "generation", "samplers": ["walk"], "metrics": ["distance", "copies"]}


def right(method: str, figure: float) -> list[Result]:
    """Of two seeds that hardly differ, by a little more from method to method."""
    return measured(method, figure, figure + 1e-5 * METHODS.index(method) ** 2)


def drawn(method: str, distance: float, **changes: object) -> list[Result]:
    """Samples by the students of the same sets; a tenth of them are copies."""
    scales = {"distance": {"better": "lower"}, "copies": {"better": "neither", "unit": "fraction"}}
    also = {"attack": "", "sampler": "walk", "architecture": "large", "scales": scales}
    return [
        changed(
            one,
            metrics={"distance": distance + one.metrics["right"] - 0.5, "copies": 0.1},
            **also | changes,
        )
        for one in right(method, 0.5)
    ]


def boards(here: list[Result], there: list[Result]) -> tuple[Side, Side]:
    matrices = [SHARED | GENERATING | {"architectures": ["large"]}, SHARED | CLASSIFYING]
    one, other = (board_of(parse(matrix)) for matrix in matrices)
    return Side(one, here), Side(other, there)


def opposite() -> tuple[list[Result], list[Result]]:
    """The better a set teaches classifiers, the worse it teaches generators."""
    here = [one for n, method in enumerate(METHODS) for one in drawn(method, 4.0 - n)]
    return here, [one for n, method in enumerate(METHODS) for one in right(method, 0.9 - n / 5)]


def the_section(here: list[Result], there: list[Result]) -> Section:
    (section,) = sections(*boards(here, there), "told-apart")
    return section


def cells(table: Table) -> list[list[str]]:
    return [[text_of(cell) for cell in row] for row in table.rows]


def test_a_line_has_the_ranks_of_a_set_on_both_tracks_and_what_qualifies_them():
    section = the_section(*opposite())
    said, inner = section.blocks
    assert isinstance(said, Paragraph)
    assert said.words[1] == Span("Told apart", "link", "../told-apart/")
    assert isinstance(inner, Section)
    assert inner.title == "digits · IPC 1"
    ranks, orders = inner.blocks
    assert isinstance(ranks, Table)
    assert [column.name for column in ranks.columns] == [
        *("Method", "Rank", "right, plain, small, hard labels, %"),
        *("Rank", "distance, walk, large", "copies, %"),
    ]
    assert cells(ranks) == [
        ["made", "1", "90.0", "4", "4", "10.0"],
        ["made-otherwise", "2", "70.0", "3", "3", "10.0"],
        ["dice", "3", "50.0", "2", "2", "10.0"],
        ["dice-otherwise", "4", "30.0", "1", "1", "10.0"],
    ]
    assert isinstance(orders, Table)
    assert cells(orders) == [["distance, walk, large", "-1.00"]]


def test_a_low_distance_is_a_good_rank():
    here = [one for n, method in enumerate(METHODS) for one in drawn(method, 1.0 + n)]
    inner = the_section(here, opposite()[1]).blocks[1]
    assert isinstance(inner, Section)
    orders = inner.blocks[1]
    assert isinstance(orders, Table)
    assert cells(orders) == [["distance, walk, large", "+1.00"]]


def test_a_row_that_may_have_other_places_says_which():
    """Of figures that one seed orders one way, and the other the other way."""
    here, there = opposite()
    unsure = [
        changed(r, metrics=r.metrics | {"distance": 1.0 + (n if r.seed else 3 - n)})
        for r, n in ((r, METHODS.index(r.method)) for r in here)
    ]
    inner = the_section(unsure, there).blocks[1]
    assert isinstance(inner, Section)
    ranks = inner.blocks[0]
    assert isinstance(ranks, Table)
    assert {row[3].split(" ", 1)[1] for row in cells(ranks)} == {"(1 to 4)"}


def test_sets_that_differ_are_named_and_not_compared():
    here, there = opposite()
    other = [r for r in here if r.method != "dice"]
    other += drawn("dice", 9.0, content={"set": "another", "student": "dice"})
    _, inner, left = the_section(other, there).blocks
    assert isinstance(inner, Section)
    assert isinstance(inner.blocks[0], Table)
    assert "dice" not in {row[0] for row in cells(inner.blocks[0])}
    assert isinstance(left, Items)
    assert left.items == (("Other sets on the two boards, so not compared here: dice (IPC 1).",),)


def test_of_a_set_that_differs_in_one_seed_the_others_count():
    here, there = opposite()
    other = [
        changed(r, content={"set": "another"}) if (r.method, r.seed) == ("made", 1) else r
        for r in here
    ]
    _, inner, left = the_section(other, there).blocks
    assert isinstance(inner, Section)
    assert isinstance(inner.blocks[0], Table)
    assert cells(inner.blocks[0])[0][4] == "4"  # of seed 0 alone
    assert "1 of 2 seeds" in inner.blocks[0].footnotes
    assert isinstance(left, Items)


def test_where_every_set_differs_no_set_is_called_the_same():
    here, there = opposite()
    other = [changed(r, content={"set": f"another {r.method} {r.seed}"}) for r in here]
    said, left = the_section(other, there).blocks
    assert isinstance(said, Paragraph)
    assert isinstance(left, Items)
    assert said.words[0] == "No set of this board and of "


@pytest.mark.parametrize("side", [0, 1])
def test_boards_that_share_no_set_have_no_section(side):
    both = [*opposite()]
    both[side] = []
    assert sections(*boards(*both), "told-apart") == ()
