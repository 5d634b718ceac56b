"""The boards of the published protocol: they read, compare like with like, and mark what is odd."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.board.check import resolve
from bench.board.matrix import read
from bench.contract.registry import discover
from bench.report import published
from bench.report.numbers import board_of

BOARDS = Path(__file__).parents[3] / "leaderboards"
HOSTED = ("imagenette-robust", "tiny-imagenet-robust", "imagenet-1k-robust", "cifar10-robust")
PAPER = (*HOSTED, "cifar10-robust-dc")
PENALTIES = {"lam", "h", "form", "fraction", "eps", "alpha", "steps", "random_start"}


def tables_of(board):
    """What its `published.toml` has in print."""
    return published.read(board, board_of(read(board))).tables


@pytest.fixture(scope="module")
def registry():
    return discover()


@pytest.mark.parametrize("board", PAPER)
def test_a_board_has_all_its_components(board, registry):
    components = resolve(read(BOARDS / board), registry)
    assert len(components.matrix.cells()) > 100
    assert len(components.matrix.attacks) == 7  # six, and none


@pytest.mark.parametrize("board", HOSTED)
def test_a_host_stands_beside_itself_with_another_teacher_alone(board, registry):
    components = resolve(read(BOARDS / board), registry)
    matrix = components.matrix
    derived = [m for m in (*matrix.methods, *matrix.controls) if ("method", m) in matrix.define]
    assert "guard-sre2l" in derived
    for dataset in matrix.datasets:
        for ipc in matrix.ipc:
            for name in derived:
                host = matrix.define["method", name]["base"]
                plain, other = (
                    components.get("method", m, dataset=dataset, ipc=ipc) for m in (host, name)
                )
                assert plain.teacher != other.teacher
                assert replace(other, name=host, teacher=plain.teacher) == plain
                where = {"dataset": dataset, "ipc": ipc}
                trained = components.get("teacher", other.teacher, method=name, **where)
                usual = components.get("teacher", matrix.teacher, method=host, **where)
                differing = {
                    field
                    for field in vars(usual)
                    if field != "name" and getattr(trained, field) != getattr(usual, field)
                }
                assert differing <= PENALTIES


@pytest.mark.parametrize(
    ("board", "row", "column", "said"),
    [
        ("imagenette-robust", "GUARD, IPC 50", "AutoAttack", "weaker than an iterative"),
        ("imagenette-robust", "GUARD, IPC 100", "AutoAttack", "weaker than an iterative"),
        ("imagenette-robust", "SRe2L, IPC 100", "PGD-100", "weaker than a black-box"),
        ("cifar10-robust", "DC with GUARD, IPC 1", "PGD-100", "above the clean images"),
        ("cifar10-robust-dc", "DC with GUARD, IPC 1", "Square", "above the clean images"),
    ],
)
def test_rows_that_contradict_themselves_in_print_are_marked(board, row, column, said):
    tables = [table for table in tables_of(BOARDS / board) if row in table.rows]
    found = published.flags(tables[0], tables[0].rows[row])[column]
    assert any(said in one for one in found)


def test_rows_that_do_not_are_not():
    [table] = tables_of(BOARDS / "cifar10-robust")
    for row in ("SRe2L, IPC 10", "SRe2L with GUARD, IPC 10", "CDA, IPC 50"):
        assert published.flags(table, table.rows[row]) == {}


def test_students_of_enlarged_tiny_imagenet_have_the_stem_of_the_authors(registry):
    components = resolve(read(BOARDS / "tiny-imagenet-robust"), registry)
    student = components.get("architecture", "resnet18", dataset="tiny-imagenet")
    assert student.stem == "half"


@pytest.mark.parametrize("board", HOSTED)
def test_the_full_set_is_not_trained_on_for_as_long_as_a_condensed_one(board, registry):
    components = resolve(read(BOARDS / board), registry)
    where = {
        "dataset": components.matrix.datasets[0],
        "labels": "teacher",
        "architecture": components.matrix.architectures[0],
    }
    full, condensed = (components.recipe(ipc=ipc, **where) for ipc in (0, 10))
    assert full.epochs < condensed.epochs
