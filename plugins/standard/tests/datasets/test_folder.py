"""Images of one's own, in folders by class: what is read, and what is refused in one sentence."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench import BenchError, Missing
from bench.checks import checks_for, run_checks
from bench_standard.datasets.folder import Folder


def put(path: Path, seed: int = 0, size: int = 12) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def split(tmp_path):
    """Two classes, in the folders train and test."""
    for s, (part, count) in enumerate({"train": 3, "test": 2}.items()):
        for c, name in enumerate(("cats", "dogs")):
            for i in range(count):
                put(tmp_path / part / name / f"{i}.png", 100 * s + 10 * c + i)
    return tmp_path


@pytest.fixture
def single(tmp_path):
    """Two classes of ten images, in no split."""
    for c, name in enumerate(("cats", "dogs")):
        for i in range(10):
            put(tmp_path / name / f"{i}.png", 10 * c + i)
    return tmp_path


def load(root: Path, **fields: object):
    return Folder(root=str(root), **{"size": 12, **fields}).load()


@pytest.mark.parametrize("name", ["test", "val"])
def test_splits_and_classes_are_those_of_the_folders(split, name):
    (split / "test").rename(split / name)
    data = load(split)
    assert data.classes == ("cats", "dogs")
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.test.labels.tolist() == [0, 0, 1, 1]
    pixels = np.asarray(Image.open(split / "train" / "dogs" / "2.png"))
    image = (data.train.images(torch.tensor([5]))[0] * 255).round().byte()
    assert np.array_equal(image.permute(1, 2, 0).numpy(), pixels)


def test_one_folder_of_classes_is_split_by_a_seed_and_stays_so_when_it_grows(single):
    def held(**fields: object) -> set[str]:
        return {os.fsdecode(path) for path in load(single, **fields).test.paths}

    first = held()
    assert len(first) == 4  # two of ten, of each class
    assert held(split_seed=1) != first
    assert len(held(test=0.5)) == 10
    data = load(single)
    assert not {*data.train.paths.tolist()} & {*data.test.paths.tolist()}
    put(single / "cats" / "new.png", 99)
    assert len(held() - first) <= 1


def test_class_names_and_their_order_may_stand_in_a_file(split):
    (split / "classes.txt").write_text("dogs\tDackel/Dachshund\ncats\n", encoding="utf-8")
    data = load(split)
    assert data.classes == ("Dackel/Dachshund", "cats")
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.train.paths[0].startswith(b"train/dogs/")


def test_litter_is_passed_over(split):
    (split / "train" / "cats" / "Thumbs.db").write_text("x")
    (split / "train" / "__MACOSX" / "cats").mkdir(parents=True)
    (split / "train" / ".git").mkdir()
    (split / "test" / "dogs" / "._0.png").write_text("x")
    assert load(split).classes == ("cats", "dogs")


def test_grey_is_one_channel(split):
    data = load(split, channels=1)
    assert data.shape == (1, 12, 12)
    assert data.train.images(torch.arange(2)).shape == (2, 1, 12, 12)


def test_a_folder_train_with_images_is_a_class_of_trains(single):
    (single / "cats").rename(single / "train")
    assert load(single).classes == ("dogs", "train")


FAULTS = {
    "one class": (lambda r: remove(r / "train" / "dogs"), r"train holds one folder \(cats\)"),
    "no class": (lambda r: [remove(r / "train" / c) for c in ("cats", "dogs")], "cats|train"),
    "missing": (lambda r: remove(r / "test" / "dogs"), r"test holds .*lacks dogs|one folder"),
    "no test": (lambda r: remove(r / "test"), "train and no test or val"),
    "no train": (lambda r: remove(r / "train"), "a folder test and no train"),
    "empty": (lambda r: (r / "train/cats/0.png").write_bytes(b""), "0.png is empty; expected"),
    "a dead link": (lambda r: link(r / "train/cats/9.png"), "9.png cannot be read .*link"),
    "a note": (lambda r: (r / "train/cats/a.heic").touch(), "a.heic is no image file; .*convert"),
    "a folder": (lambda r: (r / "train/cats/more").mkdir(), "more is a folder; expected nothing"),
    "loose": (lambda r: put(r / "train" / "x.png"), r"1 images beside its folders \(x.png\)"),
    "names": (lambda r: (r / "classes.txt").write_text("cats\ncows\n"), "names other folders"),
    "one name": (
        lambda r: (r / "classes.txt").write_text("cats\tpet\ndogs\tpet\n"),
        "one name to two classes",
    ),
}


def remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder)


def link(path: Path) -> None:
    path.symlink_to("/no/where.png")


@pytest.mark.parametrize("case", FAULTS)
def test_what_is_wrong_is_named_in_one_sentence(split, case):
    change, sentence = FAULTS[case]
    change(split)
    with pytest.raises(BenchError, match=sentence) as error:
        load(split)
    assert str(split) in str(error.value)


def test_a_class_of_one_image_cannot_be_split(single):
    put(single / "rare" / "0.png")
    with pytest.raises(BenchError, match="rare holds 1 images; expected two or more"):
        load(single)


def test_a_root_that_is_missing_or_an_archive_is_told(tmp_path):
    with pytest.raises(Missing, match="no root; expected a folder of images by class"):
        Folder().load()
    with pytest.raises(Missing, match="nothing is not here"):
        load(tmp_path / "nothing")
    (tmp_path / "x.zip").touch()
    with pytest.raises(BenchError, match=r"x.zip is a file; .*unpack"):
        load(tmp_path / "x.zip")


@pytest.mark.parametrize("fields", [{"size": 0}, {"channels": 2}, {"test": 0.0}, {"test": 1.0}])
def test_illegal_fields_are_refused(fields):
    with pytest.raises(BenchError, match=r"folder: .* is .*; expected"):
        Folder(**fields)


@pytest.mark.slow
def test_the_contract_is_kept(split):
    verdicts = run_checks(checks_for("dataset", Folder(root=str(split), size=12)))
    assert [v for v in verdicts if v.status != "passed"] == []
