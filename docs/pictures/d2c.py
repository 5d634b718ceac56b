"""The pictures of `docs/d2c.md`: what D2C learns, and how far students come with it.

Needs matplotlib, which nothing else here does:

    pip install matplotlib
    python docs/pictures/d2c.py [STORE]

The curves are drawn from the records of `leaderboards/fashion-generation`; for the rest one set
and its teacher (IPC 18, seed 0) are taken from the store (default `.bench`), or made anew in some
minutes.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

import matplotlib
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench import CondensedSet, Data, as_float
from bench.board.check import resolve
from bench.board.matrix import read
from bench.contract.registry import discover
from bench.engine.scheduler import Engine
from bench.records.files import read as read_records
from bench.stages.stage import Stage
from bench.store.store import Store
from bench.training import networks, sets

matplotlib.use("agg")
from matplotlib import pyplot as plt

HERE = Path(__file__).parent
BOARD = HERE.parents[1] / "leaderboards" / "fashion-generation"
INK, PALE = "#222222", "#b9bec6"
COLOURS = {
    "d2c": "#c1440e",
    "d2c-select": "#0b6e99",
    "random-attach": "#5aa9a0",
    "random": "#6b7280",
    "herding": "#8a6fb0",
    "kcenter": "#b98b2f",
    "dsa": "#7fb069",
    "full": INK,
}
IPC, METRIC = 18, "kd"


def main() -> None:
    plt.rcParams.update({"font.size": 9, "font.family": "DejaVu Sans", "savefig.dpi": 150})
    torch.set_num_threads(1)
    distance_against_passes()
    store = Path(sys.argv[1] if len(sys.argv) > 1 else ".bench")
    data, condensed, teacher = made(store)
    beside_neighbours(data, condensed, teacher)
    score_curve(condensed)
    gradients_moving(condensed)


def distance_against_passes() -> None:
    """One panel a budget: the distance of the samples, after so many images shown."""
    points: dict[tuple[str, int], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for record in read_records(BOARD):
        passes = record.passes.get("student")
        if passes and METRIC in record.metrics:
            found = points[record.method, record.ipc]
            found[passes.forward].append(record.metrics[METRIC])
    budgets = sorted({ipc for _, ipc in points if ipc})
    size = (2.6 * len(budgets) + 1, 2.6)
    figure, grid = plt.subplots(1, len(budgets), figsize=size, sharey=True, squeeze=False)
    axes = grid[0]
    for axis, ipc in zip(axes, budgets, strict=True):
        for method, colour in COLOURS.items():
            curve = points.get((method, 0 if method == "full" else ipc))
            if curve:
                shown = sorted(curve)
                means = [sum(curve[p]) / len(curve[p]) for p in shown]
                axis.plot(shown, means, "o-", color=colour, label=method, ms=3, lw=1.2)
        axis.set(title=f"{100 * ipc / 6000:g} % (IPC {ipc})", xlabel="images shown", yscale="log")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("kernel distance")
    axes[-1].legend(*axes[0].get_legend_handles_labels(), frameon=False, fontsize=7)
    figure.tight_layout()
    figure.savefig(HERE / "d2c-passes.png")


def made(store: Path) -> tuple[Data, CondensedSet, nn.Module]:
    """The data, the set of `d2c`, and the classifier that the board looks with."""
    matrix = read(BOARD)
    components = resolve(matrix, discover())
    engine = Engine(components, Store(store), board=BOARD)
    where = {"method": "d2c", "ipc": IPC, "seed": 0, "step": 0}
    cells = [c for c in matrix.cells() if all(getattr(c, k) == v for k, v in where.items())]
    plan = engine.plan(cells[:1])
    (planned,) = plan.cells
    features = next(s.features for s in planned.measures.values() if s.features)
    wanted = with_those_above(planned.condensed) | with_those_above(features)
    outcome = engine.execute([s for s in plan.stages if s.id in wanted])
    kept = engine.store
    condensed = sets.from_tensors(kept.read(outcome.finished[planned.condensed.id]))
    data = planned.components["dataset"].load()
    teacher = networks.build(
        features.architecture, data.shape, len(data.classes), data.mean, data.std
    )
    networks.load(teacher, kept.read(outcome.finished[features.id]))
    return data, condensed, teacher.eval()


def with_those_above(stage: Stage) -> set[str]:
    return {stage.id}.union(*(with_those_above(s) for s in stage.above.values()))


def beside_neighbours(data: Data, condensed: CondensedSet, teacher: nn.Module) -> None:
    """A condensed image of each class, its nearest real one, and what moves the teacher in each."""
    images, classes = as_float(condensed.images), condensed.labels.argmax(1)  # type: ignore[arg-type]
    rows = []
    for k in range(len(data.classes)):
        own = images[classes == k][:1]
        members = (data.train.labels == k).nonzero().squeeze(1)
        real = data.train.images(members)
        with torch.no_grad():
            far = torch.cdist(
                networks.features(teacher, own)[0], networks.features(teacher, real)[0]
            )
        nearest = real[far.argmin()][None]
        rows.append([own, excited(teacher, own, k), nearest, excited(teacher, nearest, k)])
    titles = ("condensed", "what moves\nthe teacher", "nearest real", "what moves\nthe teacher")
    figure, axes = plt.subplots(4, len(rows), figsize=(len(rows) * 0.75, 3.4))
    for k, row in enumerate(rows):
        for line, image in enumerate(row):
            cmap = "gray" if line % 2 == 0 else "magma"
            axes[line, k].imshow(image[0, 0].numpy(), cmap=cmap, vmin=0)
            axes[line, k].set(xticks=[], yticks=[])
            if k == 0:
                axes[line, k].set_ylabel(titles[line], rotation=0, ha="right", va="center")
    figure.tight_layout(pad=0.3)
    figure.savefig(HERE / "d2c-neighbours.png")


def excited(teacher: nn.Module, image: Tensor, label: int) -> Tensor:
    """|gradient| of the logit of a class in the pixels, smoothed."""
    x = image.clone().requires_grad_()
    (slope,) = torch.autograd.grad(teacher(x)[0, label], x)
    return F.avg_pool2d(slope.abs(), 3, 1, 1)


def score_curve(condensed: CondensedSet) -> None:
    """The score of each time, and the times that are matched."""
    notes = condensed.notes
    figure, axis = plt.subplots(figsize=(4, 2.4))
    axis.plot(notes["times.grid"], notes["times.score"], "o-", color=INK, ms=3, lw=1.2)
    for time in notes["times.chosen"].tolist():
        axis.axvline(time, color=COLOURS["d2c"], lw=0.8, alpha=0.7)
    axis.set(xlabel="time (0: image, 999: noise)", ylabel="data-information ratio")
    axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(HERE / "d2c-times.png")


def gradients_moving(condensed: CondensedSet) -> None:
    """Condensed gradients, class by class, on their way to the real ones, in two dimensions."""
    real, ours = condensed.notes["gradients.real"], condensed.notes["gradients.pool"]  # [S, K, 2]
    figure, axis = plt.subplots(figsize=(3.6, 3.2))
    colours = plt.get_cmap("tab10")
    for k in range(real.shape[1]):
        axis.plot(*ours[:, k].T, "-", color=colours(k), lw=0.8, alpha=0.6)
        axis.plot(*ours[-1, k], "o", color=colours(k), ms=4)
        axis.plot(*real[-1, k], "*", color=colours(k), ms=8, mec=INK, mew=0.4)
    axis.set(xticks=[], yticks=[], xlabel="o condensed, at the end    ★ real")
    figure.tight_layout()
    figure.savefig(HERE / "d2c-gradients.png")


if __name__ == "__main__":
    main()
