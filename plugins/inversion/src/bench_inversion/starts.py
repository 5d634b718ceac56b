"""Real images from which a recovery starts, by index into the training split.

This module imports torch: components import it inside their verbs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench import BenchError, Task


def at_random(task: Task) -> Tensor:
    """`task.ipc` images of each class [N], class after class: those of the control `random`.

    So a set that starts from them and one that is left as they are differ in the recovery alone.
    A class of fewer images gives them in turn. Raises BenchError for a class without images.
    """
    generator = torch.Generator().manual_seed(task.seed)
    parts = []
    for label, name in enumerate(task.classes):
        members = (task.train.labels == label).nonzero().squeeze(1)
        if not len(members):
            raise BenchError(
                f"class {name!r} has no training images; expected one or more to start from"
            )
        order = torch.randperm(len(members), generator=generator)
        parts.append(members[order[torch.arange(task.ipc) % len(members)]])
    return torch.cat(parts)


def nearest(targets: Tensor, points: Tensor) -> Tensor:
    """For each of `targets` [k, d] the position [k] of one of `points` [n, d] that is near to it.

    Of all pairs the nearest comes first, then the nearest of what is left, and so on. No point is
    taken twice before each has been taken once.
    """
    distance = torch.cdist(targets.double(), points.double())
    picked = torch.full((len(targets),), -1)
    for done in range(len(targets)):
        if done % len(points) == 0:  # each is taken: begin again
            taken = torch.zeros(len(points), dtype=torch.bool)
        left = distance.masked_fill(taken | (picked >= 0)[:, None], torch.inf)
        row, column = divmod(int(left.argmin()), len(points))
        picked[row], taken[column] = column, True
    return picked
