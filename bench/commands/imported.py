"""`bench import`: a condensed set as its authors left it, made the file of a `prebuilt` method.

What codes of the field write differs in where images and labels lie, in the order of axes, and in
what was done to pixels. What can be found out is found out, and said; what cannot is asked for.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.commands.given import Given, given
from bench.commands.unpacked import Array, arrays
from bench.contract.errors import BenchError
from bench.contract.files import write_bytes

PIXELS, BYTES, NORMALISED, WHITENED = STORED = ("pixels", "bytes", "normalised", "zca")
PICTURES = (".jpeg", ".jpg", ".png")
SMOOTH = 0.3  # correlation of neighbours below which images look whitened; photographs: 0.9
RIDGE = 0.1  # added to variances before whitening, as MTT's code does
WORDNET = re.compile(r"n\d{8}")
LAST = re.compile(r"(\d+)$")


@dataclass(frozen=True)
class Asked:
    """What the user has said of the files. Empty: find out."""

    dataset: str = ""  # the board's first
    stored: str = ""  # one of STORED
    which: int | None = None  # of several sets in one file
    logits: bool = False  # are soft labels logits?

    def __post_init__(self) -> None:
        if self.stored and self.stored not in STORED:
            raise BenchError(f"--stored is {self.stored!r}; expected one of {', '.join(STORED)}")


@dataclass(frozen=True)
class Data:
    """What a data set is: shape [C, H, W], names of classes, mean and standard deviation."""

    name: str
    shape: tuple[int, ...]
    classes: Sequence[str]
    mean: Array
    std: Array
    train: Any  # a function that gives the training images [T, C, H, W], float32 in [0, 1]


@dataclass(frozen=True)
class Imported:
    """A set, and what was done to make it one."""

    set: Given
    told: tuple[str, ...]


def write(
    paths: Sequence[Path], board: Path, asked: Asked, out: Path, store: Path | None
) -> list[str]:
    """Write the set in `paths` to a safetensors file; what was done, and what a board is to say.

    Raises BenchError for what cannot be read or guessed, and for a file that is there already.
    """
    if out.suffix != ".safetensors" or out.exists():
        why = "exists" if out.exists() else "is no .safetensors"
        raise BenchError(f"--out {out} {why}; expected the name of a new safetensors file")
    data = _data(board, asked.dataset, store or Path(".bench"))
    found = imported(paths, asked, data)
    blob = found.set.blob
    write_bytes(out, blob)
    name = re.sub(r"[^a-z0-9]+", "-", out.stem.lower()).strip("-") or "mine"
    return [
        *found.told,
        f"wrote {out}: {len(found.set.images)} images, {found.set.ipc} of each class; in a board:",
        "",
        f'methods = ["{name}"]',
        f"[define.{name}]",
        'method = "prebuilt"',
        f'path = "{out.absolute()}"',
        f'sha256 = "{hashlib.sha256(blob).hexdigest()}"',
    ]


def imported(paths: Sequence[Path], asked: Asked, data: Data) -> Imported:
    """The set that some files or a folder of class folders hold."""
    told: list[str] = []
    if len(paths) == 1 and paths[0].is_dir() and not _files(paths[0]):
        images, labels = _pictured(paths[0], data, told)
    else:
        files = [file for path in paths for file in (_files(path) if path.is_dir() else [path])]
        known = {f"{file.name}:{k}": v for file in files for k, v in arrays(file).items()}
        images, labels = _pair(known, asked, told)
    images = _as_pixels(_axes(images, data, told), asked, data, told)
    if labels.ndim == 2 and asked.logits:
        labels = _softmax(labels)
        told.append("labels: softmax of logits")
    elif labels.ndim == 1 and labels.dtype.kind == "f" and (labels == labels.round()).all():
        labels = labels.astype(np.int64)
    one = given(images, labels)
    total = len(data.classes)
    if one.total < total and one.labels.ndim == 1:
        raise BenchError(
            f"labels go up to {one.total - 1}; expected all {total} classes of {data.name}"
        )
    one.check_fits({"shape": data.shape, "classes": data.classes}, data.name)
    return Imported(one, tuple(told))


def _data(board: Path, name: str, store: Path) -> Data:
    """What a board's data set is, loaded as a run would load it."""
    from bench.board.check import resolve
    from bench.board.matrix import read
    from bench.contract.registry import discover
    from bench.engine.scheduler import Engine
    from bench.store.store import Store

    matrix = read(board)
    name = name or matrix.datasets[0]
    if name not in matrix.datasets:
        raise BenchError(
            f"--dataset is {name!r}; expected one of {board}: {', '.join(matrix.datasets)}"
        )
    engine = Engine(resolve(matrix, discover(), board), Store(store), board=board)
    loaded, lost = engine.load([name])
    if name in lost:
        raise BenchError(f"dataset '{name}' cannot be loaded: {lost[name].reason}")
    one = loaded[name]

    def train() -> Array:
        import torch

        from bench.stages.source import Source

        split = Source(engine.store, one.load, one.component, one.evaluate).split("train")
        images: Array = split.images(torch.arange(len(split.labels))).float().numpy()
        return images

    facts = one.facts
    mean, std = (np.asarray(facts[value], np.float64) for value in ("mean", "std"))
    return Data(name, tuple(facts["shape"]), tuple(facts["classes"]), mean, std, train)


# ---- where images and labels are


def _files(folder: Path) -> list[Path]:
    from bench.commands.unpacked import SUFFIXES

    return sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)


def _pair(known: Mapping[str, Array], asked: Asked, told: list[str]) -> tuple[Array, Array]:
    """Images and the labels that belong to them: as many, and the nearest in the file."""
    pairs = [*_pairs(known)]
    if not pairs:
        held = "; ".join(f"{k} {v.dtype} {list(v.shape)}" for k, v in [*known.items()][:6])
        raise BenchError(
            f"no images [N, C, H, W] with labels [N] or [N, K] are there, but {held or 'nothing'}; "
            "name the files of both, or store them under the names images and labels"
        )
    if len(pairs) > 1 and asked.which is None:
        names = ", ".join(f"{k} = {image}" for k, (image, _) in enumerate(pairs[:8]))
        raise BenchError(f"there are {len(pairs)} sets: {names}; say --which, as in --which 0")
    which = asked.which or 0
    if not 0 <= which < len(pairs):
        raise BenchError(f"--which is {which}; expected 0 to {len(pairs) - 1}")
    image, label = pairs[which]
    told.append(f"images: {image} {list(known[image].shape)}; labels: {label}")
    return known[image], known[label]


def _pairs(known: Mapping[str, Array]) -> Iterator[tuple[str, str]]:
    labels = [name for name, one in known.items() if _may_label(one)]
    for name, one in known.items():
        if one.ndim == 4 and len(one):
            fit = [k for k in labels if len(known[k]) == len(one)]
            if fit:
                yield name, max(fit, key=lambda k: _alike(name, k))


def _may_label(one: Array) -> bool:
    """int [N], or numbers [N, K]."""
    whole = one.ndim == 1 and one.size and (one.dtype.kind in "iu" or (one == one.round()).all())
    return bool(whole) or (one.ndim == 2 and one.shape[1] > 1 and one.dtype.kind == "f")


def _alike(image: str, label: str) -> tuple[int, int]:
    """How near two places of a file are: parts of the path in common, then by the name."""
    one, two = image.split("/"), label.split("/")
    shared = 0
    while shared < min(len(one), len(two)) - 1 and one[shared] == two[shared]:
        shared += 1
    named = any(word in label.lower() for word in ("label", "target", "/1", ":1"))
    return shared, int(named)


# ---- pictures in folders of classes


def _pictured(folder: Path, data: Data, told: list[str]) -> tuple[Array, Array]:
    """Images uint8 [N, C, H, W] and labels [N] of `<class>/*.jpg` or PNGs."""
    from PIL import Image

    places = sorted(path for path in folder.iterdir() if path.is_dir())
    label = _named([path.name for path in places], data, told)
    channels, height, width = data.shape
    images, labels = [], []
    for place in places:
        for path in sorted(p for p in place.iterdir() if p.suffix.lower() in PICTURES):
            try:
                with Image.open(path) as picture:
                    array = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
            except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
                raise BenchError(f"{path} cannot be read as a picture ({error})") from None
            if array.shape[:2] != (height, width):
                raise BenchError(
                    f"{path} is {array.shape[0]} x {array.shape[1]}; expected {height} x {width}, "
                    "as the data set's; name the data set of that size, or resize them"
                )
            images.append(array.reshape(height, width, channels).transpose(2, 0, 1))
            labels.append(label[place.name])
    if not images:
        raise BenchError(f"{folder} holds no {', '.join(PICTURES)} in folders of classes")
    told.append(f"{len(images)} pictures in {len(places)} folders")
    return np.stack(images), np.array(labels)


def _named(names: Sequence[str], data: Data, told: list[str]) -> dict[str, int]:
    """The class that each folder is named for."""
    classes = [*data.classes]
    flat = [re.sub(r"[/ ]", "_", name) for name in classes]
    if all(name in classes or name in flat for name in names):
        told.append("folders: named by class")
        return {name: (classes if name in classes else flat).index(name) for name in names}
    if len(names) == len(classes) and all(WORDNET.fullmatch(name) for name in names):
        told.append("folders: WordNet IDs, in their order the classes")
        return {name: number for number, name in enumerate(sorted(names))}
    numbers = {name: int(end[1]) for name in names if (end := LAST.search(name))}
    if len(numbers) == len(names) and sorted(numbers.values()) == [*range(len(classes))]:
        told.append(f"folders: numbered from 0, as {names[0]}")
        return numbers
    odd = next((name for name in names if name not in classes), "")
    raise BenchError(
        f"a folder is named {odd!r}; expected {len(classes)} that are named by class "
        f"({', '.join(classes[:3])}, ...), by WordNet ID, or by number from 0"
    )


# ---- axes and pixels


def _axes(images: Array, data: Data, told: list[str]) -> Array:
    """[N, C, H, W]."""
    channels, height, width = data.shape
    last = images.shape[1:] == (height, width, channels)
    if last and images.shape[1:] != data.shape:
        told.append("axes: channels were last")
        return images.transpose(0, 3, 1, 2)
    return images


def _as_pixels(images: Array, asked: Asked, data: Data, told: list[str]) -> Array:
    """Pixels, uint8, or float32 in [0, 1]."""
    if images.dtype == np.uint8:
        return images
    images = images.astype(np.float32)
    if images.shape[1:] != data.shape or not np.isfinite(images).all():
        return images  # `given` and `check_fits` say what is wrong
    stored = asked.stored or _guess(images, told)
    if stored == PIXELS:
        return images
    if stored == BYTES:
        return images / 255
    if stored == WHITENED:
        images = _coloured(images, data, told)
    mean, std = (np.asarray(v, np.float32).reshape(-1, 1, 1) for v in (data.mean, data.std))
    found = images * std + mean
    beyond = float(((found < 0) | (found > 1)).mean())
    told.append(
        f"pixels: {stored}; times std {_listed(data.std)}, plus mean {_listed(data.mean)}; "
        f"{beyond:.1%} lay outside [0, 1] and were cut off"
    )
    return found.clip(0, 1)


def _guess(images: Array, told: list[str]) -> str:
    low, high = float(images.min()), float(images.max())
    if low >= 0 and high <= 1:
        return PIXELS
    if low >= 0 and high > 16:
        told.append("pixels: 0 to 255")
        return BYTES
    flat = images.astype(np.float64)
    pairs = (flat[..., :-1].ravel(), flat[..., 1:].ravel())
    alike = float(np.corrcoef(*pairs)[0, 1]) if pairs[0].std() and pairs[1].std() else 1.0
    if alike < SMOOTH:
        raise BenchError(
            f"images span {low:.3g}..{high:.3g}, and neighbouring pixels have little in common "
            f"(correlation {alike:.2f}); were they whitened (MTT, DATM: --stored zca), or are they "
            "normalised noise (--stored normalised)?"
        )
    return NORMALISED


def _coloured(images: Array, data: Data, told: list[str]) -> Array:
    """The normalised images that ZCA has whitened, as MTT's code does: by all training images."""
    mean, std = (np.asarray(v, np.float32).reshape(-1, 1, 1) for v in (data.mean, data.std))
    train = ((data.train() - mean) / std).reshape(-1, int(np.prod(data.shape))).astype(np.float64)
    centre = train.mean(0)
    train -= centre
    values, vectors = np.linalg.eigh(train.T @ train / (len(train) - 1))
    back = (vectors * np.sqrt(values.clip(0) + RIDGE)) @ vectors.T
    told.append(f"whitening undone: ZCA of {len(train):,} training images, ridge {RIDGE}")
    flat = images.reshape(len(images), -1).astype(np.float64) @ back + centre
    coloured: Array = flat.reshape(images.shape).astype(np.float32)
    return coloured


def _softmax(logits: Array) -> Array:
    shifted = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    found: Array = (shifted / shifted.sum(1, keepdims=True)).astype(np.float32)
    return found


def _listed(values: Any) -> str:
    return ", ".join(f"{float(v):.4g}" for v in values)
