"""Attack a student block by block, gate what comes back, and note which images stay right."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contract.data import Split, digest_of_tensors
from bench.contract.keys import seed_of
from bench.contract.kinds import fact
from bench.contract.task import Trial
from bench.records.result import pack
from bench.training import gates
from bench.training.loading import batches
from bench.training.loop import seeded
from bench.training.passes import counting

BLOCK = 250  # test images perturbed at a time
PICTURED = 4  # images whose pictures are kept
SLOPES = 32  # images whose slopes are computed at once: the graph of a block may not fit

NAMES = ("logits", "clean_logits", "index")  # of what metrics are given; the rest are pictures

Probed = tuple[dict[str, Tensor], dict[str, Any]]  # tensors, JSON value


def probe(
    attack: Any,
    student: nn.Module,
    test: Split,
    index: Tensor,
    *,
    seed: int,
    part: int = 0,
    source: nn.Module | None = None,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Probed:
    """Attack the test images at `index`, block by block, and look at what the student says.

    `part` numbers the stages that share one probe. The images are made on `source` where one is
    given (a transferred attack), else on the student. Each block has a generator of its own, seeded
    by `seed`, `part` and its number. Gates: the images stay in [0, 1] and in the
    attack's ball, the network is left alone, and the student says of clean images the same thing
    twice, and again after the attack.
    """
    target = student if source is None else source
    before = gates.fingerprint(target)
    eps, norm = float(fact("attack", attack, "eps")), str(fact("attack", attack, "norm"))
    clean, attacked, sizes, pictures = [], [], [], {}
    flat = right = forward = backward = 0
    blocks = torch.split(index, BLOCK)
    for number, (block, read) in enumerate(zip(blocks, batches(test, index, BLOCK), strict=True)):
        images, labels = read.to(device), test.labels[block].to(device)
        clean.append(_said(student, images))
        gates.check_logits(clean[-1], len(block), clean[0].shape[1])
        if number == 0:
            first = images[: (len(images) + 1) // 2].clone()
            gates.check_repeated(clean[0], _said(student, first))
        if norm and source is None:
            known = clean[-1].argmax(1) == labels.cpu()
            flat += _flat(student, images[known], labels[known])
            right += int(known.sum())
        generator = seeded(seed_of("block", str(part or ""), "", seed) ^ number, device)
        with counting(target) as passes:
            adversarial = attack.perturb(target, images.clone(), labels.clone(), generator)
        forward, backward = forward + passes.forward, backward + passes.backward
        gates.check_pixels(adversarial, tuple(images.shape[1:]), "the adversarial images")
        adversarial = adversarial.detach()
        sizes.append(gates.check_perturbed(adversarial, images, norm, eps))
        attacked.append(_said(student, adversarial))
        if number == 0 and part == 0:
            pictures = {"natural": _bytes(images), "adversarial": _bytes(adversarial)}
        if progress:
            progress(number + 1, len(blocks))
    gates.check_untouched(before, target, "the attack")
    gates.check_as_before(clean[0], _said(student, first), "the attack")
    tensors = {"logits": torch.cat(attacked), "clean_logits": torch.cat(clean), "index": index}
    value = {
        "norm": norm,
        "eps": eps,
        "perturbation": _combined(sizes, [len(block) for block in blocks]),
        "passes": {"forward": forward, "backward": backward},
        "flat": [flat, right],
    }
    return tensors | pictures, _scored(tensors, test, value)


@torch.no_grad()
def _said(student: nn.Module, images: Tensor) -> Tensor:
    """Logits [B, K], float32, on the CPU."""
    return student(images).float().cpu()  # type: ignore[no-any-return]


def joined(parts: Sequence[Probed], test: Split) -> Probed:
    """One probe out of those of its parts, in order."""
    values = [value for _, value in parts]
    counts = [value["images"] for value in values]
    tensors = {name: torch.cat([tensors[name] for tensors, _ in parts]) for name in NAMES}
    value = {
        **{name: values[0][name] for name in ("norm", "eps")},
        "perturbation": _combined([v["perturbation"] for v in values], counts),
        "passes": {way: sum(v["passes"][way] for v in values) for way in ("forward", "backward")},
        "flat": [sum(v["flat"][k] for v in values) for k in (0, 1)],
    }
    pictures = {n: t for n, t in parts[0][0].items() if n not in NAMES}
    return tensors | pictures, _scored(tensors, test, value)


def _scored(tensors: Mapping[str, Tensor], test: Split, value: dict[str, Any]) -> dict[str, Any]:
    """The value of a probe, with the images that are right."""
    clean_logits, logits, index = (tensors[n] for n in ("clean_logits", "logits", "index"))
    labels = test.labels[index]
    gates.check_logits(logits, len(index), clean_logits.shape[1])
    trial = Trial(
        None,  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
        labels=labels,
        clean_logits=clean_logits,
        logits=logits,
        norm=value["norm"],
    )
    return {
        "correct": pack(trial.correct.numpy()),
        "images": len(index),
        "images_hash": digest_of_tensors(index, labels),
        **value,
    }


def _flat(student: nn.Module, images: Tensor, labels: Tensor) -> int:
    """At how many images the loss has no slope, not in one pixel (in float32)."""
    flat = 0
    parts = zip(torch.split(images, SLOPES), torch.split(labels, SLOPES), strict=True)
    for some, theirs in parts:
        x = some.clone().requires_grad_()
        with torch.enable_grad():
            loss = F.cross_entropy(student(x).float(), theirs, reduction="sum")
        if loss.requires_grad:
            (slope,) = torch.autograd.grad(loss, x, allow_unused=True, materialize_grads=True)
            flat += int((slope.flatten(1).abs().amax(1) < torch.finfo(torch.float32).tiny).sum())
        else:  # the network keeps no graph
            flat += len(some)
    return flat


def _bytes(images: Tensor) -> Tensor:
    return (images[:PICTURED].cpu() * 255).round().to(torch.uint8)


def _combined(sizes: Sequence[Mapping[str, Any]], counts: Sequence[int]) -> dict[str, Any]:
    """Means and maxima of blocks as those of the whole."""
    return {
        norm: {
            "mean": round(float(np.average([s[norm]["mean"] for s in sizes], weights=counts)), 6),
            "max": max(s[norm]["max"] for s in sizes),
        }
        for norm in sizes[0]
    }
