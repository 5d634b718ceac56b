"""Labels of recovered images. This module imports torch: components import it in their verbs."""

from __future__ import annotations

import torch
from torch import Tensor

from bench import Task, TensorSplit
from bench.training.networks import predict


def owners(task: Task, count: int) -> Tensor:
    """The classes [N] that `count` images were made for, class after class."""
    return torch.arange(count) // (count // len(task.classes))


def soft_labels(task: Task, images: Tensor, temperature: float) -> Tensor:
    """The teacher's distributions [N, K] over the classes, of images [N, C, H, W] class by class.

    They are the teacher's own, as published, also where it sees another class in an image than the
    one that the image was made for.
    """
    count = len(images)
    split = TensorSplit(images, owners(task, count))
    logits = predict(task.teacher, split, torch.arange(count), device=task.device)
    return (logits / temperature).softmax(1)
