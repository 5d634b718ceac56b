"""Samples as they are drawn, gated and kept; real images in their place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.contract.data import TensorSplit
from bench.contract.errors import BenchError
from bench.stages import sampling
from bench.training import diffusion, toy
from bench.training.classifier import Examples

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
        if self.fault == "writes":
            model.network.images.weight.data[0] += 1
        if self.fault == "flat":
            return x.flatten(1)
        if self.fault == "none":
            return None  # type: ignore[return-value]
        if self.fault == "global":
            return x + torch.randn(x.shape)
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
    assert torch.equal(drawn(10, "global")[0]["result"]["samples"], drawn_first("global"))


def drawn_first(fault: str) -> Tensor:
    """As many as a block has, of many, after other draws."""
    torch.rand(7)
    samples: Tensor = drawn(35, fault)[0]["result"]["samples"]
    return samples[:10]


def test_samples_are_the_decoded_x_of_the_label_of_each_test_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sampling, "BLOCK", 4)
    index, known = torch.tensor([9, 2, 30, 2, 17, 5]), student()

    class Known:
        """The image that the network has of a class, and the class none's at its back."""

        def sample(self, model: Any, labels: Tensor, extras: Any, *more: Any) -> Tensor:
            assert list(extras) == ["class.text"]
            x: Tensor = model.network.images.weight[labels].view(-1, *DATA.shape)
            return x.double()  # of any precision, and with a graph

    extras = {"class.text": torch.zeros(8, 2, 3)}
    more: dict[str, Any] = {"shape": DATA.shape, "seed": 0}
    files, _ = sampling.sample(Known(), known, DATA.test, index, extras, **more)
    x = known.network.images.weight[DATA.test.labels[index]].view(-1, *DATA.shape)
    wanted = (((x + 1) / 2).clamp(0, 1) * 255).round().to(torch.uint8)
    assert torch.equal(files["result"]["samples"], wanted)
    assert torch.equal(files["result"]["index"], index)


def test_passes_of_guidance_are_counted_forward_and_back() -> None:
    class Guided:
        def sample(
            self, model: Any, labels: Tensor, extras: Any, shape: Any, generator: Any
        ) -> Tensor:
            x = torch.randn(len(labels), *shape, generator=generator).requires_grad_()
            both = model(x.repeat(2, 1, 1, 1), torch.ones(2 * len(x)), labels.repeat(2), extras)
            (slope,) = torch.autograd.grad(both.square().sum(), x)
            return x - slope / 100

    more: dict[str, Any] = {"shape": DATA.shape, "seed": 0}
    _, value = sampling.sample(Guided(), student(), DATA.test, torch.arange(6), {}, **more)
    assert value["passes"] == {"forward": 12, "backward": 12}


def test_what_a_space_decodes_to_must_be_images_of_the_data() -> None:
    class Small(torch.nn.Module):
        latent_shape = (1, 4, 4)

        def forward(self, x: Tensor, *more: Any) -> Tensor:
            return x

        def encode(self, images: Tensor) -> Tensor:
            return images[..., ::2, ::2]

        def decode(self, x: Tensor) -> Tensor:
            return x

    denoiser = diffusion.Denoiser(Small(), DATA.shape, 8).eval()
    more: dict[str, Any] = {"shape": DATA.shape, "seed": 0}
    with pytest.raises(BenchError, match=r"decoded samples have shape \[5, 1, 4, 4\]; expected"):
        sampling.sample(Sampler(), denoiser, DATA.test, torch.arange(5), {}, **more)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("short", "sample() returned float32 [4, 1, 8, 8]; expected float32 [5, 1, 8, 8]"),
        ("nan", "the samples hold NaN or infinity"),
        ("trains", "the sampler changed the model: its train or eval mode"),
        ("writes", "the sampler changed the model: its weights or buffers"),
        ("flat", "sample() returned float32 [5, 64]; expected float32 [5, 1, 8, 8]"),
        ("none", "sample() returned NoneType None; expected float32 [5, 1, 8, 8]"),
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


def owners(samples: Tensor) -> Tensor:
    """Which training image each of some samples is."""
    pixels = DATA.train.images(torch.arange(len(DATA.train.labels)))
    far = torch.cdist((samples.float() / 255).flatten(1), pixels.flatten(1))
    assert float(far.amin(1).max()) < 0.05  # of bytes
    return far.argmin(1)


def test_real_images_stand_in_with_the_labels_of_the_test_images() -> None:
    files, value = sampling.drawn(with_labels(), DATA.test, torch.arange(40), seed=0)
    found = owners(files["result"]["samples"])
    assert torch.equal(DATA.train.labels[found], DATA.test.labels[:40])
    assert len({*found.tolist()}) == 40
    assert value["passes"] == {"forward": 0, "backward": 0}
    assert files["pictures"]["samples"].shape == (8, 5, *DATA.shape)
    wanted = drawn(40)[1]["images_hash"]
    assert value["images_hash"] == wanted  # compared with the same test images


def test_only_images_of_the_set_are_drawn() -> None:
    half = torch.arange(len(DATA.train.labels)).view(-1, 2)[:, 1].flip(0)
    some = Examples(DATA.train, half, DATA.train.labels[half])
    index = torch.arange(80)[DATA.test.labels[:80] % 2 == 1]  # classes of odd places
    found = owners(sampling.drawn(some, DATA.test, index, seed=0)[0]["result"]["samples"])
    assert {*found.tolist()} <= {*half.tolist()}
    assert torch.equal(DATA.train.labels[found], DATA.test.labels[index])


def test_another_seed_draws_other_images() -> None:
    index = torch.arange(40)
    one, two = (
        sampling.drawn(with_labels(), DATA.test, index, seed=s)[0]["result"]["samples"]
        for s in (0, 1)
    )
    assert not torch.equal(one, two)


def with_labels() -> Examples:
    labels = DATA.train.labels
    return Examples(DATA.train, torch.arange(len(labels)), labels)


def test_a_class_with_too_few_images_is_named() -> None:
    split = TensorSplit(DATA.train.images(torch.arange(8)), DATA.train.labels[:8])
    few = Examples(split, torch.arange(8), split.labels)
    with pytest.raises(BenchError, match=r"class 0 has 1 images in the set, \d+ are to be drawn"):
        sampling.drawn(few, DATA.test, torch.arange(80), seed=0)
