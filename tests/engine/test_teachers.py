"""What metrics look with, and teachers, stay with the board, whichever machine goes on."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import a_result
from toyplug import Seen

from bench.board import networks
from bench.board.check import resolve
from bench.board.matrix import parse
from bench.contract.errors import BenchError
from bench.contract.registry import registry_of
from bench.engine import teachers
from bench.engine.results import Ran, run
from bench.engine.scheduler import Engine
from bench.records.result import Result
from bench.store.store import Store
from bench.training import toy

REGISTRY = registry_of({**toy.COMPONENTS, "metric": (*toy.COMPONENTS["metric"], Seen())})
BOARD: dict[str, Any] = {
    "title": "Toys, looked at",
    "track": "generation",
    "datasets": ["toy-data"],
    "ceiling": ["toy-real"],
    "ipc": [1],
    "architectures": ["toy-denoiser"],
    "samplers": ["toy-sampler"],
    "metrics": ["seen"],
    "backbone": "toy-convnet",
    "probe": {"images": 40},
}


def engine_of(board: Path, store: Path, **changes: Any) -> Engine:
    components = resolve(parse(BOARD | changes, networks.read(board)), REGISTRY)
    return Engine(components, Store(store), board=board)


def ran(board: Path, store: Path, *, carry: bool = False, **changes: Any) -> tuple[Ran, list[str]]:
    """A run, and what is said of the networks that are given to the board."""
    engine = engine_of(board, store, **changes)
    plan = engine.plan(engine.components.matrix.cells())
    ended = run(engine, plan)
    if ended.failures:
        raise BenchError(ended.failures[0].reason)
    return ended, teachers.carry(engine, plan, board, teachers=carry)


def look(board: Path, store: Path, **changes: Any) -> tuple[str, float]:
    """The name of the network that a run has looked with, and the figure; it is kept."""
    [record] = ran(board, store, **changes)[0].records
    return record.scales["seen"].features, record.metrics["seen"]


def files(board: Path) -> list[Path]:
    return sorted((board / "teachers").glob("*.safetensors"))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, tuple[str, float]]:
    board, store = tmp_path_factory.mktemp("board"), tmp_path_factory.mktemp("store")
    return board, store, look(board, store)


def elsewhere(board: Path, folder: Path) -> Path:
    """The board as another machine has it, where training came to another network."""
    shutil.copytree(board, folder)
    [path] = files(folder)
    state = {name: 1.5 * tensor for name, tensor in load_file(path).items()}
    save_file(state, path)
    named(folder)
    return folder


def named(board: Path) -> None:
    """Let the table of a board name the files as they are."""
    for one in networks.read(board):
        blob = (board / "teachers" / one.file).read_bytes()
        networks.add(board, replace(one, sha256=hashlib.sha256(blob).hexdigest()), blob)


def test_the_first_run_keeps_the_network_under_the_hash_that_it_is_named_by(first: Any) -> None:
    board, _, (name, _) = first
    [path] = files(board)
    assert path.name.startswith("toy-data.toy-convnet.toy-teacher.")
    assert name == f"toy-convnet-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"


def test_nothing_is_measured_again_once_the_network_is_kept(tmp_path: Path) -> None:
    board, store = tmp_path / "board", tmp_path / "store"
    found = look(board, store)
    measured = [*store.glob("measure/*")]
    assert look(board, store) == found
    assert [*store.glob("measure/*")] == measured
    assert len([*store.glob("squeeze/*")]) == 2  # what was trained, and what is kept


def test_another_machine_looks_with_the_network_of_the_board(first: Any, tmp_path: Path) -> None:
    board, store, (name, figure) = first
    other = elsewhere(board, tmp_path / "board")
    before = files(other)[0].read_bytes()
    found = look(other, tmp_path / "store")  # it has trained nothing yet
    assert look(other, store) == found  # it has trained one of its own before
    assert found[0] == f"toy-convnet-{hashlib.sha256(before).hexdigest()[:8]}" != name
    assert found[1] != figure
    assert files(other)[0].read_bytes() == before
    assert look(board, store) == (name, figure)


def test_a_board_that_asks_for_another_network_gets_another_file(
    first: Any, tmp_path: Path
) -> None:
    board, store, (name, _) = first
    changed = {"set": [{"where": {"teacher": "toy-teacher"}, "steps": 7}]}
    copy = tmp_path / "board"
    shutil.copytree(board, copy)
    assert look(copy, store, **changed)[0] != name
    assert len(files(copy)) == 2


@pytest.mark.parametrize("blob", [b"", b"no network", "other tensors", "not finite"])
def test_a_file_that_is_no_network_of_the_board_is_named(
    first: Any, tmp_path: Path, blob: bytes | str
) -> None:
    board, *_ = first
    other = elsewhere(board, tmp_path / "board")
    [path] = files(other)
    state = load_file(path)
    if isinstance(blob, bytes):
        path.write_bytes(blob)
    elif blob == "other tensors":
        save_file({f"{name}.more": tensor for name, tensor in state.items()}, path)
    else:
        save_file({name: tensor / 0 for name, tensor in state.items()}, path)
    named(other)
    with pytest.raises(BenchError, match=r"toy-data\.toy-convnet.* is no network of this board"):
        look(other, tmp_path / "store")


def test_two_boards_on_one_store_look_with_a_network_each(first: Any, tmp_path: Path) -> None:
    board, store, found = first
    other = elsewhere(board, tmp_path / "board")
    there = look(other, store)
    assert look(board, store) == look(board, tmp_path / "fresh") == found != there
    assert look(other, store) == there


def test_a_network_too_large_for_a_repository_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks, "HEAVIEST", 100)
    [said] = ran(tmp_path / "board", tmp_path / "store")[1]
    assert "is not carried: a board carries networks of at most 100" in said
    assert files(tmp_path / "board") == []


def looked_with(name: str) -> Result:
    scales = {"seen": {"better": "lower", "features": name}, "steps": {"better": "lower"}}
    return a_result(dataset="toy-data", metrics={"seen": 1.0, "steps": 1.0}, scales=scales)


def test_a_network_that_most_figures_were_found_with_and_that_is_not_kept_is_missed(
    first: Any, tmp_path: Path
) -> None:
    board, _, (name, _) = first
    assert networks.missing(board, [looked_with(name)] * 2 + [looked_with("net-00000000")]) == []
    assert networks.missing(board, [looked_with("net-00000000")] * 2 + [looked_with(name)]) == [
        "net-00000000"
    ]
    assert networks.missing(tmp_path, [looked_with(name)]) == [name]
    assert networks.missing(tmp_path, [a_result()]) == []


def test_what_is_kept_is_the_state_of_the_network(first: Any) -> None:
    board, *_ = first
    network = toy.ToyConvNet().build((1, 8, 8), 8)
    state = load_file(files(board)[0])
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in state.items()}
    assert all(torch.isfinite(tensor).all() for tensor in state.values())


# ---- teachers

SOFT = {
    "track": "classification",
    "datasets": ["toy-data"],
    "methods": ["toy-means"],
    "ceiling": ["toy-full"],
    "labels": ["teacher"],
    "teacher": "toy-teacher",
    "architectures": ["toy-linear"],
    "attacks": ["toy-clean"],
    "metrics": ["toy-accuracy"],
    "recipe": {"steps": 5, "batch": 32, "lr": 0.1},
    "samplers": None,
}
BOARD_OF_TEACHERS = {k: v for k, v in (BOARD | SOFT).items() if v is not None}


def test_a_board_carries_the_teachers_that_label_its_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "BOARD", BOARD_OF_TEACHERS)
    board, store = tmp_path / "board", tmp_path / "store"
    first, said = ran(board, store)
    assert said == []  # nobody has asked
    _, [said_of] = ran(board, store, carry=True)
    assert "its labels pair the rows of all machines" in said_of
    [one] = networks.read(board)
    assert (one.dataset, one.network, one.teacher, one.seed) == (
        *("toy-data", "toy-convnet", "toy-teacher"),
        0,
    )
    assert one.accuracy is not None
    assert 0.5 < one.accuracy <= 1
    assert one.passes["backward"] > 0
    again, said = ran(board, tmp_path / "fresh", carry=True)
    assert said == []
    assert [r.metrics for r in again.records] == [r.metrics for r in first.records]
    assert [r.content for r in again.records] == [r.content for r in first.records]
    engine = engine_of(board, tmp_path / "fresh")
    cells = engine.components.matrix.cells()
    said, wrong = teachers.prove(engine, cells)
    assert wrong == []
    assert said == [f"{one.file}: trained again, it is the same, byte for byte"]

    other = elsewhere(board, tmp_path / "other")
    state = {n: -t for n, t in load_file(files(other)[0]).items()}
    save_file(state, files(other)[0])
    named(other)
    said, wrong = teachers.prove(engine_of(other, tmp_path / "fresh"), cells)
    assert "trained again, it is another network: accuracy" in wrong[0]
    files(other)[0].unlink()
    with pytest.raises(BenchError, match=r"is missing; get it from the repository again"):
        ran(other, tmp_path / "fresh")


def test_a_board_that_carries_nothing_has_nothing_to_prove(tmp_path: Path) -> None:
    engine = engine_of(tmp_path / "board", tmp_path / "store")
    with pytest.raises(BenchError, match="nothing can be trained again"):
        teachers.prove(engine, engine.components.matrix.cells())


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("network = 1", "network is no array of tables"),
        ("[[networks]]", "the file has an unknown key 'networks'; did you mean 'network'?"),
        ("[[network]]\nfile = '../x.safetensors'", "file is '../x.safetensors'; expected NAME"),
        ("[[network]]\nfile = 'a.safetensors'", "[[network]] number 1: sha256 is missing"),
        ("[[network]]\nsha = 1", "has an unknown key 'sha'; did you mean 'sha256'?"),
    ],
)
def test_a_faulty_table_of_networks_is_refused(tmp_path: Path, table: str, words: str) -> None:
    (tmp_path / "teachers").mkdir()
    (tmp_path / "teachers" / "teachers.toml").write_text(table)
    with pytest.raises(BenchError) as caught:
        networks.read(tmp_path)
    assert words in str(caught.value)
    assert "teachers.toml" in str(caught.value)


def test_a_file_that_is_damaged_or_gone_is_named(first: Any, tmp_path: Path) -> None:
    board, *_ = first
    copy = tmp_path / "board"
    shutil.copytree(board, copy)
    assert networks.wrong(copy, []) == []
    [path] = files(copy)
    path.write_bytes(b"other")
    assert "is not the file that teachers.toml names" in networks.wrong(copy, [])[0]
    path.unlink()
    assert "is missing" in networks.wrong(copy, [])[0]


def test_a_board_of_the_old_form_is_told_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "a.safetensors").write_bytes(b"")
    with pytest.raises(BenchError, match="is of the old form; move its files to teachers/"):
        networks.read(tmp_path)
