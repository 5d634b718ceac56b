"""Values in print stand beside measured ones, and a page says which of them hold."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support import as_result

from bench.board.matrix import parse as board_from
from bench.contract.errors import BenchError
from bench.records.result import Result
from bench.report import matched, published
from bench.report.console import show
from bench.report.markdown import rendered
from bench.report.matched import DIFFERS, MATCHED, OPEN, Pair
from bench.report.model import tables
from bench.report.numbers import board_of
from bench.report.page import build

MATRIX: dict[str, Any] = {
    "title": "digits",
    "datasets": ["digits"],
    "methods": ["dc"],
    "controls": ["random"],
    "ceiling": "full",
    "ipc": [1, 10],
    "architectures": ["small"],
    "attacks": ["clean", "pgd"],
    "metrics": ["accuracy"],
    "seeds": [0, 1, 2],
}
VALUE: dict[str, Any] = {
    "source": "Doe, 2020, table 1",
    "url": "https://example.org/1",
    "metric": "accuracy",
    "n": 5,
    "rows": {"random": {"1": [0.514, 0.038], "10": [0.738, 0.007]}},
}


def a_board(**changes: Any) -> Any:
    return board_of(board_from({k: v for k, v in {**MATRIX, **changes}.items() if v is not None}))


def measured(method: str, ipc: int, *accuracies: float) -> list[Result]:
    """Results of seeds 0, 1, ... of a cell."""
    named = {"dataset": "digits", "method": method, "ipc": ipc, "labels": "hard"}
    scales = {"accuracy": {"better": "higher", "unit": "fraction"}}
    return [
        as_result(
            {**named, "architecture": "small", "attack": "clean", "seed": seed, "images": 1000}
            | {"metrics": {"accuracy": accuracy}, "scales": scales}
        )
        for seed, accuracy in enumerate(accuracies)
    ]


def page(results: list[Result], *values: dict[str, Any], **changes: Any) -> Any:
    board = a_board(**changes)
    found = published.parse({"value": [VALUE | one for one in values]}, board)
    return build(board, results, found)


def section(results: list[Result], *values: dict[str, Any], **changes: Any) -> str:
    text = rendered(page(results, *values, **changes))
    return text.partition("## Published and measured\n\n")[2].partition("\n\n## ")[0]


def verdicts(text: str) -> list[str]:
    return re.findall(rf"\| ({MATCHED}|{DIFFERS}|{OPEN}) +\|\n", text + "\n")


def test_a_page_says_in_its_first_sentence_which_published_values_stand() -> None:
    results = [*measured("random", 1, 0.50, 0.52, 0.54), *measured("random", 10, 0.7, 0.701, 0.702)]
    text = section(results, {}, {"rows": {"dc": {"1": [0.705]}}, "source": "Roe, 2021"})
    assert text.startswith("1 of 3 published values stands (1 open).\n")
    lines = [re.sub(" +", " ", line) for line in text.splitlines()]
    assert "| Method | IPC | Measured | n | Published | Difference | Verdict |" in lines
    assert "| *random* | 1 | 52.0 ± 2.0 | 3 | 51.4 ± 3.8 | +0.6 ± 5.0 | paper-matched |" in lines
    assert "| | 10 | 70.1 ± 0.1 | 3 | 73.8 ± 0.7 | -3.7 ± 0.9 | differs |" in lines
    assert "| dc | 1 | – | – | 70.5 | – | open |" in lines
    assert "standard deviation over 5 runs" in text
    assert verdicts(text) == [MATCHED, DIFFERS, OPEN]


def test_published_values_stand_before_the_tables_and_in_none_of_them() -> None:
    results = measured("random", 1, 0.50, 0.52, 0.54)
    made = page(results, {})
    plain = build(a_board(), results)
    assert [part.title for part in made.results] == [
        "Published and measured",
        *(part.title for part in plain.results),
    ]
    assert made.results[1:] == plain.results
    assert made.figures == plain.figures
    assert any(headings[1:] == ("Published and measured",) for headings, _ in tables(made))


def test_a_terminal_shows_which_values_stand_before_the_tables() -> None:
    console = Console(file=io.StringIO(), width=200)
    show(console, page(measured("random", 1, 0.50, 0.52, 0.54), {}).results)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "1 of 2 published values stands (1 open)." in text
    assert "paper-matched" in text
    assert text.index("Published and measured") < text.index("accuracy, in percent (higher")


def test_a_board_without_values_in_print_has_no_such_section() -> None:
    assert "Published and measured" not in rendered(build(a_board(), measured("dc", 1, 0.5)))


def test_a_tier_is_a_group_of_its_own_and_is_counted_apart() -> None:
    results = measured("random", 1, 0.50, 0.52, 0.54)
    one = {"rows": {"random": {"1": [0.514, 0.038]}}}
    text = section(results, one, one | {"tier": "JPEG copies", "rows": {"random": {"1": [0.9]}}})
    assert text.startswith(
        "1 of 1 published values stands; JPEG copies: 0 of 1 published values stand.\n"
    )
    plain, _, tier = text.partition("### JPEG copies")
    assert verdicts(plain) == [MATCHED]
    assert verdicts(tier) == [DIFFERS]


def pair(printed: tuple[float, ...], mean: float, sd: float, n: int, runs: int | None) -> Pair:
    return Pair("random", 1, printed, runs, mean, sd, n)


def test_two_points_decide_where_no_deviation_is_in_print_or_measured() -> None:
    assert pair((0.5,), 0.5199, 0.0001, 5, None).verdict == MATCHED
    assert pair((0.5,), 0.5201, 0.5, 5, None).verdict == DIFFERS
    assert pair((0.5, 0.4), 0.5201, float("nan"), 1, 5).verdict == DIFFERS
    assert Pair("random", 1, (0.5,), None).verdict == OPEN


def test_two_seeds_match_nothing_that_one_would_not() -> None:
    """The interval of two seeds is so wide that +4 points would stand in it."""
    assert pair((0.316, 0.007), 0.357, 0.001, 2, None).verdict == DIFFERS
    assert pair((0.215, 0.012), 0.219, 0.003, 2, None).verdict == MATCHED


def test_the_interval_is_welchs() -> None:
    uneven = pair((0.738, 0.007), 0.737, 0.011, 3, 5)  # 3.001 degrees of freedom
    assert uneven.allowed == pytest.approx(3.182 * (0.011**2 / 3 + 0.007**2 / 5) ** 0.5, rel=1e-3)
    even = pair((0.5, 0.01), 0.5, 0.01, 5, 5)  # 8 degrees: 2.306 sqrt(2 / 5) 0.01
    assert even.allowed == pytest.approx(2.306 * 0.01 * (2 / 5) ** 0.5, rel=1e-3)
    assert pair((0.5, 0.01), 0.5, 0.01, 5, None).allowed == even.allowed
    assert pair((0.5, 0.01), 0.5, 0.01, 5, 500).allowed < even.allowed


def test_a_row_that_lacks_seeds_says_so() -> None:
    assert "2 of 3 seeds" in section(measured("random", 1, 0.5, 0.52), {})


def test_the_full_set_is_ipc_0() -> None:
    text = section(measured("full", 0, 0.93, 0.94, 0.935), {"rows": {"full": {"0": [0.935]}}})
    assert "| full   | full set |" in text
    assert verdicts(text) == [MATCHED]


def test_who_made_the_printed_deviation_is_said_where_it_is_assumed() -> None:
    value = {k: v for k, v in VALUE.items() if k != "n"}
    found = published.parse({"value": [value]}, a_board())
    text = rendered(build(a_board(), [], found))
    assert "as many runs as were measured" in text
    assert "No records yet." in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"metric": "acuracy"}, "metric 'acuracy' is not on this board; did you mean 'accuracy'?"),
        ({"attack": "pdg"}, "attack 'pdg' is not on this board; did you mean 'pgd'?"),
        ({"dataset": "digit"}, "dataset 'digit' is not on this board; did you mean 'digits'?"),
        ({"labels": "soft"}, "labels 'soft' is not on this board"),
        ({"rows": {"randon": {"1": [0.5]}}}, "'randon' is not on this board; did you mean 'rand"),
        ({"rows": {"random": {"100": [0.5]}}}, "ipc of random '100' is not on this board"),
        ({"rows": {"random": {"0": [0.5]}}}, "ipc of random '0' is not on this board"),
        ({"rows": {"full": {"1": [0.5]}}}, "ipc of full '1' is not on this board"),
        ({"rows": {"random": {"1": [51.4]}}}, "rows.random.1 is [51.4]; expected fractions"),
        ({"rows": {"random": {"1": [0.5, -0.1]}}}, "expected fractions"),
        ({"rows": {"random": {"1": [float("nan")]}}}, "expected fractions"),
        ({"rows": {"random": {"1": []}}}, "rows.random.1 is []; expected [mean] or [mean, ±]"),
        ({"rows": {"random": {"1": 0.5}}}, "rows.random.1 is 0.5; expected [mean] or [mean, ±]"),
        ({"rows": {"random": {"1": [0.5, 0.1, 5]}}}, "expected [mean] or [mean, ±]"),
        ({"rows": {"random": {"1": ["0.5"]}}}, "expected [mean] or [mean, ±]"),
        ({"rows": {"random": [0.5]}}, "rows.random is [0.5]; expected a table"),
        ({"rows": {"random": {}}}, "rows.random is {}; expected a table"),
        ({"rows": {}}, "rows is {}; expected a table"),
        ({"n": 1}, "n is 1; expected the number of runs that ± is over, 2 or more"),
        ({"url": "example.org"}, "url is 'example.org'; expected the address"),
        ({"seeds": [0]}, "has an unknown key 'seeds'"),
    ],
)
def test_a_faulty_value_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BenchError, match=r"\[\[value\]\] number 1") as error:
        matched.parse([VALUE | changes], a_board())
    assert said in str(error.value)


@pytest.mark.parametrize("axis", ["datasets", "architectures", "labels"])
def test_an_axis_of_several_wants_to_be_named(axis: str) -> None:
    several = {"datasets": ["a", "b"], "architectures": ["a", "b"], "labels": ["hard", "soft"]}
    board = a_board(**{axis: several[axis]})
    with pytest.raises(BenchError, match="is missing; expected one of"):
        matched.parse([VALUE], board)
    key = {"datasets": "dataset", "architectures": "architecture"}.get(axis, axis)
    (named,) = matched.parse([VALUE | {key: several[axis][1]}], board)
    assert getattr(named, key) == several[axis][1]


def test_a_board_of_samples_has_no_values_to_match() -> None:
    board = a_board(
        track="generation", samplers=["ddim"], attacks=None, metrics=["recall"], ceiling=None
    )
    with pytest.raises(BenchError, match="this board has no attacks"):
        matched.parse([VALUE | {"metric": "recall"}], board)


@pytest.mark.parametrize("text", ["value = 1", "value = [1]", "[values]"])
def test_a_file_of_another_form_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "published.toml").write_text(text)
    with pytest.raises(BenchError, match=r"published\.toml: "):
        published.read(tmp_path, a_board())
