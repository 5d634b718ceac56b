"""Each gate lets right results pass, and says of a wrong one what is wrong with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bench.contract.data import Data, TensorSplit
from bench.contract.errors import BenchError
from bench.contract.task import CondensedSet, Perturbed, Selection
from bench.training import gates, toy

SHAPE, CLASSES = (1, 4, 4), 3
PIXELS = torch.linspace(0, 1, 6 * 16).view(6, *SHAPE)
LABELS = torch.eye(CLASSES).repeat(2, 1)
DATA = Data.from_tensors(
    (PIXELS, torch.arange(3).repeat(2)), (PIXELS, torch.arange(3).repeat(2)), ["a", "b", "c"]
)
SET = CondensedSet(PIXELS, LABELS)


def changed(tensor: Tensor, index: Any, value: float) -> Tensor:
    tensor = tensor.clone()
    tensor[index] = value
    return tensor


def refusal(gate: Callable[..., Any], *arguments: Any, **options: Any) -> str:
    with pytest.raises(BenchError) as caught:
        gate(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


# ---- data sets


@pytest.mark.parametrize("data", [DATA, toy.GRAY.load(), toy.COLOR.load()])
def test_a_sound_data_set_passes(data: Data) -> None:
    gates.check_data(data)


SMALLER = TensorSplit(PIXELS[:, :, 1:], DATA.train.labels)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (None, "load() returned NoneType None; expected bench.Data"),
        (replace(DATA, mean=(0.5, 0.5)), "one value a channel"),
        (replace(DATA, std=()), "one value a channel"),
        (replace(DATA, digest=""), "the digest is empty"),
        (replace(DATA, classes=("a", "\udcff", "c")), "class name '\\udcff' is no text in UTF-8"),
        (replace(DATA, train=TensorSplit(PIXELS, torch.arange(6))), "train labels span 0..5"),
        (replace(DATA, test=TensorSplit(PIXELS, torch.arange(6) - 4)), "test labels span -4..1"),
        (
            replace(DATA, test=TensorSplit(PIXELS, LABELS)),
            "test labels are float32 [6, 3]; expected",
        ),
        (
            replace(DATA, train=TensorSplit(PIXELS[:0], torch.arange(0))),
            "int64 [0]; expected",
        ),
        (replace(DATA, train=TensorSplit(PIXELS, [0, 1, 2, 0, 1, 2])), "train labels are list"),
        (replace(DATA, train=SMALLER), "train images have shape [6, 1, 3, 4]; expected"),
        (replace(DATA, test=TensorSplit(255 * PIXELS, DATA.test.labels)), "expected [0, 1]"),
        (
            replace(DATA, train=TensorSplit(PIXELS[:5], DATA.train.labels)),
            "the train split has 5 images and 6 labels; expected a label each",
        ),
        (replace(DATA, train=TensorSplit(PIXELS.double(), DATA.train.labels)), "torch.float64"),
    ],
)
def test_a_faulty_data_set_is_refused(data: Any, said: str) -> None:
    assert said in refusal(gates.check_data, data)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(
    ("value", "said"),
    [(math.nan, "hold NaN or infinity"), (255.0, "span 0..255; expected [0, 1]")],
)
def test_one_bad_image_of_a_split_in_memory_is_found_and_named(
    monkeypatch: pytest.MonkeyPatch, split: str, value: float, said: str
) -> None:
    monkeypatch.setattr(gates, "CHUNK", 2 * 16)  # two images
    pixels = changed(torch.zeros(7, *SHAPE), (5, 0, 2, 2), value)
    bad = replace(DATA, **{split: TensorSplit(pixels, torch.arange(7) % 3)})
    assert f"the pixels of {split} image 5 {said}" in refusal(gates.check_data, bad)


def test_a_split_that_is_not_asked_for_is_not_looked_into() -> None:
    data = replace(DATA, test=None)
    gates.check_data(data, splits=("train",))
    with pytest.raises(AttributeError):
        gates.check_data(data)


# ---- condensed sets


def check_set(condensed: Any, ipc: int = 2, train: int = 10) -> None:
    gates.check_condensed(condensed, shape=SHAPE, classes=CLASSES, train_size=train, ipc=ipc)


@pytest.mark.parametrize(
    "condensed",
    [
        SET,
        replace(SET, images=(PIXELS * 255).to(torch.uint8)),
        replace(SET, labels=(LABELS + 0.1) / (LABELS + 0.1).sum(1, keepdim=True)),
        replace(SET, weights=torch.arange(6) + 0.5),
        replace(SET, images=Selection(torch.tensor([9, 0, 3, 4, 5, 6]))),
        replace(SET, extras={"image.code": torch.zeros(6, 2), "class.text": torch.zeros(3)}),
        CondensedSet(PIXELS[:4], LABELS[:4]),
        CondensedSet(PIXELS.clone().requires_grad_(), LABELS.clone().requires_grad_()),
    ],
    ids=["float", "uint8", "soft", "weights", "selection", "extras", "below budget", "gradients"],
)
def test_a_sound_set_passes(condensed: CondensedSet) -> None:
    check_set(condensed)


def test_soft_labels_may_lean_to_other_classes_than_those_of_the_images() -> None:
    leaning = torch.tensor([[0.1, 0.8, 0.1]]).repeat(6, 1)
    assert "no image of class [0, 2]" in refusal(check_set, CondensedSet(PIXELS, leaning))
    check_set(CondensedSet(PIXELS, leaning, classes=torch.arange(3).repeat(2)))


def test_a_method_says_that_its_set_is_real_images_with_one_hot_labels() -> None:
    chosen, soft = replace(SET, images=Selection(torch.arange(6))), torch.full((6, 3), 1 / 3)
    gates.check_selects(chosen, selects=True)
    gates.check_selects(SET, selects=False)
    gates.check_selects(replace(chosen, labels=soft), selects=False)  # it has labelled them itself
    assert "expected `selects: ClassVar[bool] = True`" in refusal(
        gates.check_selects, chosen, selects=False
    )
    for other in (SET, replace(chosen, labels=soft)):
        assert "expected `selects: ClassVar[bool] = False`" in refusal(
            gates.check_selects, other, selects=True
        )


def test_a_ceiling_has_no_budget() -> None:
    check_set(SET, ipc=0)
    assert "6 images; at most 3 are allowed (1 per class, 3 classes)" in refusal(
        check_set, SET, ipc=1
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"images": PIXELS[:0], "labels": LABELS[:0]}, "the condensed set is empty"),
        ({"images": PIXELS[:, 0]}, "have shape [6, 4, 4]; expected [N, 1, 4, 4]"),
        ({"images": PIXELS[:, :, 1:]}, "have shape [6, 1, 3, 4]; expected [N, 1, 4, 4]"),
        ({"images": PIXELS.double()}, "are torch.float64; expected float32 or uint8"),
        ({"images": changed(PIXELS, 3, math.nan)}, "condensed images hold NaN or infinity"),
        ({"images": changed(PIXELS, 3, math.inf)}, "condensed images hold NaN or infinity"),
        ({"images": 2 * PIXELS - 1}, "span -1..1; expected [0, 1]"),
        ({"images": PIXELS.tolist()}, "the condensed images are list"),
        ({"images": Selection(torch.arange(6) + 5)}, "spans 5..10; the training split has 10"),
        ({"images": Selection(torch.arange(6) - 1)}, "spans -1..4"),
        ({"images": Selection(torch.tensor([0, 1, 2, 3, 4, 4]))}, "names an image twice"),
        (
            {"images": Selection(torch.arange(6).float())},
            "selection is float32 [6]",
        ),
        ({"images": Selection([0, 1, 2, 3, 4, 5])}, "selection is list; expected int64 [N]"),
        ({"labels": torch.arange(3).repeat(2)}, "labels are int64 [6]; expected a tensor [6, 3]"),
        ({"labels": LABELS[:5]}, "labels are float32 [5, 3]; expected a tensor [6, 3]"),
        ({"labels": LABELS.double()}, "labels are torch.float64; expected float32"),
        ({"labels": changed(LABELS, 0, math.nan)}, "the labels hold NaN or infinity"),
        ({"labels": 2 * LABELS}, "not distributions"),
        ({"labels": 1.5 * LABELS - 0.5 * LABELS.roll(1, 1)}, "not distributions"),
        ({"classes": torch.tensor([0, 1, 0, 1, 0, 1])}, "no image of class [2]"),
        ({"classes": torch.tensor([0, 1, 3, 0, 1, 2])}, "classes hold [3]; expected 0..2"),
        ({"classes": torch.tensor([0, 1, -1, 0, 1, 2])}, "classes hold [-1]; expected 0..2"),
        ({"classes": torch.arange(3)}, "classes are int64 [3]; expected int64 [6]"),
        ({"classes": torch.zeros(6)}, "classes are float32 [6]; expected int64 [6]"),
        ({"weights": torch.ones(5)}, "weights are float32 [5]; expected float32 [6]"),
        ({"weights": [1.0] * 6}, "weights are list; expected float32 [6]"),
        ({"weights": torch.ones(6).double()}, "weights are float64 [6]; expected float32 [6]"),
        ({"weights": changed(torch.ones(6), 2, 0.0)}, "weights must be positive"),
        ({"weights": changed(torch.ones(6), 2, math.inf)}, "weights must be positive and finite"),
        ({"notes": {"curve": [0.5]}}, "note 'curve' is list; expected a tensor"),
        ({"extras": {"code": torch.zeros(6)}}, "extra 'code'; expected a name that starts with"),
        ({"extras": {"other.code": torch.zeros(6)}}, "extra 'other.code'; expected a name"),
        ({"extras": {"image.code": torch.zeros(3)}}, "expected a tensor with 6 rows"),
        ({"extras": {"class.code": torch.zeros(6)}}, "expected a tensor with 3 rows"),
        ({"extras": {"class.code": [0, 1, 2]}}, "expected a tensor with 3 rows"),
    ],
)
def test_a_faulty_set_is_refused(change: dict[str, Any], said: str) -> None:
    assert said in refusal(check_set, replace(SET, **change))


def test_what_is_no_set_is_refused() -> None:
    assert "condense() returned tuple" in refusal(check_set, (PIXELS, LABELS))


def test_one_image_too_many_is_refused() -> None:
    rows = torch.tensor([0, 1, 2, 3, 4, 5, 0])
    condensed = CondensedSet(PIXELS[rows], LABELS[rows])
    assert "has 7 images; at most 6 are allowed" in refusal(check_set, condensed)


# ---- attacks

IMAGES = torch.full((2, 1, 4, 4), 0.5)


def pushed(amount: float, pixels: int = 16) -> Tensor:
    delta = torch.zeros(2, 16)
    delta[1, :pixels] = amount
    return IMAGES + delta.view_as(IMAGES)


@pytest.mark.parametrize(
    ("adversarial", "norm", "eps"),
    [
        (IMAGES, "linf", 0.0),
        (pushed(0.1), "linf", 0.1),
        (pushed(-0.1), "linf", 0.1),
        (pushed(0.1), "l2", 0.4),
        (pushed(0.4, pixels=1), "l2", 0.4),
        (pushed(0.5), "", 0.0),
        (pushed(0.5), "", math.inf),
    ],
)
def test_images_inside_their_ball_pass(adversarial: Tensor, norm: str, eps: float) -> None:
    gates.check_perturbed(adversarial, IMAGES, norm, eps)


@pytest.mark.parametrize(
    ("adversarial", "norm", "eps", "said"),
    [
        (pushed(0.1001), "linf", 0.1, "moves an image by 0.1001 in linf; its ball has radius 0.1"),
        (pushed(0.4, pixels=1), "linf", 0.3, "moves an image by 0.4 in linf"),
        (pushed(0.1), "l2", 0.39, "moves an image by 0.4 in l2; its ball has radius 0.39"),
        (pushed(0.6), "", 0.0, "span 0.5..1.1; expected [0, 1]"),
        (pushed(math.nan), "linf", 0.1, "the adversarial images hold NaN"),
        (IMAGES[:1], "linf", 0.1, "perturb() returned float32 [1, 1, 4, 4]"),
        (IMAGES[:, 0], "linf", 0.1, "have shape [2, 4, 4]"),
        (IMAGES[:0], "linf", 0.1, "the adversarial images are none; expected at least one"),
        ((IMAGES * 255).to(torch.uint8), "linf", 0.1, "perturb() returned uint8"),
        (IMAGES.double(), "linf", 0.1, "are torch.float64"),
        (None, "linf", 0.1, "the adversarial images are NoneType"),
    ],
)
def test_images_outside_are_refused(adversarial: Any, norm: str, eps: float, said: str) -> None:
    assert said in refusal(gates.check_perturbed, adversarial, IMAGES, norm, eps)


def test_the_sizes_of_perturbations_are_told() -> None:
    sizes = gates.check_perturbed(pushed(0.1), IMAGES, "linf", 0.1)
    assert sizes == {"linf": {"mean": 0.05, "max": 0.1}, "l2": {"mean": 0.2, "max": 0.4}}


@given(st.floats(1e-4, 0.3), st.integers(0, 1000))
def test_rounding_takes_nobody_out_of_a_ball(eps: float, seed: int) -> None:
    images = torch.rand(4, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    delta = torch.randn(4, 16, generator=torch.Generator().manual_seed(seed + 1))
    on_the_sphere = eps * delta / delta.norm(dim=1, keepdim=True)
    for norm, step in (("linf", eps * delta.sign()), ("l2", on_the_sphere)):
        gates.check_perturbed((images + step.view_as(images)).clamp(0, 1), images, norm, eps)


# ---- networks


def test_sound_logits_pass() -> None:
    gates.check_logits(torch.zeros(2, 3), 2, 3)


@pytest.mark.parametrize(
    ("logits", "said"),
    [
        (torch.zeros(2, 4), "returned shape [2, 4]; expected [2, 3]"),
        (torch.zeros(3), "returned shape [3]; expected [2, 3]"),
        (changed(torch.zeros(2, 3), 0, math.inf), "logits hold NaN or infinity"),
        (changed(torch.zeros(2, 3), 0, math.nan), "logits hold NaN or infinity"),
    ],
)
def test_faulty_logits_are_refused(logits: Tensor, said: str) -> None:
    assert said in refusal(gates.check_logits, logits, 2, 3)


# ---- metrics


@pytest.mark.parametrize(
    ("value", "bounds"),
    [
        (0.5, (0, 1)),
        (1, (0, 1)),
        (0.0, (0.0, 1.0)),
        (-7.5, None),
        (1e9, (0, None)),
        (-3, (None, 0)),
    ],
)
def test_a_sound_score_passes_as_a_float(value: float, bounds: Any) -> None:
    score = gates.check_score(value, bounds)
    assert type(score) is float
    assert score == value


class Boast(float):
    """A number that says that it is another."""

    def __float__(self) -> float:
        return 1.0

    def __le__(self, other: float) -> bool:
        return True

    __ge__ = __le__


def test_a_subclass_of_float_counts_as_the_number_that_it_is() -> None:
    score = gates.check_score(Boast(0.25), (0, 1))
    assert type(score) is float
    assert score == 0.25
    assert "measure() returned 7; the metric" in refusal(gates.check_score, Boast(7.0), (0, 1))
    assert type(gates.check_score(np.float64(0.5), (0, 1))) is float


@pytest.mark.parametrize(
    ("value", "bounds", "said"),
    [
        (10**400, (0, None), "measure() returned inf; expected a finite number"),
        (1.01, (0, 1), "measure() returned 1.01; the metric declares bounds (0, 1)"),
        (-0.01, (0, None), "measure() returned -0.01"),
        (97.0, (0.0, 1.0), "measure() returned 97"),
        (math.nan, None, "measure() returned nan; expected a finite number"),
        (math.inf, None, "measure() returned inf; expected a finite number"),
        (True, (0, 1), "measure() returned bool True; expected a float"),
        (None, None, "measure() returned NoneType None; expected a float"),
        (torch.tensor(0.5), (0, 1), "measure() returned float32 []; expected a float"),
    ],
)
def test_a_faulty_score_is_refused(value: Any, bounds: Sequence[Any] | None, said: str) -> None:
    assert said in refusal(gates.check_score, value, bounds)


@pytest.mark.parametrize(
    "parts",
    [
        [("slopes", "guessed", 1)],
        [("slopes", "iterative", 3)],
        [("slopes", "iterative", 1), ("blind", "black-box", 2)],
        [("slopes", "iterative", 0.5)],
    ],
    ids=["unknown search", "more than there were", "more than before", "no count"],
)
def test_what_an_attack_says_of_its_parts_must_be_possible(parts: Any) -> None:
    images = torch.rand(2, 1, 4, 4)
    assert gates.unpacked(images, 2)[1] == []
    said = refusal(gates.unpacked, Perturbed(images, parts), 2)
    assert "and no more than there were" in said
