"""Condensed sets of a run, judged again from the store, by a process that runs no plugin.

A method is judged in its own process, where it could replace the judge. And it sees no test image:
one that has found its way to them all the same shows it where its images are copies of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.contract.errors import BenchError
from bench.contract.kinds import fact
from bench.engine.estimate import look
from bench.engine.scheduler import Engine
from bench.stages.condense import Condense
from bench.stages.plan import Plan

NEARER = 0.5  # of the distance to the nearest training image of the class
MOST = 0.05  # share of a set's images that may be so by chance
AT_ONCE = 2048  # images that are compared with a set at a time

Pixels = NDArray[np.float64]
Stored = Mapping[str, NDArray[Any]]


def faults(engine: Engine, plan: Plan) -> list[str]:
    """One sentence for each finished set of a plan that is not what its stage has said, or that
    holds copies of test images.

    Sets that select training images by their index hold none, and test images that the store does
    not keep are not read for this.
    """
    contents, found = look(engine, plan.stages).contents, []
    for stage in plan.stages:
        if isinstance(stage, Condense) and stage.id in contents:
            made = engine.store.find(stage.kind, engine.key_of(stage, contents))
            if made and not made.unsupported:
                stored = engine.store.arrays(made)
                said = _unlike(stage, stored, made.value) or _copies(engine, stage, stored)
                found += [f"{stage.words}, seed {stage.number}: {said}"] if said else []
    return found


def _unlike(stage: Condense, stored: Stored, said: Mapping[str, Any]) -> str:
    """What is wrong with a set as it is stored; "" if nothing is."""
    import torch

    from bench.training import gates, sets

    tensors = {name: torch.from_numpy(array) for name, array in stored.items()}
    facts = stage.dataset.facts
    try:
        condensed = sets.from_tensors(tensors)
        gates.check_condensed(
            condensed,
            shape=facts["shape"],
            classes=len(facts["classes"]),
            train_size=sum(facts["counts"]),
            ipc=0 if fact("method", stage.method, "ceiling") else stage.ipc,
        )
    except BenchError as error:
        return str(error)
    for name, value in (("size", len(condensed)), ("bytes", sets.weigh(tensors, facts["shape"]))):
        if said[name] != value:
            return f"its stage has said {name} {said[name]}; in the store it is {value}"
    return ""


def _copies(engine: Engine, stage: Condense, stored: Stored) -> str:
    """How many images of a set are nearly test images, where these are more than a few."""
    loaded = engine.store.find("load", stage.dataset.load)
    if stored["images"].ndim == 1 or not (loaded and loaded.value["kept"]):
        return ""
    owners = stored["classes" if "classes" in stored else "labels"]
    owners = owners if owners.ndim == 1 else owners.argmax(1)
    splits = [engine.store.arrays(loaded, name) for name in ("test", "train")]
    near, total = suspicious(_flat(stored["images"]), owners, *splits), len(owners)
    if near <= max(1, MOST * total):
        return ""
    return (
        f"{near} of {total} images lie nearer to a test image than to half of the distance to any "
        "training image of their class; expected a set that was made without the test split"
    )


def suspicious(images: Pixels, owners: NDArray[Any], test: Any, train: Any) -> int:
    """Of images [N, D] in [0, 1], how many lie that near to a test image of their class."""
    count = 0
    for label in np.unique(owners):
        mine = images[owners == label]
        near = [_nearest(mine, one["pixels"][one["labels"] == label]) for one in (test, train)]
        count += int((near[0] < NEARER**2 * near[1] - 1e-6).sum())
    return count


def _nearest(images: Pixels, others: NDArray[Any]) -> Pixels:
    """The squared distance of each image [N, D] to the nearest of others [M, C, H, W]."""
    least = np.full(len(images), np.inf)
    for start in range(0, len(others), AT_ONCE):
        part = _flat(others[start : start + AT_ONCE])
        squares = (images**2).sum(1)[:, None] + (part**2).sum(1) - 2 * images @ part.T
        least = np.minimum(least, squares.min(1))
    return least


def _flat(pixels: NDArray[Any]) -> Pixels:
    scale = 255 if pixels.dtype == np.uint8 else 1
    flat: Pixels = pixels.reshape(len(pixels), -1).astype(np.float64) / scale
    return flat
