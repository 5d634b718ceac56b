"""Orderings in print hold where their own ± and number of runs say so."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench.commands import audit as command
from bench.contract.errors import BenchError
from bench.report import audit, markdown, model, published
from bench.report.audit import Pair, rankings, welch
from bench.report.verdicts import holm

ROOT = Path(__file__).parents[2]
TABLE: dict[str, Any] = {
    "source": "Doe et al., table 1",
    "url": "https://example.org/1",
    "title": "digits",
    "metric": "accuracy",
    "spread": "sd",
    "columns": ["IPC 1", "IPC 10"],
    "rows": {
        "a": [[0.5, 0.01], [0.9, 0.01]],
        "b": [[0.7, 0.01], [0.8]],
        "c": [[0.505, 0.01], [0.7, 0.01]],
    },
}


def ranked(**changes: Any) -> audit.Ranking:
    found = published.parse_tables([TABLE | changes])
    (ranking,) = rankings(published.InPrint(found))
    return ranking


def test_neighbours_by_mean_are_compared_column_by_column():
    pairs = audit.audit(ranked())
    assert [(p.column, p.higher, p.lower) for p in pairs] == [
        ("IPC 1", "b", "c"),
        ("IPC 1", "c", "a"),
        ("IPC 10", "a", "b"),
        ("IPC 10", "b", "c"),
    ]
    assert [p.separable for p in pairs] == [True, False, False, False]
    assert [p.tested for p in pairs] == [True, True, False, False]  # b has no ± at IPC 10


def test_p_is_that_of_welch_on_samples_with_these_moments():
    generator = np.random.default_rng(0)

    def sample(mean: float, sd: float) -> Any:
        x = generator.normal(size=5)
        return mean + sd * (x - x.mean()) / x.std(ddof=1)

    p = stats.ttest_ind(sample(0.5, 0.02), sample(0.53, 0.01), equal_var=False).pvalue
    assert welch((0.5, 0.02), (0.53, 0.01), 5) == pytest.approx(p)


def test_a_standard_error_is_a_deviation_over_the_root_of_n():
    assert welch((0.5, 0.01), (0.53, 0.01), 4, "se") == pytest.approx(
        welch((0.5, 0.02), (0.53, 0.02), 4)
    )


def test_spreads_that_are_rounded_to_zero_are_defined():
    assert welch((0.5, 0.0), (0.6, 0.0), 5) == 0.0
    assert welch((0.5, 0.0), (0.5, 0.0), 5) == 1.0
    assert 0 < welch((0.5, 0.0), (0.6, 0.02), 5) < 0.01


def test_more_runs_separate_more():
    few, many = ranked(assumed_n=3), ranked(n=50)
    assert (few.runs, many.runs) == (3, 50)
    assert [p.separable for p in audit.audit(many)][:2] == [True, True]
    assert ranked(n=4, assumed_n=9).runs == 4  # what the source says goes first


def test_holm_is_as_in_its_paper():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert not len(holm([]))


@given(st.lists(st.floats(0, 1), max_size=6))
def test_holm_rejects_what_stepping_down_rejects(ps: list[float]):
    def stepped() -> set[int]:
        order = sorted(range(len(ps)), key=lambda k: ps[k])
        fine = itertools.takewhile(
            lambda item: (len(ps) - item[0]) * ps[item[1]] < audit.LEVEL, enumerate(order)
        )
        return {at for _, at in fine}

    adjusted = holm(ps)
    assert {k for k, p in enumerate(adjusted) if p < audit.LEVEL} == stepped()
    assert all(p <= q <= 1 for p, q in zip(ps, adjusted, strict=True))


def test_rows_that_name_a_budget_rank_among_those_of_the_same_one():
    rows = {
        f"{name}, IPC {ipc}": [[0.1 * ipc + k]] for ipc in (1, 2) for k, name in enumerate("ab")
    }
    one = ranked(columns=["clean"], rows=rows, rate=False)
    assert {c: list(r) for c, r in one.columns.items()} == {
        "clean, IPC 1": ["a", "b"],
        "clean, IPC 2": ["a", "b"],
    }


def test_a_column_of_one_row_ranks_nothing():
    tables = published.parse_tables([TABLE | {"rows": {"a": [[0.5], []]}}])
    assert rankings(published.InPrint(tables)) == ()


def test_values_of_cells_rank_the_methods_of_a_budget(tmp_path: Path):
    (tmp_path / "matrix.toml").write_text(
        'title = "T"\ndatasets = ["d"]\nmethods = ["m"]\ncontrols = ["r"]\nipc = [1, 2]\n'
        'architectures = ["a"]\nattacks = ["x"]\nmetrics = ["y"]\n'
    )
    (tmp_path / "published.toml").write_text(
        '[[value]]\nsource = "Doe"\nurl = "https://example.org"\nmetric = "y"\n'
        "[value.rows]\nm = { 1 = [0.5, 0.01], 2 = [0.6, 0.01] }\nr = { 1 = [0.3, 0.01] }\n"
    )
    (one,) = command._read(tmp_path)
    assert one.title == "d, a, hard labels"
    assert [(p.column, p.separable) for p in audit.audit(one)] == [("IPC 1", True)]


def test_the_page_says_first_how_many_orderings_hold():
    silent = ranked(title="mute", rows={"a": [[0.5], []], "b": [[0.4], []]}, second_hand=True)
    text = markdown.rendered(audit.document([ranked(), silent]))
    first = text.split("\n\n")[1]
    assert first.startswith("**1 of 2 adjacent pairs** of ranks in print are separable at 5 %")
    assert "2 further pairs of these cannot be tested, for want of a ±." in first
    assert "No pair of 1 further table has one" in first
    assert "- **1 of 2**: digits." in text
    assert "5 runs assumed. Not separable: IPC 1: c and a." in text
    assert text.endswith("- mute. [Doe et al., table 1](https://example.org/1). Second-hand.\n")


def test_the_table_has_a_row_for_each_column_with_a_spread():
    table = audit.table([ranked()])
    assert [[model.text_of(cell) for cell in row] for row in table.rows] == [
        ["digits", "IPC 1", "Doe et al.", "3", "2", "2", "1", "50"]
    ]


def test_a_pair_without_a_spread_is_neither_tested_nor_separable():
    pair = Pair("c", "a", "b")
    assert not pair.tested
    assert not pair.separable
    assert not Pair("c", "a", "b", math.nextafter(audit.LEVEL, 1)).separable


def test_nothing_in_print_is_bad_input(tmp_path: Path):
    with pytest.raises(BenchError, match="nothing in print in"):
        command.audit([tmp_path], None)


def test_a_file_of_no_board_holds_tables_alone(tmp_path: Path):
    (tmp_path / "one.toml").write_text("[[value]]\n")
    with pytest.raises(BenchError, match=r"one\.toml: the file has an unknown key 'value'"):
        published.read_tables(tmp_path / "one.toml")


def test_every_source_in_print_is_read_and_the_page_of_them_is_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(ROOT)
    command.audit((), tmp_path / "literature.md")
    assert "adjacent pairs" in capsys.readouterr().out
    made, kept = (tmp_path / "literature.md").read_text(), (ROOT / "docs/literature.md").read_text()
    assert made == kept, "run: bench audit --out docs/literature.md"
