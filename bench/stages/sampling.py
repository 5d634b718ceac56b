"""Sample from a student block by block, gate what comes back, and keep it as bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from bench.contract.data import Split, digest_of_tensors
from bench.contract.errors import BenchError
from bench.contract.keys import seed_of
from bench.training import gates, untouched
from bench.training.classifier import Examples
from bench.training.diffusion import Denoiser
from bench.training.loading import batches
from bench.training.loop import seeded
from bench.training.passes import counting

BLOCK = 250  # samples drawn at a time
PICTURED = 10  # classes, and samples of each, whose pictures are kept

Result = tuple[dict[str, dict[str, Tensor]], dict[str, Any]]  # tensors by file name, JSON value


def sample(
    sampler: Any,
    student: Denoiser,
    test: Split,
    index: Tensor,
    extras: Mapping[str, Tensor],
    *,
    shape: tuple[int, int, int],
    seed: int,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Result:
    """A sample for the label of each test image at `index` [P]: uint8 [P, *shape].

    So samples and test images have the same classes in the same numbers. Each block has a generator
    of its own, seeded by `seed` and its number, so that the first are the same however many there
    are. Gates: x of the student's shape and finite, the network left alone.
    """
    before = untouched.fingerprint(student)
    labels = test.labels[index]
    extras = {name: tensor.to(device) for name, tensor in extras.items()}
    parts = torch.split(labels, BLOCK)
    found = []
    with counting(student) as passes:
        for number, asked in enumerate(parts):
            generator = seeded(seed_of("block", "", "", seed) ^ number, device)
            x = sampler.sample(student, asked.to(device), extras, student.shape, generator)
            gates.check_samples(x, len(asked), student.shape)
            with torch.no_grad():
                images = student.decode(x.to(device).float()).cpu()
            gates.check_pixels(images, shape, "the decoded samples")
            found.append((images * 255).round().to(torch.uint8))
            if progress:
                progress(number + 1, len(parts))
    untouched.check_untouched(before, student, "the sampler")
    return _result(torch.cat(found), index, labels, passes.as_json())


def drawn(examples: Examples, test: Split, index: Tensor, *, seed: int) -> Result:
    """Images of a set in the place of samples: for each test image at `index`, one of its class.

    `examples.labels` are classes [N]. No image is drawn twice. Raises BenchError where a class has
    too few.
    """
    labels, classes = test.labels[index], examples.labels
    order = torch.randperm(len(classes), generator=torch.Generator().manual_seed(seed))
    chosen = torch.empty_like(labels)
    for k in sorted({*labels.tolist()}):
        places, members = labels == k, order[classes[order] == k]
        if len(members) < int(places.sum()):
            raise BenchError(
                f"class {k} has {len(members)} images in the set, {int(places.sum())} are to be "
                "drawn; expected as many; lower [probe] images"
            )
        chosen[places] = members[: int(places.sum())]
    found = batches(examples.split, examples.index[chosen], BLOCK)
    images = torch.cat([(block * 255).round().to(torch.uint8) for block in found])
    return _result(images, index, labels, {"forward": 0, "backward": 0})


def _result(images: Tensor, index: Tensor, labels: Tensor, passes: dict[str, int]) -> Result:
    value = {
        "images": len(index),
        "images_hash": digest_of_tensors(index, labels),
        "passes": passes,
    }
    return {
        "result": {"samples": images, "index": index},
        "pictures": _shown(images, labels),
    }, value


def _shown(images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """The first samples of the first classes [lines, columns, C, H, W]: what a page shows."""
    classes = sorted({*labels.tolist()})[:PICTURED]
    columns = min(PICTURED, *(int((labels == k).sum()) for k in classes), len(labels))
    return {"samples": torch.stack([images[labels == k][:columns] for k in classes])}
