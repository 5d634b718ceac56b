"""Images of condensed sets as the store keeps them, for the pictures of a board."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.engine.estimate import look
from bench.engine.scheduler import Engine
from bench.stages.condense import Condense
from bench.stages.plan import Plan
from bench.store.store import Finished

Grid = list[NDArray[np.uint8]]


def grids(engine: Engine, plan: Plan, classes: int, columns: int) -> dict[str, Callable[[], Grid]]:
    """What makes the grid of each finished set of the first seed, by the hash of its content.

    A grid has at most `columns` images [B, C, H, W] of each of the first `classes` classes that
    the set holds. A set is read only when its grid is made.
    """
    first, contents = engine.components.matrix.seeds[0], look(engine, plan.stages).contents
    found: dict[str, Callable[[], Grid]] = {}
    for stage in plan.stages:
        if isinstance(stage, Condense) and stage.number == first and stage.id in contents:
            finished = engine.store.find(stage.kind, engine.key_of(stage, contents))
            if finished and not finished.unsupported and stage.ipc:
                make = partial(_grid, engine, stage, finished, classes, columns)
                found[finished.content] = make
    return found


def _grid(engine: Engine, stage: Condense, found: Finished, classes: int, columns: int) -> Grid:
    stored = engine.store.arrays(found)
    labels = stored["classes" if "classes" in stored else "labels"]
    of_image = labels if labels.ndim == 1 else labels.argmax(1)  # [N]
    shown = [np.flatnonzero(of_image == k)[:columns] for k in np.unique(of_image)[:classes]]
    lines: Sequence[NDArray[Any]]
    if stored["images"].ndim > 1:
        lines = [stored["images"][rows] for rows in shown]
    else:  # the set selects real images
        lines = _real(engine, stage, [stored["images"][rows] for rows in shown])
    return [line if line.dtype == np.uint8 else _eight_bits(line) for line in lines]


def _real(
    engine: Engine, stage: Condense, lines: Sequence[NDArray[np.int64]]
) -> Sequence[NDArray[Any]]:
    """Training images by their indices: as the store keeps them, or else from their files."""
    data = stage.dataset
    loaded = engine.store.find("load", data.load)
    if loaded and loaded.value["kept"]:
        pixels = engine.store.arrays(loaded, "train")["pixels"]
        return [pixels[rows] for rows in lines]
    import torch

    from bench.contract.data import as_float
    from bench.stages.source import Source

    train = Source(engine.store, data.load, data.component, data.evaluate).split("train")
    return [as_float(train.images(torch.from_numpy(rows))).numpy() for rows in lines]


def _eight_bits(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    eight: NDArray[np.uint8] = (pixels.clip(0, 1) * 255).round().astype(np.uint8)
    return eight
