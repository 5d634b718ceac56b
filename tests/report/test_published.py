"""Numbers in print stand on their own, with their source, under the same relations."""

from pathlib import Path
from typing import Any

import pytest

from bench.board.matrix import parse as board_from
from bench.contract.errors import BenchError
from bench.report import published
from bench.report.markdown import rendered
from bench.report.model import Frame, Page
from bench.report.numbers import board_of

BOARD = board_of(
    board_from(
        {
            "title": "digits",
            "datasets": ["digits"],
            "controls": ["random"],
            "ipc": [10],
            "architectures": ["small"],
            "attacks": ["clean"],
            "metrics": ["accuracy"],
        }
    )
)
PGD = {"search": "iterative", "norm": "linf", "eps": 0.03}
TABLE: dict[str, Any] = {
    "source": "Doe, 2020, table 1",
    "url": "https://example.org/1",
    "title": "digits, ConvNet, IPC 10",
    "metric": "accuracy",
    "columns": ["clean", "pgd", "autoattack"],
    "natural": "clean",
    "attacks": {
        "pgd": PGD,
        "autoattack": {"search": "ensemble", "norm": "linf", "eps": 0.03},
    },
    "rows": {"random": [[0.5, 0.01], [0.25], []]},
}


def section(**changes: Any) -> str:
    found = published.parse({"table": [TABLE | changes]}, BOARD)
    parts = published.sections(found.tables)
    return rendered(Page("board", (), (), parts, Frame((), ()))).removeprefix("# board\n\n")


def test_a_table_in_print_names_its_source_and_says_that_nobody_measured_it_here():
    assert (
        section()
        == """\
## Published elsewhere

Numbers in print, as their authors give them. **Nothing here was measured by this board**; \
students, labels, augmentation and attacks are those of the sources.

### digits, ConvNet, IPC 10

accuracy, in percent. Source: [Doe, 2020, table 1](https://example.org/1).

| Row    |      clean |  pgd | autoattack |
| :----- | ---------: | ---: | ---------: |
| random | 50.0 ± 1.0 | 25.0 |          – |
"""
    )


def test_a_board_without_published_numbers_has_no_section(tmp_path: Path):
    assert published.sections(published.read(tmp_path, BOARD).tables) == ()


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ([[0.5], [0.2], [0.25]], "flag: weaker than an iterative attack"),
        ([[0.2], [0.3], [0.25]], "flag: above the clean images (30.0% against 20.0%)"),
    ],
    ids=["an ensemble above PGD", "robust above clean"],
)
def test_what_is_inconsistent_in_print_is_marked(row: Any, said: str):
    assert said in section(rows={"odd": row})


def test_a_consistent_row_has_no_mark():
    assert "flag" not in section(rows={"sound": [[0.5], [0.25], [0.245]]})


def test_figures_that_are_no_rates_stay_as_they_are():
    text = section(rate=False, metric="FID", rows={"d2c": [[3.2], [12.75, 0.5], []]})
    assert "FID. Source" in text
    assert "12.75 ± 0.5" in text


def test_as_many_decimals_are_shown_as_are_in_print():
    text = section(rows={"a": [[0.5793], [0.2387, 0.001], [0.2]]})
    assert "| 57.93 | 23.87 ± 0.10 |" in text
    assert " 0.02 |" in section(rows={"a": [[0.0004], [0.0003], [0.0002]]})


def test_brackets_in_a_source_do_not_end_its_link():
    assert r"[Doe \[x\](y)](https://example.org/1)" in section(source="Doe [x](y)")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"source": ""}, "source is ''; expected text: the article"),
        ({"source": "  "}, "source is ' '; expected text: the article"),
        ({"source": 0}, "source is 0; expected text: the article"),
        ({"url": "example.org"}, "url is 'example.org'; expected the address"),
        ({"url": "https://example.org/\n# Hello"}, "expected the address of the source"),
        ({"colour": 1}, "has an unknown key 'colour'; did you mean 'columns'?"),
        ({"rows": {}}, "rows is {}; expected a table [table.rows]"),
        ({"rows": {"a": [[0.5]]}}, "row 'a': [[0.5]]; expected 3 values, one a column"),
        ({"rows": {"a": [[50.0], [], []]}}, "expected fractions in [0, 1]; divide percents by 100"),
        ({"rows": {"a": ["50", [], []]}}, "'50'; expected [], [mean] or [mean, spread]"),
        ({"rows": {"a": [[True], [], []]}}, "[True]; expected [], [mean] or [mean, spread]"),
        ({"rows": {"a": [[0.5, -0.1], [], []]}}, "expected [], [mean] or [mean, spread]"),
        ({"rows": {"a": [[10**400], [], []]}}, "expected [], [mean] or [mean, spread]"),
        ({"rows": {"a": [[0.1, 0.1, 0.1], [], []]}}, "expected [], [mean] or [mean, spread]"),
        ({"rows": [1]}, "rows is [1]; expected a table [table.rows]"),
        ({"columns": "clean"}, "columns is 'clean'; expected a list, as in columns = [...]"),
        ({"columns": ["clean", "pgd", "pgd"]}, "columns: 'pgd' stands there twice"),
        ({"columns": ["clean", "pgd", ""]}, "columns holds ''; expected a text"),
        ({"columns": ["clean", "pgd", 3]}, "columns holds 3; expected a text"),
        ({"attacks": {"pgd": 1}}, "attacks.pgd is 1; expected a table"),
        ({"note": 5}, "note is 5; expected a text"),
        ({"natural": "cleen"}, "no column is 'cleen'; did you mean 'clean'?"),
        ({"natural": ""}, "there are attacks; expected `natural`"),
        (
            {"attacks": {"pgd": PGD | {"search": "white"}}},
            "search is 'white'; expected '' or 'noise'",
        ),
        ({"attacks": {"pgd": PGD | {"norm": "Linf"}}}, "norm is 'Linf'; did you mean 'linf'?"),
        ({"attacks": {"pgd": PGD | {"eps": "8/255"}}}, "eps is '8/255'; expected a number"),
        ({"attacks": {"pgd": PGD | {"eps": float("nan")}}}, "eps is nan; expected a number"),
        ({"attacks": {"pgd": PGD | {"eps": True}}}, "eps is True; expected a number"),
        (
            {"attacks": {"pgd": {"search": "iterative", "norm": "linf"}}},
            "attacks.pgd.eps is missing; expected",
        ),
        ({"attacks": {"pgd": {"search": "iterative", "eps": 0.1}}}, "norm is missing; expected"),
        ({"attacks": {"pgd": PGD | {"radius": 1}}}, "attacks.pgd has an unknown key 'radius'"),
    ],
)
def test_a_faulty_table_is_refused(changes: dict[str, Any], said: str):
    with pytest.raises(
        BenchError, match=r"\[\[table\]\] number 1 \('digits, ConvNet, IPC 10'\)"
    ) as error:
        published.parse({"table": [TABLE | changes]}, BOARD)
    assert said in str(error.value)


@pytest.mark.parametrize("text", ["table = 1", "table = [1]", "tabel = []", "[[table"])
def test_a_faulty_file_is_named(tmp_path: Path, text: str):
    (tmp_path / "published.toml").write_text(text)
    with pytest.raises(BenchError, match=r"published\.toml: "):
        published.read(tmp_path, BOARD)
