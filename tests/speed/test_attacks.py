"""Our attacks against torchattacks and pyautoattack called directly: cost, verdicts.

The same student, images and seed on both sides, and all images in one batch, as the READMEs of the
libraries do. The radius leaves about 80, 50 or 20 % of the images standing after 20 steps of PGD:
an image that has fallen costs us nothing more. Students are ConvNets that are trained here on
handwritten digits, of 8 x 8 pixels and enlarged to 28 x 28, the size of Fashion-MNIST. Attacks
draw random starts of their own, so that verdicts on a few images may differ.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contract.data import Split, TensorSplit
from bench.training import networks
from bench.training.classifier import Examples, fit
from bench.training.passes import counting
from bench.training.recipe import Recipe
from bench_standard.architectures.convnet import ConvNet
from bench_standard.attacks import parts
from bench_standard.attacks.audited import Audited
from bench_standard.attacks.auto import FAB, AutoAttack, Square
from bench_standard.attacks.gradient import PGD
from bench_standard.attacks.minimal import DeepFool
from bench_standard.datasets.digits import Digits

Attack = Callable[[nn.Module, Tensor, Tensor, float], Tensor]  # images, labels and eps

SMALL, LARGE = 8, 28  # pixels of a side
PGD_CASES = [
    pytest.param(SMALL, "batch", 0.5, marks=pytest.mark.short),
    *((LARGE, "batch", standing) for standing in (0.8, 0.5, 0.2)),
    (LARGE, "instance", 0.5),
]
AUTO_CASES = [
    *((SMALL, "batch", standing, 40) for standing in (0.8, 0.5, 0.2)),
    *((LARGE, norm, 0.5, 20) for norm in ("batch", "instance")),
]
STANDING: dict[str, Tensor] = {}  # by group: images that stand after the first of a pair


@cache
def student(side: int, norm: str) -> tuple[nn.Module, Tensor, Tensor]:
    """A network, and test images and labels that it has not seen."""
    data = Digits().load()

    def seen(split: Split) -> TensorSplit:
        images = split.images(torch.arange(len(split)))
        enlarged = F.interpolate(images, (side, side), mode="bilinear").clamp(0, 1)
        return TensorSplit(enlarged, split.labels)

    torch.manual_seed(0)
    width, depth = (32, 3) if side == LARGE else (16, 2)
    convnet = ConvNet(width=width, depth=depth, norm=norm)
    network = networks.build(convnet, (1, side, side), 10, data.mean, data.std)
    train, test = seen(data.train), seen(data.test)
    examples = Examples(train, torch.arange(len(train)), train.labels)
    fit(network, examples, Recipe(steps=150, batch=128, lr=0.05), classes=10, seed=0)
    return network.eval(), test.images(torch.arange(200)), test.labels[:200]


@cache
def radius(side: int, norm: str, share: float) -> float:
    """The radius in which PGD leaves that share of the images standing, to a quarter of 1/255."""
    network, images, labels = student(side, norm)
    low, high = 0.0, 64.0
    while high - low > 0.25:
        eps = (low + high) / 2
        torch.manual_seed(0)
        attacked = PGD(eps=eps / 255, steps=20).perturb(network, images, labels, torch.Generator())
        left = float(standing(network, attacked, labels).double().mean())
        low, high = (eps, high) if left > share else (low, eps)
    return (low + high) / 2 / 255


def standing(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        return network(images).argmax(1) == labels


def their_pgd(network: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
    import torchattacks

    attack = torchattacks.PGD(network, eps=eps, alpha=2.5 * eps / 100, steps=100)
    found: Tensor = attack(images, labels)
    return found


def our_pgd(network: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
    return PGD(eps=eps, steps=100).perturb(network, images, labels, torch.Generator())


def their_autoattack(network: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
    from pyautoattack import AutoAttack as Theirs

    attack = Theirs(network, eps=eps, norm="Linf", seed=0)
    attack.logger.setLevel("ERROR")
    found: Tensor = attack.run_standard_evaluation(images, labels, batch_size=len(images))[0]
    return found


def our_autoattack(network: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
    return AutoAttack(eps=eps).perturb(network, images, labels, torch.Generator()).images


@pytest.mark.parametrize("attack", [our_pgd, their_pgd], ids=["ours", "torchattacks"])
@pytest.mark.parametrize(("side", "norm", "share"), PGD_CASES)
def test_pgd(
    side: int, norm: str, share: float, attack: Attack, benchmark: BenchmarkFixture
) -> None:
    benchmark.group = f"PGD-100, 200 images {side} x {side}, {norm} norm, {share:.0%} standing"
    measure(attack, side, norm, share, 200, benchmark)


@pytest.mark.parametrize("attack", [our_autoattack, their_autoattack], ids=["ours", "pyautoattack"])
@pytest.mark.parametrize(("side", "norm", "share", "count"), AUTO_CASES)
def test_autoattack(
    side: int, norm: str, share: float, count: int, attack: Attack, benchmark: BenchmarkFixture
) -> None:
    benchmark.group = (
        f"AutoAttack, {count} images {side} x {side}, {norm} norm, {share:.0%} standing"
    )
    measure(attack, side, norm, share, count, benchmark)


def our_audit(network: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
    """A sample of 16 of the images that stand has FAB-T and Square."""
    return Audited(eps=eps).perturb(network, images, labels, torch.Generator()).images


@pytest.mark.parametrize("attack", [our_audit, their_autoattack], ids=["ours", "pyautoattack"])
def test_an_audit(attack: Attack, benchmark: BenchmarkFixture) -> None:
    benchmark.group = f"autoattack-audited, 100 images {LARGE} x {LARGE}, batch norm, 50% standing"
    measure(attack, LARGE, "batch", 0.5, 100, benchmark)


def square(network: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
    return Square(eps=eps).perturb(network, images, labels, torch.Generator())


@pytest.mark.parametrize("passes", ["in windows", "whole"])
def test_square(passes: str, benchmark: BenchmarkFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where layers are local, a query asks about the window that it has changed."""
    benchmark.group = f"Square, 20 images {LARGE} x {LARGE}, batch norm, 50% standing"
    if passes == "whole":
        monkeypatch.setattr(parts, "windowed", lambda network, images: None)
    measure(square, LARGE, "batch", 0.5, 20, benchmark)


def our_fab(network: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
    return FAB(eps=eps).perturb(network, images, labels, torch.Generator())


def their_fab(network: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
    from pyautoattack.fab_pt import FABAttack_PT

    attack = FABAttack_PT(network, eps=eps, targeted=True)
    found: Tensor = attack.perturb(images, labels)
    far = (found - images).flatten(1).abs().amax(1) > eps + 1e-6
    return found.where(~far.view(-1, 1, 1, 1), images)


@pytest.mark.parametrize("attack", [our_fab, their_fab], ids=["ours", "pyautoattack"])
@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_fab(norm: str, attack: Attack, benchmark: BenchmarkFixture) -> None:
    benchmark.group = f"FAB-T, 20 images {LARGE} x {LARGE}, {norm} norm, 50% standing"
    measure(attack, LARGE, norm, 0.5, 20, benchmark)


@pytest.mark.parametrize("whose", ["ours", "pyautoattack"])
@pytest.mark.parametrize("pixels", [784, 3072])
def test_a_projection(pixels: int, whose: str, benchmark: BenchmarkFixture) -> None:
    from pyautoattack.fab_projections import projection_linf

    from bench_standard.attacks.parts import project

    benchmark.group = f"FAB's projection of 100 images of {pixels} pixels, L-infinity"
    torch.manual_seed(0)
    points, normals = torch.rand(100, pixels), torch.randn(100, pixels)
    points[:, ::3] = 0
    offsets = (normals * points).sum(1) + 5 * torch.randn(100)
    function = project if whose == "ours" else projection_linf
    found = benchmark(function, points, normals, offsets)
    differ = found - projection_linf(points, normals, offsets)
    benchmark.extra_info["largest difference"] = float(differ.abs().max())
    assert float(differ.abs().max()) < 1e-6


@pytest.mark.parametrize("whose", ["ours", "torchattacks"])
@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_deepfool(norm: str, whose: str, benchmark: BenchmarkFixture) -> None:
    import torchattacks

    benchmark.group = f"DeepFool, 20 images {LARGE} x {LARGE}, {norm} norm, no ball"
    network, images, labels = student(LARGE, norm)
    known = standing(network, images, labels)
    images, labels = images[known][:20], labels[known][:20]
    theirs, ours = torchattacks.DeepFool(network), DeepFool(eps=0.0, norm="")

    def attack() -> Tensor:
        if whose == "torchattacks":
            return theirs(images, labels)  # type: ignore[no-any-return]
        return ours.perturb(network, images, labels, torch.Generator())

    moved = benchmark.pedantic(attack)
    fell = ~standing(network, moved, labels)
    benchmark.extra_info["fooled"] = int(fell.sum())
    if fell.any():
        lengths = (moved - images)[fell].flatten(1).norm(dim=1)
        benchmark.extra_info["median distance of these"] = float(lengths.median())


def measure(
    attack: Attack, side: int, norm: str, share: float, count: int, benchmark: BenchmarkFixture
) -> None:
    network, images, labels = student(side, norm)
    eps = radius(side, norm, share)
    attack(network, images[:2], labels[:2], 0.5)  # what is slow the first time
    images, labels = images[:count], labels[:count]
    torch.manual_seed(0)
    with counting(network) as passes:
        moved = benchmark.pedantic(attack, (network, images, labels, eps))
    left = standing(network, moved, labels)
    for way, seen in passes.as_json().items():
        benchmark.extra_info[f"passes {way} an image"] = round(seen / count)
    differ = int((left != STANDING.setdefault(benchmark.group, left)).sum())
    benchmark.extra_info |= {"eps x 255": 255 * eps, "standing": f"{left.double().mean():.1%}"}
    benchmark.extra_info["verdicts other than ours"] = differ
    assert float((moved - images).abs().max()) <= eps + 1e-6
    assert differ <= 0.1 * count
