import contextlib
import os
import random
import socket
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from bench.checks.methods import check_stored
from bench.checks.side_effects import Watched
from bench.contract.errors import BenchError
from bench.contract.task import CondensedSet, Selection, Task
from bench.training import toy

LEGAL = "returns a legal set"
PROCESS = "leaves the process as found"
INPUTS = "leaves its inputs as found"
NETWORK = "does not reach for the network"
SAME = "same seed in another process"
CHANCE = "beats chance"


@dataclass(frozen=True)
class Wrong:
    """Class means, with one thing wrong."""

    name: str = "wrong"
    how: str = ""
    teacher: str = ""

    def condense(self, task: Task) -> CondensedSet:
        right = toy.ToyMeans().condense(task)
        return globals()[self.how](task, right)


def too_many(task, right):
    return CondensedSet(torch.cat([right.images] * 2), torch.cat([right.labels] * 2))


def out_of_range(task, right):
    return replace(right, images=right.images * 2)


def bytes_as_floats(task, right):
    return replace(right, images=right.images * 255)


def normalised(task, right):
    mean, std = (torch.tensor(x).view(-1, 1, 1) for x in (task.mean, task.std))
    return replace(right, images=(right.images - mean) / std)


def integers(task, right):
    return replace(right, labels=right.labels.argmax(1))


def logits(task, right):
    return replace(right, labels=right.labels * 3)


def class_missing(task, right):
    kept = right.labels.argmax(1) > 0
    return CondensedSet(right.images[kept], right.labels[kept])


def picked_twice(task, right):
    return replace(right, images=Selection(torch.zeros(len(right), dtype=torch.int64)))


def stray_extra(task, right):
    return replace(right, extras={"embedding": torch.zeros(len(right), 2)})


def nothing(task, right):
    return None


def unseeded(task, right):
    noise = torch.from_numpy(np.random.default_rng().random(right.images.shape, np.float32))
    return replace(right, images=0.9 * right.images + 0.1 * noise)


def by_process(task, right):
    return replace(right, images=right.images * (os.getpid() % 1009) / 1009)


def by_hash(task, right):
    return replace(right, images=right.images * (1 - hash("a") % 97 / 1000))


def draws_torch(task, right):
    return replace(right, images=0.9 * right.images + 0.1 * torch.rand(right.images.shape))


def draws_random(task, right):
    random.random()
    return right


def double(task, right):
    torch.set_default_dtype(torch.float64)
    return right


def no_grad(task, right):
    torch.set_grad_enabled(False)
    return right


def scales_train(task, right):
    task.train.pixels.mul_(1)  # not seen in the bytes of float32, so really change one
    task.train.pixels[0] = 0
    return right


def shuffles_labels(task, right):
    task.train.labels.sort()
    task.train.labels[0] = 1
    return right


def downloads(task, right):
    with contextlib.suppress(OSError):
        socket.create_connection(("example.org", 443), timeout=1)
    return right


def noise(task, right):
    generator = torch.Generator().manual_seed(task.seed)
    return replace(right, images=torch.rand(right.images.shape, generator=generator))


def wrong_labels(task, right):
    return CondensedSet(right.images, right.labels.roll(1, dims=1))


@pytest.mark.parametrize(
    ("how", "claim", "words"),
    [
        ("too_many", LEGAL, "has 32 images; at most 16 are allowed (2 per class, 8 classes)"),
        ("out_of_range", LEGAL, "expected [0, 1]"),
        ("bytes_as_floats", LEGAL, "expected [0, 1]"),
        ("normalised", LEGAL, "expected [0, 1]"),
        ("integers", LEGAL, "expected a tensor [16, 8] of distributions"),
        ("logits", LEGAL, "labels are not distributions"),
        ("class_missing", LEGAL, "no image of class [0]"),
        ("picked_twice", LEGAL, "names an image twice"),
        ("stray_extra", LEGAL, "starts with 'image.' or 'class.'"),
        ("nothing", LEGAL, "condense() returned NoneType None"),
        ("unseeded", SAME, "on toy-color: two processes with the same seed made different"),
        ("by_process", SAME, "two processes"),
        ("by_hash", SAME, "nor `hash`"),
        ("draws_torch", PROCESS, "it changed torch's global generator"),
        ("draws_random", PROCESS, "the generator of `random`"),
        ("double", PROCESS, "torch's default dtype"),
        ("no_grad", PROCESS, "grad mode"),
        ("scales_train", INPUTS, "it changed task.train.pixels in place"),
        ("shuffles_labels", INPUTS, "it changed task.train.labels in place"),
        ("downloads", NETWORK, "tried to reach 'example.org'"),
        ("noise", CHANCE, "expected 0.48 or more"),
        ("wrong_labels", CHANCE, "on toy-data, with soft labels: accuracy 0."),
    ],
)
def test_a_method_with_one_fault_fails_the_check_that_is_for_it(fails, how, claim, words) -> None:
    fails("method", Wrong(how=how), claim, words)


@pytest.mark.parametrize("how", ["draws_torch", "scales_train", "downloads", "by_process"])
def test_a_fault_that_does_not_show_in_the_set_leaves_the_set_legal(verdict, how) -> None:
    assert verdict("method", Wrong(how=how), LEGAL).status == "passed"


def test_a_method_that_names_a_teacher_gets_one_that_has_learnt(verdict) -> None:
    assert verdict("method", Wrong(how="asks_teacher", teacher="any-name"), LEGAL).detail == (
        "16 images of toy-data; 10 images of toy-color"
    )


def asks_teacher(task, right):
    assert not task.teacher.training
    assert torch.equal(task.teacher(right.images).argmax(1), right.labels.argmax(1))
    return right


def test_a_method_that_names_no_teacher_has_none(verdict) -> None:
    assert "this task has no teacher" in verdict("method", Wrong(how="asks_teacher"), LEGAL).detail


@dataclass(frozen=True)
class Relabelled(toy.ToyMeans):
    """Labels that teach nothing; a teacher that labels the views saves it."""

    name: str = "relabelled"

    def condense(self, task: Task) -> CondensedSet:
        right = super().condense(replace(task))
        return CondensedSet(right.images, right.labels.roll(1, dims=1))


def test_a_set_may_beat_chance_by_its_teachers_labels_alone(verdict) -> None:
    assert verdict("method", Relabelled(), CHANCE).status == "failed"
    assert verdict("method", Relabelled(teacher="toy-teacher"), CHANCE).status == "passed"


@dataclass(frozen=True)
class Mosaics:
    """Four crops of real images in each image, labelled by a teacher: RDED (Sun et al., 2024)."""

    name: str = "mosaics"
    teacher: str = "toy-teacher"
    shuffled: bool = False  # with the labels of other images

    def condense(self, task: Task) -> CondensedSet:
        generator = torch.Generator().manual_seed(task.seed)
        _, height, width = task.shape
        images, classes = [], []
        for label in range(len(task.classes)):
            members = (task.train.labels == label).nonzero().squeeze(1)
            for _ in range(task.ipc):
                four = members[torch.randperm(len(members), generator=generator)[:4]]
                corner = torch.rand(4, 2, generator=generator) / 2
                crops = task.train.images(four, torch.cat([corner, corner + 0.5], 1))
                a, b, c, d = F.interpolate(crops, size=(height // 2, width // 2))
                images.append(torch.cat([torch.cat([a, b], 2), torch.cat([c, d], 2)], 1))
                classes.append(label)
        made, of = torch.stack(images), torch.tensor(classes)
        with torch.no_grad():
            labels = task.teacher(made).softmax(1)
        if self.shuffled:
            return CondensedSet(made.flip(0), labels, classes=of)
        return CondensedSet(made, labels, classes=of)


def test_mosaics_of_real_images_beat_chance(verdict) -> None:
    for claim in (LEGAL, "survives the store", CHANCE):
        found = verdict("method", Mosaics(), claim)
        assert found.status == "passed", found.detail


def test_mosaics_with_the_labels_of_others_do_not(verdict) -> None:
    assert verdict("method", Mosaics(shuffled=True, teacher="toy"), CHANCE).status == "failed"


@dataclass(frozen=True)
class Everything(toy.ToyFull):
    """The full set without saying so."""

    name: str = "everything"
    ceiling: ClassVar[bool] = False


def test_the_ceiling_has_no_budget_and_everyone_else_has(verdict) -> None:
    assert verdict("method", toy.ToyFull(), LEGAL).detail.startswith("320 images")
    assert "at most 16 are allowed" in verdict("method", Everything(), LEGAL).detail


def test_a_set_with_weights_and_extras_survives_the_store() -> None:
    labels = torch.tensor([[0.25, 0.75], [1.0, 0.0]])
    whole = CondensedSet(
        (torch.rand(2, 3, 4, 4) * 255).to(torch.uint8).transpose(2, 3),
        labels,
        weights=torch.tensor([1.0, 2.0]),
        extras={"image.x": torch.rand(2, 5), "class.y": torch.rand(2, 1)},
        notes={"curve": torch.rand(9)},
    )
    check_stored([Watched("a test", whole, (), (), ())])


def test_what_the_store_would_change_is_named() -> None:
    half = CondensedSet(torch.rand(2, 1, 4, 4), torch.eye(2, dtype=torch.float64))
    with pytest.raises(BenchError, match=r"labels of the set came back from the store as torch"):
        check_stored([Watched("a test", half, (), (), ())])
