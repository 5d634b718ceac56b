"""Real images where samples are expected: the floor of a board of the generation track."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bench import CondensedSet, Selection, Task


@dataclass(frozen=True)
class Real:
    """Real training images in the place of samples: what a distance is when nothing is generated.

    No student is trained. As many are drawn as samples are, of the same classes, so that the bias
    of a distance is that of the other rows.
    """

    name: str = "real"
    ceiling: ClassVar[bool] = True
    samples: ClassVar[bool] = True
    selects: ClassVar[bool] = True

    def condense(self, task: Task) -> CondensedSet:
        import torch
        from torch.nn import functional as F

        one_hot = F.one_hot(task.train.labels, len(task.classes)).float()
        return CondensedSet(Selection(torch.arange(len(one_hot))), one_hot)
