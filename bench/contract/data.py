"""Images and labels: splits, and the data set that they are of.

Pixels are float32 in [0, 1] (or uint8 at rest). Torch is imported only inside functions, so that
discovery, planning and the tables stay light.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor


@runtime_checkable
class Split(Protocol):
    """Labelled images, in memory or on disk. Nobody may assume that all of them fit in memory.

    Several threads may ask for images at once.
    """

    @property
    def labels(self) -> Tensor:
        """Class indices, int64 [T], all in memory."""

    def images(self, index: Tensor, boxes: Tensor | None = None) -> Tensor:
        """Images [B, C, H, W] (float32 in [0, 1]) at `index` (int64 [B]).

        `boxes` (float32 [B, 4]: left, top, right, bottom, as fractions of the *original* image)
        are crops, resized to the split's size.
        """


@dataclass(frozen=True, eq=False)
class TensorSplit:
    """A split that fits in memory: pixels uint8 or float32 [T, C, H, W], labels int64 [T]."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def images(self, index: Tensor, boxes: Tensor | None = None) -> Tensor:
        images = as_float(self.pixels[index])
        return images if boxes is None else crop_and_resize(images, boxes)


@dataclass(frozen=True, eq=False)
class Subset:
    """Part of a split, by index: how a validation split is carved from the training images."""

    of: Split
    index: Tensor

    def __len__(self) -> int:
        return len(self.index)

    @property
    def labels(self) -> Tensor:
        return self.of.labels[self.index]

    def images(self, index: Tensor, boxes: Tensor | None = None) -> Tensor:
        return self.of.images(self.index[index], boxes)


def as_float(pixels: Tensor) -> Tensor:
    """Pixels as float32 in [0, 1]: uint8 is divided by 255, float32 is returned as it is."""
    import torch

    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels


def crop_and_resize(images: Tensor, boxes: Tensor) -> Tensor:
    """Cut `boxes` [B, 4] (left, top, right, bottom; fractions) out of images [B, C, H, W].

    Each crop is resized bilinearly to [H, W], in one batched call.
    """
    from torch.nn import functional as F

    left, top, right, bottom = boxes.to(images).unbind(1)
    theta = images.new_zeros(len(images), 2, 3)  # affine map of output to input coordinates
    theta[:, 0, 0], theta[:, 0, 2] = right - left, left + right - 1
    theta[:, 1, 1], theta[:, 1, 2] = bottom - top, top + bottom - 1
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    resized: Tensor = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return resized.clamp(0, 1)


@dataclass(frozen=True, eq=False)
class Data:
    """A data set: two splits and what is known of them.

    `digest` names the content (`digest_of_tensors`, or for folders a hash of the sorted manifest
    of paths and sizes); `sources` are the files and folders read, and those looked for first and
    not found, so that a kept copy is dropped when one of them, or a file in one of them, changes.
    """

    train: Split
    test: Split
    classes: tuple[str, ...]
    shape: tuple[int, int, int]  # C, H, W
    mean: tuple[float, ...]  # per channel, of the training pixels in [0, 1]
    std: tuple[float, ...]
    digest: str
    flip: bool = False  # does a mirror image keep its label?
    sources: tuple[str, ...] = ()

    @classmethod
    def from_tensors(
        cls,
        train: tuple[Tensor, Tensor],
        test: tuple[Tensor, Tensor],
        classes: Sequence[str],
        *,
        flip: bool = False,
        sources: Sequence[str] = (),
    ) -> Data:
        """A data set in memory: (pixels [T, C, H, W], labels [T]) twice; the rest is computed."""
        channels, height, width = train[0].shape[1:]
        mean, std = _mean_and_std(train[0])
        return cls(
            train=TensorSplit(*train),
            test=TensorSplit(*test),
            classes=tuple(classes),
            shape=(channels, height, width),
            mean=mean,
            std=std,
            digest=digest_of_tensors(*train, *test),
            flip=flip,
            sources=tuple(map(str, sources)),
        )


def _mean_and_std(pixels: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Of each channel of `as_float(pixels)`, rounded to six decimals; std is unbiased.

    It looks at a few images at a time: as floats, all of them would take four times the room.
    """
    import torch

    channels, height, width = pixels.shape[1:]
    count = len(pixels) * height * width  # pixels of a channel
    parts = torch.split(pixels, max(1, 2**18 // (channels * height * width)))
    zero = pixels.new_zeros(channels, dtype=torch.float64)
    mean = sum((as_float(part).double().sum((0, 2, 3)) for part in parts), zero) / count
    off = (as_float(part).double() - mean.view(-1, 1, 1) for part in parts)
    variance = sum((d.square().sum((0, 2, 3)) for d in off), zero) / max(1, count - 1)
    std = variance.sqrt().clamp_min(1e-6)
    return tuple(round(x, 6) for x in mean.tolist()), tuple(round(x, 6) for x in std.tolist())


def digest_of_tensors(*tensors: Tensor) -> str:
    """Sixteen hex digits of the SHA-256 over dtype, shape and bytes of each tensor in turn."""
    import hashlib

    sha = hashlib.sha256()
    for tensor in tensors:
        array = tensor.detach().cpu().contiguous().numpy()
        sha.update(f"{array.dtype}{array.shape}".encode())
        sha.update(array.data)
    return sha.hexdigest()[:16]
