"""Defences that mask what attacks follow are flagged, blocked or beaten; honest networks are not.

Each planted defence wraps one classifier of digits of which PGD leaves little.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from support import as_result
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contract.data import TensorSplit
from bench.contract.errors import BenchError
from bench.records.result import unpack
from bench.report.relations import flagged
from bench.stages import judge, probing
from bench.training import networks
from bench_standard.architectures.convnet import ConvNet
from bench_standard.architectures.vit import ViT
from bench_standard.attacks.gradient import PGD

EPS = 0.12
ATTACK = PGD(eps=EPS, steps=20, alpha=0.02)
LITTLE = 0.45  # of the images that PGD leaves of the network behind the defences, at most


@cache
def digits() -> tuple[TensorSplit, TensorSplit]:
    found = load_digits()
    pixels = torch.from_numpy(found.images / 16).float().unsqueeze(1)
    labels = torch.from_numpy(found.target).long()
    return TensorSplit(pixels[:1400], labels[:1400]), TensorSplit(pixels[1400:], labels[1400:])


def trained(
    architecture: Any, *, classes: int = 10, images: int = 1400, steps: int = 150, fgsm: float = 0.0
) -> nn.Module:
    """A classifier of the first digits, trained for a second or two."""
    torch.manual_seed(0)
    network = networks.build(architecture, (1, 8, 8), classes, (0.3,), (0.38,))
    train, _ = digits()
    rows = (train.labels < classes).nonzero().squeeze(1)[:images]
    x, y = train.pixels[rows], train.labels[rows]
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3)
    network.train()
    for _ in range(steps):
        some = torch.randint(len(x), (64,))
        batch = x[some]
        if fgsm:
            batch = batch.clone().requires_grad_()
            (slope,) = torch.autograd.grad(F.cross_entropy(network(batch), y[some]), batch)
            batch = (batch + fgsm * slope.sign()).clamp(0, 1).detach()
        loss = F.cross_entropy(network(batch), y[some])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


@cache
def base() -> nn.Module:
    return trained(ConvNet(width=8, depth=2, norm="instance"))


def verdict(student: nn.Module, attack: Any = ATTACK, classes: int = 10) -> tuple[float, list[str]]:
    """The share of 100 images that an attack leaves, and what the page would say of it."""
    _, test = digits()
    index = (test.labels < classes).nonzero().squeeze(1)[:100]
    with judge.judging(lambda: student, "cpu") as says:
        _, value = probing.probe(attack, student, test, index, seed=0, judge=says)
    flat, right = value["flat"]
    seen = {name: value[name] for name in ("correct", "images", "norm", "eps", "slope")}
    record = as_result(
        {
            **dict.fromkeys(("dataset", "method", "labels", "architecture"), "any"),
            **seen,
            "ipc": 1,
            "seed": 0,
            "attack": attack.name,
            "attack_search": attack.search,
            "no_gradient": flat / right if right else 0.0,
            "not_finite": value["odd"] / right if right else 0.0,
            "fell_further": value["fell_further"] or 0.0,
        }
    )
    [record] = flagged([record])
    return float(unpack(record.correct, record.images).mean()), list(record.flags)


class Wrapped(nn.Module):
    """The base, with something before it and after it."""

    def __init__(self, before: Any = None, after: Any = None) -> None:
        super().__init__()
        self.base, self.before, self.after = base(), before, after

    def forward(self, images: Tensor) -> Tensor:
        images = self.before(images) if self.before else images
        logits = self.base(images)
        return self.after(logits) if self.after else logits


class Backward(torch.autograd.Function):
    """The identity, whose gradient is something else."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, what: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.what = what
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:  # type: ignore[override]
        return ctx.what(gradient), None


def gradient(what: Callable[[Tensor], Tensor]) -> nn.Module:
    return Wrapped(lambda x: Backward.apply(x, what))


def straight_through(x: Tensor) -> Tensor:
    return x + ((x * 4).round() / 4 - x).detach()


def noise_of_content(x: Tensor) -> Tensor:
    seed = int((x.detach().double().flatten(1).sum(1) * 1e6).sum().abs()) % 2**31
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed))
    return (x + 0.3 * (noise - 0.5)).clamp(0, 1)


class Watching(Wrapped):
    """Says something useless when it is looked at."""

    def __init__(self, looked_at: Callable[[nn.Module, Tensor], bool]) -> None:
        super().__init__()
        self.looked_at = looked_at

    def forward(self, images: Tensor) -> Tensor:
        logits = super().forward(images)
        return torch.zeros_like(logits) + 0 * logits if self.looked_at(self, images) else logits


class Remembers(Wrapped):
    """What is near an image that it has seen has that image's logits."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Tensor, Tensor]] = []

    def forward(self, images: Tensor) -> Tensor:
        logits = super().forward(images)
        found = []
        for image, own in zip(images.detach(), logits, strict=True):
            near = [said for other, said in self.seen if float((image - other).abs().max()) < 0.2]
            found.append(near[0] + 0 * own if near else own)
            if not near:
                self.seen.append((image.clone(), own.detach().clone()))
        return torch.stack(found)


class Copied(Wrapped):
    """Its copies are another network."""

    def __deepcopy__(self, memo: Any) -> nn.Module:
        made = Wrapped(after=lambda logits: 0 * logits)
        made._forward_hooks = self._forward_hooks
        return made


class Tires(Wrapped):
    """From the third call on it is silent."""

    calls = 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        logits = super().forward(images)
        return logits if self.calls <= 2 else 0 * logits


def stacked(network: nn.Module, images: Tensor) -> bool:
    return any(frame.function == "perturb" for frame in inspect.stack(0))


DEFENCES: dict[str, Callable[[], nn.Module]] = {
    "gamma, whose slope at black is no number": lambda: Wrapped(lambda x: x.pow(1 / 2.2).pow(2.2)),
    "logits times 20": lambda: Wrapped(after=lambda z: 20 * z),
    "logits times 1,000": lambda: Wrapped(after=lambda z: 1000 * z),
    "rounded pixels": lambda: Wrapped(lambda x: (x * 4).round() / 4),
    "rounded pixels, straight through": lambda: Wrapped(straight_through),
    "detached": lambda: Wrapped(after=Tensor.detach),
    "garbage for a gradient": lambda: gradient(
        lambda g: torch.randn(g.shape, generator=torch.Generator().manual_seed(1)) * g.abs().mean()
    ),
    "a flipped gradient": lambda: gradient(torch.neg),
    "a gradient of zeros and NaN": lambda: gradient(lambda g: g * torch.nan),
    "ripples": lambda: Wrapped(lambda x: x + 0.02 * torch.sin(400 * x)),
    "noise that the content seeds": lambda: Wrapped(noise_of_content),
    "looks for hooks": lambda: Watching(lambda net, x: bool(net._forward_hooks)),
    "looks for gradients": lambda: Watching(lambda net, x: x.requires_grad),
    "looks for frozen weights": lambda: Watching(
        lambda net, x: not next(net.parameters()).requires_grad
    ),
    "looks at the call stack": lambda: Watching(stacked),
    "remembers": Remembers,
    "is another when copied": Copied,
    "tires": Tires,
    "small logits with noise": lambda: Wrapped(
        after=lambda z: 1e-4 * z + 2e-4 * torch.randn_like(z)
    ),
}


def test_pgd_leaves_little_of_the_network_behind_the_defences() -> None:
    left, flags = verdict(base())
    assert left < LITTLE
    assert flags == []


@pytest.mark.parametrize("name", DEFENCES)
def test_a_defence_that_masks_is_flagged_blocked_or_beaten(name: str) -> None:
    try:
        left, flags = verdict(DEFENCES[name]().eval())
    except BenchError as error:
        left, flags = 1.0, [str(error)]
    assert (
        left < LITTLE
        or ["the student" in flag or flag.endswith("?") for flag in flags]
        == [True for _ in flags]
        != []
    )


HONEST: dict[str, Callable[[], tuple[nn.Module, int]]] = {
    "BatchNorm": lambda: (trained(ConvNet(width=8, depth=2, norm="batch")), 10),
    "group norm": lambda: (trained(ConvNet(width=8, depth=2, norm="group")), 10),
    "no norm": lambda: (trained(ConvNet(width=8, depth=2, norm="none")), 10),
    "two classes": lambda: (trained(ConvNet(width=8, depth=2), classes=2), 2),
    "three classes": lambda: (trained(ConvNet(width=8, depth=2), classes=3), 3),
    "ten images": lambda: (trained(ConvNet(width=8, depth=2), images=10), 10),
    "trained on FGSM": lambda: (trained(ConvNet(width=8, depth=2), fgsm=EPS), 10),
    "trained for long": lambda: (trained(ConvNet(width=8, depth=2), steps=500), 10),
    "ViT": lambda: (trained(ViT(patch=2, width=32, depth=2, heads=2)), 10),
}


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_network_is_neither_flagged_nor_blocked(name: str) -> None:
    student, classes = HONEST[name]()
    assert verdict(student, classes=classes)[1] == []
