"""Attack a student block by block, gate what comes back, and note which images stay right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench import gates
from bench.keys import seed_of
from bench.loading import batches
from bench.records import pack
from bench.types import Split, Trial, digest_of_tensors

BLOCK = 250  # test images perturbed at a time


def probed_images(test: Split, data_digest: str, images: int) -> Tensor:
    """Which test images are attacked: a prefix of one permutation of the split, by its digest."""
    generator = torch.Generator().manual_seed(int(data_digest[:12], 16))
    order = torch.randperm(len(test.labels), generator=generator)
    return order[:images] if images else order


def probe(
    attack: Any,
    student: nn.Module,
    test: Split,
    index: Tensor,
    *,
    seed: int,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Attack the test images at `index`, block by block, and look at what the student says.

    Gates: the images stay in [0, 1] and in the attack's ball, and the student is left alone.
    """
    before = gates.fingerprint(student)
    eps, norm = float(getattr(attack, "eps", 0.0)), str(getattr(attack, "norm", ""))
    clean, attacked, sizes = [], [], []
    blocks = torch.split(index, BLOCK)
    for number, (block, read) in enumerate(zip(blocks, batches(test, index, BLOCK), strict=True)):
        images, labels = read.to(device), test.labels[block].to(device)
        with torch.no_grad():
            clean.append(student(images).float().cpu())
        torch.manual_seed(seed_of("block", "", "", seed) ^ number)
        adversarial = attack.perturb(student, images.clone(), labels.clone())
        gates.check_pixels(adversarial, tuple(images.shape[1:]), "the adversarial images")
        adversarial = adversarial.detach()
        sizes.append(gates.check_perturbed(adversarial, images, norm, eps))
        with torch.no_grad():
            attacked.append(student(adversarial).float().cpu())
        if progress:
            progress(number + 1, len(blocks))
    gates.check_untouched(before, student, "the attack")
    clean_logits, logits = torch.cat(clean), torch.cat(attacked)
    labels = test.labels[index]
    for one in (clean_logits, logits):
        gates.check_logits(one, len(index), clean_logits.shape[1])
    trial = Trial(
        None,  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
        labels=labels,
        clean_logits=clean_logits,
        logits=logits,
        norm=norm,
    )
    value = {
        "correct": pack(trial.correct.numpy()),
        "images": len(index),
        "images_hash": digest_of_tensors(index, labels),
        "norm": norm,
        "eps": eps,
        "perturbation": _combined(sizes, [len(block) for block in blocks]),
    }
    return {"result": {"logits": logits, "clean_logits": clean_logits, "index": index}}, value


def _combined(sizes: list[dict[str, Any]], counts: list[int]) -> dict[str, Any]:
    """Means and maxima of blocks as those of the whole."""
    return {
        norm: {
            "mean": round(float(np.average([s[norm]["mean"] for s in sizes], weights=counts)), 6),
            "max": max(s[norm]["max"] for s in sizes),
        }
        for norm in sizes[0]
    }
