"""A data set, read once."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bench.contract.errors import BenchError
from bench.contract.files import resolved, stamp
from bench.contract.keys import plain
from bench.contract.kinds import fact
from bench.stages.stage import Identity, Result, Stage
from bench.store.store import Finished

if TYPE_CHECKING:
    from bench.contract.data import Data
    from bench.stages.io import Desk

BOTH = ("train", "test")


@dataclass(frozen=True, eq=False)
class Load(Stage):
    """A data set, read from its files. What the rest of a plan looks like depends on it."""

    kind: ClassVar[str] = "load"

    component: Any  # as `located` has found it
    evaluate: str
    folder: str
    partial: bool = False  # may it differ from what is published?

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
            "data_folder": self.folder,
            **({"partial": True} if self.partial else {}),
        }

    def run(self, desk: Desk) -> Result:
        import torch

        from bench.contract.data import digest_of_tensors
        from bench.stages.source import checked, in_memory

        whole = self.component.load()
        partial = self._difference(whole)  # before hours of decoding
        data = checked(whole, self.evaluate)
        kept, tensors = in_memory(data, desk.progress)
        digest = data.digest
        if kept == "views":  # they say more than names and sizes of files
            digest = digest_of_tensors(
                *(tensors[name][part] for name in BOTH for part in ("pixels", "labels"))
            )
        value = {
            "classes": list(data.classes),
            "shape": list(data.shape),
            "mean": list(data.mean),
            "std": list(data.std),
            "flip": data.flip,
            "digest": digest,
            "files": data.digest,
            "counts": torch.bincount(data.train.labels, minlength=len(data.classes)).tolist(),
            "test": len(data.test.labels),
            "kept": kept,
            "partial": partial,
            "sources": [[source, *stamp(source)] for source in data.sources],
        }
        return tensors, value

    def _difference(self, data: Data) -> dict[str, list[Any]]:
        """Where it is not what was published: what was read, and what is published, by name.

        Raises BenchError for a difference that the board does not allow.
        """
        published = fact("dataset", self.component, "published")
        read = {name: _read(data, name, published[name]) for name in published}
        other = {name: [read[name], plain(published[name])] for name in published}
        other = {name: both for name, both in other.items() if both[0] != both[1]}
        if other and not self.partial:
            raise BenchError(f"{self.component.name} {_told(other, read, published)}")
        return other


def _read(data: Data, name: str, published: Any) -> Any:
    """What a data set has of what is published by that name."""
    if name == "digest":
        return data.digest
    if name == "classes" and isinstance(published, int):
        return len(data.classes)
    if name == "classes":
        return data.train.labels.bincount(minlength=len(published)).tolist()
    return len(getattr(data, name).labels)


def _told(
    other: Mapping[str, list[Any]], read: Mapping[str, Any], published: Mapping[str, Any]
) -> str:
    """What is wrong with data under a published name, and what to do."""
    end = "get it again; or begin matrix.toml with `partial = true`: the page says what was read"
    found = [read.get(name) for name in BOTH]
    if other.keys() >= set(BOTH) and found == [published[name] for name in reversed(BOTH)]:
        return (
            f"has its splits exchanged: {read['train']:,} train images and {read['test']:,} test "
            "images; put each in the place of the other"
        )
    counts = [
        f"{found:,} {name} images where {expected:,} are published"
        for name, (found, expected) in other.items()
        if name in BOTH
    ]
    if counts:
        return f"has {' and '.join(counts)}; {end}"
    if (classes := other.get("classes")) and isinstance(classes[1], int):
        return f"has {classes[0]:,} classes where {classes[1]:,} are published; {end}"
    if classes:
        by_class, usual = (", ".join(map(str, one)) for one in classes)
        return f"has {by_class} training images by class where {usual} are published; {end}"
    digest, expected = other["digest"]
    return f"has other pixels or labels (digest {digest}) than are published ({expected}); {end}"


def in_print(component: Any) -> dict[str, Any] | None:
    """What a plan needs to know of a data set that is not here: its facts by the counts in print.

    None where too few are declared. The rest is unknown, so nothing can be made from these.
    """
    published = fact("dataset", component, "published")
    if not {*BOTH, "classes"} <= published.keys():
        return None
    classes, train = published["classes"], published["train"]
    counts = [*classes] if not isinstance(classes, int) else _even(train, classes)
    names = [f"class {number}" for number in range(len(counts))]
    unknown = {"digest": "", "shape": [], "mean": [], "std": [], "flip": False, "partial": {}}
    return {"classes": names, "counts": counts, "test": published["test"], **unknown}


def _even(images: int, classes: int) -> list[int]:
    """As many images of each class as of the others, but for one."""
    return [images // classes + (number < images % classes) for number in range(classes)]


def data_folder() -> str:
    """Where the user has put data files, as far as the harness knows: absolute."""
    return str(resolved(Path(os.environ.get("BENCH_DATA") or "data").expanduser()))


def located(component: Any, board: Path | None) -> Any:
    """A data set whose fields of places are absolute: beside `board`'s matrix, or in the data.

    Two boards, or one with other data folders, may mean other files by the same words.
    """
    found = {}
    for name in fact("dataset", component, "roots"):
        given = Path(getattr(component, name)).expanduser()
        if getattr(component, name):
            paths = [Path(root, given) for root in (board or ".", data_folder())]
            found[name] = str(next((p for p in paths if p.exists()), paths[0]).absolute())
    return dataclasses.replace(component, **found) if found else component


def is_current(loaded: Finished) -> bool:
    """Are the files that a data set was read from as they were then?"""
    return all(stamp(path) == then for path, *then in loaded.value["sources"])
