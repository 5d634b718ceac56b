"""`bench export`: a set leaves the board, is read again byte by byte, and teaches without us."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file
from support import Ended, write_board

from bench.commands.card import spelt
from bench.engine.sets import carry
from bench.records.files import read
from bench.training.toy import ToyData

Bench = Callable[..., Ended]


@pytest.fixture
def export(bench: Bench, reference: Any, tmp_path: Path) -> Callable[..., Path]:
    """`export("noted", 1)`: that set of the toy board, in a folder."""

    def run(method: str, ipc: int, *more: Any) -> Path:
        out = tmp_path / f"{method}-{ipc}"
        ended = bench(
            *("export", reference.board, method, ipc, "--store", reference.store, "--out", out),
            *more,
        )
        assert ended.code == 0, ended
        assert f"wrote {out}" in ended.out
        return out

    return run


def test_the_export_is_what_the_store_has(export: Any, reference: Any) -> None:
    found = load_file(export("noted", 2, "--seed", 1) / "images.safetensors")
    assert {name: (str(t.dtype), t.shape) for name, t in found.items()} == {
        "images": ("uint8", (16, 1, 8, 8)),
        "labels": ("float32", (16, 8)),
        "classes": ("int64", (16,)),
    }
    stored = [load_file(path) for path in reference.store.glob("condense/*/result.safetensors")]
    assert any(np.array_equal(one["images"], found["images"]) for one in stored)
    np.testing.assert_array_equal(found["labels"].argmax(1), found["classes"])


def test_selected_images_leave_as_pixels(export: Any) -> None:
    found = load_file(export("toy-first", 1) / "images.safetensors")
    train: Any = ToyData().load().train
    first = [int((train.labels == k).nonzero()[0]) for k in range(8)]
    # the toy data are floats, which bytes would round
    np.testing.assert_array_equal(found["images"], train.pixels[first].numpy())


def test_the_pictures_are_the_pixels_in_folders_of_classes(export: Any) -> None:
    out = export("noted", 2)
    images = load_file(out / "images.safetensors")["images"]
    classes = json.loads((out / "card.json").read_text())["classes"]
    assert sorted(path.name for path in (out / "png").iterdir()) == sorted(classes)
    pictures = sorted(out.glob("png/*/*.png"), key=lambda path: path.name)
    for path, image in zip(pictures, images, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(path)), image[0])


def test_the_card_says_what_the_set_is(export: Any, reference: Any) -> None:
    out = export("noted", 1)
    card = json.loads((out / "card.json").read_text())
    blob = (out / "images.safetensors").read_bytes()
    assert card["sha256"] == hashlib.sha256(blob).hexdigest()
    records = [r for r in read(reference.board) if (r.method, r.ipc, r.seed) == ("noted", 1, 0)]
    assert {card["content"]} == {r.content["set"] for r in records}
    assert card["data"] == records[0].data["digest"]
    assert card["versions"] == records[0].versions
    assert [one["seed"] for one in card["canary"]] == [0, 1]  # of both, one set was made
    canary = card["canary"][0]
    assert canary["value"] in {
        r.metrics["toy-accuracy"] for r in records if r.attack == "toy-clean"
    }
    assert card["made by"].endswith(
        "--methods noted --only ipc=1 --only seed=0 --only dataset=toy-data"
    )
    page = (out / "README.md").read_text()
    for said in (
        "# noted, 1 images per class, toy-data",
        card["sha256"],
        "template 0, template 1",
        "uint8, 0 to 255, as they are",
        f"toy-accuracy {canary['value']:.4f}",
    ):
        assert said in page


PLAIN = """
import sys, torch
from safetensors.torch import load_file
tensors = load_file(sys.argv[1])
images, labels = tensors["images"], tensors["labels"]
if images.dtype.itemsize == 1:
    images = images.float() / 255
torch.manual_seed(0)
network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 8))
optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
for _ in range(200):
    loss = -(labels * network(images).log_softmax(1)).sum(1).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
test = load_file(sys.argv[2])
right = network(test["images"]).argmax(1) == test["labels"]
assert not [name for name in sys.modules if name.split(".")[0] == "bench"]
print(float(right.float().mean()))
"""


@pytest.mark.slow
def test_a_plain_network_learns_from_it_without_bench(export: Any, tmp_path: Path) -> None:
    test: Any = ToyData().load().test
    save_file({"images": test.pixels.numpy(), "labels": test.labels.numpy()}, tmp_path / "test")
    files = [export("noted", 2) / "images.safetensors", tmp_path / "test"]
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, *map(str, files)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) > 0.9


@pytest.mark.parametrize("form", ["images.safetensors", "png"])
def test_it_is_read_again_as_a_set_from_elsewhere_byte_by_byte(form: str, export: Any) -> None:
    prebuilt = pytest.importorskip("bench_standard.prebuilt").Prebuilt
    from bench.contract.errors import BenchError
    from bench.contract.task import Task

    out = export("noted", 2)
    data = ToyData().load()
    given = Task(
        train=data.train, classes=data.classes, shape=data.shape, mean=data.mean, std=data.std,
        flip=data.flip, ipc=2, seed=0,
    )  # fmt: skip
    with pytest.raises(BenchError) as told:
        prebuilt(path=str(out / form)).condense(given)
    sha256 = str(told.value).split('sha256 = "')[1][:64]
    condensed = prebuilt(path=str(out / form), sha256=sha256).condense(given)
    tensors = load_file(out / "images.safetensors")
    np.testing.assert_array_equal(condensed.images.numpy(), tensors["images"])
    np.testing.assert_array_equal(condensed.labels.numpy(), tensors["labels"])


@pytest.mark.slow
def test_a_set_that_the_board_keeps_needs_no_stage_of_the_store(
    export: Any, bench: Bench, reference: Any, tmp_path: Path
) -> None:
    from bench.board.check import resolve
    from bench.board.matrix import read as read_matrix
    from bench.contract.registry import discover
    from bench.engine.scheduler import Engine
    from bench.store.store import Store

    board = Path(shutil.copytree(reference.board, tmp_path / "keeping"))
    engine = Engine(resolve(read_matrix(board), discover()), Store(reference.store))
    assert carry(engine, engine.plan(engine.components.matrix.cells()), board)
    for method in ("noted", "toy-first"):
        out = tmp_path / "kept" / method
        ended = bench("export", board, method, 1, "--store", tmp_path / "empty", "--out", out)
        assert ended.code == 0, ended
        again = export(method, 1)
        for name in ("images.safetensors", "card.json"):
            one, other = ((path / name).read_bytes() for path in (out, again))
            assert one.replace(b"keeping", b"board") == other.replace(
                str(reference.board).encode(), str(tmp_path / "board").encode()
            )
    kept = board / "sets" / "toy-data.noted.ipc-1.seed-0.safetensors"
    kept.write_bytes(kept.read_bytes()[:-1] + b"x")
    ended = bench("export", board, "noted", 1, "--out", tmp_path / "never")
    assert "its SHA-256 differs" in ended.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("noted", 1), "keeps no set of noted, ipc 1, seed 0, toy-data, and the store"),
        (("noted", 1), "run: bench run board --methods noted --only ipc=1 --only seed=0 --only"),
        (("notd", 1), "method 'notd' is not on this board; did you mean 'noted'?"),
        (("noted", 5), "ipc '5' is not on this board"),
        (("noted", 1, "--seed", 9), "seed '9' is not on this board"),
        (("noted", 1, "--dataset", "toy"), "dataset 'toy' is not on this board"),
        (("toy-full", 0), "ipc is 0, the full set; expected the budget of a condensed set"),
        (("noted", 1, "--out", "board"), "--out board holds something"),
    ],
)
def test_what_cannot_be_exported_is_one_sentence(
    arguments: tuple[Any, ...], said: str, bench: Bench, tmp_path: Path
) -> None:
    board = write_board(tmp_path / "board")
    ended = bench("export", board.name, *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert ended.err.count("\n") == 1
    assert not (tmp_path / ".bench").exists()


@pytest.mark.parametrize(
    ("names", "folders"),
    [
        (["a", "b c"], ["a", "b c"]),
        (["T-shirt/top", "bag"], ["T-shirt_top", "bag"]),
        (["a/b", "a_b"], ["0", "1"]),
        (["A", "a"], ["0", "1"]),
        ([".hidden", "x"], ["0", "1"]),
        (["", "x"], ["0", "1"]),
    ],
)
def test_classes_whose_names_make_no_folders_have_numbers(
    names: list[str], folders: list[str]
) -> None:
    assert spelt(names) == folders


def test_an_export_that_fails_leaves_nothing(
    bench: Bench, reference: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.commands import card

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", str(tmp_path / "README.md"))

    monkeypatch.setattr(card, "page", full)
    asked = ("export", reference.board, "noted", 1, "--store", reference.store)
    for out in (tmp_path / "new", tmp_path / "empty"):
        if out.name == "empty":
            out.mkdir()
        ended = bench(*asked, "--out", out)
        assert ended.code == 2
        assert ended.err.count("\n") == 1
        assert "no space is left on the disk; make some" in ended.err
        assert not out.exists() or not [*out.iterdir()]
    assert {path.name for path in tmp_path.iterdir()} == {"empty"}
    (tmp_path / "file").write_text("")
    ended = bench(*asked, "--out", tmp_path / "file" / "below")
    assert f"{tmp_path / 'file' / 'below'}: a part of it is a file; expected folders" in ended.err
