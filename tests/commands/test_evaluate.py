"""`bench.evaluate`: tensors of a notebook judged as any other set, beside those of the board."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given as any_of
from hypothesis import strategies as st
from support import SMALL, Shell, snapshot, stages, write_board
from torch import Tensor

import bench as package
from bench.commands.evaluate import _key, _value
from bench.contract.errors import BenchError
from bench.records.files import read
from bench.training.toy import ToyData

K = 8


def first(ipc: int = 1) -> tuple[Tensor, Tensor]:
    """The first training images of each class of the toy data."""
    train: Any = ToyData().load().train
    index = torch.cat([(train.labels == k).nonzero()[:ipc, 0] for k in range(K)])
    return train.images(index), train.labels[index]


@pytest.fixture
def here(bench: Any, tmp_path: Path, reference: Any) -> Path:
    """The toy board with its records, where toyplug is installed."""
    return Path(shutil.copytree(reference.board, tmp_path / "board"))


def test_a_set_has_its_row_among_those_of_the_board(here: Path, tmp_path: Path) -> None:
    before = snapshot(here)
    frame = package.evaluate(*first(), here, store=tmp_path / "store", jobs=2)
    assert snapshot(here) == before  # the board is only read
    assert list(frame.columns) == list(package.table(here).columns)
    assert set(frame["method"]) == {"noted", "toy-first", "toy-full", "mine"}
    assert set(frame["ipc"]) == {0, 1}
    clean = frame[frame["column"] == "toy-clean"]
    assert list(clean["mean"]) == sorted(clean["mean"], reverse=True)
    # the same images as those of the board's control, in eight bits, have about its figure
    figures = clean.set_index("method")["mean"]
    assert abs(figures["mine"] - figures["toy-first"]) < 0.1
    assert set(frame["n"]) == {2}


def test_what_has_been_judged_is_found_again(here: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    given = first(2)
    one = package.evaluate(*given, here, store=store, seeds=[0])
    made = stages(store)
    assert made["train"] == 1
    two = package.evaluate(*given, here, store=store, seeds=[0], into=tmp_path / "kept")
    assert one.equals(two)
    assert stages(store) == made
    records = [r for r in read(tmp_path / "kept") if r.method == "mine"]
    assert [(r.ipc, r.seed, r.attack) for r in records] == [
        (2, 0, "noted-step"),
        (2, 0, "toy-clean"),
    ]
    assert "mine" in (tmp_path / "kept" / "README.md").read_text()
    with pytest.raises(BenchError, match=r"into .*kept holds something; expected a new folder"):
        package.evaluate(*given, here, store=store, into=tmp_path / "kept")


def test_probabilities_and_a_budget_that_the_board_lacks_are_judged(
    bench: Any, tmp_path: Path
) -> None:
    board = write_board(tmp_path / "board", **SMALL)
    images, labels = first(3)
    soft = 0.9 * torch.eye(K)[labels] + 0.1 / K
    found = package.evaluate(images, soft, board, name="soft", store=tmp_path / "store")
    assert found[["method", "ipc", "size"]].to_numpy().tolist() == [["soft", 3, 3 * K]]
    assert not (board / "records").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "noted"}, "name 'noted' stands for something else on this board"),
        ({"name": "My Set"}, "a name must be lower-case letters"),
        ({"dataset": "toy-dta"}, "dataset 'toy-dta' is not on this board; did you mean 'toy-data'"),
        ({"seeds": [7]}, "seed '7' is not on this board"),
        ({"images": torch.rand(K, 1, 4, 4)}, "expected [N, 1, 8, 8], as those of toy-data are"),
        ({"labels": torch.eye(K + 1)[:K], "classes": torch.arange(K)}, "8 images for 9 classes"),
        ({"seeds": 0}, "seeds are 0; expected a list, as in [0, 1, 2]"),
        ({"jobs": -3}, "jobs is -3; expected 0"),
        ({"name": None}, "name is None; expected the name of the row"),
        ({"board": "nowhere"}, "a board is a folder with a matrix.toml"),
    ],
)
def test_what_the_board_cannot_judge_is_refused_before_anything_runs(
    changes: dict[str, Any], said: str, bench: Any, tmp_path: Path
) -> None:
    board = write_board(tmp_path / "board", **SMALL)
    images, labels = first()
    asked = {"images": images, "labels": labels, "board": board, "store": tmp_path / "store"}
    with pytest.raises(BenchError) as refused:
        package.evaluate(**asked | changes)
    assert said in str(refused.value)
    assert "condense" not in stages(tmp_path / "store")


def test_a_frozen_board_judges_nothing(bench: Any, tmp_path: Path) -> None:
    board = write_board(tmp_path / "board", frozen="measured under protocol 3", **SMALL)
    with pytest.raises(BenchError, match="is frozen: measured under protocol 3; name a board"):
        package.evaluate(*first(), board)


SCRIPT = """
import sys, numpy as np
import bench
assert "torch" not in sys.modules
found = bench.evaluate(np.full((8, 1, 8, 8), 7, np.uint8), np.arange(8), "board", jobs=2)
assert "torch" not in sys.modules
import json
print(json.dumps(found["method"].tolist()))
"""


@pytest.mark.slow
def test_a_script_without_a_guard_may_call_it_and_loads_no_torch(shell: Shell) -> None:
    write_board(shell.folder / "board", **SMALL)
    ended = shell(code=SCRIPT)
    assert ended.code == 0, ended
    assert json.loads(ended.out.splitlines()[-1]) == ["mine"]
    assert (shell.folder / ".bench" / "given").is_dir()


NOTEBOOK = """
import asyncio, json
import numpy as np
import bench


async def cell():
    asyncio.get_running_loop().call_soon(list)
    found = bench.evaluate(np.full((8, 1, 8, 8), 7, np.uint8), np.arange(8), "board", jobs=1)
    return found["method"].tolist()


print(json.dumps(asyncio.run(cell())))
"""


@pytest.mark.slow
def test_a_notebook_may_call_it_where_an_event_loop_runs(shell: Shell) -> None:
    write_board(shell.folder / "board", **SMALL)
    ended = shell(code=NOTEBOOK)
    assert ended.code == 0, ended
    assert json.loads(ended.out.splitlines()[-1]) == ["mine"]


scalars = st.one_of(
    st.booleans(), st.integers(-(2**60), 2**60), st.floats(allow_nan=False), st.text()
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@any_of(st.dictionaries(st.text(), values, max_size=3))
def test_what_is_written_as_toml_is_read_again(document: dict[str, Any]) -> None:
    lines = [f"{_key(key)} = {_value(value)}\n" for key, value in document.items()]
    assert tomllib.loads("".join(lines)) == document
