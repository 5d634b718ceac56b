"""The pictures of `docs/barycenters.md`: what a barycenter keeps, and how near each solver gets.

Needs matplotlib, which nothing else here does:

    pip install matplotlib
    python docs/pictures/barycenters.py [--only shapes|objectives]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import ot

matplotlib.use("agg")
from matplotlib import pyplot as plt

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "tests" / "speed"))

INK, PALE, OURS = "#222222", "#b9bec6", "#0b6e99"
SIZE, BLUR = 96, 1.5e-3  # pixels of a side; entropy of the transport, in squared widths


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--only", choices=["shapes", "objectives"])
    args = arguments.parse_args()
    plt.rcParams.update({"font.size": 9, "font.family": "DejaVu Sans", "savefig.dpi": 150})
    if args.only != "objectives":
        shapes()
    if args.only != "shapes":
        objectives()


# ---- a ring and a cross


def shapes() -> None:
    """Two measures on a square, and what lies between them by four distances."""
    ring, cross = ring_and_cross()
    both = np.stack([ring, cross])
    wasserstein = ot.bregman.convolutional_barycenter2d(both, BLUR, numItermax=2000, stopThr=1e-6)
    panels = [
        ("ring", ring),
        ("cross", cross),
        ("Wasserstein", wasserstein),
        ("KL(p, q), and MMD:\nthe mixture", both.mean(0)),
        ("KL(q, p): the\ngeometric mean", np.exp(np.log(both + 1e-12).mean(0))),
    ]
    figure, axes = plt.subplots(1, len(panels), figsize=(9, 2.3), layout="constrained")
    for axis, (title, image) in zip(axes, panels, strict=True):
        axis.imshow(image / image.sum(), cmap="bone_r", interpolation="bilinear")
        axis.set(xticks=[], yticks=[])
        axis.set_title(title, color=INK, fontsize=9)
        for side in axis.spines.values():
            side.set_color(PALE)
    save(figure, "shapes")


def ring_and_cross() -> tuple[Any, Any]:
    """Of mass 1, on a grid of SIZE x SIZE."""
    y, x = np.meshgrid(*[np.linspace(-1, 1, SIZE)] * 2, indexing="ij")
    radius = np.hypot(x, y)
    ring = (np.abs(radius - 0.62) < 0.11).astype(float)
    arm = 0.14
    cross = ((np.abs(x) < arm) | (np.abs(y) < arm)) & (np.maximum(np.abs(x), np.abs(y)) < 0.75)
    return ring / ring.sum(), cross / cross.sum()


# ---- solvers


def objectives() -> None:
    """W2^2 of what each solver finds for one class, as a share of the spread of the class."""
    from barycenters import features, k_means, random, released, released_uniform, timed

    from bench_wmdd.mmd import mmd
    from bench_wmdd.sliced import sliced
    from bench_wmdd.supports import barycenter

    points = features(1000, 512, 0)
    raw = points.numpy()
    whole = float((points.double() - points.double().mean(0)).square().sum(1).mean())
    figure, axes = plt.subplots(1, 2, figsize=(9, 3), sharey=True, layout="constrained")
    for axis, k in zip(axes, (10, 50), strict=True):
        rows = {
            "random points": lambda k=k: random(points, k),
            "MMD, uniform": lambda k=k: mmd(points, k),
            "sliced, uniform": lambda k=k: sliced(points, k),
            "released WMDD, weighted": lambda k=k: released(raw, k, 0),
            "released WMDD, uniform": lambda k=k: released_uniform(raw, k, 0),
            "uniform weights": lambda k=k: barycenter(points, k, weights="uniform"),
            "k-means, ten starts": lambda k=k: k_means(raw, k, 0, 10),
            "free weights (wmdd)": lambda k=k: barycenter(points, k),
        }
        found = {name: timed(points, solve)[1] / whole for name, solve in rows.items()}
        colours = [OURS if name == "free weights (wmdd)" else PALE for name in found]
        bars = axis.barh(list(found), list(found.values()), color=colours, height=0.7)
        for label in axis.bar_label(bars, fmt="%.3f", padding=3, fontsize=8, color=INK):
            label.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.5})
        axis.axvline(1, color=INK, linewidth=0.8, linestyle=":", zorder=0)
        axis.set_title(f"{k} support points", color=INK, fontsize=9)
        axis.set_xlabel("W2$^2$ / spread of the class (1: all points at the mean)", fontsize=8)
        axis.set_xlim(0, 1.12 * max(1.0, *found.values()))
        axis.tick_params(length=0)
        for side in ("top", "right", "left"):
            axis.spines[side].set_visible(False)
    save(figure, "objectives")


def save(figure: Any, name: str) -> None:
    figure.savefig(
        HERE / f"barycenters-{name}.png", metadata={"Software": None}, bbox_inches="tight"
    )


if __name__ == "__main__":
    main()
