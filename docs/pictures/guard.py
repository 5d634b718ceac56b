"""The pictures of GUARD: the loss around test images before and after, and what attacks leave.

Needs matplotlib, which nothing else here does:

    pip install matplotlib
    python docs/pictures/guard.py

Some minutes on a CPU. ConvNets of width 16 with BatchNorm, one epoch of Fashion-MNIST, seed 0: the
teachers of `leaderboards/fashion-guard`, but for their seeds.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import matplotlib
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench import Data, Task
from bench.contract.registry import Registry, discover
from bench.training import networks
from bench.training.loading import probed_images

matplotlib.use("agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import MaxNLocator

HERE = Path(__file__).parent
INK, PALE, OURS, WARM = "#222222", "#8a929c", "#0b6e99", "#c46a1b"
COLOURS = {"standard": PALE, "guard": OURS, "adversarial": WARM}
BUDGET = {"epochs": 1, "batch": 64, "lr": 0.05, "warmup": 0.1, "channels_last": True}
RADIUS, CELLS = 1.5, 21  # of the surface, in pixels of [0, 1] (L2); points of a side
EPSILONS = (0.0, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1)
IMAGES = 500  # those that boards attack first


def main() -> None:
    plt.rcParams.update({"font.size": 9, "font.family": "DejaVu Sans", "savefig.dpi": 150})
    torch.set_num_threads(1)
    registry = discover()
    data = registry.get("dataset", "fashion-mnist").component.load()
    teachers = {name: trained(registry, data, name) for name in COLOURS}
    index = probed_images(data.test, data.digest, IMAGES)
    images, labels = data.test.images(index), data.test.labels[index]
    surfaces({name: surface(teachers[name], images, labels) for name in ("standard", "guard")})
    curves({name: left(registry, teachers[name], images, labels) for name in COLOURS})


def trained(registry: Registry, data: Data, name: str) -> nn.Module:
    """A teacher of that name with the budget of the board."""
    convnet = dataclasses.replace(registry.get("architecture", "convnet-bn").component, width=16)

    def network() -> nn.Module:
        torch.manual_seed(0)
        return networks.build(convnet, data.shape, len(data.classes), data.mean, data.std)

    teacher = dataclasses.replace(registry.get("teacher", name).component, **BUDGET)
    if name == "adversarial":
        teacher = dataclasses.replace(teacher, eps=0.1)
    task = Task(
        train=data.train,
        classes=data.classes,
        shape=data.shape,
        mean=data.mean,
        std=data.std,
        flip=data.flip,
        ipc=0,
        seed=0,
        networks={"backbone": network},
    )
    found: nn.Module = teacher.squeeze(task).eval()
    return found


# ---- the loss around an image


def surface(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Mean loss [CELLS, CELLS] at steps along the gradient (rows) and a random direction."""
    x = images.clone().requires_grad_()
    (slope,) = torch.autograd.grad(F.cross_entropy(model(x), labels, reduction="sum"), x)
    up = F.normalize(slope.flatten(1))  # [B, D]
    noise = torch.randn(up.shape, generator=torch.Generator().manual_seed(0))
    across = F.normalize(noise - (noise * up).sum(1, keepdim=True) * up)
    steps = torch.linspace(-RADIUS, RADIUS, CELLS).tolist()

    def loss(a: float, b: float) -> float:
        moved = images + (a * up + b * across).view_as(images)
        return float(F.cross_entropy(model(moved), labels))

    with torch.no_grad():
        return torch.tensor([[loss(a, b) for b in steps] for a in steps])


def surfaces(found: dict[str, Tensor]) -> None:
    """Contours of each, with levels in common, and sections through the images themselves."""
    top = max(float(losses.max()) for losses in found.values())
    steps = torch.linspace(-RADIUS, RADIUS, CELLS).numpy()
    figure, axes = plt.subplots(1, len(found) + 1, figsize=(9, 2.9), layout="constrained")
    for axis, (name, losses) in zip(axes, found.items(), strict=False):
        drawn = axis.contourf(
            steps, steps, losses.numpy(), levels=torch.linspace(0, top, 25).tolist()
        )
        axis.set(xlabel="random direction", ylabel="along the gradient", aspect="equal")
        axis.set_title(name, color=INK)
        axis.plot(0, 0, "+", color="white")
    figure.colorbar(drawn, ax=axes[: len(found)], label="mean loss", ticks=MaxNLocator(6))
    last = axes[-1]
    for name, losses in found.items():
        colour = COLOURS[name]
        last.plot(steps, losses[:, CELLS // 2], color=colour, label=f"{name}, along the gradient")
        last.plot(steps, losses[CELLS // 2], ":", color=colour, label=f"{name}, random direction")
    last.set(xlabel="step, in pixels of [0, 1] (L2)", ylabel="mean loss", ylim=(0, None))
    last.legend(frameon=False, fontsize=7)
    for side in ("top", "right"):
        last.spines[side].set_visible(False)
    save(figure, "surface")


# ---- robust accuracy


def left(registry: Registry, model: nn.Module, images: Tensor, labels: Tensor) -> list[float]:
    """Share of the images that stay right under PGD-20, at each epsilon."""
    pgd = registry.get("attack", "pgd").component
    with torch.no_grad():
        right = model(images).argmax(1) == labels
    found = []
    for eps in EPSILONS:
        stays = right
        if eps:
            attack = dataclasses.replace(pgd, eps=eps, alpha=eps / 4, steps=20)
            generator = torch.Generator().manual_seed(0)
            moved = attack.perturb(model, images, labels, generator)
            with torch.no_grad():
                stays = right & (model(moved).argmax(1) == labels)
        found.append(float(stays.float().mean()))
    return found


def curves(found: dict[str, list[float]]) -> None:
    figure, axis = plt.subplots(figsize=(5, 3.2), layout="constrained")
    for name, rates in found.items():
        axis.plot(
            EPSILONS, [100 * rate for rate in rates], "o-", label=name, color=COLOURS[name], ms=3
        )
    axis.set(xlabel="epsilon (L-infinity, pixels of [0, 1])", ylabel="right under PGD-20, %")
    axis.set_ylim(0, 100)
    axis.legend(frameon=False)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    save(figure, "epsilon")


def save(figure: Any, name: str) -> None:
    figure.savefig(HERE / f"guard-{name}.png", metadata={"Software": None}, bbox_inches="tight")


if __name__ == "__main__":
    main()
