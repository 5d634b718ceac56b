from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from bench.checks import checks_for, run_checks
from bench.contract.errors import Unsupported
from bench.training import toy


@dataclass(frozen=True)
class Wrong:
    """A network with one thing wrong."""

    name: str = "wrong"
    how: str = ""

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        return globals()[self.how](toy.ToyConvNet().build(shape, classes), shape, classes)


class Around(nn.Module):
    """Calls a function of the network inside and of its input."""

    def __init__(self, network: nn.Module, call) -> None:
        super().__init__()
        self.network, self.call = network, call

    def forward(self, x):
        return self.call(self.network, x)


def squeezes(network, shape, classes):
    return Around(network, lambda n, x: n(x).squeeze())


def one_class_too_many(network, shape, classes):
    return toy.ToyConvNet().build(shape, classes + 1)


def infinite(network, shape, classes):
    return Around(network, lambda n, x: n(x) / 0)


def power_at_black(network, shape, classes):
    """Its value at black is 0, its slope there no number."""
    return Around(network, lambda n, x: n(x.pow(1 / 2.2).pow(2.2)))


def looks_at_the_batch(network, shape, classes):
    return Around(network, lambda n, x: n(x - x.mean(0)))


def only_grey(network, shape, classes):
    return Around(network, lambda n, x: n(x[:, :1].expand(-1, 1, -1, -1)))


def no_linear(network, shape, classes):
    return nn.Sequential(nn.Conv2d(shape[0], classes, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def linear_inside(network, shape, classes):
    pixels = shape[0] * shape[1] * shape[2]
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(pixels, 8),
        nn.ReLU(),
        nn.Unflatten(1, (8, 1, 1)),
        nn.Conv2d(8, classes, 1),
        nn.Flatten(),
    )


def rounds(network, shape, classes):
    return Around(network, lambda n, x: n((x * 255).round() / 255))


def detaches(network, shape, classes):
    return Around(network, lambda n, x: n(x).detach())


def counts(network, shape, classes):
    def call(n, x):
        n[1].num_batches_tracked += 1
        return n(x)

    return Around(network, call)


def drops(network, shape, classes):
    return Around(network, lambda n, x: n(nn.functional.dropout(x, 0.1)))


def hides_a_weight(network, shape, classes):
    scale = torch.rand(1)
    return Around(network, lambda n, x: n(x) * scale)


def unseeded(network, shape, classes):
    generator = torch.Generator()
    generator.seed()
    nn.init.normal_(network[-1].weight, generator=generator)
    return network


def double(network, shape, classes):
    torch.set_default_dtype(torch.float64)
    return network


def untrainable(network, shape, classes):
    return network.requires_grad_(False)


@pytest.mark.parametrize(
    ("how", "claim", "words"),
    [
        ("squeezes", "gives finite logits", "4 classes of 1x8x8: the network returned shape [4]"),
        ("one_class_too_many", "gives finite logits", "returned shape [3, 5]; expected [3, 4]"),
        ("infinite", "gives finite logits", "NaN or infinity"),
        ("looks_at_the_batch", "gives finite logits", "other logits alone than in a batch"),
        ("only_grey", "gives finite logits", "RuntimeError"),
        ("no_linear", "has its classifier", "no nn.Linear"),
        ("linear_inside", "has its classifier", "these are not the logits"),
        ("rounds", "has a gradient at its input", "the gradient at its input is 0 for 3 of 3"),
        (
            "power_at_black",
            "has a gradient at its input",
            "the gradient at its input is NaN or infinite; expected a number in every pixel",
        ),
        ("detaches", "has a gradient at its input", "as autograd sees it"),
        ("detaches", "trains on a batch of two", "does not require grad"),
        ("untrainable", "trains on a batch of two", "no parameter has a gradient"),
        ("counts", "leaves its inputs as found", "its weights or buffers (the network)"),
        ("drops", "leaves the process as found", "a forward pass on 4 classes of 1x8x8: it cha"),
        ("double", "leaves the process as found", "default dtype"),
        ("hides_a_weight", "survives the store", "with the same saved state it gives other logits"),
        ("unseeded", "same seed in another process", "two processes"),
    ],
)
def test_a_network_with_one_fault_fails_the_check_that_is_for_it(fails, how, claim, words) -> None:
    fails("architecture", Wrong(how=how), claim, words)


@dataclass(frozen=True)
class OnlySquares(toy.ToyConvNet):
    """Images of 32x32, and no others."""

    name: str = "only-32"

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        if shape[1] != 32:
            raise Unsupported(f"takes images of 32x32, not {shape[1]}x{shape[2]}")
        return super().build(shape, classes)


def test_a_network_may_decline_shapes_but_not_all_of_them(verdict) -> None:
    assert {v.status for v in run_checks(checks_for("architecture", OnlySquares()))} == {"passed"}
    found = verdict("architecture", Wrong(how="declines"), "gives finite logits")
    assert (found.status, found.detail) == ("skipped", "takes nothing")


def declines(network, shape, classes):
    raise Unsupported("takes nothing")


@dataclass(frozen=True)
class Shrinks(toy.ToyDenoiser):
    """A denoiser whose images have lost a row."""

    name: str = "shrinks"

    def build(
        self, shape: tuple[int, int, int], classes: int, extras: Mapping[str, Any]
    ) -> nn.Module:
        inner = super().build(shape, classes, extras)
        inner.register_forward_hook(lambda module, inputs, output: output[:, :, 1:])
        return inner


def test_a_denoiser_must_return_images_of_the_same_shape(verdict) -> None:
    found = verdict("architecture", Shrinks(), "to their like")
    assert found.status == "failed"
    assert "4 classes of 1x8x8: it made [3, 1, 7, 8] of [3, 1, 8, 8]" in found.detail


class Forgets(toy.ToyDenoiser):
    """A denoiser without a row for "no class"."""

    name: str = "forgets"

    def build(
        self, shape: tuple[int, int, int], classes: int, extras: Mapping[str, Any]
    ) -> nn.Module:
        inner: Any = super().build(shape, classes, extras)
        inner.images = nn.Embedding(classes, shape[0] * shape[1] * shape[2])
        return inner


class Deaf(toy.ToyDenoiser):
    """A denoiser that takes attachments, and does nothing with them."""

    name: str = "deaf"

    def build(
        self, shape: tuple[int, int, int], classes: int, extras: Mapping[str, Any]
    ) -> nn.Module:
        return super().build(shape, classes, {})


@dataclass(frozen=True)
class WrongDenoiser(toy.ToyDenoiser):
    """A denoiser with one thing wrong."""

    name: str = "wrong-denoiser"
    how: str = ""

    def build(
        self, shape: tuple[int, int, int], classes: int, extras: Mapping[str, Any]
    ) -> nn.Module:
        inner = super().build(shape, classes, extras)
        globals()[self.how](inner, shape)
        return inner


def sees_company(inner, shape):
    inner.register_forward_pre_hook(lambda m, given: (given[0] - given[0].mean(0), *given[1:]))


def bursts(inner, shape):
    inner.register_forward_hook(lambda m, given, output: output / 0)


def frozen(inner, shape):
    inner.requires_grad_(False)


def draws_noise(inner, shape):
    inner.register_forward_hook(lambda m, given, output: output + torch.rand(output.shape))


def hides(inner, shape):
    scale = torch.rand(1)
    inner.register_forward_hook(lambda m, given, output: output * scale)


def encodes_badly(inner, shape):
    inner.latent_shape = shape
    inner.encode = lambda images: images[..., 1:]
    inner.decode = lambda x: x


def decodes_badly(inner, shape):
    inner.latent_shape = shape
    inner.encode = lambda images: images
    inner.decode = lambda x: x[..., 1:]


@pytest.mark.parametrize(
    ("how", "claim", "words"),
    [
        ("sees_company", "to their like", "it makes another image of one alone than in a batch"),
        ("bursts", "to their like", "expected finite images of the same shape"),
        ("frozen", "trained by the trainer", "optimizer got an empty parameter list"),
        ("draws_noise", "leaves the process as found", "a forward pass on 4 classes of 1x8x8"),
        ("hides", "survives the store", "with the same saved state it gives other"),
        ("encodes_badly", "has a space", "encode() made [3, 1, 8, 7]; expected finite x [B, (1,"),
        ("decodes_badly", "has a space", "the decoded images have shape [3, 1, 8, 7]; expected"),
    ],
)
def test_a_denoiser_with_one_fault_fails_the_check_that_is_for_it(fails, how, claim, words) -> None:
    fails("architecture", WrongDenoiser(how=how), claim, words)


def test_a_denoiser_must_know_that_there_is_no_class(verdict) -> None:
    found = verdict("architecture", Forgets(), "is told the class")
    assert found.status == "failed"
    assert "it does not know class 4 of 0..4" in found.detail


def test_a_denoiser_must_use_an_attachment_or_decline_it(verdict) -> None:
    found = verdict("architecture", Deaf(), "knows what a set may attach")
    assert found.status == "failed"
    assert "says the same whatever is in it" in found.detail
    assert "declined" in verdict("architecture", toy.ToyDenoiser(), "may attach").detail
