"""Where a stage finds its data: in the store if they fit in memory, else in their files, anew.

Small images of a data set on disk are decoded once, and their views kept (`in_memory`); crops are
cut from the files all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from typing import Any

import torch
from torch import Tensor

from bench.contract.data import Data, Split, Subset, TensorSplit, as_float
from bench.contract.errors import BenchError
from bench.contract.keys import digest
from bench.store.store import Finished, Store
from bench.training import gates
from bench.training.loading import Views, batches

VALIDATION = 0.2  # share of each class that evaluate = "validation" carves from the training split
AT_ONCE = 1024  # images that are decoded, or looked at, between two looks at the clock
KEPT = 256 * 2**20
"""Bytes of views that are kept of a data set on disk: every worker holds them in its memory.

It is room for ImageNette at 64 pixels (165 MB) and CIFAR (184 MB); Tiny-ImageNet has 1.4 GB.
"""


def load(dataset: Any, evaluate: str = "test") -> Data:
    """A data set; for evaluate = "validation", with a part of its training split as the test."""
    return checked(dataset.load(), evaluate)


def checked(data: Data, evaluate: str) -> Data:
    """The same, of a data set that has been loaded. Raises BenchError for one that is not legal."""
    if evaluate == "validation":
        gates.check_data(data, splits=("train",))  # law 4: the test split stays closed
        return carved(data)
    gates.check_data(data)
    return data


def in_memory(
    data: Data, progress: Callable[[int, int], None]
) -> tuple[str, dict[str, dict[str, Tensor]]]:
    """How much the store keeps of both splits, and the tensors, by split and name.

    That is "pixels" of splits in memory, "views" of small ones on disk, or "" (labels alone).
    `data` are `checked`, which looks at splits in memory whole. Raises BenchError for an image of
    "views" that is not legal.
    """
    splits = {"train": data.train, "test": data.test}
    whole = {name: split for name, split in splits.items() if isinstance(split, TensorSplit)}
    if len(whole) == len(splits):
        return "pixels", {
            name: {"pixels": one.pixels, "labels": one.labels} for name, one in whole.items()
        }
    total = sum(len(split.labels) for split in splits.values())
    labels = {name: {"labels": split.labels} for name, split in splits.items()}
    if total * prod(data.shape) > KEPT:
        return "", labels
    done, views = 0, {}
    for name, split in splits.items():
        pixels = torch.empty((len(split.labels), *data.shape), dtype=torch.uint8)
        with closing(batches(split, torch.arange(len(pixels)), AT_ONCE)) as parts:
            for start, images in enumerate(parts):
                _check_part(images, data.shape, name, start * AT_ONCE)
                part = pixels[start * AT_ONCE :][: len(images)]
                part.copy_((images * 255).round())
                if not torch.equal(as_float(part), images):
                    return "", labels  # the store would round them
                done += len(images)
                progress(done, total)
        views[name] = {"pixels": pixels, "labels": split.labels}
    return "views", views


def _check_part(images: Tensor, shape: tuple[int, ...], name: str, first: int) -> None:
    """The gate of pixels; where it is shut, it names the first image that is wrong."""
    try:
        gates.check_pixels(images, shape, f"the {name} images")
    except BenchError:
        for number, image in enumerate(images, first):
            gates.check_pixels(image[None], shape, f"{name} image {number} (of 0, 1, ...)")
        raise


def carved(data: Data) -> Data:
    """The data set without its test split: a fifth of each training class takes its place."""
    generator = torch.Generator().manual_seed(int(data.digest[:12], 16))
    order = torch.randperm(len(data.train.labels), generator=generator)
    held = torch.zeros(len(order), dtype=torch.bool)
    for c in range(len(data.classes)):
        members = order[data.train.labels[order] == c]
        held[members[: max(1, round(len(members) * VALIDATION))]] = True
    return replace(
        data,
        train=_part(data.train, torch.nonzero(~held).squeeze(1)),
        test=_part(data.train, torch.nonzero(held).squeeze(1)),
        digest=digest([data.digest, "validation", VALIDATION]),
    )


def _part(split: Split, index: Tensor) -> Split:
    if isinstance(split, TensorSplit):
        return TensorSplit(split.pixels[index], split.labels[index])
    return Subset(split, index)


@dataclass(frozen=True)
class Source:
    """Where a stage finds its data: kept in the store, or loaded anew if it is not in memory."""

    store: Store
    key: str
    dataset: Any
    evaluate: str

    @property
    def facts(self) -> Mapping[str, Any]:
        return finished(self.store, "load", self.key).value

    def split(self, name: str) -> Split:
        """A copy: what one metric of a bundle does to it is nothing to the next."""
        split = _split(self, name)
        if isinstance(split, TensorSplit | Views):
            return replace(split, pixels=split.pixels.clone(), labels=split.labels.clone())
        return split

    @property
    def data(self) -> Data:
        return Data(train=self.split("train"), test=self.split("test"), **described(self.facts))


@cache
def _split(source: Source, name: str) -> Split:  # cached: a bundle of metrics asks over and over
    found = finished(source.store, "load", source.key)
    if found.value["kept"] == "pixels":
        return TensorSplit(**source.store.read(found, name))
    if found.value["kept"] == "views":
        return Views(**source.store.read(found, name), files=lambda: _on_disk(source, name))
    return _on_disk(source, name)


@cache
def _on_disk(source: Source, name: str) -> Split:
    found = finished(source.store, "load", source.key)
    data = load(source.dataset, source.evaluate)
    if data.digest != found.value["files"]:
        source.store.remove(found)  # a file rewritten in place leaves the time of its folder alone
        raise BenchError("the files of the data set have changed since they were read; run again")
    split: Split = getattr(data, name)
    return split


def described(facts: Mapping[str, Any]) -> dict[str, Any]:
    names = ("classes", "shape", "mean", "std")
    return {n: tuple(facts[n]) for n in names} | {n: facts[n] for n in ("digest", "flip")}


def finished(store: Store, stage: str, key: str) -> Finished:
    found = store.find(stage, key)
    if found is None:
        raise BenchError(f"{store.folder(stage, key)} is gone; run again to make it anew")
    return found
