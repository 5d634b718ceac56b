"""Tiny-ImageNet, in its authors' layout, or with its validation images sorted into classes."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from bench import BenchError, Data
from bench_standard import files
from bench_standard.datasets import folders

PLACES = ("tiny-imagenet-200",)
GET = "unpack http://cs231n.stanford.edu/tiny-imagenet-200.zip into its parent folder"
INNER = "images"  # what the authors put between a class and its images
ANNOTATIONS = "val_annotations.txt"

# Of the channels of its training pixels. What is also about, 0.2302, 0.2265, 0.2262, are means of
# each image's own deviation.
MEAN, STD = (0.4802, 0.4481, 0.3975), (0.2770, 0.2691, 0.2821)


@dataclass(frozen=True)
class TinyImageNet:
    """Small photographs of 200 classes, 110,000 images of 3x64x64 (Le and Yang, 2015).

    The test split is its validation split, since the labels of the test images are secret.
    Classes are named by their WordNet IDs, which also order them. Of another `size`, each image
    is resized to it, and nothing is cut off.
    """

    name: str = "tiny-imagenet"
    size: int = 64
    preload: ClassVar[tuple[str, ...]] = ("PIL.Image",)
    published: ClassVar[Mapping[str, int]] = {"train": 100_000, "test": 10_000, "classes": 200}
    classes: ClassVar[int] = 200

    def __post_init__(self) -> None:
        folders.check_size(self.name, self.size)

    def load(self) -> Data:
        root = folders.find_root("Tiny-ImageNet", PLACES, GET)
        ids = folders.wordnet_ids(root / "train", self.classes)
        if folders.class_folders(root / "val") == [INNER]:
            test = annotated(root, ids)
        else:
            folders.check_classes(root / "val", ids)
            test = folders.scan(root, "val", ids, INNER)
        return folders.data(
            train=folders.scan(root, "train", ids, INNER),
            test=test,
            classes=ids,
            size=self.size,
            resize=self.size,
            mean=MEAN,
            std=STD,
        )


def annotated(root: Path, ids: Sequence[str]) -> folders.Listing:
    """The validation split as its authors have it: one folder, and a line for each image of it.

    Raises BenchError for a line that is none, an unknown class, and images without a line.
    """
    table, folder = root / "val" / ANNOTATIONS, root / "val" / INNER
    files.find("the table of Tiny-ImageNet's validation images", [str(table)], GET)
    classes: dict[bytes, str] = {}
    for line in files.read(table).splitlines():
        image, _, rest = line.partition(b"\t")  # then the class, and a box around the thing
        classes[image] = rest.partition(b"\t")[0].decode(errors="replace")
    found = folders.image_files(folder)
    if strange := sorted({*classes.values()} - {*ids}):
        raise BenchError(
            f"{table} names a class {strange[0]!r}; expected classes of {root / 'train'}; {GET}"
        )
    if odd := sorted({*classes} ^ {name for name, _ in found}):
        here = "is in the table alone" if odd[0] in classes else "is in the folder alone"
        raise BenchError(
            f"{folder} and {table} tell of different images ({os.fsdecode(odd[0])} {here}); "
            f"expected the same; {GET}"
        )
    members = defaultdict(list)
    for file in found:
        members[classes[file[0]]].append(file)
    listing = folders.listing(root, "val", ((name, folder, members[name]) for name in ids))
    return replace(listing, sources=(*listing.sources, table))
