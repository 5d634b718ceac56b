import socket
from dataclasses import dataclass, replace

import pytest
import torch

from bench.checks import datasets
from bench.contract.data import Data, TensorSplit, as_float
from bench.training import toy

SPLITS = "loads legal splits"
CROPS = "cuts crops"
TWICE = "loads the same twice"
TWINS = "counts test images"


@dataclass(frozen=True)
class Wrong:
    """The toy data with one thing wrong."""

    name: str = "wrong"
    how: str = ""

    def load(self) -> Data:
        return globals()[self.how](toy.GRAY.load())


def bytes_as_floats(data):
    return replace(data, train=TensorSplit(data.train.pixels * 255, data.train.labels))


def other_shape(data):
    return replace(data, shape=(3, 8, 8))


def unknown_class(data):
    return replace(data, train=TensorSplit(data.train.pixels, data.train.labels + 1))


def class_missing(data):
    kept = data.test.labels != 2
    return replace(data, test=TensorSplit(data.test.pixels[kept], data.test.labels[kept]))


def same_names(data):
    return replace(data, classes=("a", "b", "b", "c", "d", "e", "f", "g"))


def no_spread(data):
    return replace(data, std=(0.0,))


class Raw(TensorSplit):
    """A split that returns bytes."""

    def images(self, index, boxes=None):
        return (super().images(index, boxes) * 255).to(torch.uint8)


def returns_bytes(data):
    return replace(data, train=Raw(data.train.pixels, data.train.labels))


class Uncut(TensorSplit):
    """A split that ignores the boxes."""

    def images(self, index, boxes=None):
        return as_float(self.pixels[index])


def ignores_boxes(data):
    return replace(data, train=Uncut(data.train.pixels, data.train.labels))


def shuffles(data):
    generator = torch.Generator()
    generator.seed()
    order = torch.randperm(len(data.train), generator=generator)
    return replace(data, train=TensorSplit(data.train.pixels[order], data.train.labels[order]))


def downloads(data):
    socket.create_connection(("example.org", 443), timeout=1)
    return data


@pytest.mark.parametrize(
    ("how", "claim", "words"),
    [
        ("bytes_as_floats", SPLITS, "expected [0, 1]"),
        ("other_shape", SPLITS, "mean and std need one value a channel"),
        ("unknown_class", SPLITS, "the train labels span 1..8, with 8 classes"),
        ("class_missing", SPLITS, "no test image of class ['template 2']"),
        ("same_names", SPLITS, "expected distinct strings"),
        ("no_spread", SPLITS, "expected more than 0 everywhere"),
        ("returns_bytes", SPLITS, "images() of train returns torch.uint8"),
        ("ignores_boxes", CROPS, "expected images(index, boxes) to use the boxes"),
        ("shuffles", TWICE, "the train images"),
        ("downloads", SPLITS, "on load(): it tried to reach 'example.org'"),
    ],
)
def test_a_data_set_with_one_fault_fails_the_check_that_is_for_it(fails, how, claim, words) -> None:
    fails("dataset", Wrong(how=how), claim, words)


def repeats(data):
    pixels = data.test.pixels.clone()
    pixels[:3] = data.train.pixels[10:13]
    return replace(data, test=TensorSplit(pixels, data.test.labels))


def test_test_images_that_also_stand_in_train_are_counted(verdict) -> None:
    found = verdict("dataset", Wrong(how="repeats"), TWINS)
    assert (found.status, found.detail) == (
        "passed",
        "3 of 160 test images also stand in train",
    )


def test_a_data_set_too_large_to_count_is_skipped(verdict, monkeypatch) -> None:
    monkeypatch.setattr(datasets, "COUNTED", 100)
    found = verdict("dataset", toy.GRAY, TWINS)
    assert (found.status, found.detail) == (
        "skipped",
        "not counted: 480 images are many to read",
    )
