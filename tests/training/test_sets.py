"""A condensed set on its way to the store and back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bench.contract.task import CondensedSet, Selection
from bench.training.sets import from_tensors, index_bytes, quantised, to_tensors, weigh


@st.composite
def condensed_sets(draw: st.DrawFn) -> CondensedSet:
    count, classes = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    images: Any = torch.rand(count, 1, 2, 3, generator=generator)
    match draw(st.sampled_from(("float", "uint8", "selection", "strided"))):
        case "uint8":
            images = (images * 255).to(torch.uint8)
        case "selection":
            images = Selection(torch.randperm(50, generator=generator)[:count])
        case "strided":
            images = images.transpose(2, 3).contiguous().transpose(2, 3)
    if draw(st.booleans()):
        labels = torch.rand(count, classes, generator=generator).softmax(1)
    else:
        labels = torch.eye(classes)[torch.arange(count) % classes]
    extras = {"image.code": torch.rand(count, 2), "class.text": torch.arange(classes)}
    return CondensedSet(
        images,
        labels,
        weights=torch.rand(count, generator=generator) + 0.1 if draw(st.booleans()) else None,
        extras={name: extras[name] for name in draw(st.sets(st.sampled_from(sorted(extras))))},
        notes={"scores": torch.rand(7, generator=generator)} if draw(st.booleans()) else {},
        classes=torch.arange(count) % classes if draw(st.booleans()) else None,
    )


@given(condensed_sets())
def test_a_condensed_set_comes_back_from_its_tensors(condensed: CondensedSet) -> None:
    tensors = to_tensors(condensed)
    assert all(tensor.is_contiguous() for tensor in tensors.values())
    back = from_tensors(tensors)
    if isinstance(condensed.images, Selection):
        assert isinstance(back.images, Selection)
        assert torch.equal(back.images.indices, condensed.images.indices)
    else:
        assert isinstance(back.images, Tensor)
        assert back.images.dtype == condensed.images.dtype
        assert torch.equal(back.images, condensed.images)
    assert back.labels.dtype == torch.float32
    assert torch.equal(back.labels, condensed.labels)
    assert torch.equal(back.classes, condensed.classes)
    if condensed.weights is None:
        assert back.weights is None
    else:
        assert back.weights is not None
        assert torch.equal(back.weights, condensed.weights)
    assert set(back.extras) == set(condensed.extras)
    assert all(torch.equal(back.extras[k], v) for k, v in condensed.extras.items())
    assert set(back.notes) == set(condensed.notes)
    assert all(torch.equal(back.notes[k], v) for k, v in condensed.notes.items())


SHAPE = (1, 2, 3)


@given(condensed_sets())
def test_a_set_weighs_what_is_needed_to_train_on_it(condensed: CondensedSet) -> None:
    weighed = weigh(to_tensors(condensed), SHAPE)
    tensors = to_tensors(replace(condensed, notes={}))
    assert weigh(tensors, SHAPE) == weighed
    stored = sum(t.numel() * t.element_size() for k, t in tensors.items() if k != "total")
    if isinstance(condensed.images, Selection):
        stored += len(condensed) * (6 - 8)  # images in place of their index
        assert index_bytes(tensors) == 8 * len(condensed)
    else:
        assert index_bytes(tensors) == 0
    assert sum(weighed.values()) == stored


def test_real_images_weigh_as_much_as_made_ones_and_hard_labels_eight_bytes() -> None:
    selected = CondensedSet(Selection(torch.arange(20)), torch.eye(10).repeat(2, 1))
    made = quantised(replace(selected, images=torch.rand(20, *SHAPE)))
    weighed = weigh(to_tensors(selected), SHAPE)
    assert weighed == {"images": 20 * 6, "labels": 20 * 8, "weights": 0, "extras": 0}
    assert weigh(to_tensors(made), SHAPE) == weighed
    soft = replace(selected, labels=torch.full((20, 10), 0.1))
    assert weigh(to_tensors(soft), SHAPE)["labels"] == 20 * 10 * 4 + 20 * 8  # and their classes


def test_the_class_of_an_image_is_its_own_thing_and_by_default_the_arg_max_of_its_label() -> None:
    labels = torch.tensor([[0.2, 0.8], [0.6, 0.4]])
    images = torch.zeros(2, *SHAPE)
    assert CondensedSet(images, labels).classes.tolist() == [1, 0]
    told = CondensedSet(images, labels, classes=torch.tensor([0, 1]))
    assert from_tensors(to_tensors(told)).classes.tolist() == [0, 1]
    hard = CondensedSet(images, torch.eye(2), classes=torch.tensor([1, 0]))
    assert from_tensors(to_tensors(hard)).classes.tolist() == [1, 0]


def test_images_are_brought_into_eight_bits_and_half_goes_to_even() -> None:
    values = torch.tensor([0.0, 0.5, 1.5, 2.5, 254.5, 255.0]) / 255
    images = values.view(1, *SHAPE)
    found = quantised(CondensedSet(images, torch.ones(1, 1))).images
    assert isinstance(found, Tensor)
    assert found.dtype == torch.uint8
    assert found.flatten().tolist() == [0, 0, 2, 2, 254, 255]
    again = quantised(CondensedSet(found, torch.ones(1, 1)))
    assert again.images is found
