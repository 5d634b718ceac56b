"""A condensed set on its way to the store and back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bench.contract.task import CondensedSet, Selection
from bench.training.sets import from_tensors, to_tensors, weigh


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
    if condensed.weights is None:
        assert back.weights is None
    else:
        assert back.weights is not None
        assert torch.equal(back.weights, condensed.weights)
    assert set(back.extras) == set(condensed.extras)
    assert all(torch.equal(back.extras[k], v) for k, v in condensed.extras.items())
    assert set(back.notes) == set(condensed.notes)
    assert all(torch.equal(back.notes[k], v) for k, v in condensed.notes.items())


@given(condensed_sets())
def test_a_set_weighs_what_is_stored_but_for_its_notes(condensed: CondensedSet) -> None:
    weighed = weigh(to_tensors(condensed))
    tensors = to_tensors(replace(condensed, notes={}))
    assert weigh(tensors) == weighed
    stored = sum(t.numel() * t.element_size() for k, t in tensors.items() if k != "classes")
    assert sum(weighed.values()) == stored


def test_hard_labels_and_real_images_take_eight_bytes_each() -> None:
    selected = CondensedSet(Selection(torch.arange(20)), torch.eye(10).repeat(2, 1))
    assert weigh(to_tensors(selected)) == {
        "images": 20 * 8,
        "labels": 20 * 8,
        "weights": 0,
        "extras": 0,
    }
    soft = replace(selected, labels=torch.full((20, 10), 0.1))
    assert weigh(to_tensors(soft))["labels"] == 20 * 10 * 4
