"""Samples as they are drawn, gated and kept; real images in their place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from bench import diffusion, sampling, toy
from bench.train import Examples
from bench.types import BenchError, TensorSplit

DATA = toy.GRAY.load()


@dataclass(frozen=True)
class Sampler:
    """What the denoiser knows of each class, and noise; or one fault."""

    fault: str = ""
    name: str = "sampler"

    def sample(self, model: Any, labels: Tensor, extras: Any, shape: Any, generator: Any) -> Tensor:
        noise = torch.randn(len(labels), *shape, generator=generator)
        with torch.no_grad():
            x: Tensor = model(noise, torch.full((len(labels),), 0.1), labels, extras)
        if self.fault == "short":
            return x[1:]
        if self.fault == "nan":
            return x / 0
        if self.fault == "trains":
            model.train()
        return x


def student() -> diffusion.Denoiser:
    torch.manual_seed(0)
    return diffusion.build(toy.ToyDenoiser(), DATA.shape, len(DATA.classes)).eval()


def drawn(count: int, fault: str = "") -> tuple[dict[str, Any], dict[str, Any]]:
    index = torch.arange(count)
    return sampling.sample(
        Sampler(fault), student(), DATA.test, index, {}, shape=DATA.shape, seed=3
    )


def test_a_sample_is_kept_as_bytes_for_the_label_of_each_test_image() -> None:
    files, value = drawn(20)
    samples = files["result"]["samples"]
    assert samples.dtype == torch.uint8
    assert samples.shape == (20, *DATA.shape)
    assert torch.equal(files["result"]["index"], torch.arange(20))
    assert value["images"] == 20
    assert value["passes"] == {"forward": 20, "backward": 0}


def test_the_first_samples_are_the_same_however_many_are_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sampling, "BLOCK", 10)
    few, many = drawn(10)[0]["result"]["samples"], drawn(35)[0]["result"]["samples"]
    assert torch.equal(few, many[:10])
    assert not torch.equal(many[:10], many[10:20])


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("short", "sample() returned float32 [4, 1, 8, 8]; expected float32 [5, 1, 8, 8]"),
        ("nan", "the samples hold NaN or infinity"),
        ("trains", "the sampler changed the model: its train or eval mode"),
    ],
)
def test_what_is_no_sample_passes_no_gate(fault: str, said: str) -> None:
    with pytest.raises(BenchError) as caught:
        drawn(5, fault)
    assert said in str(caught.value)


def test_a_page_shows_as_many_of_each_class() -> None:
    shown = drawn(80)[0]["pictures"]["samples"]
    labels = DATA.test.labels[:80]
    assert shown.shape == (8, int(labels.bincount().min()), *DATA.shape)


def real() -> Examples:
    labels = DATA.train.labels
    return Examples(DATA.train, torch.arange(len(labels)), labels)


def test_real_images_stand_in_with_the_labels_of_the_test_images() -> None:
    one_hot = torch.nn.functional.one_hot(DATA.train.labels, 8).float()
    some = Examples(DATA.train, torch.arange(len(one_hot)), one_hot)
    files, value = sampling.drawn(some, DATA.test, torch.arange(40), seed=0)
    images = files["result"]["samples"].float() / 255
    pixels = DATA.train.images(torch.arange(len(one_hot)))
    far = torch.cdist(images.flatten(1), pixels.flatten(1))
    owners = far.argmin(1)
    assert float(far.amin(1).max()) < 0.05  # of bytes
    assert torch.equal(DATA.train.labels[owners], DATA.test.labels[:40])
    assert len({*owners.tolist()}) == 40
    assert value["passes"] == {"forward": 0, "backward": 0}


def test_another_seed_draws_other_images() -> None:
    index = torch.arange(40)
    one, two = (
        sampling.drawn(with_labels(), DATA.test, index, seed=s)[0]["result"]["samples"]
        for s in (0, 1)
    )
    assert not torch.equal(one, two)


def with_labels() -> Examples:
    one_hot = torch.nn.functional.one_hot(DATA.train.labels, 8).float()
    return Examples(DATA.train, torch.arange(len(one_hot)), one_hot)


def test_a_class_with_too_few_images_is_named() -> None:
    split = TensorSplit(DATA.train.images(torch.arange(8)), DATA.train.labels[:8])
    few = Examples(split, torch.arange(8), torch.nn.functional.one_hot(split.labels, 8).float())
    with pytest.raises(BenchError, match=r"class 0 has 1 images in the set, \d+ are to be drawn"):
        sampling.drawn(few, DATA.test, torch.arange(80), seed=0)
