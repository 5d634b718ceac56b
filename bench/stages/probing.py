"""Attack a student block by block, gate what comes back, and note which images stay right."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.contract.data import Split, digest_of_tensors
from bench.contract.keys import seed_of
from bench.contract.kinds import fact
from bench.contract.task import Trial
from bench.records.result import pack
from bench.stages.judge import Says
from bench.training import answers, gates, masking, untouched
from bench.training.loading import batches
from bench.training.loop import seeded
from bench.training.masking import Ball
from bench.training.passes import counting

BLOCK = 250  # test images perturbed at a time
PICTURED = 4  # images whose pictures are kept
THOROUGH = {"iterative", "ensemble"}  # searches that should leave nothing to a few more steps

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
    judge: Says | None = None,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Probed:
    """Attack the test images at `index`, block by block, and look at what the student says.

    `part` numbers the stages that share one probe. The images are made on `source` where one is
    given (a transferred attack), else on the student. What counts is what `judge` says of them
    (None: the student). Each block has a generator of its own, by `seed`, `part` and its number.
    Gates: images stay in [0, 1] and in the attack's ball; network and test split are left alone;
    the student says the same of an image twice, to the attack, to the judge and afterwards.
    """
    target = student if source is None else source
    before = untouched.fingerprint(target)
    ball = Ball(str(fact("attack", attack, "norm")), float(fact("attack", attack, "eps")))
    found: list[Probed] = []
    blocks = torch.split(index, BLOCK)
    for number, (block, read) in enumerate(zip(blocks, batches(test, index, BLOCK), strict=True)):
        images, labels = read.to(device), test.labels[block].to(device)
        clean = _said(student, images)
        gates.check_logits(clean, len(block), clean.shape[1])
        if number == 0:
            first, said = images[: (len(images) + 1) // 2].clone(), clean
            answers.check_repeated(said, _said(student, first))
        drawn = seed_of("block", str(part or ""), "", seed) ^ number
        given = digest_of_tensors(images, test.labels[block])
        with counting(target) as passes, answers.overhearing(target, drawn) as heard:
            made = attack.perturb(target, images.clone(), labels.clone(), seeded(drawn, device))
        answers.check_given(given, digest_of_tensors(images, test.labels[block]))
        adversarial, standing = gates.unpacked(made, len(block))
        sizes = gates.check_perturbed(adversarial, images, ball.norm, ball.eps)
        value = {**vars(ball), "images": len(block), "parts": standing, "perturbation": sizes}
        value |= {"passes": passes.as_json()} | gates.sampled(made, len(block))
        tensors = {"index": block, "clean_logits": clean}
        tensors["logits"] = _judged(student, judge, images, adversarial, clean)
        if number == 0 and part == 0:
            tensors |= {"natural": _bytes(images), "adversarial": _bytes(adversarial)}
        right = clean.argmax(1).to(device) == labels
        if source is None:
            answers.check_standing(standing, right, tensors["logits"], labels)
        if ball.norm and source is None and _tells_apart(clean, labels):
            ends = number in (0, len(blocks) - 1) and not part  # a student may tire in between
            three = images[right], adversarial[right], labels[right]
            value |= _looked(attack, student, ball, *three, seed if ends else None)
        answers.check_overheard(heard, target)
        found.append((tensors, value))
        if progress:
            progress(number + 1, len(blocks))
    untouched.check_untouched(before, target, "the attack")
    answers.check_as_before(said, _said(student, first), "the attack")
    return joined(found, test)


def _looked(
    attack: Any,
    student: nn.Module,
    ball: Ball,
    images: Tensor,
    adversarial: Tensor,
    labels: Tensor,
    seed: int | None,
) -> dict[str, Any]:
    """What the slope of the student is like at images [B, C, H, W] that are right; with a seed,
    whether steps along it do what they should."""
    flat, odd = masking.flat_and_odd(student, images, labels)
    found: dict[str, Any] = {"flat": [flat, len(images)], "odd": odd}
    if seed is not None:
        drawn = seeded(seed, "cpu")
        ratio = masking.slope_ratio(student, images, adversarial, labels, ball, drawn)
        found["slope"] = ratio
        if fact("attack", attack, "search") in THOROUGH:
            found["fell_further"] = masking.fell_further(
                student, adversarial, images, labels, ball, drawn
            )
    return found


def _tells_apart(logits: Tensor, labels: Tensor) -> bool:
    """Are there classes that a student tells apart? One that says the same of everything has no
    slope, and masks none."""
    return len({*logits.argmax(1).tolist()}) > 1 or len({*labels.tolist()}) == 1


@torch.no_grad()
def _said(student: nn.Module, images: Tensor) -> Tensor:
    """Logits [B, K], float32, on the CPU."""
    return student(images).float().cpu()  # type: ignore[no-any-return]


def _judged(
    student: nn.Module, judge: Says | None, images: Tensor, adversarial: Tensor, clean: Tensor
) -> Tensor:
    """Logits [B, K] of adversarial images, on which the student and its judge agree; those of the
    clean ones where no image was moved."""
    if torch.equal(adversarial, images):
        return clean
    said = _said(student, adversarial)
    if judge is None:
        return said
    judged = judge(adversarial)
    answers.check_judged(said, judged)
    return judged


def joined(parts: Sequence[Probed], test: Split) -> Probed:
    """One probe out of those of its blocks or parts, in order."""
    values = [value for _, value in parts]
    tensors = {name: torch.cat([tensors[name] for tensors, _ in parts]) for name in NAMES}
    pictures = {n: t for n, t in parts[0][0].items() if n not in NAMES}
    fell = [v["fell_further"] for v in values if v.get("fell_further") is not None]
    value = {
        **{name: values[0].get(name) for name in ("norm", "eps")},
        "slope": masking.furthest(v.get("slope") for v in values),
        "fell_further": max(fell, default=None),
        "perturbation": _combined(values),
        "passes": {way: sum(v["passes"][way] for v in values) for way in ("forward", "backward")},
        "flat": [sum(v.get("flat", (0, 0))[k] for v in values) for k in (0, 1)],
        "odd": sum(v.get("odd", 0) for v in values),
        "parts": [
            [*same[0][:2], sum(standing for *_, standing in same)]
            for same in zip(*(v["parts"] for v in values), strict=True)
        ],
    }
    if looked := [
        v["sampled"] for v in values if "sampled" in v
    ]:  # else probes stay what they were
        value["sampled"] = [sum(column) for column in zip(*looked, strict=True)]
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
        "correct": b64encode(pack(trial.correct.numpy())).decode(),
        "images": len(index),
        "images_hash": digest_of_tensors(index, labels),
        **value,
    }


def _bytes(images: Tensor) -> Tensor:
    return (images[:PICTURED].cpu() * 255).round().to(torch.uint8)


def _combined(values: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means and maxima of how far images were moved, as those of the whole."""
    sizes = [value["perturbation"] for value in values]
    counts = [value["images"] for value in values]
    return {
        norm: {
            "mean": round(float(np.average([s[norm]["mean"] for s in sizes], weights=counts)), 6),
            "max": max(s[norm]["max"] for s in sizes),
        }
        for norm in sizes[0]
    }
