"""The networks that metrics look with stay with the board, whichever machine goes on."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from toyplug import Seen

from bench.board.check import resolve
from bench.board.matrix import parse
from bench.contract.errors import BenchError
from bench.contract.registry import registry_of
from bench.engine.results import run
from bench.engine.scheduler import Engine
from bench.stages import evaluator
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


def look(board: Path, store: Path, **changes: Any) -> tuple[str, float]:
    """The name of the network that a run has looked with, and the figure; it is kept."""
    components = resolve(parse(BOARD | changes), REGISTRY)
    engine = Engine(components, Store(store), 1, board=board)
    plan = engine.plan(components.matrix.cells())
    ran = run(engine, plan)
    if ran.failures:
        raise BenchError(ran.failures[0].reason)
    for name, stage in plan.looking.items():
        found = engine.store.find(stage.kind, engine.key_of(stage, {}))
        assert found is not None
        evaluator.keep(board, name, found, engine.store)
    [record] = ran.records
    return record.scales["seen"].features, record.metrics["seen"]


def kept(board: Path) -> list[Path]:
    return sorted((board / "features").glob("*"))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, tuple[str, float]]:
    board, store = tmp_path_factory.mktemp("board"), tmp_path_factory.mktemp("store")
    return board, store, look(board, store)


def elsewhere(board: Path, folder: Path) -> Path:
    """The board as another machine has it, where training came to another network."""
    folder.mkdir()
    (folder / "features").mkdir()
    [path] = kept(board)
    state = {name: 1.5 * tensor for name, tensor in load_file(path).items()}
    save_file(state, folder / "features" / path.name)
    return folder


def test_the_first_run_keeps_the_network_under_the_hash_that_it_is_named_by(first: Any) -> None:
    board, _, (name, _) = first
    [path] = kept(board)
    assert path.name.startswith("toy-data.toy-convnet.toy-teacher.")
    assert name == f"toy-convnet-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"


def test_nothing_is_measured_again_once_the_network_is_kept(tmp_path: Path) -> None:
    board, store = tmp_path / "board", tmp_path / "store"
    found = look(board, store)
    measured = [*store.glob("measure/*")]
    assert look(board, store) == found
    assert [*store.glob("measure/*")] == measured
    assert len([*store.glob("adopt/*")]) == 2  # of what was trained, and of what is kept


def test_another_machine_looks_with_the_network_of_the_board(first: Any, tmp_path: Path) -> None:
    board, store, (name, figure) = first
    other = elsewhere(board, tmp_path / "board")
    before = kept(other)[0].read_bytes()
    found = look(other, tmp_path / "store")  # it has trained nothing yet
    assert look(other, store) == found  # it has trained one of its own before
    assert found[0] == f"toy-convnet-{hashlib.sha256(before).hexdigest()[:8]}" != name
    assert found[1] != figure
    assert kept(other)[0].read_bytes() == before
    assert look(board, store) == (name, figure)


def test_a_board_that_asks_for_another_network_gets_another_file(
    first: Any, tmp_path: Path
) -> None:
    board, store, (name, _) = first
    changed = {"set": [{"where": {"teacher": "toy-teacher"}, "steps": 7}]}
    copy = tmp_path / "board"
    (copy / "features").mkdir(parents=True)
    (copy / "features" / kept(board)[0].name).write_bytes(kept(board)[0].read_bytes())
    assert look(copy, store, **changed)[0] != name
    assert len(kept(copy)) == 2


@pytest.mark.parametrize("blob", [b"", b"no network", "other tensors", "not finite"])
def test_a_file_that_is_no_network_of_the_board_is_named(
    first: Any, tmp_path: Path, blob: bytes | str
) -> None:
    board, *_ = first
    other = elsewhere(board, tmp_path / "board")
    [path] = kept(other)
    state = load_file(path)
    if isinstance(blob, bytes):
        path.write_bytes(blob)
    elif blob == "other tensors":
        save_file({f"{name}.more": tensor for name, tensor in state.items()}, path)
    else:
        save_file({name: tensor / 0 for name, tensor in state.items()}, path)
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
    monkeypatch.setattr(evaluator, "HEAVIEST", 100)
    name, _ = look(tmp_path / "board", tmp_path / "store")
    [note] = kept(tmp_path / "board")
    assert note.suffix == ".sha256"
    assert note.read_text().startswith(name[-8:])
    assert evaluator.missing(tmp_path / "board", [looked_with(name)]) == []


def looked_with(name: str) -> dict[str, Any]:
    return {"dataset": "toy-data", "scales": {"seen": {"features": name}, "steps": {}}}


def test_a_network_that_most_figures_were_found_with_and_that_is_not_kept_is_missed(
    first: Any, tmp_path: Path
) -> None:
    board, _, (name, _) = first
    assert evaluator.missing(board, [looked_with(name)] * 2 + [looked_with("net-00000000")]) == []
    assert evaluator.missing(board, [looked_with("net-00000000")] * 2 + [looked_with(name)]) == [
        "net-00000000"
    ]
    assert evaluator.missing(tmp_path, [looked_with(name)]) == [name]
    assert evaluator.missing(tmp_path, [{"dataset": "toy-data"}]) == []


def test_what_is_kept_is_the_state_of_the_network(first: Any) -> None:
    board, *_ = first
    network = toy.ToyConvNet().build((1, 8, 8), 8)
    state = load_file(kept(board)[0])
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in state.items()}
    assert all(torch.isfinite(tensor).all() for tensor in state.values())
