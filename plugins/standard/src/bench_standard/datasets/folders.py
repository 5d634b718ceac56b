"""Data sets in folders: one folder of image files a class, read when they are asked for.

What is in memory are labels and paths (40 bytes or so an image); pixels are decoded by Pillow,
file by file, in whichever thread asks. A view of an image of 8 bits is, bit for bit, what
torchvision's transforms make of the same PIL image. Like torchvision, this ignores the
orientation that EXIF may tell.
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
from bench_standard import files, pictures

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image
    from torch import Tensor

ENDINGS = (b".jpg", b".jpeg", b".png", b".ppm", b".bmp", b".pgm", b".tif", b".tiff", b".webp")
"""Of image files, in either case; those of torchvision's folders."""

_ENDINGS = ", ".join(ending.decode() for ending in ENDINGS)

SAMPLED = 64
"""Files of a split whose bytes are in its digest: to read all of ImageNet takes half an hour."""

# Of the channels of ImageNet's training images; all pretrained weights of torchvision want them
# (https://docs.pytorch.org/vision/stable/models.html).
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, eq=False)
class FolderSplit:
    """Image files, decoded on demand; any number of threads may ask at once.

    Without boxes, an image is resized so that its shorter side is `resize`, and its centre of
    `size` x `size` is cut out. With boxes, each box, rounded to whole pixels of the original, is
    cut out and resized to `size` x `size`. Bilinear with antialias. Images become RGB, or with
    `channels` = 1 grey. Raises BenchError, with its path, for a file that is broken or has no one
    meaning (`pictures.eight_bits`).
    """

    root: Path
    paths: np.ndarray  # [T] below `root`, bytes of one width: a million must fit in memory
    labels: Tensor  # int64 [T]
    size: int
    resize: int
    channels: int = 3

    def __len__(self) -> int:
        return len(self.paths)

    def images(self, index: Tensor, boxes: Tensor | None = None) -> Tensor:
        import torch

        pixels = self.pixels(index, boxes)
        # In two passes over the pixels: `as_float` makes more, and each costs 5 % of the whole.
        return pixels.to(torch.float32, memory_format=torch.contiguous_format).div_(255)

    def pixels(self, index: Tensor, boxes: Tensor | None = None) -> Tensor:
        """The same as `images`, as uint8 [B, C, H, W]."""
        import numpy as np
        import torch

        pixels = np.empty((len(index), self.size, self.size, self.channels), np.uint8)
        crops = [None] * len(index) if boxes is None else boxes.tolist()
        for row, path, crop in zip(pixels, self.paths[index.numpy()], crops, strict=True):
            view = np.asarray(self._view(self.root / os.fsdecode(path), crop))
            row[:] = view.reshape(row.shape)
        return torch.from_numpy(pixels).permute(0, 3, 1, 2)  # [B, C, H, W]

    def _view(self, path: Path, crop: Sequence[float] | None) -> Image.Image:
        from PIL import Image

        image = pictures.eight_bits(pictures.opened(path), path)
        mode = "RGB" if self.channels == 3 else "L"
        if image.mode != mode:
            image = image.convert(mode)
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

    def split(self, size: int, resize: int, channels: int = 3) -> FolderSplit:
        import torch

        labels = torch.from_numpy(self.labels)
        return FolderSplit(self.root, self.paths, labels, size, resize, channels)

    def sample(self) -> str:
        """SHA-256 of the bytes of some files, all over the split: what names and sizes miss."""
        sha = hashlib.sha256()
        for path in self.paths[:: max(1, -(-len(self.paths) // SAMPLED))]:
            sha.update(files.read(self.root / os.fsdecode(path), unpack=False))
        return sha.hexdigest()


Found = tuple[bytes, int]  # a file: its name, and its size in bytes


def find_root(what: str, choices: Sequence[str], get: str) -> Path:
    """The first of some folders that exists, absolute. Raises Missing if it lacks train or val."""
    root = files.find(what, choices, get).absolute()
    for split in ("train", "val"):
        files.find(f"{what} ({split})", [str(root / split)], get)
    return root


def class_folders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted by their bytes; litter is left out."""
    return [os.fsdecode(name) for name in sorted(e.name for e in _entries(folder) if e.is_dir())]


def image_files(folder: Path, strict: bool = False) -> list[Found]:
    """Image files in a folder, sorted by the bytes of their names; litter is left out.

    Raises BenchError for one that is empty or a link to nothing; if `strict`, for anything else.
    """
    found = []
    for entry in _entries(folder):
        path = Path(os.fsdecode(entry.path))
        if not entry.name.lower().endswith(ENDINGS) or entry.is_dir():
            if strict:
                what = "a folder" if entry.is_dir() else "no image file"
                raise BenchError(
                    f"{path} is {what}; expected nothing but files that end in {_ENDINGS} "
                    "in the folder of a class; move it elsewhere, or convert it"
                )
            continue
        try:
            size = entry.stat().st_size
        except OSError as error:
            raise BenchError(
                f"{path} cannot be read ({error.strerror}); expected an image; if it is a link, "
                "what it points to is gone: unpack the data set anew"
            ) from None
        if not size:
            raise BenchError(f"{path} is empty; expected an image; {pictures.AGAIN}")
        found.append((entry.name, size))
    return sorted(found)


def _entries(folder: Path) -> list[os.DirEntry[bytes]]:
    try:
        with os.scandir(os.fsencode(folder)) as entries:
            return [entry for entry in entries if not files.is_litter(os.fsdecode(entry.name))]
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
                f"{_ENDINGS}; unpack the data set anew"
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
    mean: tuple[float, ...],
    std: tuple[float, ...],
    flip: bool = True,
    looked: Sequence[Path] = (),
) -> Data:
    """Photographs in folders: a mirror image keeps its label. Nothing is decoded here.

    The digest is that of class, name and size of each file, and of the bytes of some; where the
    harness keeps all views, it takes that of their pixels. `looked`: folders that come first, and
    are not there.
    """
    parts = (train.digest, train.sample(), test.digest, test.sample())
    return Data(
        train=train.split(size, resize, len(mean)),
        test=test.split(size, resize, len(mean)),
        classes=tuple(classes),
        shape=(len(mean), size, size),
        mean=mean,
        std=std,
        digest=hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16],
        flip=flip,
        sources=tuple(dict.fromkeys(map(str, (*train.sources, *test.sources, *looked)))),
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
