"""Where a stage finds its data: in the store if they fit in memory, else in their files, anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from bench.contract.data import Data, Split, Subset, TensorSplit
from bench.contract.errors import BenchError
from bench.contract.keys import digest
from bench.store.store import Finished, Store
from bench.training import gates

VALIDATION = 0.2  # share of each class that evaluate = "validation" carves from the training split


def load(dataset: Any, evaluate: str = "test") -> Data:
    """A data set; for evaluate = "validation", with a part of its training split as the test."""
    data: Data = dataset.load()
    if evaluate == "validation":
        gates.check_data(data, splits=("train",))  # law 4: the test split stays closed
        return carved(data)
    gates.check_data(data)
    return data


def carved(data: Data) -> Data:
    """The data set without its test split: a fifth of each training class takes its place."""
    generator = torch.Generator().manual_seed(int(data.digest[:12], 16))
    order = torch.randperm(len(data.train.labels), generator=generator)
    held = torch.zeros(len(order), dtype=torch.bool)
    for c in range(len(data.classes)):
        members = order[data.train.labels[order] == c]
        held[members[: max(1, round(len(members) * VALIDATION))]] = True
    return Data(
        train=_part(data.train, torch.nonzero(~held).squeeze(1)),
        test=_part(data.train, torch.nonzero(held).squeeze(1)),
        classes=data.classes,
        shape=data.shape,
        mean=data.mean,
        std=data.std,
        digest=digest([data.digest, "validation", VALIDATION]),
        flip=data.flip,
        sources=data.sources,
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
        if isinstance(split, TensorSplit):
            return TensorSplit(split.pixels.clone(), split.labels.clone())
        return split

    @property
    def data(self) -> Data:
        return Data(train=self.split("train"), test=self.split("test"), **described(self.facts))


@cache
def _split(source: Source, name: str) -> Split:  # cached: a bundle of metrics asks over and over
    found = finished(source.store, "load", source.key)
    if found.value["in_memory"]:
        return TensorSplit(**source.store.read(found, name))
    data = load(source.dataset, source.evaluate)
    if data.digest != found.value["digest"]:
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
