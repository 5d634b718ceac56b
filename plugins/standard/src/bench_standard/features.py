"""What coresets know of the images of a class: points in a space, and losses under the teacher.

Images are read batch by batch, so that only the points of one class are held in memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench import BenchError, Task

if TYPE_CHECKING:
    from torch import Tensor

BATCH = 256  # images looked at once
SPACES = ("features", "pixels")


def check_space(method: Any) -> None:
    """Raise BenchError unless the field `space` of a method is one of SPACES."""
    if method.space not in SPACES:
        raise BenchError(
            f"{method.name}: space is {method.space!r}; expected one of {', '.join(SPACES)}"
        )


def points(task: Task, index: Tensor, space: str) -> Tensor:
    """The images at `index` [n] as points [n, D].

    "features": what the teacher's classifier sees of them; "pixels": the images, flattened.
    """
    import torch

    from bench.training import networks
    from bench.training.loading import batches

    def embedded(images: Tensor) -> Tensor:
        if space == "pixels":
            return images.flatten(1)
        return networks.features(task.teacher, images.to(task.device))[0].cpu()

    with torch.no_grad():
        return torch.cat([embedded(images) for images in batches(task.train, index, BATCH)])


def losses(task: Task, index: Tensor) -> Tensor:
    """The cross-entropy of the teacher on the images at `index`: float64 [n]."""
    from torch.nn.functional import cross_entropy

    from bench.training.networks import predict

    logits = predict(task.teacher, task.train, index, batch=BATCH, device=task.device)
    return cross_entropy(logits.double(), task.train.labels[index], reduction="none")
