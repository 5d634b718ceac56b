"""Tiny-ImageNet, on small trees in its authors' layout and in the sorted ones."""

from __future__ import annotations

import os
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.transforms import functional as TF

from bench import BenchError, Missing
from bench.checks import checks_for, determinism, run_checks
from bench_standard.datasets.tiny_imagenet import TinyImageNet

IDS = [f"n{1443537 + 7919 * k:08}" for k in range(200)]  # sorted
OF_VAL = [IDS[(37 * i) % 200] for i in range(400)]  # the class of val_<i>.JPEG


def put(path: Path, image: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(image)


def photographs(count: int) -> list[bytes]:
    random, made = np.random.default_rng(0), []
    for _ in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        coarse.resize((64, 64), Image.Resampling.BILINEAR).save(file := BytesIO(), "JPEG")
        made.append(file.getvalue())
    return made


def write(root: Path) -> Path:
    """As in the archive: two images a class to train, two to validate, some without labels."""
    folder, images = root / "tiny-imagenet-200", photographs(37)
    for k, wnid in enumerate(IDS):
        for i in range(2):
            name = f"{wnid}_{i}.JPEG"
            put(folder / "train" / wnid / "images" / name, images[(2 * k + i) % 37])
        (folder / "train" / wnid / f"{wnid}_boxes.txt").write_text(f"{name}\t0\t10\t63\t58\n")
    lines = []
    for i, wnid in enumerate(OF_VAL):
        put(folder / "val" / "images" / f"val_{i}.JPEG", images[i % 37])
        lines.append(f"val_{i}.JPEG\t{wnid}\t0\t32\t44\t62\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    put(folder / "test" / "images" / "test_0.JPEG", images[0])
    (folder / "wnids.txt").write_text("\n".join(reversed(IDS)))
    (folder / "words.txt").write_text("".join(f"{wnid}\ta thing\n" for wnid in IDS))
    return folder


def sort(folder: Path, inner: str) -> None:
    """What is done to the validation images so that ImageFolder can read them."""
    for i, wnid in enumerate(OF_VAL):
        place = folder / "val" / wnid / inner
        place.mkdir(parents=True, exist_ok=True)
        (folder / "val" / "images" / f"val_{i}.JPEG").rename(place / f"val_{i}.JPEG")
    (folder / "val" / "images").rmdir()


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("inner", ["", "images"])
def test_images_labels_and_order_are_those_of_torchvision_on_sorted_folders(data, inner):
    folder = write(data)
    odd = TinyImageNet().load()
    assert sorted(odd.sources)[-1] == str(folder / "val" / "val_annotations.txt")
    images = odd.test.images(torch.arange(400))
    sort(folder, inner)
    loaded = TinyImageNet().load()
    for split, name in ((loaded.train, "train"), (loaded.test, "val")):
        reference = ImageFolder(str(folder / name), transforms.ToTensor())
        expected, labels = zip(*reference, strict=True)
        assert torch.equal(split.images(torch.arange(400)), torch.stack(expected))
        assert split.labels.tolist() == list(labels)
        assert loaded.classes == tuple(reference.classes) == tuple(IDS)
    assert (loaded.shape, loaded.flip) == ((3, 64, 64), True)
    assert loaded.mean == (0.4802, 0.4481, 0.3975)
    assert loaded.std == (0.2770, 0.2691, 0.2821)

    # The odd layout is the same content, in the same order.
    assert odd.digest == loaded.digest
    assert torch.equal(odd.test.labels, loaded.test.labels)
    assert torch.equal(images, torch.stack(expected))


def test_at_another_size_each_image_is_resized_and_nothing_is_cut_off(data):
    write(data)
    loaded = TinyImageNet(size=100).load()
    assert loaded.shape == (3, 100, 100)
    path = loaded.train.root / os.fsdecode(loaded.train.paths[3])
    with Image.open(path) as image:
        expected = TF.to_tensor(TF.resize(image, [100, 100]))
    assert torch.equal(loaded.train.images(torch.tensor([3]))[0], expected)


def test_what_is_missing_is_told(data):
    with pytest.raises(Missing) as error:
        TinyImageNet().load()
    assert str(error.value) == (
        f"Tiny-ImageNet is not here; expected {data}/tiny-imagenet-200; unpack "
        "http://cs231n.stanford.edu/tiny-imagenet-200.zip into its parent folder"
    )


def test_another_number_of_classes_is_an_error(data):
    folder = write(data)
    (folder / "train" / IDS[5]).rename(data / "elsewhere")
    with pytest.raises(BenchError) as error:
        TinyImageNet().load()
    assert str(error.value) == (
        f"{folder}/train holds 199 class folders, expected 200 ({IDS[0]}, {IDS[1]}, {IDS[2]}, "
        "...); unpack the data set anew, and leave its folders as they are"
    )


def test_sorted_folders_of_other_classes_are_an_error(data):
    folder = write(data)
    sort(folder, "")
    (folder / "val" / IDS[5]).rename(data / "elsewhere")
    (folder / "val" / "images").mkdir()
    with pytest.raises(BenchError, match=rf"val holds 200 .*lacks {IDS[5]} and also has images"):
        TinyImageNet().load()


FAULTS = {
    "a class that is none": (f"val_3.JPEG\t{OF_VAL[3]}", "val_3.JPEG\tn0", "a class 'n0'; expec"),
    "no class": (f"val_3.JPEG\t{OF_VAL[3]}", "val_3.JPEG", "names a class"),
    "a name that is none": ("val_3.JPEG", "val_x.JPEG", "val_3.JPEG is in the folder alone"),
    "one line more": ("val_3.JPEG", f"val_x\t{IDS[0]}\nval_3.JPEG", "val_x is in the table alone"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_table_that_does_not_fit_the_images_is_an_error(data, fault):
    table = write(data) / "val" / "val_annotations.txt"
    old, new, said = FAULTS[fault]
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises(BenchError, match=said) as error:
        TinyImageNet().load()
    assert str(table) in str(error.value)


def test_a_missing_table_is_told(data):
    table = write(data) / "val" / "val_annotations.txt"
    table.unlink()
    with pytest.raises(Missing, match=f"validation images is not here; expected {table}"):
        TinyImageNet().load()


def test_a_class_that_no_line_names_is_an_error(data):
    table = write(data) / "val" / "val_annotations.txt"
    table.write_text(table.read_text().replace(IDS[9], IDS[8]))
    with pytest.raises(BenchError, match=f"val/images holds no image of class {IDS[9]}"):
        TinyImageNet().load()


def test_a_size_of_nothing_is_refused():
    with pytest.raises(BenchError, match="tiny-imagenet: size is 0; expected"):
        TinyImageNet(size=0)


@pytest.mark.slow
def test_the_contract_is_kept(data, monkeypatch):
    write(data)
    monkeypatch.setattr(
        determinism, "_helper", cache(determinism._helper.__wrapped__)
    )  # a fresh environment
    verdicts = run_checks(checks_for("dataset", TinyImageNet(size=16)))
    assert [v for v in verdicts if v.status != "passed"] == []
