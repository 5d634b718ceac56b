"""A condensed set that was made elsewhere, so that it is ranked like any other.

    [define.dm]
    method = "prebuilt"
    path = "dm/cifar10-ipc10.safetensors"       # below $BENCH_DATA, or absolute
    sha256 = "..."

Where it differs by ipc, data set or seed, a `[[set]]` of the board names the file of each.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bench import BenchError, CondensedSet, Missing, Task, Unsupported
from bench_standard import files
from bench_standard.datasets.imagenette import ImageNette, ImageWoof

if TYPE_CHECKING:
    from torch import Tensor

Images = list[tuple[Path, int]]  # PNG files and their classes
NEGATIVE = 1e-6  # a probability below 0 by less is a rounding of 0
WORDNET = {**ImageNette.classes, **ImageWoof.classes}  # names by ID
REQUIRED, OPTIONAL = {"images", "labels"}, {"weights", "classes"}


@dataclass(frozen=True)
class Prebuilt:
    """A condensed set made elsewhere, read from a file or folder that its SHA-256 names.

    A safetensors file holds `images` [N, C, H, W] (float32 in [0, 1], or uint8), `labels` (int
    [N], or float [N, K]: distributions) and, if need be, `weights` [N] (float32) and `classes` [N]
    (int64), where distributions lean to other classes than those of the images. Labels of half
    precision, and those below 0 by a rounding, are made distributions again. A folder holds
    `<class>/*.png`, where the folders are named all by class ("/" as it is, or as "_" or "-"), all
    by WordNet ID, or all by index, 0 to K - 1; its SHA-256 is what
    `LC_ALL=C sha256sum */*.png | sha256sum` says in it. A set whose images
    have another shape than those of the data set is Unsupported; other faults are errors.
    """

    name: str = "prebuilt"
    path: str = ""  # below the data folder, or absolute
    sha256: str = ""  # of the file or folder; left empty, the error says what it is
    teacher: str = ""  # labels the views where a board asks for it; empty: the board's choice
    from_file: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.sha256 and not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise BenchError(
                f"{self.name}: sha256 is {self.sha256!r}; expected 64 digits of 0-9 and a-f, or "
                "nothing, to be told"
            )

    def condense(self, task: Task) -> CondensedSet:
        if not self.path:
            raise Missing(
                f"{self.name} has no path; expected that of a safetensors file or a folder of "
                f"PNGs, below {files.folder().absolute()} or absolute; set path and sha256 in the "
                "board"
            )
        path = files.find(
            f"the condensed set of {self.name}", [self.path], "copy it there, or change path"
        )
        if path.is_dir():
            images = _listed(path, task.classes)
            self._check(path, _hash_of(path, images))
            condensed = _from_folder(path, images, task)
        else:
            _check_format(path)
            self._check(path, files.sha256(path))
            condensed = _from_file(path, task)
        count, classes = len(condensed), len(task.classes)
        if count and not (task.ipc - 1) * classes < count <= task.ipc * classes:
            raise Unsupported(
                f"{path.name} holds {count} images of {classes} classes, and ipc is {task.ipc}; "
                "name the file of this budget by [[set]]"
            )
        _check_legal(path, condensed, task)
        return condensed

    def _check(self, path: Path, found: str) -> None:
        """Raise BenchError unless the files are those that the board means."""
        if not self.sha256:
            raise BenchError(
                f"{self.name} has no sha256; that of {path} is {found}; if this is the set that "
                f'you mean, add sha256 = "{found}"'
            )
        if found != self.sha256:
            raise BenchError(
                f"{path} has SHA-256 {found}; {self.name} expects {self.sha256}; get the file "
                "that was meant, or change sha256"
            )


# ---- a safetensors file


def _check_format(path: Path) -> None:
    if path.suffix != ".safetensors":
        raise BenchError(
            f"{path} is no .safetensors file; expected one, or a folder of PNGs; a pickle (.pt, "
            ".pkl) can run code, so convert it where you trust it: images, labels = "
            "torch.load(PATH); safetensors.torch.save_file({'images': images, 'labels': labels}, "
            "'set.safetensors')"
        )


def _from_file(path: Path, task: Task) -> CondensedSet:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise BenchError(
            f"{path} cannot be read as safetensors ({error}); write it with "
            "safetensors.torch.save_file"
        ) from None
    if not REQUIRED <= set(tensors) <= REQUIRED | OPTIONAL:
        raise BenchError(
            f"{path} holds the tensors {', '.join(sorted(tensors)) or 'none'}; expected images, "
            "labels and, if need be, weights and classes"
        )
    images = tensors["images"]
    _check_shape(path, images.shape, task.shape)
    _check_range(path, images, task)
    task.progress(1, 1)
    if images.is_floating_point():
        images = images.float()
    weights = tensors["weights"].float() if "weights" in tensors else None
    labels = _distributions(path, tensors, task)
    classes = tensors.get("classes")  # of another type the gate speaks
    return CondensedSet(images, labels, weights, classes=classes)  # type: ignore[arg-type]


def _check_shape(path: Path, found: tuple[int, ...], shape: tuple[int, int, int]) -> None:
    channels, height, width = shape
    if len(found) != 4 or tuple(found[1:]) == (height, width, channels) != shape:
        raise BenchError(
            f"{path}: images are {list(found)}; expected [N, {channels}, {height}, {width}]; "
            "reshape or permute them before you save them"
        )
    if tuple(found[1:]) != shape:
        raise Unsupported(
            f"{path.name} holds images of {_size(found[1:])}; those of the data set are "
            f"{_size(shape)}"
        )


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _check_range(path: Path, images: Tensor, task: Task) -> None:
    """Say what is likely wrong with pixels outside [0, 1]."""
    if not images.is_floating_point() or not images.numel():
        return
    low, high = (float(x) for x in images.aminmax())
    if low < 0 or 1 < high < 16:
        raise BenchError(
            f"{path}: images span {low:.4g}..{high:.4g}; expected pixels in [0, 1]; if they are "
            f"normalised, store (images * std + mean).clamp(0, 1), as with this data set's mean "
            f"{list(task.mean)} and std {list(task.std)}"
        )
    if high > 1:
        raise BenchError(
            f"{path}: images span {low:.4g}..{high:.4g}; expected pixels in [0, 1]; if they are "
            "bytes, store them as uint8"
        )


def _distributions(path: Path, tensors: Mapping[str, Tensor], task: Task) -> Tensor:
    """Labels as distributions [N, K]."""
    import torch
    from torch.nn import functional as F

    labels, classes = tensors["labels"], len(task.classes)
    if labels.is_floating_point() and labels.ndim == 2:
        return _rounded(labels)
    whole = not (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool)
    if not whole or labels.ndim != 1:
        raise BenchError(
            f"{path}: labels are {str(labels.dtype).removeprefix('torch.')} {list(labels.shape)}; "
            f"expected int [N] or float [N, {classes}]"
        )
    if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise BenchError(
            f"{path}: labels span {int(labels.min())}..{int(labels.max())}; expected "
            f"0..{classes - 1}"
        )
    return F.one_hot(labels.long(), classes).float()


def _rounded(labels: Tensor) -> Tensor:
    """Probabilities [N, K] as float32, without what rounding has done to their sums and signs."""
    import torch

    rounding = {torch.float16: 1e-2, torch.bfloat16: 2e-2}.get(labels.dtype, 0.0)
    found = labels.float()
    if bool((found < 0).any()) and float(found.min()) > -NEGATIVE:
        found, rounding = found.clamp_min(0), max(rounding, NEGATIVE * labels.shape[1])
    sums = found.double().sum(1, keepdim=True)
    if rounding and bool(((sums - 1).abs() < rounding).all()):
        return (found.double() / sums).float()
    return found


# ---- a folder of PNGs


def _listed(folder: Path, classes: tuple[str, ...]) -> Images:
    """The PNGs of a folder with their classes, by class and name. Litter is passed over."""
    places = _places(folder, classes)
    names = [path.relative_to(folder).as_posix() for path in places]
    if not names:
        raise BenchError(f"{folder} holds no folders; expected <class>/*.png in it")
    known = _spellings(classes)
    if all(name in known for name in names):
        label = {name: known[name] for name in names}
    else:
        numbers = all(name.isdecimal() for name in names)
        strangers = [n for n in names if (int(n) >= len(classes) if numbers else n not in known)]
        if strangers:
            shown = ", ".join(classes[:5]) + (", ..." if len(classes) > 5 else "")
            raise BenchError(
                f"{folder} holds a folder '{strangers[0]}'; expected all to be named by class "
                f"({shown}), or all by index (0 to {len(classes) - 1})"
            )
        label = {name: int(name) for name in names}
    of = dict(zip(places, names, strict=True))
    found = [(path, label[of[inner]]) for inner in places for path in _visible(inner)]
    for path, _ in found:
        if path.suffix.lower() != ".png":
            raise BenchError(f"{path} is no PNG; expected nothing but <class>/*.png in {folder}")
    return sorted(found, key=lambda image: (image[1], image[0].as_posix()))


def _places(folder: Path, classes: tuple[str, ...]) -> list[Path]:
    """The folders of classes; a class `a/b` may be the folder b in a folder a."""
    found = []
    for path in _visible(folder):
        nested = [inner for inner in _visible(path) if inner.is_dir()] if path.is_dir() else []
        of = [inner for inner in nested if f"{path.name}/{inner.name}" in classes]
        if of and len(of) == len(_visible(path)):
            found += of
        elif path.is_dir():
            found.append(path)
    return found


def _spellings(classes: tuple[str, ...]) -> dict[str, int]:
    """The classes by the names that their folders may have; what is ambiguous is left out."""
    found: dict[str, int] = {}
    ids = {name: number for number, name in WORDNET.items()}
    for spell in (
        lambda name: name.replace("/", "-"),
        lambda name: name.replace("/", "_"),
        lambda name: ids.get(name, name),
    ):
        spelt = [str(spell(name)) for name in classes]
        found |= {name: k for k, name in enumerate(spelt) if spelt.count(name) == 1}
    return found | {name: k for k, name in enumerate(classes)}


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not files.is_litter(path.name))


def _hash_of(folder: Path, images: Images) -> str:
    """SHA-256 of the manifest: hash and relative path of each file, as sha256sum writes them."""
    by_path = {path.relative_to(folder).as_posix(): path for path, _ in images}
    lines = [f"{files.sha256(by_path[name])}  {name}\n" for name in sorted(by_path)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _from_folder(folder: Path, images: Images, task: Task) -> CondensedSet:
    import numpy as np
    import torch
    from torch.nn import functional as F

    channels, height, width = task.shape
    arrays: list[Any] = []
    for number, (path, _) in enumerate(images, 1):
        array = _decoded(path)  # [H, W, 3]
        if arrays and array.shape[:2] != arrays[0].shape[:2]:
            raise BenchError(
                f"{path} is {_size(array.shape[:2])}; expected {_size(arrays[0].shape[:2])}, as "
                "the first image is"
            )
        if array.shape[:2] != (height, width):
            raise Unsupported(
                f"{folder.name} holds images of {_size(array.shape[:2])}; those of the data set "
                f"are {_size((height, width))}"
            )
        if channels == 1 and not (array == array[..., :1]).all():
            raise BenchError(
                f"{path} is in colour; expected grey, for the images of the data set have one "
                "channel"
            )
        arrays.append(array[..., :channels])
        task.progress(number, len(images))
    labels = torch.tensor([label for _, label in images])
    return CondensedSet(
        torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous(),
        F.one_hot(labels, len(task.classes)).float(),
    )


def _decoded(path: Path) -> Any:
    """A PNG as RGB: uint8 [H, W, 3]. Grey ones get three equal channels."""
    import numpy as np
    from PIL import Image

    try:
        with Image.open(path, formats=["PNG"]) as image:
            mode = f"{image.mode} with transparency" if "transparency" in image.info else image.mode
            array = np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BenchError(f"{path} cannot be read as a PNG ({error}); write it anew") from None
    if mode not in ("RGB", "L", "P", "1"):
        raise BenchError(
            f"{path} has pixels of mode {mode}; expected 8 bits of grey or RGB, without "
            "transparency; convert it"
        )
    return array


def _check_legal(path: Path, condensed: CondensedSet, task: Task) -> None:
    """The gate of the harness, whose sentences get the name of the file."""
    from bench.training import gates

    try:
        gates.check_condensed(
            condensed,
            shape=task.shape,
            classes=len(task.classes),
            train_size=len(task.train.labels),
            ipc=task.ipc,
        )
    except BenchError as error:
        raise BenchError(f"{path}: {error}") from None
