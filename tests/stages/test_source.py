"""Where a stage finds its data, and what a validation board is given."""

from __future__ import annotations

import pytest
import torch
import toyplug
from torch import Tensor

from bench.contract.data import Data, Split, Subset, TensorSplit
from bench.stages import source
from bench.training import toy

DATA = toy.GRAY.load()
CLASSES = len(DATA.classes)


def pixels(split: Split) -> Tensor:
    assert isinstance(split, TensorSplit)
    return split.pixels


@pytest.fixture(scope="module")
def carved() -> Data:
    return source.carved(DATA)


def rows(images: Tensor) -> set[bytes]:
    return {row.numpy().tobytes() for row in images}


def test_validation_takes_a_fifth_of_every_training_class(carved: Data) -> None:
    assert torch.bincount(carved.test.labels).tolist() == [8] * CLASSES
    assert torch.bincount(carved.train.labels).tolist() == [32] * CLASSES


def test_validation_and_training_images_are_disjoint_and_all_there_is(carved: Data) -> None:
    train, held = rows(pixels(carved.train)), rows(pixels(carved.test))
    assert not train & held
    assert train | held == rows(pixels(DATA.train))
    assert not held & rows(pixels(DATA.test))


def test_validation_images_keep_their_labels(carved: Data) -> None:
    known = {
        image.numpy().tobytes(): int(label)
        for image, label in zip(pixels(DATA.train), DATA.train.labels, strict=True)
    }
    for split in (carved.train, carved.test):
        for image, label in zip(pixels(split), split.labels, strict=True):
            assert known[image.numpy().tobytes()] == int(label)


def test_carving_is_deterministic_and_leaves_the_random_state_alone(carved: Data) -> None:
    state = torch.get_rng_state()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    again = source.carved(DATA)
    assert torch.equal(torch.get_rng_state(), before)
    torch.set_rng_state(state)
    assert torch.equal(pixels(again.test), pixels(carved.test))
    assert again.digest == carved.digest


def test_validation_is_other_data(carved: Data) -> None:
    assert carved.digest != DATA.digest
    assert (carved.classes, carved.shape, carved.mean) == (DATA.classes, DATA.shape, DATA.mean)


def test_images_on_disk_are_carved_by_index() -> None:
    on_disk = toyplug.Closed().load()
    held = source.load(toyplug.Closed(), "validation")
    assert isinstance(held.train, Subset)
    assert isinstance(held.test, Subset)
    assert torch.equal(held.test.images(torch.arange(4)), pixels(source.carved(DATA).test)[:4])
    with pytest.raises(RuntimeError, match="the test split was opened"):
        on_disk.test.images(torch.arange(1))


def test_a_closed_test_split_is_opened_by_a_test_board_alone() -> None:
    source.load(toyplug.Closed(), "validation")
    with pytest.raises(RuntimeError, match="the test split was opened"):
        source.load(toyplug.Closed(), "test")
