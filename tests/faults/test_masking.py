"""Defences that mask what attacks follow are flagged, blocked or beaten; honest networks are not.

Each planted defence wraps one classifier of digits of which PGD leaves little.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
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
from bench.contract.task import Perturbed
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
    architecture: Any,
    *,
    classes: int = 10,
    images: int = 1400,
    steps: int = 150,
    fgsm: float = 0.0,
    smoothing: float = 0.0,
    decay: float = 0.01,
) -> nn.Module:
    """A classifier of the first digits, trained for a second or two."""
    torch.manual_seed(0)
    network = networks.build(architecture, (1, 8, 8), classes, (0.3,), (0.38,))
    train, _ = digits()
    rows = (train.labels < classes).nonzero().squeeze(1)[:images]
    x, y = train.pixels[rows], train.labels[rows]
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=decay)
    network.train()
    for _ in range(steps):
        some = torch.randint(len(x), (64,))
        batch = x[some]
        if fgsm:
            batch = batch.clone().requires_grad_()
            (slope,) = torch.autograd.grad(F.cross_entropy(network(batch), y[some]), batch)
            batch = (batch + fgsm * slope.sign()).clamp(0, 1).detach()
        loss = F.cross_entropy(network(batch), y[some], label_smoothing=smoothing)
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
    return record.share, list(record.flags)


def verdict_or_block(student: nn.Module) -> tuple[float, list[str]]:
    """The same; of a student that is refused, all images and why."""
    try:
        return verdict(student)
    except BenchError as error:
        return 1.0, [str(error)]


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


def garbage(gradient: Tensor) -> Tensor:
    noise = torch.randn(gradient.shape, generator=torch.Generator().manual_seed(1))
    return noise * gradient.abs().mean()


class Misleads(Wrapped):
    """Says the truth, with a slope that is none."""

    asked = 0

    def __init__(self, when: Callable[[Misleads, Tensor], bool]) -> None:
        super().__init__()
        self.when = when

    def forward(self, images: Tensor) -> Tensor:
        self.asked += len(images)
        if self.when(self, images):
            images = Backward.apply(images, garbage)
        return super().forward(images)


class FlippedWhenFrozen(Wrapped):
    """Says the truth; to those who freeze its weights, the slope of the other side."""

    def forward(self, images: Tensor) -> Tensor:
        if not next(self.parameters()).requires_grad:
            images = Backward.apply(images, torch.neg)
        return super().forward(images)


class MisleadsOfSome(Wrapped):
    """Has a slope that is none where it sees one of the first few classes."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, images: Tensor) -> Tensor:
        few = (super().forward(images.detach()).argmax(1) < self.classes).view(-1, 1, 1, 1)
        return super().forward(Backward.apply(images, lambda g: torch.where(few, garbage(g), g)))


def undone(x: Tensor) -> Tensor:
    """Pixels are multiples of 1/16 here: what is off by the radius is put back."""
    clean = x.detach()
    for sign in (-1, 1):
        moved = clean + sign * EPS
        back = (moved * 16).round() / 16
        clean = torch.where((moved - back).abs() < 1e-5, back, clean)
    whole = (clean != x).flatten(1).float().mean(1) > 0.3
    return torch.where(whole.view(-1, 1, 1, 1), x + (clean - x).detach(), x)


def tempered(logits: Tensor) -> Tensor:
    """Another temperature for each image, which is low where the network is sure."""
    lead = logits.topk(2).values
    return logits * (1 + 200 * (lead[:, :1] - lead[:, 1:]).sigmoid())


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
    "a flipped gradient with frozen weights": FlippedWhenFrozen,
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
    "garbage for those that are called perturb": lambda: Misleads(lambda net, x: stacked(net, x)),
    "garbage under hooks": lambda: Misleads(lambda net, x: bool(net._forward_hooks)),
    "garbage in large batches": lambda: Misleads(lambda net, x: len(x) > 32),
    "garbage with frozen weights": lambda: Misleads(
        lambda net, x: not next(net.parameters()).requires_grad
    ),
    "garbage for a while": lambda: Misleads(lambda net, x: 150 < net.asked < 3000),
    "garbage for four classes": lambda: MisleadsOfSome(4),
    "garbage for three classes": lambda: MisleadsOfSome(3),
    "puts back what is off by the radius": lambda: Wrapped(undone),
    "slow ripples": lambda: Wrapped(lambda x: x + 0.05 * torch.sin(50 * x)),
    "fast ripples": lambda: Wrapped(lambda x: x + 0.01 * torch.sin(200 * x)),
    "a temperature for each image": lambda: Wrapped(after=tempered),
    "logits that saturate": lambda: Wrapped(after=lambda z: 10 * torch.tanh(5 * z)),
    "clamped logits": lambda: Wrapped(after=lambda z: z.clamp(-1, 1)),
    "coarse logits": lambda: Wrapped(after=lambda z: (2 * z).round() / 2),
    "probabilities for logits": lambda: Wrapped(after=lambda z: (50 * z).softmax(1)),
    "rounded in half precision": lambda: Wrapped(after=lambda z: (z / 60).half().float()),
    "a bonus for the winner": lambda: Wrapped(
        after=lambda z: z + 30 * F.one_hot(z.argmax(1), 10).float()
    ),
    "small logits with noise": lambda: Wrapped(
        after=lambda z: 1e-4 * z + 2e-4 * torch.randn_like(z)
    ),
}


def test_pgd_leaves_little_of_the_network_behind_the_defences() -> None:
    left, flags = verdict(base())
    assert left < LITTLE
    assert flags == []


def test_a_student_that_misleads_after_the_first_images_is_flagged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(probing, "BLOCK", 25)
    left, flags = verdict_or_block(Misleads(lambda net, x: net.asked > 500))
    assert left > LITTLE
    assert flags


QUICK = {  # of each kind one; CI tries all
    *("gamma, whose slope at black is no number", "logits times 1,000", "a flipped gradient"),
    *("rounded pixels, straight through", "looks at the call stack", "remembers"),
    *("BatchNorm", "two classes"),
}


def most_are_slow(names: Iterable[str]) -> list[Any]:
    marks = pytest.mark.slow
    return [pytest.param(name, marks=() if name in QUICK else marks) for name in names]


@pytest.mark.parametrize("name", most_are_slow(DEFENCES))
def test_a_defence_that_masks_is_flagged_blocked_or_beaten(name: str) -> None:
    left, flags = verdict_or_block(DEFENCES[name]().eval())
    assert (
        left < LITTLE
        or ["the student" in flag or flag.endswith("?") for flag in flags]
        == [True for _ in flags]
        != []
    )


def perceptron(activation: type[nn.Module], depth: int = 2, width: int = 64) -> nn.Module:
    layers: list[nn.Module] = [nn.Flatten()]
    wide = 64
    for _ in range(depth):
        layers += [nn.Linear(wide, width), activation()]
        wide = width
    return nn.Sequential(*layers, nn.Linear(wide, 10))


def pooling(pool: type[nn.Module], activation: type[nn.Module]) -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), activation(), pool(2)),
        *(nn.Conv2d(16, 16, 3, padding=1), activation(), pool(2)),
        *(nn.Flatten(), nn.Linear(64, 10)),
    )


@dataclass
class Plain:
    """An architecture of a function."""

    made: Callable[[], nn.Module]

    def build(self, shape: Any, classes: int) -> nn.Module:
        return self.made()


class Constant(nn.Module):
    def __init__(self, first: float) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        nn.init.constant_(self.linear.bias[:1], first)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.linear(images.flatten(1))
        return logits


def in_half(network: nn.Module) -> nn.Module:
    return network.half().float()


@pytest.mark.parametrize(
    "name",
    [
        "garbage for four classes",
        "garbage for three classes",
        "puts back what is off by the radius",
    ],
)
def test_a_defence_that_masks_some_images_is_flagged_or_blocked(name: str) -> None:
    assert verdict_or_block(DEFENCES[name]().eval())[1] != []


HONEST: dict[str, Callable[[], tuple[nn.Module, int]]] = {
    "BatchNorm": lambda: (trained(ConvNet(width=8, depth=2, norm="batch")), 10),
    "group norm": lambda: (trained(ConvNet(width=8, depth=2, norm="group")), 10),
    "no norm": lambda: (trained(ConvNet(width=8, depth=2, norm="none")), 10),
    "two classes": lambda: (trained(ConvNet(width=8, depth=2), classes=2), 2),
    "three classes": lambda: (trained(ConvNet(width=8, depth=2), classes=3), 3),
    "ten images": lambda: (trained(ConvNet(width=8, depth=2), images=10), 10),
    "trained on FGSM": lambda: (trained(ConvNet(width=8, depth=2), fgsm=EPS), 10),
    "trained for long": lambda: (trained(ConvNet(width=8, depth=2), steps=500), 10),
    "MLP": lambda: (trained(Plain(lambda: perceptron(nn.GELU))), 10),
    "sigmoids": lambda: (trained(Plain(lambda: perceptron(nn.Sigmoid)), steps=400), 10),
    "deep and narrow": lambda: (
        trained(Plain(lambda: perceptron(nn.Tanh, depth=8, width=24)), steps=300),
        10,
    ),
    "max pooling": lambda: (trained(Plain(lambda: pooling(nn.MaxPool2d, nn.ReLU))), 10),
    "mean pooling": lambda: (trained(Plain(lambda: pooling(nn.AvgPool2d, nn.SiLU))), 10),
    "linear": lambda: (trained(Plain(lambda: perceptron(nn.ReLU, depth=0))), 10),
    "trained with smooth labels": lambda: (
        trained(Plain(lambda: pooling(nn.MaxPool2d, nn.ReLU)), smoothing=0.3),
        10,
    ),
    "heavy weight decay": lambda: (
        trained(Plain(lambda: pooling(nn.MaxPool2d, nn.ReLU)), decay=3.0),
        10,
    ),
    "weights in half precision": lambda: (
        in_half(trained(Plain(lambda: pooling(nn.MaxPool2d, nn.ELU)))),
        10,
    ),
    "logits that lie far off 0": lambda: (Wrapped(after=lambda z: z + 1e4), 10),
    "always the same class": lambda: (Constant(9.0), 10),
    "constant logits": lambda: (Constant(0.0), 10),
    "ViT": lambda: (trained(ViT(patch=2, width=32, depth=2, heads=2)), 10),
}


ATTACKS = (
    ATTACK,
    PGD(eps=0.5, norm="l2", steps=20, loss="margin"),
    PGD(eps=1 / 255, steps=5),
    PGD(eps=0.3, steps=20, alpha=0.04),
)


@pytest.mark.parametrize("name", most_are_slow(HONEST))
def test_an_honest_network_is_neither_flagged_nor_blocked(name: str) -> None:
    student, classes = HONEST[name]()
    assert {attack.eps: verdict(student, attack, classes)[1] for attack in ATTACKS} == {
        attack.eps: [] for attack in ATTACKS
    }


@dataclass(frozen=True)
class Cheats:
    """PGD, and what it does beside."""

    deed: Callable[..., Any]
    name: str = "cheats"
    eps: float = EPS
    norm: str = "linf"
    search: str = "ensemble"

    def perturb(self, model: nn.Module, images: Tensor, labels: Tensor, generator: Any) -> Any:
        return self.deed(model, images, ATTACK.perturb(model, images, labels, generator))


def of_the_harness(name: str) -> Any:
    frame = inspect.currentframe()
    while frame and frame.f_code.co_name != "probe":
        frame = frame.f_back
    assert frame
    return frame.f_locals[name]


def moves_what_is_compared(model: nn.Module, images: Tensor, adversarial: Tensor) -> Tensor:
    of_the_harness("images").copy_(adversarial)
    return (adversarial + 1e-6).clamp(0, 1)


def turns_labels(model: nn.Module, images: Tensor, adversarial: Tensor) -> Tensor:
    labels = of_the_harness("test").labels
    labels.copy_((labels + 1) % 10)
    return adversarial


def invents_parts(model: nn.Module, images: Tensor, adversarial: Tensor) -> Perturbed:
    return Perturbed(adversarial, (("slopes", "iterative", len(images)),))


def patches_torch(model: nn.Module, images: Tensor, adversarial: Tensor) -> Tensor:
    forward = nn.Linear.forward
    nn.Linear.forward = lambda self, x: -forward(self, x)  # type: ignore[method-assign]
    return (images + 1e-4).clamp(0, 1)


def hooks_all_modules(model: nn.Module, images: Tensor, adversarial: Tensor) -> Tensor:
    HOOKED.append(nn.modules.module.register_module_forward_hook(lambda m, i, o: o.flip(-1)))
    return (images + 1e-4).clamp(0, 1)


HOOKED: list[Any] = []


@pytest.mark.parametrize(
    "deed",
    [moves_what_is_compared, turns_labels, invents_parts, patches_torch, hooks_all_modules],
)
def test_an_attack_that_cheats_is_blocked(
    monkeypatch: pytest.MonkeyPatch, deed: Callable[..., Any]
) -> None:
    monkeypatch.setattr(nn.Linear, "forward", nn.Linear.forward)
    train, test = digits()
    own = TensorSplit(test.pixels.clone(), test.labels.clone())
    monkeypatch.setitem(globals(), "digits", lambda: (train, own))
    try:
        with pytest.raises(BenchError, match=r"the attack|another thing"):
            verdict(base(), Cheats(deed))
    finally:
        while HOOKED:
            HOOKED.pop().remove()
