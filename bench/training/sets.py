"""A condensed set as it is stored and weighed: tensors by name."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from bench.contract.task import CondensedSet, Selection


def to_tensors(condensed: CondensedSet) -> dict[str, Tensor]:
    """A condensed set as it is stored. One-hot labels take 8 bytes an image."""
    labels = condensed.labels
    stored = {"classes": torch.tensor(labels.shape[1])}
    hard = labels.argmax(1)
    is_one_hot = bool((labels.amax(1) == 1).all()) and int(labels.count_nonzero()) == len(labels)
    stored["labels"] = hard if is_one_hot else labels
    images = condensed.images
    stored["images"] = images.indices if isinstance(images, Selection) else images
    if condensed.weights is not None:
        stored["weights"] = condensed.weights
    stored |= {f"extras.{name}": tensor for name, tensor in condensed.extras.items()}
    stored |= {f"notes.{name}": tensor for name, tensor in condensed.notes.items()}
    return {name: tensor.detach().cpu().contiguous() for name, tensor in stored.items()}


def from_tensors(tensors: Mapping[str, Tensor]) -> CondensedSet:
    """The condensed set that `to_tensors` has stored."""
    images, labels = tensors["images"], tensors["labels"]
    if labels.ndim == 1:
        classes = int(tensors["classes"])
        labels = torch.zeros(len(labels), classes).scatter_(1, labels[:, None], 1.0)

    def below(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}

    return CondensedSet(
        images=Selection(images) if images.ndim == 1 else images,
        labels=labels,
        weights=tensors.get("weights"),
        extras=below("extras."),
        notes=below("notes."),
    )


def weigh(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Bytes of images (8 for each real one that is selected), labels, weights and extras.

    Notes weigh nothing: whoever trains on the set does not need them.
    """
    extras = {name: t for name, t in tensors.items() if name.startswith("extras.")}
    return {
        "images": bytes_of({"": tensors["images"]}),
        "labels": bytes_of({"": tensors["labels"]}),
        "weights": bytes_of({"": tensors["weights"]} if "weights" in tensors else {}),
        "extras": bytes_of(extras),
    }


def bytes_of(tensors: Mapping[str, Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors.values())
