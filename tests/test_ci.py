"""What CI and the Makefile stand on: `ci/figures` and `ci/python`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "leaderboards" / "demo"

PAGE = """# Board

## accuracy

n = 3 seeds, 500 test images.

| IPC | Method      | clean | pgd [1] |
| --: | :---------- | ----: | ------: |
|   1 | one [2]     |  78.5 | n/a [3] |
|     | *two \\| a* |  68.1 |    11.5 |

- [1] linf 0.1
- [2] lam = 3
- [3] declined
"""


def figures(*boards: Path) -> list[str]:
    command = [sys.executable, str(ROOT / "ci" / "figures"), *map(str, boards)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.fixture
def board(tmp_path: Path) -> Path:
    (tmp_path / "board").mkdir()
    (tmp_path / "board" / "README.md").write_text(PAGE)
    return tmp_path / "board"


def test_figures_stand_with_their_row_their_column_and_their_footnotes(board: Path) -> None:
    assert [line.split("\t")[1:] for line in figures(board)] == [
        ["Board > accuracy", "1 *two \\| a*", "clean", "68.1"],
        ["Board > accuracy", "1 *two \\| a*", "pgd {linf 0.1}", "11.5"],
        ["Board > accuracy", "1 one {lam = 3}", "clean", "78.5"],
        ["Board > accuracy", "1 one {lam = 3}", "pgd {linf 0.1}", "n/a {declined}"],
        ["Board > accuracy", "caption", "", "n = 3 seeds, 500 test images."],
    ]


def test_a_changed_figure_changes_its_line_alone(board: Path) -> None:
    before = figures(board)
    (board / "README.md").write_text(PAGE.replace("68.1", "68.2"))
    assert len({*before} ^ {*figures(board)}) == 2


def test_another_number_of_a_footnote_changes_no_line_but_another_text_does(board: Path) -> None:
    before = figures(board)
    renumbered = PAGE.replace("[2]", "[9]").replace("[1]", "[2]").replace("[9]", "[1]")
    (board / "README.md").write_text(renumbered)
    assert figures(board) == before
    (board / "README.md").write_text(PAGE.replace("lam = 3", "lam = 4"))
    assert figures(board) != before


def test_every_cell_of_the_tables_of_a_real_board_is_a_figure() -> None:
    text = (DEMO / "README.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if re.match(r"\|[^|]*\| \*?[a-z]", line)]
    of_page = [line for line in figures(DEMO) if "\ttable.csv\t" not in line]
    found = [line for line in of_page if "\tcaption\t" not in line]
    assert len(found) == sum(len(line.split("|")) - 4 for line in rows) > 100


def test_every_figure_of_table_csv_is_printed() -> None:
    rows = (DEMO / "table.csv").read_text().splitlines()
    found = [line for line in figures(DEMO) if "\ttable.csv\t" in line]
    assert len(found) == 6 * (len(rows) - 1) > 100


def python(*folders: Path) -> subprocess.CompletedProcess[str]:
    command = ["/bin/bash", str(ROOT / "ci" / "python")]
    path = os.pathsep.join(map(str, folders))
    return subprocess.run(command, capture_output=True, text=True, env={"PATH": path}, check=False)


def test_the_makefile_takes_the_first_python_that_is_new_enough(tmp_path: Path) -> None:
    old = tmp_path / "python3.11"  # a shim of a version that is not there, as of pyenv
    old.write_text("#!/bin/bash\nexit 127\n")
    old.chmod(0o755)
    (tmp_path / "python3.12").symlink_to(Path(sys.executable).resolve())
    found = python(tmp_path)
    assert (found.returncode, found.stdout) == (0, f"{tmp_path}/python3.12\n")


def test_without_a_python_that_is_new_enough_the_makefile_says_what_it_has_found(
    tmp_path: Path,
) -> None:
    old = tmp_path / "python3"
    old.write_text("#!/bin/bash\necho 3.9.18\nexit 1\n")
    old.chmod(0o755)
    said = python(tmp_path)
    assert said.returncode == 1
    assert f"python3: {old}, 3.9.18" in said.stderr
    assert "python3.11: not found" in said.stderr
    assert "make PYTHON=" in said.stderr
