"""Data sets in folders: one folder of image files a class, read when they are asked for.

What is in memory are labels and paths (40 bytes or so an image); pixels are decoded by Pillow,
file by file, in whichever thread asks. A view of an image is, bit for bit, what torchvision's
transforms make of the same PIL image. Like torchvision, this ignores the orientation that EXIF
may tell.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench import BenchError, Data
from bench_standard import files

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image
    from torch import Tensor

ENDINGS = (b".jpg", b".jpeg", b".png", b".ppm", b".bmp", b".pgm", b".tif", b".tiff", b".webp")
"""Of image files, in either case; those of torchvision's folders."""

# Of the channels of ImageNet's training images; all pretrained weights of torchvision want them
# (https://docs.pytorch.org/vision/stable/models.html).
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, eq=False)
class FolderSplit:
    """Image files, decoded on demand; any number of threads may ask at once.

    Without boxes, an image is resized so that its shorter side is `resize`, and its centre of
    `size` x `size` is cut out. With boxes, each box, rounded to whole pixels of the original, is
    cut out and resized to `size` x `size`. Bilinear with antialias; grey, CMYK, palette and
    transparent images become RGB. Raises BenchError, with its path, for a broken file.
    """

    root: Path
    paths: np.ndarray  # [T] below `root`, bytes of one width: a million must fit in memory
    labels: Tensor  # int64 [T]
    size: int
    resize: int

    def __len__(self) -> int:
        return len(self.paths)

    def images(self, index: Tensor, boxes: Tensor | None = None) -> Tensor:
        import numpy as np
        import torch

        pixels = np.empty((len(index), self.size, self.size, 3), np.uint8)
        crops = [None] * len(index) if boxes is None else boxes.tolist()
        for row, path, crop in zip(pixels, self.paths[index.numpy()], crops, strict=True):
            row[:] = np.asarray(self._view(self.root / os.fsdecode(path), crop))
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2)  # [B, 3, H, W]
        # In two passes over the pixels: `as_float` makes more, and each costs 5 % of the whole.
        return images.to(torch.float32, memory_format=torch.contiguous_format).div_(255)

    def _view(self, path: Path, crop: Sequence[float] | None) -> Image.Image:
        from PIL import Image

        try:
            with Image.open(path) as opened:
                opened.load()
                image = opened if opened.mode == "RGB" else opened.convert("RGB")
        except Exception as error:  # a broken file raises nearly anything
            raise BenchError(
                f"{path} cannot be read ({error}); expected an image; the file is cut short, or "
                "another one: get it again, and put it in its place"
            ) from error
        if crop is not None:
            box = whole_pixels(crop, *image.size)
            return image.crop(box).resize((self.size, self.size), Image.Resampling.BILINEAR)
        width, height = image.size
        shorter = min(width, height)
        image = image.resize(
            (self.resize * width // shorter, self.resize * height // shorter),
            Image.Resampling.BILINEAR,
        )
        left, top = (round((side - self.size) / 2) for side in image.size)
        return image.crop((left, top, left + self.size, top + self.size))


def whole_pixels(crop: Sequence[float], width: int, height: int) -> tuple[int, int, int, int]:
    """The box of fractions (left, top, right, bottom) in whole pixels, one or more each way.

    `Image.resize(box=...)` would take any box, but also look at pixels beside it.
    """
    left, top = min(round(crop[0] * width), width - 1), min(round(crop[1] * height), height - 1)
    right, bottom = round(crop[2] * width), round(crop[3] * height)
    return left, top, max(right, left + 1), max(bottom, top + 1)


def evaluation_resize(size: int) -> int:
    """The shorter side that the centre is cut from: 256 for 224, and in proportion."""
    return round(size * 8 / 7)


def check_size(name: str, size: int) -> None:
    if size < 1:
        raise BenchError(f"{name}: size is {size}; expected the side of an image, 1 pixel or more")


# ---- what is there


@dataclass(frozen=True, eq=False)
class Listing:
    """The image files of a split, in order of their classes, and by name within a class.

    `digest` is that of class, name and size of each file, so it is the same in every layout.
    """

    root: Path
    paths: np.ndarray  # [T], as in FolderSplit
    labels: np.ndarray  # int64 [T]
    digest: str
    sources: tuple[Path, ...]  # all folders looked into: their times tell if files came or went

    def split(self, size: int, resize: int) -> FolderSplit:
        import torch

        return FolderSplit(self.root, self.paths, torch.from_numpy(self.labels), size, resize)


Found = tuple[bytes, int]  # a file: its name, and its size in bytes


def find_root(what: str, choices: Sequence[str], get: str) -> Path:
    """The first of some folders that exists, absolute. Raises Missing if it lacks train or val."""
    root = files.find(what, choices, get).absolute()
    for split in ("train", "val"):
        files.find(f"{what} ({split})", [str(root / split)], get)
    return root


def class_folders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted by their bytes; hidden ones are left out."""
    return [os.fsdecode(name) for name in sorted(e.name for e in _entries(folder) if e.is_dir())]


def image_files(folder: Path) -> list[Found]:
    """Image files in a folder, sorted by the bytes of their names; hidden ones are left out."""
    found = [e for e in _entries(folder) if e.name.lower().endswith(ENDINGS) and e.is_file()]
    return sorted([(e.name, e.stat().st_size) for e in found])


def _entries(folder: Path) -> list[os.DirEntry[bytes]]:
    try:
        with os.scandir(os.fsencode(folder)) as entries:
            return [entry for entry in entries if not entry.name.startswith(b".")]
    except OSError as error:
        raise BenchError(
            f"{folder} cannot be listed ({error.strerror}); expected a folder that you may read; "
            "check its permissions and the disk"
        ) from error


def check_classes(folder: Path, expected: Sequence[str]) -> None:
    """Raises BenchError, with what is lacking and what is too much, for other class folders."""
    found = class_folders(folder)
    lacking, extra = sorted({*expected} - {*found}), sorted({*found} - {*expected})
    if lacking or extra:
        told = [f"{w} {_some(n)}" for w, n in (("lacks", lacking), ("also has", extra)) if n]
        raise _wrong(folder, f"{len(found)} class folders", f"{len(expected)}", " and ".join(told))


def wordnet_ids(folder: Path, count: int) -> list[str]:
    """The class folders of a split, sorted. Raises BenchError unless they are `count` such IDs."""
    found = class_folders(folder)
    odd = [name for name in found if not re.fullmatch(r"n\d{8}", name)]
    if len(found) != count or odd:
        what = f"not WordNet IDs, as n01440764 is: {_some(odd)}" if odd else _some(found)
        raise _wrong(folder, f"{len(found)} class folders", f"{count}", what or "there are none")
    return found


def _wrong(folder: Path, found: str, expected: str, detail: str) -> BenchError:
    return BenchError(
        f"{folder} holds {found}, expected {expected} ({detail}); unpack the data set anew, and "
        "leave its folders as they are"
    )


def scan(root: Path, split: str, classes: Sequence[str], inner: str = "") -> Listing:
    """What is in `root/split/<class>`; a folder `inner` in there, if there is one, stands for it.

    Raises BenchError for a class without images.
    """
    places = [root / split / name for name in classes]
    places = [p / inner if inner and (p / inner).is_dir() else p for p in places]
    return listing(
        root, split, ((n, p, image_files(p)) for n, p in zip(classes, places, strict=True))
    )


def listing(root: Path, split: str, members: Iterable[tuple[str, Path, list[Found]]]) -> Listing:
    """A split out of its classes in order: the name of each, its folder, and its files, sorted."""
    import numpy as np

    sha, parts, counts, sources = hashlib.sha256(), [], [], [root / split]
    for name, folder, found in members:
        if not found:
            raise BenchError(
                f"{folder} holds no image of class {name}; expected files that end in "
                f"{', '.join(e.decode() for e in ENDINGS)}; unpack the data set anew"
            )
        of, place = os.fsencode(name), os.fsencode(folder.relative_to(root))
        sha.update(b"".join([b"%s/%s\0%d\n" % (of, *file) for file in found]))
        parts.append(np.array([b"%s/%s" % (place, file) for file, _ in found]))
        counts.append(len(found))
        sources.append(folder)
    labels = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    distinct = tuple(dict.fromkeys(sources))
    return Listing(root, np.concatenate(parts), labels, sha.hexdigest(), distinct)


def data(
    train: Listing,
    test: Listing,
    classes: Sequence[str],
    *,
    size: int,
    resize: int,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
) -> Data:
    """Photographs in folders: a mirror image keeps its label. Nothing is decoded here."""
    return Data(
        train=train.split(size, resize),
        test=test.split(size, resize),
        classes=tuple(classes),
        shape=(3, size, size),
        mean=mean,
        std=std,
        digest=hashlib.sha256(f"{train.digest} {test.digest}".encode()).hexdigest()[:16],
        flip=True,
        sources=tuple(map(str, (*train.sources, *test.sources))),
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
