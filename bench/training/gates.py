"""What may pass from a component into a record: shapes, ranges, budgets, balls.

Each gate raises BenchError with a sentence that names the value and what was expected. The
stages call them on every result, and the contract kit on small ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bench.contract.data import Data, TensorSplit
from bench.contract.errors import BenchError, require
from bench.contract.kinds import SEARCHES
from bench.contract.task import CondensedSet, Perturbed, Selection

Standing = tuple[str, str, int]  # a part of an attack: its name, its search, and what it leaves

BALL_TOLERANCE = 1e-6  # float32 rounding of x + delta, in pixels of [0, 1]
CHUNK = 2**22  # values looked at at once
INSPECTED = 4  # images of a split that is not in memory


def check_data(data: Data, splits: Sequence[str] = ("train", "test")) -> None:
    """A data set: shapes agree, labels index the classes, pixels lie in [0, 1].

    A split in memory is looked at whole, of others the first images are. No other split than
    `splits` is looked into.
    """
    require(isinstance(data, Data), f"load() returned {_named(data)}; expected bench.Data")
    channels = data.shape[0]
    require(len(data.mean) == channels == len(data.std), "mean and std need one value a channel")
    require(bool(data.digest), "the digest is empty; it must name the content")
    spelt = [str(name).encode("utf-8", "replace").decode() for name in data.classes]
    odd = next((n for n, same in zip(data.classes, spelt, strict=True) if n != same), "")
    require(not odd, f"class name {odd!r} is no text in UTF-8; rename the class, or its folder")
    for name in splits:
        split = getattr(data, name)
        labels = split.labels
        require(
            isinstance(labels, Tensor)
            and labels.dtype == torch.int64
            and labels.ndim == 1
            and len(labels) > 0,
            f"the {name} labels are {_named(labels)}; expected int64 [T], not empty",
        )
        low, high = int(labels.min()), int(labels.max())
        require(
            low >= 0 and high < len(data.classes),
            f"the {name} labels span {low}..{high}, with {len(data.classes)} classes",
        )
        if isinstance(split, TensorSplit):
            _check_whole(split.pixels, len(labels), data.shape, name)
        else:
            images = split.images(torch.arange(min(len(labels), INSPECTED)))
            check_pixels(images, data.shape, f"the {name} images")


def _check_whole(pixels: Tensor, count: int, shape: tuple[int, ...], name: str) -> None:
    """All images of a split; the first that is wrong is named."""
    _check_form(pixels, shape, f"the {name} images")
    require(
        len(pixels) == count,
        f"the {name} split has {len(pixels)} images and {count} labels; expected a label each",
    )
    if pixels.dtype == torch.uint8:
        return
    start = 0
    for chunk in torch.split(pixels, max(1, CHUNK // pixels[0].numel())):
        wrong = ~((chunk >= 0) & (chunk <= 1)).flatten(1).all(1)  # NaN is in no range
        if bool(wrong.any()):
            first = int(wrong.nonzero()[0])
            what = f"the pixels of {name} image {start + first}"
            check_pixels(chunk[first : first + 1], shape, what)
        start += len(chunk)


def check_pixels(images: Tensor, shape: tuple[int, ...], what: str) -> None:
    """Images [B, *shape]: float32 in [0, 1], or uint8; finite."""
    _check_form(images, shape, what)
    if images.dtype == torch.uint8:
        return
    require(bool(images.isfinite().all()), f"{what} hold NaN or infinity")
    low, high = (float(x) for x in images.detach().aminmax())
    require(low >= 0 and high <= 1, f"{what} span {low:.4g}..{high:.4g}; expected [0, 1]")


def _check_form(images: Tensor, shape: tuple[int, ...], what: str) -> None:
    """Images [B, *shape], some, float32 or uint8."""
    require(isinstance(images, Tensor), f"{what} are {_named(images)}; expected a tensor")
    require(
        tuple(images.shape[1:]) == tuple(shape) and images.ndim == 4,
        f"{what} have shape {list(images.shape)}; expected [N, {', '.join(map(str, shape))}]",
    )
    require(images.numel() > 0, f"{what} are none; expected at least one")
    require(
        images.dtype in (torch.float32, torch.uint8),
        f"{what} are {images.dtype}; expected float32 or uint8",
    )


def check_condensed(
    condensed: CondensedSet,
    *,
    shape: tuple[int, int, int],
    classes: int,
    train_size: int,
    ipc: int,
) -> None:
    """A condensed set: at most ipc x classes images (ipc = 0: no budget), legal pixels or
    indices, labels that are distributions, every class present, positive weights."""
    require(
        isinstance(condensed, CondensedSet),
        f"condense() returned {_named(condensed)}; expected bench.CondensedSet, "
        "whose images may be a bench.Selection",
    )
    count, budget = len(condensed), ipc * classes
    require(count > 0, "the condensed set is empty")
    require(
        not ipc or count <= budget,
        f"the condensed set has {count} images; at most {budget} are allowed "
        f"({ipc} per class, {classes} classes)",
    )
    if isinstance(condensed.images, Selection):
        _check_selection(condensed.images.indices, train_size)
    else:
        check_pixels(condensed.images, shape, "the condensed images")
    _check_labels(condensed.labels, count, classes)
    _check_classes(condensed.classes, count, classes)
    if condensed.weights is not None:
        _check_weights(condensed.weights, count)
    _check_extras(condensed.extras, count, classes)
    for name, note in condensed.notes.items():
        require(isinstance(note, Tensor), f"note '{name}' is {_named(note)}; expected a tensor")


def _check_selection(index: Tensor, train_size: int) -> None:
    require(
        isinstance(index, Tensor) and index.dtype == torch.int64 and index.ndim == 1,
        f"the selection is {_named(index)}; expected int64 [N]",
    )
    low, high = int(index.min()), int(index.max())
    require(
        low >= 0 and high < train_size,
        f"the selection spans {low}..{high}; the training split has {train_size} images",
    )
    require(len(set(index.tolist())) == len(index), "the selection names an image twice")


def _check_labels(labels: Tensor, count: int, classes: int) -> None:
    require(
        isinstance(labels, Tensor) and tuple(labels.shape) == (count, classes),
        f"the labels are {_named(labels)}; expected a tensor [{count}, {classes}] of distributions",
    )
    require(labels.dtype == torch.float32, f"the labels are {labels.dtype}; expected float32")
    require(bool(labels.isfinite().all()), "the labels hold NaN or infinity")
    sums = labels.detach().double().sum(1)
    require(
        bool((labels >= 0).all()) and bool(((sums - 1).abs() < 1e-4).all()),
        "the labels are not distributions: every row must be 0 or more and sum to 1 "
        f"(sums span {float(sums.min()):.4g}..{float(sums.max()):.4g})",
    )


def _check_classes(owners: Tensor, count: int, classes: int) -> None:
    """The classes [N] that the images stand for, whatever their labels lean to."""
    require(
        isinstance(owners, Tensor) and owners.dtype == torch.int64 and owners.shape == (count,),
        f"the classes are {_named(owners)}; expected int64 [{count}], the class of each image",
    )
    found = set(owners.tolist())
    strange = sorted(found - set(range(classes)))
    require(not strange, f"the classes hold {strange[:5]}; expected 0..{classes - 1}")
    missing = sorted(set(range(classes)) - found)
    require(
        not missing,
        f"no image of class {missing[:5]} is in the condensed set; if soft labels lean to other "
        "classes, pass classes=, the class that each image stands for",
    )


def _check_weights(weights: Tensor, count: int) -> None:
    require(
        isinstance(weights, Tensor)
        and tuple(weights.shape) == (count,)
        and weights.dtype == torch.float32,
        f"the weights are {_named(weights)}; expected float32 [{count}]",
    )
    require(
        bool(weights.isfinite().all()) and bool((weights > 0).all()),
        "the weights must be positive and finite",
    )


def check_selects(condensed: CondensedSet, *, selects: bool) -> None:
    """Real images with one-hot labels, and what the method says of itself, agree.

    On such sets a board's teacher gives soft labels, so the plan has to know of them.
    """
    found = isinstance(condensed.images, Selection) and is_one_hot(condensed.labels)
    said = "returned a Selection with one-hot labels" if found else "returned another set than that"
    require(
        found == selects,
        f"condense() {said}, and the method says selects = {selects}; expected "
        f"`selects: ClassVar[bool] = {found}`: with soft labels, the board's teacher labels "
        "real images",
    )


def is_one_hot(labels: Tensor) -> bool:
    """Does each row of labels [N, K] name one class for certain?"""
    return bool((labels.amax(1) == 1).all()) and int(labels.count_nonzero()) == len(labels)


def _check_extras(extras: Mapping[str, Tensor], count: int, classes: int) -> None:
    rows = {"image": count, "class": classes}
    for name, tensor in extras.items():
        prefix = name.split(".")[0]
        require(
            prefix in rows and "." in name,
            f"extra '{name}'; expected a name that starts with 'image.' or 'class.'",
        )
        require(
            isinstance(tensor, Tensor) and tensor.ndim > 0 and len(tensor) == rows[prefix],
            f"extra '{name}' is {_named(tensor)}; expected a tensor with {rows[prefix]} rows",
        )


def unpacked(made: Any, count: int) -> tuple[Any, list[Standing]]:
    """What an attack returned for `count` images: the adversarial ones, and what stood after each
    of its parts, which most attacks do not say.

    Raises BenchError unless every part has a search, and no more standing than there were.
    """
    if not isinstance(made, Perturbed):
        return made.detach() if isinstance(made, Tensor) else made, []
    left, found = count, []
    for name, search, standing in made.parts:
        require(
            search in SEARCHES and isinstance(standing, int) and 0 <= standing <= left,
            f"part {name!r} ({search!r}) leaves {standing!r} of {left} images; expected one of "
            f"{', '.join(filter(None, SEARCHES))}, and no more than there were",
        )
        left = standing
        found.append((str(name), search, standing))
    return unpacked(made.images, count)[0], found


def sampled(made: Any, count: int) -> dict[str, tuple[int, int]]:
    """At how many images the last parts of an attack have looked, of how many that stood; nothing
    where they looked at all."""
    looked, of = made.sampled if isinstance(made, Perturbed) else (0, 0)
    require(
        0 <= looked <= of <= count,
        f"an attack has sampled {looked} of {of} images, of {count}; expected no more than stood",
    )
    return {"sampled": (looked, of)} if of else {}


def check_perturbed(adversarial: Tensor, images: Tensor, norm: str, eps: float) -> dict[str, Any]:
    """Adversarial images [P, C, H, W]: pixels in [0, 1], inside the ball of radius `eps`.

    Returns {"linf": {"mean", "max"}, "l2": {...}} of the perturbations, in pixels of [0, 1].
    """
    check_pixels(adversarial, tuple(images.shape[1:]), "the adversarial images")
    require(
        adversarial.dtype == torch.float32 and len(adversarial) == len(images),
        f"perturb() returned {_named(adversarial)}; expected float32 {list(images.shape)}",
    )
    delta = (adversarial - images).flatten(1).double()
    sizes = {"linf": delta.abs().amax(1), "l2": delta.norm(dim=1)}
    if norm in sizes and math.isfinite(eps):
        # an L2 norm adds the rounding of every pixel
        slack = BALL_TOLERANCE * (1 if norm == "linf" else delta.shape[1] ** 0.5)
        worst = float(sizes[norm].max())
        require(
            worst <= eps + slack,
            f"the attack moves an image by {worst:.6g} in {norm}; its ball has radius {eps:.6g}",
        )
    return {
        name: {"mean": round(float(size.mean()), 6), "max": round(float(size.max()), 6)}
        for name, size in sizes.items()
    }


def check_samples(x: Any, count: int, shape: tuple[int, ...]) -> None:
    """What a sampler returns: float [count, *shape] in the space of the denoiser, finite."""
    require(
        isinstance(x, Tensor) and x.is_floating_point() and tuple(x.shape) == (count, *shape),
        f"sample() returned {_named(x)}; expected float32 {[count, *shape]}",
    )
    require(bool(x.isfinite().all()), "the samples hold NaN or infinity")


def check_logits(logits: Tensor, count: int, classes: int) -> None:
    """Logits [count, classes], finite."""
    require(
        tuple(logits.shape) == (count, classes),
        f"the network returned shape {list(logits.shape)}; expected [{count}, {classes}]",
    )
    require(bool(logits.isfinite().all()), "the network's logits hold NaN or infinity")


def check_score(value: Any, bounds: tuple[float | None, float | None] | None) -> float:
    """A metric's value: one finite number inside the bounds that the metric declares.

    A subclass of float counts as the number that it is, whatever it says of itself.
    """
    require(
        isinstance(value, int | float) and not isinstance(value, bool),
        f"measure() returned {_named(value)}; expected a float",
    )
    try:
        number = float.__float__(value) if isinstance(value, float) else float(int.__int__(value))
    except OverflowError:
        number = math.inf
    require(math.isfinite(number), f"measure() returned {number}; expected a finite number")
    low, high = bounds or (None, None)
    inside = (low is None or number >= low - 1e-9) and (high is None or number <= high + 1e-9)
    require(inside, f"measure() returned {number:.6g}; the metric declares bounds {bounds}")
    return number


def _named(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    is_short = value is None or isinstance(value, str | int | float)
    return f"{type(value).__name__} {value!r}"[:80] if is_short else type(value).__name__


def check_finite(state: Mapping[str, Tensor]) -> None:
    """Raise BenchError unless the weights of a network are finite."""
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise BenchError(f"weights {name} are NaN or infinite; did the training diverge?")
