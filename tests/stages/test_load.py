"""A data set is read once, under a key that says where from; other data than published are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import toyplug
from torch import Tensor

from bench.contract.data import Data, TensorSplit, digest_of_tensors
from bench.contract.errors import BenchError
from bench.contract.files import stamp
from bench.contract.task import CondensedSet, Selection
from bench.stages import source
from bench.stages.io import Desk, examples_of
from bench.stages.load import Load, data_folder, in_print, is_current, located
from bench.stages.stage import Dataset
from bench.store.store import Finished, Store
from bench.training import loading, toy
from bench.training.loading import Views


@dataclass(frozen=True)
class Bytes(toy.ToyData):
    """Images on disk whose pixels are bytes."""

    name: str = "bytes"

    def load(self) -> Data:
        data = super().load()
        splits = {
            name: toyplug.OnDisk(
                TensorSplit(as_bytes(split.images(everything(split))), split.labels)
            )
            for name, split in (("train", data.train), ("test", data.test))
        }
        return replace(data, **splits)


@dataclass(frozen=True)
class Published(toy.ToyData):
    """Images under a name that has been published."""

    published: ClassVar[Mapping[str, Any]] = {"train": 60_000, "test": 10_000}


@dataclass(frozen=True)
class Declared(toy.ToyData):
    """Images that are not here."""

    published: ClassVar[Mapping[str, Any]] = {"train": 1_000, "test": 9, "classes": 3}


@dataclass(frozen=True)
class Filed(toy.ToyData):
    """Images that lie in a folder of one's own."""

    root: str = ""
    roots: ClassVar[tuple[str, ...]] = ("root",)


def everything(split: Any) -> Tensor:
    return torch.arange(len(split.labels))


def as_bytes(images: Tensor) -> Tensor:
    return (images * 255).round().to(torch.uint8)


def stage(component: Any, evaluate: str = "test", *, partial: bool = False) -> Load:
    return Load(Dataset("d", component, "", {}, evaluate), 0, component, evaluate, "", partial)


def kept(tmp_path: Path, component: Any, evaluate: str = "test") -> tuple[Finished, source.Source]:
    store = Store(tmp_path)
    tensors, value = stage(component, evaluate).run(Desk(store, "cpu", lambda done, total: None))
    found = store.publish("load", "k", tensors, value)
    return found, source.Source(store, "k", component, evaluate)


def test_views_of_small_images_on_disk_are_kept_and_named_by_their_pixels(tmp_path: Path) -> None:
    found, of = kept(tmp_path, Bytes())
    data = Bytes().load()
    train = of.split("train")
    assert found.value["kept"] == "views"
    assert isinstance(train, Views)
    assert torch.equal(train.images(everything(train)), data.train.images(everything(train)))
    parts = [
        part
        for split in (data.train, data.test)
        for part in (as_bytes(split.images(everything(split))), split.labels)
    ]
    assert found.value["digest"] == digest_of_tensors(*parts)


def test_crops_of_kept_images_are_cut_from_the_files(tmp_path: Path) -> None:
    _, of = kept(tmp_path, Bytes())
    index, boxes = torch.arange(3), torch.tensor([[0.0, 0.0, 0.5, 0.5]]).repeat(3, 1)
    expected = Bytes().load().train.images(index, boxes)
    assert torch.equal(of.split("train").images(index, boxes), expected)
    [together] = loading.read(of.split("train"), [(index, boxes)])
    assert torch.equal(together, expected)


class Sharp(toyplug.OnDisk):
    """Files with more in them than their whole images show."""

    def images(self, index: Tensor, boxes: Tensor | None = None) -> Tensor:
        whole = super().images(index, boxes)
        return whole if boxes is None else 1 - whole


def test_crops_of_a_selection_are_cut_from_what_a_set_stores_and_those_of_all_from_the_files(
    tmp_path: Path,
) -> None:
    """So that `random` shows its students no more detail than its bytes hold."""
    train = replace(
        kept(tmp_path, Bytes())[1].split("train"), files=lambda: Sharp(Bytes().load().train.split)
    )
    index, boxes = torch.tensor([5, 2]), torch.tensor([[0.0, 0.0, 0.5, 0.5]]).repeat(2, 1)
    labels = torch.eye(int(train.labels.max()) + 1)[train.labels]
    few = examples_of(CondensedSet(Selection(index), labels[index]), train)
    stored = TensorSplit(as_bytes(train.images(index)), train.labels[index])
    assert torch.equal(few.split.images(few.index), train.images(index))
    assert torch.equal(few.split.images(few.index, boxes), stored.images(torch.arange(2), boxes))
    assert not torch.equal(few.split.images(few.index, boxes), train.images(index, boxes))
    every = examples_of(CondensedSet(Selection(everything(train)), labels), train)
    assert torch.equal(every.split.images(index, boxes), train.images(index, boxes))


def test_kept_images_are_walked_over_as_those_in_memory(tmp_path: Path) -> None:
    _, of = kept(tmp_path, Bytes())
    split = of.split("test")
    walked = torch.cat(list(loading.batches(split, everything(split), 7)))
    assert torch.equal(walked, split.images(everything(split)))


@pytest.mark.parametrize("limit", [0, 10_000_000])
def test_more_bytes_than_a_worker_may_hold_and_no_bytes_stay_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(source, "KEPT", limit)
    component = toyplug.Closed() if limit else Bytes()  # floats, of which uint8 would lose a part
    found, _ = kept(tmp_path, component, "validation")
    assert found.value["kept"] == ""
    assert list(Store(tmp_path).read(found, "train")) == ["labels"]


def test_other_counts_than_published_are_refused_unless_the_board_is_partial() -> None:
    desk: Any = Desk(Store(Path("none")), "cpu", lambda done, total: None)
    train = len(toy.GRAY.load().train.labels)
    with pytest.raises(
        BenchError, match=rf"{train} train images where 60,000 are .*`partial = true`"
    ):
        stage(Published()).run(desk)
    _, value = stage(Published(), partial=True).run(desk)
    assert value["partial"]["train"] == [train, 60_000]


def test_splits_that_are_exchanged_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    data = toy.GRAY.load()
    counts = {"train": len(data.test.labels), "test": len(data.train.labels)}
    monkeypatch.setattr(Published, "published", counts)
    with pytest.raises(BenchError, match="has its splits exchanged"):
        stage(Published()).run(Desk(Store(Path("none")), "cpu", lambda done, total: None))


def test_another_digest_than_published_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Published, "published", {"digest": "0" * 16})
    with pytest.raises(BenchError, match="has other pixels or labels"):
        stage(Published()).run(Desk(Store(Path("none")), "cpu", lambda done, total: None))


def test_another_number_of_classes_than_published_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Published, "published", {"classes": 11})
    desk = Desk(Store(Path("none")), "cpu", lambda done, total: None)
    with pytest.raises(BenchError, match="has 8 classes where 11 are published"):
        stage(Published()).run(desk)


def test_a_plan_needs_no_more_of_a_data_set_than_its_counts_in_print(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = in_print(Declared())
    assert found
    assert (found["counts"], found["test"], len(found["classes"])) == ([334, 333, 333], 9, 3)
    monkeypatch.setattr(Declared, "published", {"train": 9, "test": 3, "classes": (4, 5)})
    by_class = in_print(Declared())
    assert by_class
    assert by_class["counts"] == [4, 5]
    monkeypatch.setattr(Declared, "published", {"train": 9, "test": 3})
    assert in_print(Declared()) is None


@pytest.mark.parametrize(("value", "fault"), [(float("nan"), "hold NaN"), (200.0, r"span .*200")])
def test_one_wrong_image_is_named_with_its_split(value: float, fault: str) -> None:
    data = toy.GRAY.load()
    pixels = data.test.images(everything(data.test))
    pixels[9, 0, 0, 0] = value
    wrong = replace(data, test=TensorSplit(pixels, data.test.labels))
    with pytest.raises(BenchError, match=rf"test image 9 .*{fault}"):
        source.checked(wrong, "test")


def test_a_split_with_a_label_too_few_is_refused() -> None:
    data = toy.GRAY.load()
    assert isinstance(data.train, TensorSplit)
    wrong = replace(data, train=TensorSplit(data.train.pixels, data.train.labels[:-1]))
    with pytest.raises(BenchError, match="expected a label each"):
        source.checked(wrong, "test")


# ---- where from


def test_the_data_folder_of_a_key_is_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in ("data", ""):
        monkeypatch.setenv("BENCH_DATA", value)
        found = set()
        for name in ("A", "B"):
            (tmp_path / name).mkdir(exist_ok=True)
            monkeypatch.chdir(tmp_path / name)
            found.add(data_folder())
        assert found == {str(tmp_path / name / "data") for name in ("A", "B")}


def test_a_place_is_beside_the_board_then_in_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    (tmp_path / "data" / "mine").mkdir(parents=True)
    (tmp_path / "board").mkdir()

    def root(given: str) -> str:
        return str(located(Filed(root=given), tmp_path / "board").root)

    assert root("mine") == str(tmp_path / "data" / "mine")
    (tmp_path / "board" / "mine").mkdir()
    assert root("mine") == str(tmp_path / "board" / "mine")
    assert root("/elsewhere") == "/elsewhere"
    assert root("") == ""


def test_a_file_written_in_a_folder_with_the_same_size_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"one")
    before = stamp(str(tmp_path))
    (tmp_path / "a.jpg").write_bytes(b"two")
    assert stamp(str(tmp_path)) != before


def test_data_that_appear_where_it_is_looked_first_are_noticed(tmp_path: Path) -> None:
    first = tmp_path / "first"
    found = Finished("load", "k", "c", {"sources": [[str(first), *stamp(str(first))]]})
    assert is_current(found)
    first.mkdir()
    assert not is_current(found)
