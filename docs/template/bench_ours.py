"""Our methods, and whatever else our boards compare: hooks return them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from bench import CondensedSet, Selection, Task, hookimpl


@dataclass(frozen=True)
class Vivid:
    """Of some random images of each class, those of highest contrast (an example)."""

    name: str = "vivid"
    among: int = 50  # random images of a class that are looked at
    selects: ClassVar[bool] = True  # real images, with one-hot labels

    def condense(self, task: Task) -> CondensedSet:
        import torch
        from torch.nn.functional import one_hot

        generator = torch.Generator().manual_seed(task.seed)
        chosen = []
        for label in range(len(task.classes)):
            members = torch.nonzero(task.train.labels == label).squeeze(1)
            order = torch.randperm(len(members), generator=generator)
            some = members[order[: max(self.among, task.ipc)]]
            contrast = task.train.images(some).flatten(1).std(1)
            chosen.append(some[contrast.topk(task.ipc).indices])
        labels = torch.arange(len(task.classes)).repeat_interleave(task.ipc)
        return CondensedSet(Selection(torch.cat(chosen)), one_hot(labels).float())


@hookimpl
def bench_methods() -> Sequence[Vivid]:
    return [Vivid()]
