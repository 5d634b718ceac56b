"""`--into`: a board is run and only read; what comes of it goes to another folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import BOARD, Ended, contents, snapshot, tables, write_board

from bench.contract.errors import BenchError
from bench.records.files import read
from bench.report.folder import stale, write_tables
from bench.report.home import copied

Bench = Callable[..., Ended]
BOARDS = Path(__file__).parents[2] / "leaderboards"


def test_a_run_into_another_folder_only_reads_the_board(
    bench: Bench, reference: Any, tmp_path: Path
) -> None:
    board, there = reference.copied(tmp_path), tmp_path / "there"
    before = snapshot(board)
    ended = bench("run", board, "--into", there, "--store", reference.store)
    assert ended.code == 0, ended
    assert snapshot(board) == before
    assert tables(there) == tables(board)
    assert contents(there) == contents(board)
    assert f"all {len(contents(board))} records have the figures of those of {board}" in ended.out
    assert f"wrote {there}/README.md" in ended.out
    assert bench("leaderboard", there, "--check").code == 0


def test_a_second_run_into_a_folder_goes_on_where_the_first_has_ended(
    bench: Bench, reference: Any, tmp_path: Path
) -> None:
    board, there = reference.copied(tmp_path), tmp_path / "there"
    run = ("run", board, "--into", there, "--store", reference.store, "--only")
    assert bench(*run, "seed=0").code == 0
    assert bench(*run, "seed=1").code == 0
    assert tables(there) == tables(board)


def test_figures_that_are_not_those_of_the_board_are_named(
    bench: Bench, reference: Any, tmp_path: Path
) -> None:
    board = reference.copied(tmp_path)
    path = board / "records" / "toy-first.jsonl"
    path.write_text(path.read_text().replace('"toy-accuracy":0.', '"toy-accuracy":0.0'))
    ended = bench("run", board, "--into", tmp_path / "there", "--store", reference.store)
    assert ended.code == 0, ended
    assert f"records do not agree with those of {board}: toy-data toy-first" in ended.out


@pytest.mark.parametrize("option", [["--check"], ["--dry-run"]])
def test_into_goes_with_a_run_that_writes(
    bench: Bench, reference: Any, tmp_path: Path, option: list[str]
) -> None:
    ended = bench("run", reference.board, "--into", tmp_path / "there", *option)
    assert ended.code == 2
    assert "they write nothing" in ended.err
    assert not (tmp_path / "there").exists()


@pytest.fixture
def board(tmp_path: Path) -> Path:
    (tmp_path / "board" / "teachers").mkdir(parents=True)
    for name in ("matrix.toml", "published.toml", "teachers/one.safetensors", "notes.txt"):
        (tmp_path / "board" / name).write_text(name)
    return tmp_path / "board"


def test_what_a_run_reads_is_copied_and_nothing_else(board: Path, tmp_path: Path) -> None:
    there = copied(board, tmp_path / "new" / "there")
    found = {path.relative_to(there).as_posix() for path in there.rglob("*") if path.is_file()}
    assert found == {"matrix.toml", "published.toml", "teachers/one.safetensors"}


def test_the_board_itself_is_refused(board: Path) -> None:
    with pytest.raises(BenchError, match="is the board itself"):
        copied(board, board.parent / "x" / ".." / "board")


def test_a_folder_of_another_board_is_refused(board: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(board, tmp_path / "other"))
    (other / "matrix.toml").write_text("another")
    before = snapshot(other)
    with pytest.raises(BenchError, match="holds another board"):
        copied(board, other)
    assert snapshot(other) == before


@pytest.mark.parametrize("name", ["full/thesis.tex", "full"])
def test_what_is_no_board_is_refused(board: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("years of work")
    with pytest.raises(BenchError, match="something else than a board"):
        copied(board, tmp_path / "full")


def test_a_folder_in_the_board_is_refused(board: Path) -> None:
    with pytest.raises(BenchError, match="lies in the board"):
        copied(board, board / "teachers" / "out")
    assert not (board / "teachers" / "out").exists()


def test_what_the_board_no_longer_has_goes_from_the_copy_and_what_it_has_made_stays(
    board: Path, tmp_path: Path
) -> None:
    there = copied(board, tmp_path / "there")
    (there / "records").mkdir()
    (there / "records" / "m.jsonl").write_text("a record")
    (board / "published.toml").unlink()
    (board / "teachers" / "two").mkdir()  # no file
    copied(board, there)
    assert not (there / "published.toml").exists()
    assert (there / "teachers" / "one.safetensors").exists()
    assert (there / "records" / "m.jsonl").exists()


AXES = ["methods", "controls", "ceiling", "ipc", "attacks", "architectures", "seeds", "metrics"]


@pytest.mark.parametrize("axis", AXES)
def test_a_board_renders_whatever_value_of_an_axis_it_has_lost(
    reference: Any, tmp_path: Path, axis: str
) -> None:
    folder = reference.copied(tmp_path)
    results = read(folder)
    values = BOARD[axis] if isinstance(BOARD[axis], list) else [BOARD[axis]]
    for value in values:
        left = [other for other in values if other != value]
        other = {
            "architectures": ["toy-convnet"],
            "metrics": ["toy-loss"],
            "methods": ["toy-means"],
        }
        changes = {axis: left or other.get(axis)}
        (folder / "matrix.toml").unlink()
        write_board(folder, **changes)
        write_tables(folder)
        assert [line for line in stale(folder) if "/images/" not in line] == []
        assert read(folder) == results  # of what the board has lost, nothing is forgotten


def test_the_page_of_a_board_follows_from_its_twin_or_says_that_there_is_none(
    tmp_path: Path,
) -> None:
    names = ("digits-both", "digits-classified")
    board, twin = (shutil.copytree(BOARDS / name, tmp_path / name) for name in names)
    assert "## The same sets on both tracks" in (board / "README.md").read_text()
    assert not [fault for fault in stale(board) if "README" in fault]
    (twin / "records" / "kcenter.jsonl").unlink()
    assert [fault for fault in stale(board) if "README.md is not what the records say" in fault]
    shutil.rmtree(twin)
    write_tables(board)
    assert (
        "twin `digits-classified`, and there is no such board" in (board / "README.md").read_text()
    )


def test_a_twin_of_the_same_track_is_refused(reference: Any, tmp_path: Path) -> None:
    board = reference.copied(tmp_path)
    shutil.copytree(board, board.with_name("twin"))
    path = board / "matrix.toml"
    path.write_text('twin = "twin"\n' + path.read_text())
    with pytest.raises(BenchError, match="whose track is 'classification', too; expected a board"):
        write_tables(board)
