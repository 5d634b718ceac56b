"""Condensed sets of the first seed stay with the board, with a card and a hash."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toyplug
from safetensors.numpy import load_file
from support import BOARD

from bench.board import sets
from bench.board.check import resolve
from bench.board.matrix import parse
from bench.contract.errors import BenchError
from bench.contract.registry import registry_of
from bench.engine.results import run
from bench.engine.scheduler import Engine
from bench.engine.sets import carry
from bench.records.result import Result
from bench.store.store import Store

CHANGES = {"attacks": ["toy-clean"], "ipc": [1, 2]}
FILES = ["toy-data.noted.ipc-1.seed-0.safetensors", "toy-data.toy-first.ipc-1.seed-0.safetensors"]


def engine(store: Path) -> Engine:
    return Engine(resolve(parse(BOARD | CHANGES), registry_of(toyplug.COMPONENTS)), Store(store))


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[str], list[Result]]:
    """A store, a board that was given its sets, what was said, and the records."""
    folder = tmp_path_factory.mktemp("sets")
    one = engine(folder / "store")
    plan = one.plan(one.components.matrix.cells())
    made = run(one, plan).records
    return folder / "store", folder / "board", carry(one, plan, folder / "board"), list(made)


def test_sets_of_the_first_seed_at_the_small_budgets_are_kept(ran: Any) -> None:
    _, board, said, _ = ran
    assert [one.file for one in sets.read(board)] == FILES  # neither ipc 2, seed 1 nor the full set
    assert said == [f"wrote {board / 'sets' / name}: commit it with the records" for name in FILES]


def test_a_card_says_which_records_are_of_the_set(ran: Any) -> None:
    _, board, _, records = ran
    assert sets.read(board)
    for one in sets.read(board):
        where = (one.dataset, one.method, one.ipc, one.seed)
        named = {r.content["set"] for r in records if (r.dataset, r.method, r.ipc, r.seed) == where}
        assert named == {one.content}
        images = load_file(board / "sets" / one.file)["images"]
        assert images.shape == one.shape
        assert {"U8": "uint8", "I64": "int64"}[one.dtype] == str(images.dtype)
    assert sets.wrong(board) == []


def test_the_same_sets_are_kept_in_the_same_bytes(ran: Any, tmp_path: Path) -> None:
    store, board, *_ = ran
    one = engine(store)
    carry(one, one.plan(one.components.matrix.cells()), tmp_path)
    for path in (board / "sets").iterdir():
        assert (tmp_path / "sets" / path.name).read_bytes() == path.read_bytes()


def test_sets_that_were_not_made_are_not_told_of(tmp_path: Path) -> None:
    one = engine(tmp_path / "store")
    assert carry(one, one.plan(one.components.matrix.cells()), tmp_path / "board") == []
    assert not (tmp_path / "board").exists()


def test_a_set_that_there_is_no_room_for_is_said_and_not_kept(
    ran: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, board, *_ = ran
    weight = (board / "sets" / FILES[0]).stat().st_size
    monkeypatch.setattr(sets, "HEAVIEST", weight + 1)
    one = engine(store)
    plan = one.plan(one.components.matrix.cells())
    said = carry(one, plan, tmp_path)
    assert [kept.file for kept in sets.read(tmp_path)] == FILES[:1]
    assert said[1].startswith("the set of ")
    assert f"is not kept: of the {weight + 1:,} of a board 1 are left" in said[1]
    assert carry(one, plan, tmp_path)[0] == said[0]  # it takes its own place


def test_a_set_that_is_damaged_or_gone_is_named(ran: Any, tmp_path: Path) -> None:
    board = Path(shutil.copytree(ran[1], tmp_path / "board"))
    (board / "sets" / FILES[0]).write_bytes(b"other")
    (board / "sets" / FILES[1]).unlink()
    [other, gone] = sets.wrong(board)
    assert "is not the file that sets.toml names: its SHA-256 differs" in other
    assert "is missing; get it from the repository again" in gone


def test_another_set_of_the_same_place_makes_room(ran: Any, tmp_path: Path) -> None:
    board = Path(shutil.copytree(ran[1], tmp_path / "board"))
    first, second = sets.read(board)
    sets.add(board, replace(first, content="other"), b"blob")
    assert [one.content for one in sets.read(board)] == ["other", second.content]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("set = 1", "set is no array of tables; expected entries [[set]]"),
        ("[[sets]]", "the file has an unknown key 'sets'; did you mean 'set'?"),
        ("[[set]]\nfile = '../x.safetensors'", "file is '../x.safetensors'; expected NAME"),
        ("[[set]]\nfile = 'a.safetensors'", "[[set]] number 1: sha256 is missing"),
    ],
)
def test_a_faulty_table_of_sets_is_refused(tmp_path: Path, table: str, words: str) -> None:
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets" / "sets.toml").write_text(table)
    with pytest.raises(BenchError) as caught:
        sets.read(tmp_path)
    assert words in str(caught.value)
    assert "sets.toml" in str(caught.value)


PLAIN = """
import gzip, sys, torch
from safetensors.torch import load_file

tensors = load_file(sys.argv[1])
images, labels = tensors["images"].float() / 255, tensors["labels"]
mean, std = images.mean(), images.std()
torch.manual_seed(0)
layers, channels = [], 1
for padding in (3, 1, 1):
    convolution = torch.nn.Conv2d(channels, 32, 3, padding=padding)
    layers += [convolution, torch.nn.GroupNorm(32, 32), torch.nn.ReLU(), torch.nn.AvgPool2d(2)]
    channels = 32
network = torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(512, 10))
optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
for _ in range(150):
    loss = torch.nn.functional.cross_entropy(network((images - mean) / std), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def idx(name, head):
    with gzip.open(f"{sys.argv[2]}/{name}.gz") as file:
        return torch.frombuffer(bytearray(file.read()[head:]), dtype=torch.uint8)


test = idx("t10k-images-idx3-ubyte", 16).view(-1, 1, 28, 28)[:2000].float() / 255
right = network((test - mean) / std).argmax(1) == idx("t10k-labels-idx1-ubyte", 8)[:2000]
assert not [name for name in sys.modules if name.split(".")[0] == "bench"]
print(float(right.float().mean()))
"""
FASHION = Path("/usr/share/datasets/fashion-mnist")  # of a Debian package


@pytest.mark.slow
@pytest.mark.skipif(not FASHION.is_dir(), reason="Fashion-MNIST is not installed")
def test_a_set_of_the_archive_trains_a_network_without_us() -> None:
    board = Path(__file__).parents[2] / "leaderboards" / "fashion-dc"
    kept = [one for one in sets.read(board) if one.dtype == "U8"]
    assert kept
    for one in kept:
        done = subprocess.run(
            [sys.executable, "-c", PLAIN, board / "sets" / one.file, FASHION],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert float(done.stdout) > 0.5  # ten images; chance is 0.1
