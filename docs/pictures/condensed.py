"""The pictures of `docs/wmdd.md`: condensed garments, and what a small lambda does to them.

Needs matplotlib, which nothing else here does:

    pip install matplotlib
    python docs/pictures/condensed.py

Some minutes on a CPU. A teacher and sets as those of `leaderboards/fashion-wmdd`, seed 0.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import torch
from torch import Tensor, nn

from bench import Data, Selection, Task, as_float
from bench.contract.registry import Registry, discover
from bench.training import networks

matplotlib.use("agg")
from matplotlib import pyplot as plt

HERE = Path(__file__).parent
INK, PALE, OURS = "#222222", "#b9bec6", "#0b6e99"
SETTINGS: dict[str, Any] = {"iterations": 300, "lam": 100.0}  # of the board
ROWS: dict[str, tuple[str, dict[str, Any]]] = {  # what a row is called: method, fields
    "real (random)": ("random", {}),
    "real (medoid)": ("medoid", {}),
    "sre2l": ("sre2l", {"iterations": 300, "lam": 1.0, "roll": 0}),
    "cross-entropy,\nglobal BN": ("wmdd-ce-bn", SETTINGS),
    "cross-entropy,\nBN by class": ("wmdd-ce", SETTINGS),
    "barycenter,\nglobal BN": ("wmdd-bn", SETTINGS),
    "barycenter,\nBN by class": ("wmdd", SETTINGS),
}
LAMBDAS = (0.0, 0.1, 1.0, 10.0, 100.0, 1000.0)


def main() -> None:
    plt.rcParams.update({"font.size": 9, "font.family": "DejaVu Sans", "savefig.dpi": 150})
    torch.set_num_threads(1)
    registry = discover()
    data = registry.get("dataset", "fashion-mnist").component.load()
    teacher = trained(registry, data)

    def made(method: str, fields: dict[str, Any], ipc: int) -> Tensor:
        component = registry.get("method", method).component
        images = dataclasses.replace(component, **fields).condense(task(data, ipc, teacher)).images
        if isinstance(images, Selection):
            return data.train.images(images.indices)
        return as_float(images)  # [10 x ipc, 1, 28, 28]

    condensed_grid({name: made(*row, 1) for name, row in ROWS.items()}, data.classes)
    ipc = 10
    sets = {f"λ = {lam:g}": made("wmdd", SETTINGS | {"lam": lam}, ipc) for lam in LAMBDAS}
    artefacts({"real": made("random", {}, ipc)} | sets, ipc)


def trained(registry: Registry, data: Data) -> Callable[[], nn.Module]:
    """The teacher of the board: a ConvNet with BatchNorm."""
    convnet = dataclasses.replace(registry.get("architecture", "convnet-bn").component, width=32)

    def network() -> nn.Module:
        torch.manual_seed(0)
        return networks.build(convnet, data.shape, len(data.classes), data.mean, data.std)

    plain = registry.get("teacher", "standard-fashion").component
    teacher: nn.Module = plain.squeeze(task(data, 0, network)).eval()
    return lambda: teacher


def task(data: Data, ipc: int, network: Callable[[], nn.Module]) -> Task:
    return Task(
        train=data.train,
        classes=data.classes,
        shape=data.shape,
        mean=data.mean,
        std=data.std,
        flip=data.flip,
        ipc=ipc,
        seed=0,
        networks={"teacher": network, "backbone": network},
    )


def condensed_grid(rows: dict[str, Tensor], classes: tuple[str, ...]) -> None:
    """An image a class by each method."""
    figure, axes = plt.subplots(len(rows), len(classes), figsize=(9, 6.6), layout="constrained")
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for axis, image in zip(line, images, strict=True):
            show(axis, image)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", color=INK)
    for axis, label in zip(axes[0], classes, strict=True):
        axis.set_title(label, fontsize=8, color=INK)
    save(figure, "grid")


def artefacts(sets: dict[str, Tensor], ipc: int) -> None:
    """Images at each lambda, and how much of their power is in which frequencies."""
    figure = plt.figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1.25, 1])
    axes = left.subplots(len(sets), 8)
    for line, (name, images) in zip(axes, sets.items(), strict=True):
        for number, axis in enumerate(line):  # two of each of four classes: tops, bags, boots
            show(axis, images[(0, 3, 8, 9)[number // 2] * ipc + number % 2])
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", color=INK)
    axis = right.subplots()
    for number, (name, images) in enumerate(sets.items()):
        real = name == "real"
        shade = matplotlib.colormaps["viridis"](number / len(sets))
        share = power(images) / power(sets["real"])
        axis.plot(
            range(1, len(share) + 1),
            share,
            label=name,
            color=INK if real else shade,
            linewidth=2 if real else 1.2,
            linestyle=":" if real else "-",
        )
    axis.set(xlabel="cycles per image", ylabel="power / that of real images", ylim=(0, None))
    axis.legend(frameon=False, fontsize=8)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    save(figure, "lambda")


def power(images: Tensor) -> Tensor:
    """Power at 1, 2, ... cycles an image, averaged over directions and images [H / 2 - 1]."""
    size = images.shape[-1]
    found = torch.fft.fft2(images - images.mean((2, 3), keepdim=True)).abs().square().mean((0, 1))
    cycles = torch.fft.fftfreq(size, 1 / size)
    radius = torch.hypot(cycles[:, None], cycles[None]).round().long().flatten()
    total = torch.zeros(radius.max() + 1).index_add_(0, radius, found.flatten())
    return (total / radius.bincount())[1 : size // 2]


def show(axis: Any, image: Tensor) -> None:
    axis.imshow(image[0], cmap="gray", vmin=0, vmax=1)
    axis.set(xticks=[], yticks=[])
    for side in axis.spines.values():
        side.set_visible(False)


def save(figure: Any, name: str) -> None:
    figure.savefig(HERE / f"condensed-{name}.png", metadata={"Software": None}, bbox_inches="tight")


if __name__ == "__main__":
    main()
