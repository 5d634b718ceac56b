"""A data set, read once."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench.stages.stage import Identity, Result, Stage
from bench.store.store import Finished

if TYPE_CHECKING:
    from bench.stages.io import Desk


@dataclass(frozen=True, eq=False)
class Load(Stage):
    """A data set, read from its files. What the rest of a plan looks like depends on it."""

    kind: ClassVar[str] = "load"

    component: Any
    evaluate: str
    folder: str
    partial: bool = False  # may the counts be others than those in print?

    @property
    def words(self) -> str:
        return f"load {self.component.name}"

    title = words

    @property
    def seed(self) -> int:
        return 0

    def spec(self, named: Identity) -> dict[str, Any]:
        return {
            "dataset": named(self.component),
            "evaluate": self.evaluate,
            "folder": self.folder,
            **({"partial": True} if self.partial else {}),
        }

    def run(self, desk: Desk) -> Result:
        import torch

        from bench.contract.data import TensorSplit
        from bench.stages.source import load

        data = load(self.component, self.evaluate)
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


def data_folder() -> str:
    """Where the user has put data files, as far as the harness knows."""
    return os.environ.get("BENCH_DATA", "")


def is_current(loaded: Finished) -> bool:
    """Are the files that a data set was read from as they were then?"""
    for path, size, modified in loaded.value["sources"]:
        try:
            now = os.stat(path)
        except OSError:
            return False
        if (now.st_size, now.st_mtime_ns) != (size, modified):
            return False
    return True
