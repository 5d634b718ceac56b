"""A condensed set that somebody has in memory: its tensors checked, and as the file of a method.

Nothing here loads torch: tensors of torch say themselves what they are as arrays of numpy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.contract.errors import BenchError

Array = NDArray[Any]
SUMS = 1e-4  # how far the sum of a label may lie from 1


@dataclass(frozen=True, eq=False)
class Given:
    """Images [N, C, H, W] (float32 in [0, 1], or uint8), labels (int64 [N], or float32 [N, K]).

    `classes` [N] are those that the images stand for, and `ipc` how many each class has.
    """

    images: Array
    labels: Array
    classes: Array
    ipc: int
    total: int  # classes

    @cached_property
    def blob(self) -> bytes:
        """As a safetensors file, which methods that read files know."""
        from safetensors.numpy import save

        tensors = {"images": self.images, "labels": self.labels, "classes": self.classes}
        if self.labels.ndim == 1:
            del tensors["classes"]  # they are the labels
        return save({name: np.ascontiguousarray(one) for name, one in tensors.items()})

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.blob).hexdigest()

    def check_fits(self, facts: Mapping[str, Any], dataset: str) -> None:
        """Raise BenchError unless shape and classes are those of a data set."""
        shape, classes = tuple(facts["shape"]), len(facts["classes"])
        if self.images.shape[1:] != shape:
            sizes = ", ".join(map(str, shape))
            raise BenchError(
                f"images are {list(self.images.shape)}; expected [N, {sizes}], as those of "
                f"{dataset} are"
            )
        if self.total != classes:
            raise BenchError(
                f"labels are of {self.total} classes; expected {classes}, those of {dataset}"
            )


def given(images: Any, labels: Any, classes: Any = None) -> Given:
    """The set of some arrays or tensors. Raises BenchError for what no board could judge."""
    pixels, targets = _images(images), _labels(labels)
    count = len(pixels)
    if len(targets) != count:
        raise BenchError(f"there are {count} images and {len(targets)} labels; expected one each")
    owners = targets if targets.ndim == 1 else targets.argmax(1)
    if classes is not None:
        owners = _array(classes, "classes")
        if owners.dtype.kind not in "iu" or owners.shape != (count,):
            raise BenchError(f"classes are {_form(owners)}; expected int64 [{count}]")
        owners = owners.astype(np.int64)
        if targets.ndim == 1 and (off := np.flatnonzero(owners != targets)).size:
            raise BenchError(
                f"image {off[0]} (of 0, 1, ...) has label {targets[off[0]]} and class "
                f"{owners[off[0]]}; expected classes= beside soft labels alone"
            )
    total = targets.shape[1] if targets.ndim == 2 else int(targets.max()) + 1
    if total > count:
        raise BenchError(f"{count} images for {total} classes; expected as many of each class")
    low, high = int(owners.min()), int(owners.max())
    if low < 0 or high >= total:
        raise BenchError(f"classes span {low}..{high}; expected 0..{total - 1}")
    return Given(pixels, targets, owners, _ipc(owners, total, soft=targets.ndim == 2), total)


def _ipc(owners: Array, total: int, *, soft: bool) -> int:
    """How many images each class has."""
    counts = np.bincount(owners, minlength=total)
    if len(set(counts.tolist())) > 1:
        few, many = int(counts.argmin()), int(counts.argmax())
        hint = (
            "; if soft labels lean to other classes, pass classes=, the class [N] that each image "
            "stands for"
        )
        raise BenchError(
            f"class {few} has {counts[few]} images and class {many} has {counts[many]}; expected "
            f"as many of each class{hint if soft else ''}"
        )
    return int(counts[0])


def _images(given: Any) -> Array:
    images = _array(given, "images")
    if images.ndim != 4 or not images.size:
        raise BenchError(f"images are {_form(images)}; expected [N, C, H, W], N of 1 or more")
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind != "f":
        raise BenchError(f"images are {_form(images)}; expected float32 in [0, 1], or uint8")
    if not np.isfinite(images).all():
        raise BenchError("images hold NaN or infinity; expected pixels in [0, 1]")
    low, high = float(images.min()), float(images.max())
    if low < 0 or high > 1:
        if low < 0 or high < 16:
            hint = "if they are normalised, pass images * std + mean, clamped to [0, 1]"
        else:
            hint = "divide them by 255, or by 100 if they are percent"
        raise BenchError(f"images span {low:.4g}..{high:.4g}; expected pixels in [0, 1]; {hint}")
    return images.astype(np.float32)


def _labels(given: Any) -> Array:
    labels = _array(given, "labels")
    expected = "expected int64 [N], or probabilities [N, K]"
    if labels.ndim == 1 and labels.dtype.kind in "iu" and labels.size:
        if int(labels.min()) < 0:
            raise BenchError(f"labels begin at {labels.min()}; expected classes from 0 on")
        return labels.astype(np.int64)
    if labels.ndim != 2 or labels.dtype.kind != "f" or not labels.size:
        raise BenchError(f"labels are {_form(labels)}; {expected}")
    if not np.isfinite(labels).all():
        raise BenchError(f"labels hold NaN or infinity; {expected}")
    sums = labels.astype(np.float64).sum(1)
    if labels.min() < 0 or abs(sums - 1).max() >= SUMS:
        raise BenchError(
            f"labels are no probabilities: the least is {labels.min():.4g}, and rows sum to "
            f"{sums.min():.4g}..{sums.max():.4g}; expected 0 or more, and sums of 1"
        )
    return labels.astype(np.float32)


def _array(value: Any, what: str) -> Array:
    """An array of numpy, of whatever is like one."""
    if np.ma.isMaskedArray(value) and np.ma.is_masked(value):
        raise BenchError(f"{what} are masked in part; expected an array without holes")
    try:
        if hasattr(value, "detach"):  # torch's
            value = value.detach().cpu()
            if str(value.dtype) == "torch.bfloat16":  # which numpy does not have
                value = value.float()
            value = value.numpy()
        found = np.asarray(value)
    except (TypeError, ValueError, RuntimeError, NotImplementedError, MemoryError) as error:
        said = str(error).split("\n")[0]
        raise BenchError(f"{what} are no array ({said}); expected one of numpy or torch") from None
    if found.dtype.kind not in "iufb":
        kind = type(value).__name__
        raise BenchError(f"{what} are {kind} of {found.dtype}; expected an array of numbers")
    return found


def _form(array: Array) -> str:
    return f"{array.dtype} {list(array.shape)}"
