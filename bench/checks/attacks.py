"""The contract of an attack: its ball, its inputs, and what is known in closed form."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.checks import fixtures, side_effects
from bench.checks.check import Claims, naming, on_each, once
from bench.checks.determinism import check_same, elsewhere
from bench.checks.side_effects import Watched, watch
from bench.contract.data import digest_of_tensors
from bench.contract.errors import Unsupported, require
from bench.contract.kinds import fact
from bench.training import gates, toy

IMAGES = 12
EXACT = 0.01  # share of the way from the clean loss to the largest, that an exact attack may miss
HARM = 0.05  # share of it by which an attack may lower the loss: what noise does


def claims(attack: Any) -> Claims:
    made = once(lambda: run(attack))
    return {
        "stays in its ball and in [0, 1]": lambda: check_ball(attack, made()),
        "takes a batch of one": lambda: check_ball(attack, run(attack, 1)),
        "with eps = 0 is the identity": lambda: check_identity(attack),
        "draws from its generator alone: same state, same bytes": lambda: check_drawn(
            attack, made()
        ),
        **side_effects.claims(made),
        "makes the same bytes of the same seed in another process": lambda: check_same(
            digests(made()), elsewhere(run, attack, digests)
        ),
        "agrees with the closed form on a linear model": lambda: check_linear(attack),
    }


def run(attack: Any, count: int = IMAGES, elsewhere_seed: int = 0) -> list[Watched]:
    """`perturb` on trained classifiers, on each toy data set, with one state of its generator.

    `elsewhere_seed` seeds all other generators of the process.
    """

    def on(dataset: toy.ToyData) -> Watched:
        student = fixtures.trained(dataset)
        images, labels = examples(dataset, count)
        return watch(
            dataset.name,
            lambda: perturbed(attack, student, images, labels, generator()),
            seed=elsewhere_seed,
            tensors={"images": images, "labels": labels},
            models={"model": student},
        )

    return on_each(fixtures.DATASETS.values(), on)


def perturbed(attack: Any, model: nn.Module, images: Tensor, labels: Tensor, *given: Any) -> Any:
    """What `perturb` makes, where it says what its parts have left as well."""
    return gates.unpacked(attack.perturb(model, images, labels, *given), len(images))[0]


def generator() -> torch.Generator:
    """As the harness gives it to an attack: on the CPU, seeded."""
    return torch.Generator().manual_seed(fixtures.SEED)


def examples(dataset: toy.ToyData, count: int) -> tuple[Tensor, Tensor]:
    """Test images [count, C, H, W], among them one at each end of the range, and labels."""
    test = dataset.load().test
    index = torch.arange(count)
    images, labels = test.images(index).clone(), test.labels[index].clone()
    if count > 2:
        images[0], images[1] = 0, 1
    return images, labels


def digests(made: list[Watched]) -> dict[str, str]:
    return {w.case: digest_of_tensors(w.result) for w in made}


def check_ball(attack: Any, made: list[Watched]) -> str:
    """Every result passes the gate of the harness; returns how far images moved, in words."""
    norm, eps = _ball(attack)
    details = []
    for watched in made:
        images, _ = examples(fixtures.DATASETS[watched.case], len(watched.result))
        with naming(watched.case):
            sizes = gates.check_perturbed(watched.result, images, norm, eps)
        if norm:
            details.append(f"{norm} up to {sizes[norm]['max']:.4f}")
    return f"{'; '.join(details)}; radius {eps:.4f}" if details else "no ball"


def check_drawn(attack: Any, made: list[Watched]) -> str:
    """Raise BenchError where global generators decide; say whether the given one does."""
    require(
        digests(run(attack, elsewhere_seed=fixtures.SEED + 1)) == digests(made),
        "it makes other images when global generators are in another state; expected all draws "
        "to come from the generator that it is given, or from one that it seeds by a draw from it",
    )
    other = torch.Generator().manual_seed(fixtures.SEED + 1)
    dataset = fixtures.DATASETS[made[0].case]
    student, (images, labels) = fixtures.trained(dataset), examples(dataset, IMAGES)
    again = watch("another state", lambda: perturbed(attack, student, images, labels, other)).result
    same = torch.equal(again, made[0].result)
    return "draws nothing" if same else "another state, other images"


def check_identity(attack: Any) -> None:
    """In a ball of radius 0 there is one image."""
    norm, _ = _ball(attack)
    if not norm:
        raise Unsupported("it stays in no ball")
    still = dataclasses.replace(attack, eps=0.0)
    for watched in run(still, 4):
        images, _ = examples(fixtures.DATASETS[watched.case], 4)
        moved = float((watched.result - images).abs().max())
        require(
            moved <= gates.BALL_TOLERANCE,
            f"on {watched.case}: with eps = 0 it moves a pixel by {moved:.4g}; "
            "expected the images as they are; scale steps and random starts by eps",
        )


def check_linear(attack: Any) -> str:
    """On a linear classifier of two classes the largest loss in the ball is known.

    In the ball around x it is at x + eps sign(w) (L-infinity) or x + eps w / |w| (L2), where w
    leads to the other class. No attack may go beyond; none should lower the mean loss; and one
    with the class variable `exact_on_linear = True` (a gradient attack) must get there.
    """
    norm, eps = _ball(attack)
    if not norm or eps == 0:
        raise Unsupported("it has no ball")
    model, images, labels = _linear()
    strongest = _strongest(model, images, labels, norm, eps)
    found = watch("a linear model", lambda: perturbed(attack, model, images, labels, generator()))
    adversarial = found.result
    clean, best, reached = (_loss(model, x, labels) for x in (images, strongest, adversarial))
    share = (reached - clean) / (best - clean)
    said = f"goes {share:.1%} of the way from the clean loss {clean:.4f} to the largest {best:.4f}"
    require(share <= 1 + EXACT, f"it {said}: the result is outside its ball")
    require(
        share >= -HARM,
        f"it {said}: it helps the model; expected a higher loss; look at the sign of the step",
    )
    if fact("attack", attack, "exact_on_linear"):
        require(
            share >= 1 - EXACT,
            f"it {said}; it declares exact_on_linear; expected {1 - EXACT:.0%}; "
            "look at the step size, the projection and the loss",
        )
    return said


def _ball(attack: Any) -> tuple[str, float]:
    """Norm and radius; the first check has looked at the norm, and that there is a radius."""
    eps = fact("attack", attack, "eps")
    require(
        isinstance(eps, int | float) and eps >= 0,
        f"its eps is {eps!r}; expected a field `eps: float`, the radius in pixels of [0, 1]",
    )
    return str(fact("attack", attack, "norm")), float(eps)


def _linear() -> tuple[nn.Module, Tensor, Tensor]:
    """A linear classifier with its normalisation inside; grey images, labels of both classes."""
    data = toy.GRAY.load()
    model = fixtures.network(toy.ToyLinear(), dataclasses.replace(data, classes=("a", "b")))
    images = 0.4 + 0.2 * torch.rand(64, *data.shape, generator=generator())
    return model.eval(), images, torch.arange(64) % 2


def _strongest(model: nn.Module, images: Tensor, labels: Tensor, norm: str, eps: float) -> Tensor:
    x = images.clone().requires_grad_()
    logits = model(x)
    (w,) = torch.autograd.grad((logits[:, 1] - logits[:, 0]).sum(), x)
    w = w * (1 - 2 * labels).view(-1, 1, 1, 1)  # towards the other class
    if norm == "linf":
        corner: Tensor = images + eps * w.sign()
        return corner.clamp(0, 1)
    moved: Tensor = images + eps * w / w.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    if bool(((moved < 0) | (moved > 1)).any()):
        raise Unsupported("its ball is so large that the range cuts off the closed form")
    return moved


def _loss(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        return float(F.cross_entropy(model(images).double(), labels))
