"""Images of condensed sets as the store keeps them, for the pictures of a board."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from bench.contract.task import Selection
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
    import torch

    from bench.contract.data import as_float
    from bench.stages.source import Source
    from bench.training.sets import from_tensors

    condensed = from_tensors(engine.store.read(found))
    shown = [
        torch.nonzero(condensed.classes == k).flatten()[:columns]
        for k in sorted({*condensed.classes.tolist()})[:classes]
    ]
    if isinstance(condensed.images, Selection):
        dataset = stage.dataset
        source = Source(engine.store, dataset.load, dataset.component, dataset.evaluate)
        train, indices = source.split("train"), condensed.images.indices
        lines = [train.images(indices[rows]) for rows in shown]
    else:
        lines = [condensed.images[rows] for rows in shown]
    return [(as_float(line).clamp(0, 1) * 255).round().to(torch.uint8).numpy() for line in lines]
