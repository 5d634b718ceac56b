"""Tensors that somebody has: what is taken, and what is refused in one sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load

from bench.commands.given import given
from bench.contract.errors import BenchError

IMAGES = np.linspace(0, 1, 4 * 3 * 2 * 2, dtype=np.float32).reshape(4, 3, 2, 2)
LABELS = np.array([0, 1, 1, 0])
SOFT = np.array([[0.75, 0.25], [0.25, 0.75], [0.5, 0.5], [0.25, 0.75]], dtype=np.float32)


@pytest.mark.parametrize(
    "images",
    [
        IMAGES,
        IMAGES.astype(np.float64),
        IMAGES.tolist(),
        torch.tensor(IMAGES, requires_grad=True),
        torch.tensor(IMAGES).permute(0, 1, 3, 2).contiguous().permute(0, 1, 3, 2),
    ],
)
def test_images_of_any_kind_become_the_same_file(images: Any) -> None:
    one = given(images, LABELS)
    assert (one.ipc, one.total) == (2, 2)
    assert one.sha256 == given(IMAGES, torch.tensor(LABELS)).sha256
    found = load(one.blob)
    assert sorted(found) == ["images", "labels"]
    np.testing.assert_array_equal(found["images"], IMAGES)
    assert (found["images"].dtype, found["labels"].dtype) == (np.float32, np.int64)


def test_bytes_stay_bytes_and_half_precision_is_widened() -> None:
    pixels = (IMAGES * 255).astype(np.uint8)
    assert given(pixels, LABELS).images.dtype == np.uint8
    half = torch.tensor(IMAGES).bfloat16()
    np.testing.assert_array_equal(given(half, LABELS).images, half.float().numpy())


def test_soft_labels_may_lean_to_other_classes_than_the_images() -> None:
    with pytest.raises(BenchError, match=r"class 1 has 1 .* pass classes="):
        given(IMAGES[:3], SOFT[:3])
    one = given(IMAGES, SOFT, classes=[0, 1, 0, 1])
    assert one.ipc == 2
    np.testing.assert_array_equal(load(one.blob)["classes"], [0, 1, 0, 1])
    np.testing.assert_array_equal(load(one.blob)["labels"], SOFT)


@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        (IMAGES[0], LABELS, "images are float32 [3, 2, 2]; expected [N, C, H, W]"),
        (IMAGES[:0], LABELS[:0], "N of 1 or more"),
        (IMAGES * np.nan, LABELS, "images hold NaN or infinity"),
        (IMAGES * 100, LABELS, "images span 0..100; expected pixels in [0, 1]; divide them"),
        (IMAGES * 4 - 2, LABELS, "images span -2..2; expected pixels in [0, 1]; if they are norm"),
        ((IMAGES * 255).astype(np.int64), LABELS, "expected float32 in [0, 1], or uint8"),
        (IMAGES, LABELS[:3], "there are 4 images and 3 labels"),
        (IMAGES, np.array([0, 1, 1, 1]), "class 0 has 1 images and class 1 has 3; expected as"),
        (IMAGES, np.array([0, 0, 2, 2]), "class 1 has 0 images and class 0 has 2"),
        (IMAGES, LABELS - 1, "labels begin at -1"),
        (IMAGES, LABELS.astype(np.float32), "labels are float32 [4]; expected int64 [N]"),
        (IMAGES, SOFT * 2, "labels are no probabilities"),
        (IMAGES, SOFT - 0.3, "the least is -0.05"),
        (IMAGES, SOFT * np.inf, "labels hold NaN or infinity"),
        (IMAGES, np.array([0, 0, 0, 10**11]), "4 images for 100000000001 classes; expected as"),
        (torch.zeros(4, 3, 2, 2).to_sparse(), LABELS, "images are no array"),
        (torch.zeros(4, 3, 2, 2, device="meta"), LABELS, "images are no array"),
        (torch.zeros(4, 3, 2, 2).to(torch.float8_e5m2), LABELS, "images are no array"),
        (np.ma.array(IMAGES, mask=IMAGES < 0.5), LABELS, "images are masked in part"),
        (["a", "b"], LABELS, "images are list of <U1; expected an array of numbers"),
        ([[1], [1, 2]], LABELS, "images are no array"),
    ],
)
def test_what_no_board_could_judge_is_refused(images: Any, labels: Any, said: str) -> None:
    with pytest.raises(BenchError) as refused:
        given(images, labels)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        ([0, 1], "classes are int64 [2]; expected int64 [4]"),
        ([0.0, 1.0, 0.0, 1.0], "expected int64 [4]"),
        ([0, 2, 0, 2], "classes span 0..2; expected 0..1"),
    ],
)
def test_classes_that_are_none_are_refused(classes: Any, said: str) -> None:
    with pytest.raises(BenchError) as refused:
        given(IMAGES, SOFT, classes)
    assert said in str(refused.value)


def test_classes_that_contradict_hard_labels_are_refused() -> None:
    with pytest.raises(BenchError, match=r"image 0 .* has label 0 and class 1; expected classes="):
        given(IMAGES, LABELS, 1 - LABELS)
    given(IMAGES, LABELS, LABELS)


def test_another_shape_or_number_of_classes_than_the_data_is_refused() -> None:
    one = given(IMAGES, LABELS)
    one.check_fits({"shape": [3, 2, 2], "classes": ["a", "b"]}, "d")
    with pytest.raises(BenchError, match=r"images are \[4, 3, 2, 2\]; expected \[N, 1, 2, 2\]"):
        one.check_fits({"shape": [1, 2, 2], "classes": ["a", "b"]}, "d")
    with pytest.raises(BenchError, match="labels are of 2 classes; expected 3, those of d"):
        one.check_fits({"shape": [3, 2, 2], "classes": ["a", "b", "c"]}, "d")
