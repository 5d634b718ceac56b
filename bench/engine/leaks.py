"""Images of condensed sets that lie nearer to a test image than any training image can explain.

A method sees no test image. One that has found its way to them all the same shows it where its
images are copies of them, or nearly so.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.engine.estimate import look
from bench.engine.scheduler import Engine
from bench.stages.condense import Condense
from bench.stages.plan import Plan
from bench.store.store import Finished

NEARER = 0.5  # of the distance to the nearest training image of the class
MOST = 0.05  # share of a set's images that may be so by chance
AT_ONCE = 2048  # images that are compared with a set at a time

Pixels = NDArray[np.float64]


def leaks(engine: Engine, plan: Plan) -> list[str]:
    """One sentence for each finished set of a plan with copies of test images.

    Sets that select training images by their index have none, and data that the store does not
    keep are not read for this.
    """
    contents = look(engine, plan.stages).contents
    found = []
    for stage in plan.stages:
        if not isinstance(stage, Condense) or stage.id not in contents:
            continue
        finished = engine.store.find(stage.kind, engine.key_of(stage, contents))
        loaded = engine.store.find("load", stage.dataset.load)
        if finished and not finished.unsupported and loaded and loaded.value["kept"]:
            near, total = _near(engine, finished, loaded)
            if near > max(1, MOST * total):
                found.append(
                    f"{stage.words}, seed {stage.number}: {near} of {total} images lie nearer to a "
                    "test image than to half of the distance to any training image of their class; "
                    "expected a set that was made without the test split"
                )
    return found


def _near(engine: Engine, made: Finished, loaded: Finished) -> tuple[int, int]:
    """How many images of a set are nearly test images, and how many it has."""
    stored = engine.store.arrays(made)
    if stored["images"].ndim == 1:
        return 0, len(stored["images"])
    images = _flat(stored["images"])
    owners = stored["classes" if "classes" in stored else "labels"]
    owners = owners if owners.ndim == 1 else owners.argmax(1)
    splits = [engine.store.arrays(loaded, name) for name in ("test", "train")]
    return suspicious(images, owners, *splits), len(images)


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
