"""Images of one's own, in folders by class: a data set without a plugin.

    [define.mine]
    dataset = "folder"
    root = "photographs"   # beside matrix.toml, in $BENCH_DATA, or absolute
    size = 32

In `root` stand `train/<class>/*` and `test/<class>/*` (or `val/`); or `<class>/*`, and then a part
of each class is drawn for the test.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bench import BenchError, Data, Missing
from bench_standard import files
from bench_standard.datasets import folders

TESTS = ("test", "val")  # names of the test split
HINT = "expected train/<class>/* and test/<class>/*, or <class>/*, in it"

Members = dict[str, tuple[Path, list[folders.Found]]]  # by class: its folder, and the files


@dataclass(frozen=True)
class Folder:
    """Images of one's own, in folders by class.

    The shorter side of an image becomes `size`, and its centre is cut out. A file `names` in
    `root` may name the classes, and order them: `<folder><tab><name>`, a line for each. Keys and
    records know the pixels, not where they lie.
    """

    name: str = "folder"
    root: str = ""  # beside the board's matrix.toml, in the data folder, or absolute
    size: int = 32
    channels: int = 3  # 3: RGB, 1: grey
    test: float = 0.2  # share of each class to test on, where there is no test split
    split_seed: int = 0  # of that draw
    names: str = "classes.txt"
    flip: bool = True  # does a mirror image keep its label?
    roots: ClassVar[tuple[str, ...]] = ("root",)
    preload: ClassVar[tuple[str, ...]] = ("PIL.Image",)

    def __post_init__(self) -> None:
        folders.check_size(self.name, self.size)
        if self.channels not in (1, 3):
            raise BenchError(f"{self.name}: channels is {self.channels}; expected 3 (RGB) or 1")
        if not 0 < self.test < 1:
            raise BenchError(
                f"{self.name}: test is {self.test}; expected a share between 0 and 1, as 0.2"
            )

    def load(self) -> Data:
        root = self._root()
        train, test = self._splits(root)
        names = _named(root / self.names, list(train))
        mean, std = folders.IMAGENET_MEAN, folders.IMAGENET_STD
        grey = tuple(round(sum(channel) / 3, 3) for channel in (mean, std))
        return folders.data(
            train=_listing(root, names, train),
            test=_listing(root, names, test),
            classes=list(names.values()),
            size=self.size,
            resize=self.size,
            mean=mean if self.channels == 3 else grey[:1],
            std=std if self.channels == 3 else grey[1:],
            flip=self.flip,
            looked=[root, root / self.names],
        )

    def _root(self) -> Path:
        if not self.root:
            raise Missing(
                f"{self.name} has no root; expected a folder of images by class, beside "
                f"matrix.toml, below {files.folder().absolute()} or absolute; set root in the board"
            )
        root = (files.folder() / Path(self.root).expanduser()).absolute()
        if root.is_file():
            raise BenchError(f"{root} is a file; expected a folder; unpack it, if it is an archive")
        if not root.is_dir():
            raise Missing(
                f"{root} is not here; {self.name} expects a folder of images by class; `root` is "
                "looked for beside matrix.toml, then in $BENCH_DATA"
            )
        return root

    def _splits(self, root: Path) -> tuple[Members, Members]:
        """The files of each class folder, to train and to test on."""
        inside = folders.class_folders(root)
        tests = [name for name in TESTS if name in inside and folders.class_folders(root / name)]
        # a folder `train` with images right in it is a class, of trains
        if "train" in inside and folders.class_folders(root / "train"):
            if len(tests) != 1:
                raise BenchError(
                    f"{root} has a folder train and {' and '.join(tests) or 'no test or val'}; "
                    "expected train and one of test and val; move what is too much elsewhere"
                )
            train, test = _members(root / "train"), _members(root / tests[0])
            folders.check_classes(root / tests[0], [*train])
            return train, test
        if tests:
            raise BenchError(f"{root} has a folder {tests[0]} and no train; {HINT}")
        return self._drawn(root, _members(root))

    def _drawn(self, root: Path, members: Members) -> tuple[Members, Members]:
        """A share of each class, by a hash of its names: one more image moves no other."""
        train, test = {}, {}
        for name, (folder, found) in members.items():
            if len(found) < 2:
                raise BenchError(
                    f"{folder} holds {len(found)} images; expected two or more: one to train on, "
                    "and one to test on"
                )
            drawn = sorted((self._draw(name, file[0]), file) for file in found)
            order = [file for _, file in drawn]
            held = set(order[: min(max(1, round(len(found) * self.test)), len(found) - 1)])
            train[name] = folder, [file for file in found if file not in held]
            test[name] = folder, [file for file in found if file in held]
        return train, test

    def _draw(self, name: str, file: bytes) -> bytes:
        return hashlib.sha256(b"%d/%s/%s" % (self.split_seed, os.fsencode(name), file)).digest()


def _members(folder: Path) -> Members:
    """The image files of each class; nothing else may be there. Raises BenchError."""
    if loose := folders.image_files(folder):
        raise BenchError(
            f"{folder} holds {len(loose)} images beside its folders "
            f"({os.fsdecode(loose[0][0])}); expected each in the folder of its class"
        )
    classes = folders.class_folders(folder)
    if len(classes) < 2:
        found = f"one folder ({classes[0]})" if classes else "no folders"
        raise BenchError(f"{folder} holds {found}; expected two classes or more, a folder each")
    return {
        name: (folder / name, folders.image_files(folder / name, strict=True)) for name in classes
    }


def _named(path: Path, found: list[str]) -> dict[str, str]:
    """The names of the classes by folder, in order: what the file says, or the folders' own."""
    if not path.is_file():
        return {name: name for name in found}
    try:
        lines = files.read(path).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise BenchError(f"{path} is no UTF-8 ({error}); save it as UTF-8") from None
    rows = [line.partition("\t") for line in lines if line.strip()]
    names = {folder.strip(): name.strip() or folder.strip() for folder, _, name in rows}
    if sorted(names) != sorted(found) or len(names) < len(rows):
        odd = sorted({*names} ^ {*found}) or [folder for folder, _, _ in rows]
        raise BenchError(
            f"{path} names other folders than there are ({odd[0]}); expected a line "
            "'<folder><tab><name of the class>' for each class folder, once"
        )
    if len(set(names.values())) < len(names):
        raise BenchError(f"{path} gives one name to two classes; expected distinct names")
    return names


def _listing(root: Path, names: Mapping[str, str], members: Members) -> folders.Listing:
    return folders.listing(root, "", ((name, *members[name]) for name in names))
