"""A row explains itself: all that its records say of it, and the command that makes it again."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from support import Ended

import bench
from bench.board.matrix import read as read_matrix
from bench.contract.errors import BenchError
from bench.engine.results import chosen_cells
from bench.records.checked import name as name_of
from bench.records.files import read
from bench.report.model import Code, Items, Section, Table, text_of
from bench.report.numbers import board_of
from bench.report.row import rows

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "leaderboards" / "demo"
BOARD = board_of(read_matrix(DEMO))
Bench = Callable[..., Ended]


def facts(section: Section) -> dict[str, str]:
    """What a section lists, by name."""
    items = [i for block in section.blocks if isinstance(block, Items) for i in block.items]
    return {i[0].text: str(i[1]).removeprefix(": ") for i in items if len(i) == 2}  # type: ignore[union-attr]


def one(**where: Any) -> Section:
    [found] = rows(BOARD, read(DEMO), "leaderboards/demo", **where)
    return found


def test_a_row_says_all_that_its_records_say_of_it() -> None:
    records = [r for r in read(DEMO) if (r.method, r.ipc) == ("wmdd", 10)]
    section = one(method="wmdd", ipc=10)
    said = facts(section)
    assert section.title == "wmdd, IPC 10: digits, convnet-32, teacher labels"
    assert said["role"] == "method"
    assert said["settings of the method"] == "iterations = 600, roll = 1"
    assert said["recipe"].startswith("steps = 1500, batch = 64, lr = 0.02, crop = 1")
    whole = " ".join(said.values())
    for record in records:
        for role in ("teacher", "set", "student"):
            assert f"{record.content[role]} (seed {record.seed})" in said[f"content of the {role}"]
        for name, version in record.versions.items():
            assert f"{name} {version}" in said["versions"]
        assert record.data["digest"] in said["data"]
        assert record.code["method"] in said["code"]
        assert str(record.environment["cpu"]) in said["machine"]
        assert str(record.protocol) == said["protocol"]
    assert "second" not in whole  # which no page may tell


def test_a_row_says_who_provides_its_method_and_who_vouches_for_it(bench: Bench) -> None:
    records = [r for r in read(DEMO) if (r.method, r.ipc) == ("wmdd", 10)]
    said = facts(one(method="wmdd", ipc=10, provider="bench-wmdd"))
    assert said["provider"] == "bench-wmdd"
    assert said["tier"] == "claimed by those who measured it"
    names = [name_of(record) for record in records]
    half = facts(one(method="wmdd", ipc=10, checked=names[:3]))["tier"]
    expected = f"checked: 3 of {len(names)} records were measured again, and held"
    assert half == f"{expected}; the others are claimed"
    whole = facts(one(method="wmdd", ipc=10, checked=names))["tier"]
    assert whole == expected.replace("3 of", f"{len(names)} of")
    shown = bench("row", DEMO, "wmdd", "--ipc", 10).out
    assert "- tier: claimed" in shown
    assert "- provider: " in shown


def test_the_figures_are_those_of_the_page() -> None:
    [table] = [block for block in one(method="wmdd", ipc=10).blocks if isinstance(block, Table)]
    shown = {tuple(map(text_of, row[:2])): text_of(row[2]) for row in table.rows}
    page = bench.table(DEMO).set_index(["method", "ipc", "metric", "column"])
    for column in ("clean", "robust linf 0.1"):
        figure = page.loc["wmdd", 10, "accuracy", column]
        said = f"{100 * figure['mean']:.1f} ± {100 * figure['sd']:.1f}"
        assert shown["accuracy", column] == said


@pytest.mark.parametrize("board", ["demo", "fashion-wmdd", "digits-generation"])
def test_the_command_selects_the_cells_of_the_row_and_no_others(board: str) -> None:
    folder = ROOT / "leaderboards" / board
    matrix, records = read_matrix(folder), read(folder)
    sections = rows(board_of(matrix), records, board)
    assert len(sections) > 10
    selected: list[Any] = []
    for section in sections:
        [line] = [b.text for b in section.blocks if isinstance(b, Code)]
        words = shlex.split(line)
        assert words[:3] == ["bench", "run", board]
        only = dict(w.split("=") for w in words[words.index("--methods") + 2 :] if "=" in w)
        method = words[words.index("--methods") + 1]
        cells = chosen_cells(matrix, [method], {k: [v] for k, v in only.items()})
        assert len({(c.dataset, c.architecture, c.labels, c.ipc) for c in cells}) == 1
        selected += cells
    assert len(selected) == len(set(selected))


def test_what_seeds_do_not_share_is_listed() -> None:
    records = read(DEMO)
    changed = [
        structs.replace(r, environment={"cpu": "another"}, protocol=3) if r.seed == 1 else r
        for r in records
    ]
    [section] = rows(BOARD, changed, "demo", method="wmdd", ipc=1)
    said = facts(section)
    assert said["machine"].endswith("; or cpu another")
    assert said["protocol"] == "4; or 3"


def test_a_row_says_what_is_in_print_of_it_and_whether_that_was_measured(bench: Bench) -> None:
    shown = bench("row", ROOT / "leaderboards" / "fashion-dc", "random", "--ipc", 1).out
    assert "in print: accuracy 51.4 ± 3.8 (Zhao et al., Dataset Condensation with" in shown
    assert shown.count("paper-matched") == 1
    assert "in print: nothing that is known here" in bench("row", DEMO, "wmdd", "--ipc", 1).out


def test_flags_and_refusals_stand_with_the_row() -> None:
    folder = ROOT / "leaderboards" / "fashion-wmdd"
    matrix = read_matrix(folder)
    [section] = rows(
        board_of(matrix), read(folder), "b", method="full", architecture="convnet-32", labels="hard"
    )
    items = [b for b in section.blocks if isinstance(b, Items)]
    assert any("class-w1 declined: needs a teacher's features" in str(b.items) for b in items)
    assert "frozen" in str(section.blocks)


def test_a_row_that_was_declined_says_why() -> None:
    record = structs.replace(
        read(DEMO)[0], reason="needs colour", metrics={}, content={}, passes={}, scales={}
    )
    [section] = rows(BOARD, [record], "demo")
    assert facts(section)["declined"] == "needs colour"
    assert facts(section)["seeds"] == "none was measured"


def test_the_command_line_shows_rows_and_knows_the_axes(bench: Bench) -> None:
    ended = bench("row", DEMO, "wmdd", "--ipc", 10)
    assert ended.code == 0
    assert "wmdd, IPC 10: digits" in ended.out
    assert "IPC 1:" not in ended.out
    assert bench("row", DEMO, "wmdd").out.count("What makes it again") == 2
    for arguments, said in {
        ("wmd",): "method 'wmd' is not on this board; did you mean 'wmdd'?",
        ("wmdd", "--ipc", 3): "ipc '3' is not on this board",
        ("wmdd", "--ipc", 0): "wmdd has no row of ipc 0; expected 1 or 10",
        ("full", "--ipc", 10): "full has no row of ipc 10; expected 0 (the full set)",
        ("wmdd", "--labels", "hard"): "labels 'hard' is not on this board",
    }.items():
        ended = bench("row", DEMO, *arguments)
        assert (ended.code, ended.out) == (2, "")
        assert said in ended.err
    empty = bench("row", ROOT / "leaderboards" / "imagenette", "wmdd", "--ipc", 10)
    assert "has no record of wmdd there; run: bench run" in empty.err


def test_the_error_is_a_bench_error() -> None:
    from bench.commands.row import row

    with pytest.raises(BenchError, match="is not on this board"):
        row(DEMO, "wmdd", {"ipc": None, "dataset": "cifar"})
