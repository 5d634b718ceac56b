"""A data set, read once."""

from __future__ import annotations

import os

import torch

from bench.contract.data import TensorSplit
from bench.stages.io import Progress, Result
from bench.stages.source import load
from bench.stages.stage import Work
from bench.store.store import Store


def run(work: Work, store: Store, progress: Progress) -> Result:
    data = load(work.parts["dataset"], work.evaluate)
    in_memory = isinstance(data.train, TensorSplit) and isinstance(data.test, TensorSplit)
    tensors = {}
    for name, split in (("train", data.train), ("test", data.test)):
        tensors[name] = {"labels": split.labels}
        if isinstance(split, TensorSplit) and in_memory:
            tensors[name]["pixels"] = split.pixels
    value = {
        "classes": list(data.classes),
        "shape": list(data.shape),
        "mean": list(data.mean),
        "std": list(data.std),
        "flip": data.flip,
        "digest": data.digest,
        "counts": torch.bincount(data.train.labels, minlength=len(data.classes)).tolist(),
        "test": len(data.test.labels),
        "in_memory": in_memory,
        "sources": [[s, os.stat(s).st_size, os.stat(s).st_mtime_ns] for s in data.sources],
    }
    return tensors, value
