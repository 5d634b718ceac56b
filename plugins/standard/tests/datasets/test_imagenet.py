"""ImageNet-1K, on small trees of 1,000 classes."""

from __future__ import annotations

import os
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms
from torchvision.datasets import ImageFolder

from bench import BenchError, Missing
from bench.checks import checks_for, determinism, run_checks
from bench_standard.datasets.imagenet import PLACES, ImageNet1K

IDS = [f"n{1440764 + 13 * k:08}" for k in range(1000)]  # sorted


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """An image a class and split; a few, in two shapes, stand for all of them."""
    folder, random = tmp_path_factory.mktemp("imagenet"), np.random.default_rng(0)
    for k, wnid in enumerate(IDS):
        for split, name in (("train", f"{wnid}_1.JPEG"), ("val", f"ILSVRC2012_val_{k:08}.JPEG")):
            path = folder / split / wnid / name
            path.parent.mkdir(parents=True)
            first = folder / f"{k % 20}.JPEG"
            if not first.exists():
                pixels = random.integers(0, 256, ((24, 20), (20, 24))[k % 2] + (3,), dtype=np.uint8)
                Image.fromarray(pixels).save(first)
            os.link(first, path)
    return folder


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    return tmp_path


def put(tree: Path, data: Path, place: str = "imagenet") -> Path:
    """The tree again, to be changed."""
    return Path(shutil.copytree(tree, data / place, copy_function=os.link))


@pytest.mark.parametrize(
    "place", [PLACES[0], *(pytest.param(p, marks=pytest.mark.slow) for p in PLACES[1:])]
)
def test_classes_and_images_are_those_of_torchvision_wherever_they_stand(tree, data, place):
    folder = data / place
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.symlink_to(tree)
    loaded = ImageNet1K(size=16).load()
    views = [transforms.Resize(18), transforms.CenterCrop(16), transforms.ToTensor()]
    for split, name in ((loaded.train, "train"), (loaded.test, "val")):
        reference = ImageFolder(str(folder / name), transforms.Compose(views))
        images, labels = zip(*reference, strict=True)
        assert torch.equal(split.images(torch.arange(1000)), torch.stack(images))
        assert split.labels.tolist() == list(labels)
        assert loaded.classes == tuple(reference.classes) == tuple(IDS)
    assert (loaded.mean, loaded.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert ImageNet1K().load().shape == (3, 224, 224)
    assert sum(source.startswith(str(folder)) for source in loaded.sources) == 2002


def test_what_is_missing_is_told(data):
    with pytest.raises(Missing) as error:
        ImageNet1K().load()
    assert str(error.value) == (
        f"ImageNet-1K is not here; expected {data}/imagenet or {data}/ILSVRC2012 or "
        f"{data}/imagenet-1k or {data}/ILSVRC/Data/CLS-LOC; get it from "
        "https://image-net.org/download-images (ILSVRC2012; it needs an account), and sort it "
        "into train/<class>/ and val/<class>/, as torchvision.datasets.ImageNet does"
    )


def test_a_flat_val_folder_is_told_how_to_sort(tree, data):
    val = put(tree, data, PLACES[-1]) / "val"
    for path in list(val.glob("*/*.JPEG")):
        path.rename(val / path.name)
        path.parent.rmdir()
    with pytest.raises(BenchError) as error:
        ImageNet1K().load()
    assert str(error.value) == (
        f"{val} holds 1,000 images and no class folders; expected 1,000 of them; to sort it, let "
        '`torchvision.datasets.ImageNet(root, split="val")` unpack ILSVRC2012_img_val.tar with '
        "the labels of ILSVRC2012_devkit_t12.tar.gz, both in `root`, and put its val there"
    )


def test_a_class_that_is_lacking_is_told(tree, data):
    folder = put(tree, data)
    (folder / "val" / IDS[4]).rename(data / "elsewhere")
    with pytest.raises(BenchError, match=rf"val holds 999 .*expected 1000 .lacks {IDS[4]}"):
        ImageNet1K().load()
    (folder / "train" / IDS[7]).rename(data / "nowhere")
    with pytest.raises(
        BenchError, match=r"train holds 999 class folders, expected 1000 .n01440764"
    ):
        ImageNet1K().load()


def test_folders_that_are_named_otherwise_have_no_known_order(tree, data):
    folder = put(tree, data)
    for split in ("train", "val"):
        for k, wnid in enumerate(IDS):
            (folder / split / wnid).rename(folder / split / str(k))
    with pytest.raises(BenchError, match=r"not WordNet IDs, as n01440764 is: 0, 1, 10, \.\.\."):
        ImageNet1K().load()


def test_a_size_of_nothing_is_refused():
    with pytest.raises(BenchError, match="imagenet-1k: size is 0; expected"):
        ImageNet1K(size=0)


@pytest.mark.slow
def test_the_contract_is_kept(tree, data, monkeypatch):
    (data / "imagenet").symlink_to(tree)
    monkeypatch.setattr(
        determinism, "_helper", cache(determinism._helper.__wrapped__)
    )  # a fresh environment
    verdicts = run_checks(checks_for("dataset", ImageNet1K(size=16)))
    assert [v for v in verdicts if v.status != "passed"] == []
