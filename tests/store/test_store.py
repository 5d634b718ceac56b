"""What is finished is whole, stays, and is found again; what is not is not there at all."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from bench.contract.errors import BenchError
from bench.store.locks import waiting
from bench.store.store import Finished, Store

TENSORS = {"result": {"images": torch.arange(6.0).view(2, 3), "labels": torch.tensor([0, 1])}}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def publish(store: Store, key: str = "k", **changes: Any) -> Finished:
    given = {"tensors": TENSORS, "value": {"size": 2}} | changes
    return store.publish("condense", key, given.pop("tensors"), given.pop("value"), **given)


def leftovers(store: Store) -> list[Path]:
    return list((store.root / "tmp").iterdir())


def test_what_was_published_is_found_and_read_as_it_was(store: Store) -> None:
    made = publish(store, inputs={"title": "t"}, cost={"seconds": 1.5}, environment={"cpu": "x"})
    found = store.find("condense", "k")
    assert found == made
    assert found.value == {"size": 2}
    assert (found.inputs, found.cost) == ({"title": "t"}, {"seconds": 1.5})
    read = store.read(found)
    assert set(read) == {"images", "labels"}
    for name, tensor in TENSORS["result"].items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor)
    assert leftovers(store) == []


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.bool, torch.float16, torch.bfloat16, torch.float64, torch.int64]
)
def test_every_type_of_tensor_survives(store: Store, dtype: torch.dtype) -> None:
    tensor = torch.tensor([[0, 1], [1, 0]]).to(dtype)
    found = publish(store, tensors={"result": {"x": tensor}})
    assert store.read(found)["x"].dtype == dtype
    assert torch.equal(store.read(found)["x"], tensor)


@pytest.mark.parametrize(
    "tensors",
    [
        {"a": torch.arange(6).view(2, 3).t()},
        {"a": torch.zeros(3).expand(2, 3)},
        {"a": torch.arange(4), "b": torch.arange(8)[::2]},
        {"a": torch.zeros(0, 3), "b": torch.tensor(1.0)},
    ],
    ids=["transposed", "expanded", "strided", "empty and scalar"],
)
def test_tensors_of_any_layout_survive(store: Store, tensors: dict[str, torch.Tensor]) -> None:
    read = store.read(publish(store, tensors={"result": tensors}))
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())


def test_tensors_that_share_memory_survive(store: Store) -> None:
    base = torch.arange(4.0)
    read = store.read(publish(store, tensors={"result": {"a": base, "b": base, "c": base[:2]}}))
    assert torch.equal(read["a"], base)
    assert torch.equal(read["b"], base)
    assert torch.equal(read["c"], base[:2])


def test_a_stage_may_have_several_files_or_none(store: Store) -> None:
    both = publish(store, tensors={"one": {"x": torch.ones(1)}, "two": {"x": torch.zeros(1)}})
    assert set(both.files) == {"one.safetensors", "two.safetensors"}
    assert store.read(both, "two")["x"].item() == 0
    none = publish(store, key="none", tensors={}, value={"accuracy": 0.5})
    assert none.files == {}
    assert store.find("condense", "none") == none


def test_what_was_not_published_is_not_found(store: Store) -> None:
    publish(store)
    assert store.find("condense", "other") is None
    assert store.find("train", "k") is None


# ---- content


def test_the_content_is_what_came_out_and_not_how(store: Store) -> None:
    one = publish(store, key="one", cost={"seconds": 1}, inputs={"a": 1}, environment={"cpu": "x"})
    two = publish(store, key="two", cost={"seconds": 9}, inputs={"a": 2}, environment={"cpu": "y"})
    assert one.content == two.content


@pytest.mark.parametrize(
    "changes",
    [
        {"value": {"size": 3}},
        {"tensors": {"result": TENSORS["result"] | {"labels": torch.tensor([1, 1])}}},
        {"tensors": {"result": TENSORS["result"] | {"labels": torch.tensor([0.0, 1.0])}}},
        {"tensors": {"other": TENSORS["result"]}},
        {"tensors": {}},
    ],
    ids=["value", "tensor", "dtype", "file name", "no file"],
)
def test_the_content_changes_with(store: Store, changes: dict[str, Any]) -> None:
    assert publish(store, key="one").content != publish(store, key="two", **changes).content


def test_the_content_does_not_depend_on_the_layout_in_memory(store: Store) -> None:
    tensor = torch.arange(6).view(2, 3)
    one = publish(store, key="one", tensors={"result": {"x": tensor}})
    two = publish(store, key="two", tensors={"result": {"x": tensor.t().contiguous().t()}})
    assert one.content == two.content


# ---- all or nothing


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"tensors": {"a": TENSORS["result"], "b": {"x": "no tensor"}}}, AttributeError),
        ({"value": {"accuracy": math.nan}}, ValueError),
        ({"value": {"accuracy": object()}}, TypeError),
        ({"cost": {"seconds": object()}}, TypeError),
        ({"tensors": {"no/such/folder": TENSORS["result"]}}, BenchError),
    ],
    ids=["second file", "nan", "no JSON", "no JSON in the cost", "no folder"],
)
def test_a_save_that_fails_leaves_nothing(
    store: Store, changes: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        publish(store, **changes)
    assert store.find("condense", "k") is None
    assert not store.folder("condense", "k").exists()
    assert leftovers(store) == []
    assert publish(store) == store.find("condense", "k")


def test_a_folder_is_seen_whole_or_not_at_all(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    rename = os.rename

    def watched(source: Any, target: Any) -> None:
        seen.append((store.find("condense", "k"), (Path(source) / "done.json").exists()))
        rename(source, target)

    monkeypatch.setattr(os, "rename", watched)
    publish(store)
    assert seen == [(None, True)]  # nothing is there before, and all is there to be moved


HALVES = {
    "no done.json": None,
    "an empty one": "",
    "half a one": '{"stage": "condense", "key',
    "a list": "[]",
    "too little": '{"stage": "condense", "key": "k"}',
    "not UTF-8": b"\xff\xfe",
    "of another key": json.dumps(
        {"stage": "condense", "key": "other", "content": "c", "value": {}}
    ),
    "of a later version": json.dumps(
        {"stage": "condense", "key": "k", "content": "c", "value": {}, "later": 1}
    ),
}


@pytest.mark.parametrize("half", HALVES)
def test_half_a_folder_counts_as_not_there_and_is_replaced(store: Store, half: str) -> None:
    folder = store.folder("condense", "k")
    folder.mkdir(parents=True)
    (folder / "result.safetensors").write_bytes(b"half")
    text = HALVES[half]
    if text is not None:
        (folder / "done.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert store.find("condense", "k") is None
    made = publish(store)
    assert store.find("condense", "k") == made
    assert torch.equal(store.read(made)["labels"], TENSORS["result"]["labels"])


def test_a_file_that_was_changed_is_not_read(store: Store) -> None:
    found = publish(store)
    path = store.folder("condense", "k") / "result.safetensors"
    blob = bytearray(path.read_bytes())
    blob[-1] ^= 1
    path.write_bytes(blob)
    with pytest.raises(BenchError, match=r"result\.safetensors was changed .* run again"):
        store.read(found)
    assert store.find("condense", "k") is None  # and so it is made again
    assert torch.equal(store.read(publish(store))["labels"], TENSORS["result"]["labels"])


def test_a_file_that_is_gone_says_what_to_do(store: Store) -> None:
    found = publish(store)
    (store.folder("condense", "k") / "result.safetensors").unlink()
    with pytest.raises(BenchError, match=r"is gone; run again"):
        store.read(found)


def test_a_value_that_was_changed_counts_as_not_there_and_a_line_says_so(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    made = publish(store)
    done = store.folder("condense", "k") / "done.json"
    done.write_text(done.read_text().replace('"size": 2', '"size": 200'))
    assert store.find("condense", "k") is None
    assert capsys.readouterr().err == f"{done.parent} is damaged: it is made again\n"
    assert publish(store) == made == store.find("condense", "k")


def test_what_may_not_be_read_is_an_error_and_not_absent(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(store)

    def refuse(*args: Any, **options: Any) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(
        BenchError, match=r"cannot be read \(Permission denied\); .*chmod -R g\+rwX"
    ):
        store.find("condense", "k")


def test_a_group_that_shares_a_store_is_let_in_by_the_umask(store: Store) -> None:
    before = os.umask(0o002)
    try:
        publish(store)
        lock = store.lock("condense", "k")
    finally:
        os.umask(before)
    assert lock
    lock.release()
    folder = store.folder("condense", "k")
    assert folder.stat().st_mode & 0o777 == 0o775
    for path in (*folder.iterdir(), *(store.root / "locks").iterdir()):
        assert path.stat().st_mode & 0o777 == 0o664


def test_a_full_disk_is_told_with_the_place(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(BenchError, match=rf"{store.root} cannot be written \(I/O error: No space"):
        publish(store)
    assert leftovers(store) == []


def test_who_waits_for_a_board_says_so_once_and_goes_on_when_it_is_free(tmp_path: Path) -> None:
    board = tmp_path / "matrix.toml"
    board.touch()
    script = (
        "import sys, pathlib\nfrom bench.store.locks import waiting\n"
        "with waiting(pathlib.Path(sys.argv[1]), 'writes to it'): print('mine')"
    )
    command = [sys.executable, "-c", script, str(board)]
    with waiting(board, "writes to it"):
        other = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert other.stderr
        told = other.stderr.readline()
    out, more = other.communicate(timeout=30)
    assert told.startswith("waiting since ")
    assert f"for another run that writes to it (it holds a lock on {board})" in told
    assert (out, more) == ("mine\n", "")
    assert [path.name for path in tmp_path.iterdir()] == ["matrix.toml"]


def test_tensors_that_share_memory_are_kept_apart(store: Store) -> None:
    whole = torch.arange(6.0).reshape(2, 3)
    given = {"whole": whole, "row": whole[1], "turned": whole.T, "none": whole[:0], "no": whole[2:]}
    found = store.read(store.publish("train", "k", {"result": given}, {}))
    assert {name: one.tolist() for name, one in found.items()} == {
        name: one.tolist() for name, one in given.items()
    }


WEIGHING = """
import pathlib, resource, sys, torch, safetensors.torch
from bench.store.store import Store
images = torch.ones(200_000_000, dtype=torch.uint8)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
Store(pathlib.Path(sys.argv[1])).publish('condense', 'k', {'result': {'images': images}}, {})
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss")
def test_a_set_is_written_without_a_copy_of_it(store: Store) -> None:
    command = [sys.executable, "-c", WEIGHING, str(store.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 100  # MB, of a set of 200


def test_what_is_removed_is_not_found(store: Store) -> None:
    found = publish(store)
    store.remove(found)
    store.remove(found)  # and may be removed twice
    assert store.find("condense", "k") is None


def test_a_folder_that_cannot_be_written_says_so_itself(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "condense").write_text("a file in the way")
    with pytest.raises(BenchError, match=r"condense cannot be written .*; expected room"):
        publish(Store(tmp_path / "store"))
    assert leftovers(Store(tmp_path / "store")) == []


# ---- several runs


def test_the_first_of_two_results_under_one_key_stays_and_the_second_is_counted(
    store: Store,
) -> None:
    first = publish(store, cost={"seconds": 1})
    assert store.doubled == 0
    again = publish(store, cost={"seconds": 2})
    assert again == first == store.find("condense", "k")
    assert store.doubled == 1
    assert leftovers(store) == []


PUBLISHING = """
import pathlib, sys, torch, safetensors.torch
from bench.store.store import Store
store, number = Store(pathlib.Path(sys.argv[1])), sys.argv[2]
print('ready', flush=True)
sys.stdin.readline()
for i in range(40):
    found = store.publish('condense', f'k{i}', {'result': {'x': torch.full((500,), i)}}, {'by': i},
                          cost={'run': int(number)})
    assert found.value == {'by': i}
    assert store.read(found)['x'][0] == i
"""


@pytest.mark.slow
def test_two_processes_may_publish_the_same_keys_at_the_same_time(store: Store) -> None:
    commands = [[sys.executable, "-c", PUBLISHING, str(store.root), str(i)] for i in range(2)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with (
        subprocess.Popen(commands[0], **pipes) as one,
        subprocess.Popen(commands[1], **pipes) as two,
    ):
        assert [run.stdout.readline() for run in (one, two)] == ["ready\n"] * 2
        for run in (one, two):
            run.stdin.write("go\n")
            run.stdin.flush()
    assert (one.returncode, two.returncode) == (0, 0)
    found = [store.find("condense", f"k{i}") for i in range(40)]
    assert [f.value["by"] for f in found if f] == list(range(40))
    assert leftovers(store) == []


def test_a_lock_is_held_by_one(store: Store) -> None:
    lock = store.lock("condense", "k")
    assert lock is not None
    assert store.lock("condense", "k") is None
    assert store.lock("condense", "other") is not None
    assert store.lock("train", "k") is not None
    lock.release()
    assert store.lock("condense", "k") is not None


HOLDING = """
import sys, pathlib, time
from bench.store.store import Store
lock = Store(pathlib.Path(sys.argv[1])).lock('condense', 'k')
print('held' if lock else 'refused', flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(store: Store) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDING, str(store.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_lock_is_gone_when_its_holder_is_killed(
    store: Store, holder: subprocess.Popen[str]
) -> None:
    assert store.lock("condense", "k") is None
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert store.lock("condense", "k") is not None


# ---- everything that is finished


def test_all_that_is_finished_is_listed_and_nothing_else(store: Store) -> None:
    made = {publish(store, key=f"k{i}").key for i in range(3)}
    half = store.folder("train", "half")
    half.mkdir(parents=True)
    (half / "result.safetensors").touch()
    moving = store.root / "tmp" / "condense-x"  # written by another run at this moment
    moving.mkdir()
    done = store.folder("condense", "k0") / "done.json"
    (moving / "done.json").write_bytes(done.read_bytes())
    assert {f.key for f in store.finished()} == made
    assert len(list(store.finished())) == 3


def test_an_empty_store_has_nothing(store: Store) -> None:
    assert list(store.finished()) == []
    assert not store.root.exists()


def test_a_log_has_a_place_before_anything_is_written(store: Store) -> None:
    store.log("train", "k").write_text("line\n")
    assert store.log("train", "k").read_text() == "line\n"


def test_what_a_killed_writer_left_is_removed_and_what_a_living_one_writes_is_not(
    tmp_path: Path,
) -> None:
    made = Store(tmp_path)
    with made._temporary("train") as living:
        dead, fresh = tmp_path / "tmp" / "train-dead", tmp_path / "tmp" / "train-fresh"
        for folder in (dead, fresh):
            folder.mkdir()
        for folder in (dead, living):
            os.utime(folder, (0, 0))
        made.publish("train", "key", {}, {"x": 1})
        assert living.exists()
        assert fresh.exists()
        assert not dead.exists()
    assert not living.exists()


@pytest.mark.parametrize("name", ["done.json", "result.safetensors"])
def test_a_folder_in_the_place_of_a_file_is_damage_and_is_made_again(
    store: Store, name: str
) -> None:
    found = publish(store)
    path = store.folder("condense", "k") / name
    path.unlink()
    path.mkdir()
    if name == "done.json":
        assert store.find("condense", "k") is None
    else:
        with pytest.raises(BenchError, match="is gone; run again to make it anew"):
            store.read(found)
    publish(store)
    again = store.find("condense", "k")
    assert again is not None
    assert torch.equal(store.read(again)["images"], TENSORS["result"]["images"])
