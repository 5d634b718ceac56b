"""A condensed set as it is stored and weighed: tensors by name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from bench.contract.task import CondensedSet, Selection
from bench.training.gates import is_one_hot


def quantised(condensed: CondensedSet) -> CondensedSet:
    """The set with its images in eight bits, half rounded to even: what students are trained on."""
    images = condensed.images
    if isinstance(images, Selection) or images.dtype == torch.uint8:
        return condensed
    return replace(condensed, images=(images.detach() * 255).round().to(torch.uint8))


def to_tensors(condensed: CondensedSet) -> dict[str, Tensor]:
    """A condensed set as it is stored. One-hot labels take 8 bytes an image."""
    labels, likeliest = condensed.labels, condensed.labels.argmax(1)
    stored = {"labels": likeliest if is_one_hot(labels) else labels}
    stored["total"] = torch.tensor(labels.shape[1])  # classes
    if not torch.equal(condensed.classes, likeliest):
        stored["classes"] = condensed.classes
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
        total = int(tensors["total"])
        labels = torch.zeros(len(labels), total).scatter_(1, labels[:, None], 1.0)

    def below(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}

    return CondensedSet(
        images=Selection(images) if images.ndim == 1 else images,
        labels=labels,
        weights=tensors.get("weights"),
        extras=below("extras."),
        notes=below("notes."),
        classes=tensors.get("classes"),  # type: ignore[arg-type]
    )


def weigh(tensors: Mapping[str, Tensor], shape: Sequence[int]) -> dict[str, int]:
    """Bytes of what must be kept to train on a set: images, labels, weights and extras.

    Of selected images, too: a byte for each of their values, `shape` the shape of one (see
    `index_bytes`). Classes count as labels where the labels do not tell them. Notes weigh nothing:
    no training needs them.
    """
    images = tensors["images"]
    selected = images.ndim == 1

    def of(*prefixes: str) -> int:
        return bytes_of({name: t for name, t in tensors.items() if name.startswith(prefixes)})

    return {
        "images": len(images) * math.prod(shape) if selected else of("images"),
        "labels": of("labels", "classes"),
        "weights": of("weights"),
        "extras": of("extras."),
    }


def index_bytes(tensors: Mapping[str, Tensor]) -> int:
    """Bytes of the index by which a set selects real images, for those that have these; or 0."""
    return bytes_of({"": tensors["images"]}) if tensors["images"].ndim == 1 else 0


def bytes_of(tensors: Mapping[str, Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors.values())
