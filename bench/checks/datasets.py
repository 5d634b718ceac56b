"""The contract of a data set: legal splits, the same twice, and what stands in both of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import torch

from bench.checks import side_effects
from bench.checks.check import Claims, once
from bench.checks.determinism import check_same, elsewhere
from bench.checks.side_effects import Watched, watch
from bench.contract.data import Data, Split, digest_of_tensors
from bench.contract.errors import Unsupported, require
from bench.training import gates

BATCH = 500
LOOKED_AT = 64  # images a split whose pixels are compared and cropped
COUNTED = 200_000  # images, all in all, up to which twins are looked for


def claims(dataset: Any) -> Claims:
    loaded = once(lambda: run(dataset))
    return {
        "loads legal splits: shapes, range, labels, every class": lambda: check_splits(
            loaded()[0].result
        ),
        "cuts crops out of its images": lambda: check_crops(loaded()[0].result),
        **side_effects.claims(loaded),
        "loads the same twice, and in another process": lambda: check_twice(dataset, loaded()),
        "counts test images that also stand in train": lambda: count_twins(loaded()[0].result),
    }


def run(dataset: Any) -> list[Watched]:
    return [watch("load()", dataset.load)]


def outcome(dataset: Any) -> dict[str, str]:
    return described(dataset.load())


def described(data: Data) -> dict[str, str]:
    """What the harness relies on, in words that can be compared."""
    facts = {
        name: repr(getattr(data, name)) for name in ("classes", "shape", "mean", "std", "digest")
    }
    for name, split in (("train", data.train), ("test", data.test)):
        some = split.images(_spread(split))
        facts[f"the {name} images"] = digest_of_tensors(split.labels, some)
    return facts


def check_splits(data: Data) -> str:
    """The gate of the harness; classes with distinct names, each in both splits."""
    gates.check_data(data)
    names = data.classes
    require(
        len(set(names)) == len(names) and all(isinstance(n, str) and n for n in names),
        f"the class names are {names!r:.80}; expected distinct strings, none of them empty",
    )
    for name, split in (("train", data.train), ("test", data.test)):
        count = torch.bincount(split.labels, minlength=len(names))
        missing = [names[k] for k in (count == 0).nonzero().flatten().tolist()]
        require(not missing, f"no {name} image of class {missing[:3]}; expected every class")
        images = split.images(_spread(split))
        gates.check_pixels(images, data.shape, f"the {name} images")
        require(
            images.dtype == torch.float32,
            f"images() of {name} returns {images.dtype}; expected float32 in [0, 1]",
        )
    require(all(s > 0 for s in data.std), f"std is {data.std}; expected more than 0 everywhere")
    return f"{len(data.train.labels)} train, {len(data.test.labels)} test, {len(names)} classes"


def check_crops(data: Data) -> None:
    """`images(index, boxes)` has the split's size, and depends on the box."""
    index = _spread(data.train)[:4]
    whole = torch.tensor([0.0, 0.0, 1.0, 1.0]).repeat(len(index), 1)
    corner = torch.tensor([0.0, 0.0, 0.5, 0.5]).repeat(len(index), 1)
    crops = []
    for boxes in (whole, corner):
        crops.append(data.train.images(index, boxes))
        gates.check_pixels(crops[-1], data.shape, "crops")
        require(len(crops[-1]) == len(index), f"{len(index)} boxes gave {len(crops[-1])} crops")
    require(
        not torch.equal(*crops),
        "the crop of a corner is the whole image; expected images(index, boxes) to use the boxes "
        "(left, top, right, bottom, as fractions of the original image)",
    )


def check_twice(dataset: Any, loaded: list[Watched]) -> None:
    """The same content here, here again, and over there."""
    first = described(loaded[0].result)
    check_same(first, described(dataset.load()))
    check_same(first, elsewhere(outcome, dataset))


def count_twins(data: Data) -> str:
    """How many test images are, byte by byte, training images too. It never fails: some data
    sets are so, and a reader should know."""
    count = len(data.train.labels) + len(data.test.labels)
    if count > COUNTED:
        raise Unsupported(f"not counted: {count:,} images are many to read")
    train = set(_hashes(data.train))
    twins = sum(h in train for h in _hashes(data.test))
    return f"{twins} of {len(data.test.labels)} test images also stand in train"


def _hashes(split: Split) -> Iterator[bytes]:
    for index in torch.arange(len(split.labels)).split(BATCH):  # type: ignore[no-untyped-call]
        for image in split.images(index).numpy():
            yield hashlib.sha256(image.tobytes()).digest()


def _spread(split: Split) -> torch.Tensor:
    """Positions of some images, all over the split."""
    count = len(split.labels)
    return torch.arange(0, count, max(1, count // LOOKED_AT))
