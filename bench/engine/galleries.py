"""Images of condensed sets as the store keeps them, for the pictures of a board."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
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
    return {
        found.content: partial(_grid, engine, stage, found, classes, columns)
        for stage, found in _finished(engine, plan)
    }


def neighbours(
    engine: Engine, plan: Plan, classes: int, columns: int
) -> dict[str, Callable[[], tuple[Grid, Grid] | None]]:
    """What makes the grid of each set, and that of the nearest real images (in pixels, of the same
    class); None for a set that is real images, and where the store does not keep those.
    """
    return {
        found.content: partial(_beside, engine, stage, found, classes, columns)
        for stage, found in _finished(engine, plan)
    }


def _finished(engine: Engine, plan: Plan) -> Iterator[tuple[Condense, Finished]]:
    """The sets of the first seed that have a budget, and what they have left."""
    first, contents = engine.components.matrix.seeds[0], look(engine, plan.stages).contents
    for stage in plan.stages:
        if isinstance(stage, Condense) and stage.number == first and stage.id in contents:
            finished = engine.store.find(stage.kind, engine.key_of(stage, contents))
            if finished and not finished.unsupported and stage.ipc:
                yield stage, finished


def _beside(
    engine: Engine, stage: Condense, found: Finished, classes: int, columns: int
) -> tuple[Grid, Grid] | None:
    stored, loaded = engine.store.arrays(found), engine.store.find("load", stage.dataset.load)
    if stored["images"].ndim == 1 or not loaded or not loaded.value["kept"]:
        return None
    train = engine.store.arrays(loaded, "train")
    own, near = _grid(engine, stage, found, classes, columns), []
    for k, line in zip(np.unique(_classes(stored))[:classes], own, strict=True):
        real = _eight_bits(train["pixels"][train["labels"] == k])
        flat, others = (side.reshape(len(side), -1).astype(np.float64) for side in (line, real))
        # squared distances, less what is the same for all real images
        far = (others**2).sum(1) - 2 * flat @ others.T
        near.append(real[far.argmin(1)])
    return own, near


def _grid(engine: Engine, stage: Condense, found: Finished, classes: int, columns: int) -> Grid:
    stored = engine.store.arrays(found)
    of_image = _classes(stored)
    shown = [np.flatnonzero(of_image == k)[:columns] for k in np.unique(of_image)[:classes]]
    lines: Sequence[NDArray[Any]]
    if stored["images"].ndim > 1:
        lines = [stored["images"][rows] for rows in shown]
    else:  # the set selects real images
        lines = _real(engine, stage, [stored["images"][rows] for rows in shown])
    return [_eight_bits(line) for line in lines]


def _classes(stored: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """The class [N] that each image of a set stands for."""
    labels = stored["classes" if "classes" in stored else "labels"]
    return labels if labels.ndim == 1 else labels.argmax(1)


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
    if pixels.dtype == np.uint8:
        return pixels
    eight: NDArray[np.uint8] = (pixels.clip(0, 1) * 255).round().astype(np.uint8)
    return eight
