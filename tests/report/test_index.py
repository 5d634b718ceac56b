"""The first page of a site: which boards stand on it, in which order, and what is said of them."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

from small_board import BOARD, record
from support import as_result

from bench.board import sets
from bench.board.sets import KeptSet
from bench.report import index
from bench.report.model import Name, Table, Value, tables
from bench.report.page import build
from bench.report.site import build as build_site

ROOT = Path(__file__).parents[2]

RESULTS = [
    as_result(record(method, 1, "none", seed, bits))
    for method, bits in (("alpha", "1110"), ("beta", "1100"), ("dice", "1000"))
    for seed in (0, 1)
]


def entry(name: str, *, measured: bool = True, **changes: str) -> index.Entry:
    board = replace(BOARD, title=f"Board {name}", **changes)
    found = RESULTS if measured else []
    return index.Entry(name, board, build(board, found), tuple(found))


def boards_of(*entries: index.Entry, **about: str) -> Table:
    page = index.build(entries, about)
    return next(table for headings, table in tables(page) if headings[-1] == "All boards")


def test_boards_with_figures_come_first_and_those_not_run_last() -> None:
    table = boards_of(entry("a", measured=False), entry("b", frozen="old"), entry("d"), entry("c"))
    assert [row[0].text for row in table.rows] == ["c", "d", "b", "a"]
    assert [row[6].text for row in table.rows] == ["open", "open", "frozen", "not run yet"]


def test_a_board_says_what_it_asks_what_came_of_it_and_how_much_it_has() -> None:
    [row] = boards_of(entry("a", question="Why?", scale="small"), a="Because.").rows
    assert [cell.text for cell in row[:4]] == ["a", "Why?", "Because.", "small"]
    assert row[0].url == "a/index.html"
    assert [cell.mean for cell in row if isinstance(cell, Value)] == [3, 2]


def test_the_day_of_the_last_commit_stands_there_where_git_knows_it(tmp_path: Path) -> None:
    board = tmp_path / "leaderboards" / "demo"
    shutil.copytree(ROOT / "leaderboards" / "demo", board)
    first = build_site(tmp_path / "site", [board])
    assert "Last change" not in first.read_text("utf-8")
    day = {"GIT_AUTHOR_DATE": "2020-02-03T12:00:00Z", "GIT_COMMITTER_DATE": "2020-02-03T12:00:00Z"}
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    for command in (("init", "-q"), ("add", "leaderboards"), (*who, "commit", "-qm", "first")):
        subprocess.run(["git", *command], cwd=tmp_path, check=True, env={**os.environ, **day})
    text = build_site(tmp_path / "site", [board]).read_text("utf-8")
    assert "Last change" in text
    assert "2020-02-03" in text


def test_a_figure_can_be_cited_by_the_version_that_the_page_of_its_board_names(
    tmp_path: Path,
) -> None:
    board = ROOT / "leaderboards" / "demo"
    first = build_site(tmp_path, [board]).read_text("utf-8")
    [version] = re.findall(r"version `([0-9a-f]{16})`", (board / "README.md").read_text("utf-8"))
    assert version in first
    assert "To cite a figure" in first


def test_answers_are_read_from_the_table_of_the_readme() -> None:
    links = ", ".join(f"[{name}](leaderboards/{name}/README.md)" for name in ("one", "two"))
    text = f"| {links} | asks | [Yes](x) `a` | s |"
    assert index.answers(text) == {"one": "Yes a", "two": "Yes a"}
    assert index.answers("| a | b |\n| c | d | e | f |") == {}


def test_methods_of_validation_boards_are_not_ranked_across_boards() -> None:
    tuned = entry("a")
    tuned = replace(tuned, board=replace(tuned.board, evaluate="validation"))
    [unit] = index.units(entry("b"))
    assert unit.scores.keys() == {"alpha", "beta", "dice"}
    assert list(index.units(tuned)) == []


KEPT = KeptSet(
    file="d.alpha.ipc-1.seed-0.safetensors",
    sha256="0" * 64,
    dataset="digits",
    data="0" * 16,
    method="alpha",
    settings="0" * 8,
    ipc=1,
    seed=0,
    dtype="U8",
    shape=(10, 1, 8, 8),
    content="set-0",
    machine="a machine",
)


def test_the_sets_that_boards_keep_are_listed_with_their_cards() -> None:
    one = replace(entry("b"), sets=(KEPT,))
    made = index.build([entry("a"), one], {})
    [table] = [t for headings, t in tables(made) if headings[-1] == "Condensed sets to take along"]
    [row] = table.rows
    assert row[0].url == "b/sets/d.alpha.ipc-1.seed-0.safetensors"
    assert [cell.text for cell in row if isinstance(cell, Name)] == [
        *(KEPT.file, "b", "digits", "alpha", "bytes, 1 x 8 x 8"),
        *("", "0" * 64, "a machine"),
    ]
    assert [cell.mean for cell in row if isinstance(cell, Value)] == [1, 0, 10, 0]


def test_without_sets_there_is_no_list_of_them() -> None:
    headings = [headings[-1] for headings, _ in tables(index.build([entry("a")], {}))]
    assert "All boards" in headings
    assert "Condensed sets to take along" not in headings


def test_a_site_has_the_files_of_the_sets_and_says_what_students_had_on_them(
    tmp_path: Path,
) -> None:
    board = ROOT / "leaderboards" / "fashion-dc"
    page = build_site(tmp_path / "site", [board]).read_text("utf-8")
    assert sets.read(board)
    for one in sets.read(board):
        there = tmp_path / "site" / "fashion-dc" / "sets" / one.file
        assert hashlib.sha256(there.read_bytes()).hexdigest() == one.sha256
        assert f"fashion-dc/sets/{one.file}" in page
    assert "accuracy 68.7 %" in page
