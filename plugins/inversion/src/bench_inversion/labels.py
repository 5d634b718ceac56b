"""Labels of recovered images. This module imports torch: components import it in their verbs."""

from __future__ import annotations

import torch
from torch import Tensor

from bench import Task, TensorSplit
from bench.training.networks import predict

MARGIN = 0.01  # by which the class of an image leads, where the teacher sees another in it


def soft_labels(task: Task, images: Tensor, temperature: float) -> Tensor:
    """The teacher's distributions [N, K] over the classes, of images [N, C, H, W] class by class.

    In the regime "hard" the arg max of a row is the label, so it must be the class that the image
    was made for. Where the teacher sees another class in it, the row is moved towards its own
    class, as far as it takes to lead by a little; other rows are the teacher's own.
    """
    count = len(images)
    owners = torch.arange(count) // (count // len(task.classes))
    index = torch.arange(count)
    logits = predict(task.teacher, TensorSplit(images, owners), index, device=task.device)
    labels = (logits / temperature).softmax(1)
    lacking = labels.amax(1) - labels[index, owners]
    share = torch.where(labels.argmax(1) == owners, 0, lacking / (1 + lacking) + MARGIN)
    share = share.clamp_max(1)
    labels.mul_(1 - share[:, None])
    labels[index, owners] += share
    return labels
