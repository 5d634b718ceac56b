"""The nouns: splits, data sets, tasks and trials."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from bench.contract.data import (
    Data,
    Split,
    Subset,
    TensorSplit,
    as_float,
    crop_and_resize,
    digest_of_tensors,
)
from bench.contract.errors import BenchError
from bench.contract.task import CondensedSet, Selection, Task, Trial

PIXELS = torch.arange(4 * 3 * 4 * 4, dtype=torch.uint8).view(4, 3, 4, 4)
LABELS = torch.tensor([0, 1, 0, 1])
SPLIT = TensorSplit(PIXELS, LABELS)


def task(**networks) -> Task:
    return Task(SPLIT, ("a", "b"), (3, 4, 4), (0.5,) * 3, (0.5,) * 3, False, 1, 0, **networks)


def test_uint8_pixels_come_out_as_float32_in_the_unit_interval() -> None:
    images = TensorSplit(torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1, 1), LABELS)
    got = images.images(torch.tensor([2, 0, 1]))
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.flatten(), torch.tensor([1.0, 0.0, 0.2]))


def test_float_pixels_are_returned_as_they_are() -> None:
    pixels = torch.rand(2, 1, 2, 2)
    assert as_float(pixels) is pixels


def test_a_whole_box_is_the_image_itself() -> None:
    images = as_float(PIXELS)
    boxes = torch.tensor([0.0, 0.0, 1.0, 1.0]).repeat(4, 1)
    torch.testing.assert_close(crop_and_resize(images, boxes), images)


def test_a_box_cuts_out_its_part_and_resizes_it() -> None:
    quarters = torch.zeros(1, 1, 8, 8)
    quarters[..., :4, 4:] = 1.0  # the upper right quarter
    upper_right = crop_and_resize(quarters, torch.tensor([[0.625, 0.125, 0.875, 0.375]]))
    lower_left = crop_and_resize(quarters, torch.tensor([[0.125, 0.625, 0.375, 0.875]]))
    assert upper_right.shape == (1, 1, 8, 8)
    assert upper_right.min() == 1
    assert lower_left.max() == 0


def test_every_image_of_a_batch_has_a_box_of_its_own() -> None:
    ramp = torch.linspace(0, 1, 16).expand(2, 1, 16, 16)
    boxes = torch.tensor([[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]])
    left, right = means(crop_and_resize(ramp, boxes))
    assert left == pytest.approx(0.25, abs=0.03)
    assert right == pytest.approx(0.75, abs=0.03)


def means(images: torch.Tensor) -> list[float]:
    return images.mean((1, 2, 3)).tolist()


def test_a_split_with_boxes_is_the_split_cropped() -> None:
    index = torch.tensor([1, 3])
    boxes = torch.tensor([[0.25, 0.25, 0.75, 0.75]] * 2)
    expected = crop_and_resize(SPLIT.images(index), boxes)
    torch.testing.assert_close(SPLIT.images(index, boxes), expected)


def test_a_subset_is_the_part_in_its_own_numbering() -> None:
    part = Subset(SPLIT, torch.tensor([3, 0]))
    assert len(part) == 2
    assert part.labels.tolist() == [1, 0]
    torch.testing.assert_close(part.images(torch.tensor([0])), SPLIT.images(torch.tensor([3])))


def test_a_subset_of_a_subset_goes_through_both() -> None:
    inner = Subset(Subset(SPLIT, torch.tensor([3, 2, 1])), torch.tensor([2, 0]))
    assert inner.labels.tolist() == [1, 1]
    torch.testing.assert_close(
        inner.images(torch.tensor([0, 1])), SPLIT.images(torch.tensor([1, 3]))
    )


@pytest.mark.parametrize("split", [SPLIT, Subset(SPLIT, torch.tensor([0]))])
def test_splits_in_memory_keep_the_protocol(split) -> None:
    assert isinstance(split, Split)


def test_data_from_tensors_computes_shape_and_statistics_of_the_training_pixels() -> None:
    train = torch.rand(50, 2, 3, 5)
    data = Data.from_tensors((train, torch.zeros(50).long()), (train[:4] * 0, LABELS), ["x", "y"])
    assert data.shape == (2, 3, 5)
    assert data.classes == ("x", "y")
    assert data.mean == pytest.approx(train.mean((0, 2, 3)).tolist(), abs=1e-5)
    assert data.std == pytest.approx(train.std((0, 2, 3)).tolist(), abs=1e-5)


@pytest.mark.parametrize("uint8", [True, False], ids=["bytes", "floats"])
def test_mean_and_deviation_of_many_parts_are_those_of_all_pixels(uint8: bool) -> None:
    pixels = torch.randint(0, 256, (700, 3, 32, 32), dtype=torch.uint8)
    pixels[:, 1] //= 4  # channels that differ, and images that differ from the first to the last
    pixels[500:, 2] = 255
    train = pixels if uint8 else as_float(pixels)
    data = Data.from_tensors((train, torch.zeros(700).long()), (train[:4], LABELS), ["x", "y"])
    channels = (pixels.double() / 255).transpose(0, 1).flatten(1).numpy()  # [3, 700 x 32 x 32]
    assert data.mean == pytest.approx(channels.mean(1), abs=1e-6)
    assert data.std == pytest.approx(channels.std(1, ddof=1), abs=1e-6)


def test_the_deviation_is_unbiased() -> None:
    pair = torch.tensor([0.2, 0.6]).view(2, 1, 1, 1)
    data = Data.from_tensors((pair, torch.zeros(2).long()), (pair, torch.zeros(2).long()), ["x"])
    assert data.std == (0.282843,)  # 0.4 / sqrt(2); the biased one is 0.2


def test_pixels_at_rest_are_never_all_turned_into_floats() -> None:
    """The largest tensor of floats that is made, however many images there are."""
    largest = []
    for count in (1_000, 4_000):
        pixels = torch.zeros(count, 3, 32, 32, dtype=torch.uint8)
        with Floats() as floats:
            Data.from_tensors((pixels, torch.zeros(count).long()), (pixels[:4], LABELS), ["x"])
        largest.append(floats.largest)
    assert 0 < largest[0] == largest[1] < 1_000 * 3 * 32 * 32


class Floats(TorchDispatchMode):
    """Watches how many elements the largest floating-point result has."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.is_floating_point():
            self.largest = max(self.largest, result.numel())
        return result


def test_a_constant_channel_has_a_deviation_that_one_can_divide_by() -> None:
    flat = torch.full((3, 1, 2, 2), 0.5)
    data = Data.from_tensors((flat, torch.zeros(3).long()), (flat, torch.zeros(3).long()), ["x"])
    assert data.std[0] > 0


def test_uint8_and_float_pixels_have_equal_statistics() -> None:
    labels = torch.zeros(4).long()
    bytes_ = Data.from_tensors((PIXELS, labels), (PIXELS, labels), ["x"])
    floats = Data.from_tensors((as_float(PIXELS), labels), (PIXELS, labels), ["x"])
    assert (bytes_.mean, bytes_.std) == (floats.mean, floats.std)


@pytest.mark.parametrize(
    "other",
    [
        torch.tensor([[1.0, 2.0], [3.0, 5.0]]),
        torch.tensor([1.0, 2.0, 3.0, 4.0]),
        torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64),
    ],
    ids=["a value", "the shape", "the dtype"],
)
def test_a_digest_of_tensors_changes_with(other) -> None:
    assert digest_of_tensors(torch.tensor([[1.0, 2.0], [3.0, 4.0]])) != digest_of_tensors(other)


def test_a_digest_of_tensors_does_not_depend_on_strides() -> None:
    tensor = torch.arange(6.0).view(2, 3)
    assert digest_of_tensors(tensor.t().contiguous()) == digest_of_tensors(tensor.t())


def test_the_digest_of_data_covers_the_test_split() -> None:
    changed = PIXELS.clone()
    changed[0, 0, 0, 0] += 1
    one = Data.from_tensors((PIXELS, LABELS), (PIXELS, LABELS), ["x", "y"])
    two = Data.from_tensors((PIXELS, LABELS), (changed, LABELS), ["x", "y"])
    assert one.digest != two.digest


def test_a_condensed_set_is_as_long_as_its_images_or_its_selection() -> None:
    labels = torch.eye(3)
    assert len(CondensedSet(torch.zeros(3, 1, 2, 2), labels)) == 3
    assert len(CondensedSet(Selection(torch.tensor([5, 6, 7])), labels)) == 3


def test_a_task_holds_neither_test_split_nor_recipe() -> None:
    names = {f.name for f in dataclasses.fields(Task)}
    assert not {n for n in names if "test" in n or "recipe" in n or n == "data"}


def test_a_teacher_is_loaded_on_first_use_and_once() -> None:
    calls = []

    def load() -> nn.Module:
        calls.append(1)
        return nn.Identity()

    given = task(networks={"teacher": load})
    assert calls == []
    assert given.teacher is given.teacher
    assert calls == [1]


def test_every_call_of_network_builds_a_fresh_backbone() -> None:
    given = task(networks={"backbone": nn.Identity})
    assert given.network() is not given.network()


@pytest.mark.parametrize("role", ["teacher", "scorer"])
def test_a_network_that_was_not_asked_for_says_how_to_ask(role: str) -> None:
    with pytest.raises(BenchError, match=f"no {role}; expected a component field `{role}: str`"):
        getattr(task(), role)


def test_a_method_that_did_not_ask_for_fresh_networks_is_told_how_to() -> None:
    with pytest.raises(
        BenchError, match="no backbone; expected the component's class variable `fr"
    ):
        task().network()


def test_a_method_that_did_not_ask_for_fresh_denoisers_is_told_how_to() -> None:
    said = "no denoiser; expected the component's class variable `fresh_denoisers: ClassVar"
    with pytest.raises(BenchError, match=said):
        task().denoiser()


def test_a_metric_that_did_not_ask_for_features_is_told_how_to() -> None:
    trial = Trial(None, None)  # type: ignore[arg-type]
    with pytest.raises(BenchError, match="no features; expected a field `features: str` of the me"):
        _ = trial.features
    looked: list[str] = []

    def loaded() -> nn.Module:
        looked.append("once")
        return nn.Identity()

    with_one = Trial(None, None, networks={"features": loaded})  # type: ignore[arg-type]
    assert with_one.features is with_one.features
    assert looked == ["once"]


def test_a_trial_without_a_student_has_none() -> None:
    data = Data.from_tensors((PIXELS, LABELS), (PIXELS, LABELS), ["x", "y"])
    trial = Trial(data, CondensedSet(PIXELS, torch.eye(4)))
    assert trial.student is None
    assert trial.teacher is None
    with pytest.raises(BenchError, match="no logits"):
        _ = trial.correct


def test_an_image_is_robust_only_if_it_is_right_without_the_attack_too() -> None:
    data = Data.from_tensors((PIXELS, LABELS), (PIXELS, LABELS), ["x", "y"])
    right, wrong = [1.0, 0.0], [0.0, 1.0]
    trial = Trial(
        data,
        CondensedSet(PIXELS, torch.eye(4)),
        labels=torch.zeros(4).long(),
        clean_logits=torch.tensor([right, right, wrong, wrong]),
        logits=torch.tensor([right, wrong, right, wrong]),
        norm="linf",
    )
    assert trial.correct.tolist() == [True, False, False, False]
    assert dataclasses.replace(trial, norm="").correct.tolist() == [
        True,
        False,
        True,
        False,
    ]  # a corruption
