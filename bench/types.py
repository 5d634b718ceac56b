"""The nouns that cross the border between the harness and its plugins.

Pixels are float32 in [0, 1] (or uint8 at rest), labels of a condensed set are distributions
over the classes, and torch is imported only inside functions, so that discovery, planning and
the tables stay light.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor, nn


class BenchError(Exception):
    """Bad input: what was wrong, what was expected, what to do. Shown without a traceback."""


class Missing(BenchError):
    """Files that must be had from elsewhere first: what, where to put them, how to get them."""


class Unsupported(Exception):
    """Raised by a component to decline a cell; the table prints the reason as a footnote.

    Not an error: `raise Unsupported("needs BatchNorm; convnet-in has none")`.
    """


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
    of paths and sizes); `sources` are the files read, so that a kept copy is dropped when one
    of them changes.
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


@dataclass(frozen=True, eq=False)
class Selection:
    """Real images, by index (int64 [N]) into the training split: a coreset, or everything."""

    indices: Tensor

    def __len__(self) -> int:
        return len(self.indices)


@dataclass(frozen=True, eq=False)
class CondensedSet:
    """What a method returns.

    images   [N, C, H, W] float32 in [0, 1] or uint8; or a `Selection`
    labels   [N, K] float32, each row a distribution over the classes
    weights  [N] float32, positive, or None for equal weights
    extras   attachments: "image.*" with N rows, "class.*" with K rows
    notes    what the method would show of its work (scores, curves): kept, and given to nobody
    """

    images: Tensor | Selection
    labels: Tensor
    weights: Tensor | None = None
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    notes: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)


def _no_progress(done: int, total: int) -> None: ...


@dataclass(frozen=True, eq=False)
class Task:
    """What a method (or a teacher) is given. Neither the test split nor the recipe is in here.

    `teacher` and `scorer` are the networks that the component's fields of those names ask for,
    in eval mode with normalisation inside, loaded on first use. `network()`, for teachers and for
    methods with the class variable `fresh_networks = True`, builds a fresh backbone, also with
    normalisation inside, whose last `nn.Linear` is the classifier; each call gives other initial
    weights, and the seed decides which. `denoiser()`, for methods with the class variable
    `fresh_denoisers = True`, is the same of the board's denoiser, built for the attachments whose
    rows have the shapes that it is given (`bench.diffusion.rows_of`); for a teacher of the
    generation track `network()` is one. Both are a `bench.diffusion.Denoiser`, as is `scorer`.
    """

    train: Split
    classes: tuple[str, ...]
    shape: tuple[int, int, int]  # C, H, W
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flip: bool
    ipc: int  # images per class; 0 for a teacher, or for the full set
    seed: int
    device: str = "cpu"
    progress: Callable[[int, int], None] = _no_progress  # done, total
    networks: Mapping[str, Callable[..., nn.Module]] = field(default_factory=dict, repr=False)

    @cached_property
    def teacher(self) -> nn.Module:
        return self._network("teacher")

    @cached_property
    def scorer(self) -> nn.Module:
        return self._network("scorer")

    def network(self) -> nn.Module:
        return self._network("backbone")

    def denoiser(self, extras: Mapping[str, Sequence[int]] | None = None) -> Any:
        return self._network("denoiser", *([extras] if extras else []))

    def _network(self, role: str, *given: Any) -> nn.Module:
        if role not in self.networks:
            way = f'a component field `{role}: str` that names one, as in `{role}: str = "..."`'
            asked = {"backbone": "fresh_networks", "denoiser": "fresh_denoisers"}.get(role)
            if asked:
                way = f"the component's class variable `{asked}: ClassVar[bool] = True`"
            raise BenchError(f"this task has no {role}; expected {way}")
        return self.networks[role](*given)


@dataclass(frozen=True, eq=False)
class Trial:
    """What a metric is given: one evaluated cell. What does not apply to it is None.

    `labels` [P] int64, `clean_logits` and `logits` (under the cell's attack) [P, K] float32
    belong to the test images at `index` [P]; `norm` is that of the attack's ball, "" if it stays
    in none. `samples` [P, C, H, W] (float32 in [0, 1]) are a generator's, one for the label of each
    test image at `index`. `features` is the classifier that a metric's field of that name asks for:
    one for the whole board, trained on the real data, to look at images with. Networks are loaded
    on first use. `cost` is counted, never timed: "size" (images in the set) and "bytes" (of its
    images, labels, weights, extras).
    """

    data: Data
    condensed: CondensedSet
    labels: Tensor | None = None
    index: Tensor | None = None
    clean_logits: Tensor | None = None
    logits: Tensor | None = None
    norm: str = ""
    samples: Tensor | None = None
    cost: Mapping[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    networks: Mapping[str, Callable[[], nn.Module]] = field(default_factory=dict, repr=False)

    @cached_property
    def student(self) -> nn.Module | None:
        return self.networks["student"]() if "student" in self.networks else None

    @cached_property
    def teacher(self) -> nn.Module | None:
        return self.networks["teacher"]() if "teacher" in self.networks else None

    @cached_property
    def features(self) -> nn.Module:
        if "features" not in self.networks:
            raise BenchError(
                "this trial has no features; expected a field `features: str` of the metric that "
                "names a teacher"
            )
        return self.networks["features"]()

    @cached_property
    def correct(self) -> Tensor:
        """Which test images [P] are right under the attack (bool).

        In a ball there is the clean image, too: one that is wrong there counts as broken under
        each attack of the ball (RobustBench). Corruptions stay in none: they count for themselves.
        """
        if self.labels is None or self.logits is None or self.clean_logits is None:
            raise BenchError("this trial has no logits; `correct` needs a metric of = 'probe'")
        right = self.logits.argmax(1) == self.labels
        return right & (self.clean_logits.argmax(1) == self.labels) if self.norm else right
