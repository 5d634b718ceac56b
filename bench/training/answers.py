"""Does a network answer the same twice: again, in a copy, while it is attacked, and afterwards?

An attack on a network that draws, or that looks at its batch, measures luck (Carlini et al., 2019).
One that notices being attacked, or remembers what it was asked, has no robust number at all.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from bench.contract.errors import require
from bench.training.passes import removed_after

SAME = 1e-3  # of the spread of an image's logits: sums in another order differ by far less
CERTAIN = 1e-4  # of it, by which the largest logit must lead for another class to be another answer
BORDERLINE = 3  # images of a block that may lie where rounding decides
KEPT = 4  # images of a pass that are asked again
OFTEN = 2.0  # passes that are kept, for each time that their number grows by a factor of e
TURNED = 0.2  # of a slope: rounding moves an image over the kink of a few units, and no more


def spread(logits: Tensor) -> Tensor:
    """By how much the logits [B, K] of each image differ, [B]: what a change is measured by.

    At least a tenth of what is usual among them: an image may lie where all logits are equal.
    """
    spans = logits.amax(1) - logits.amin(1)
    return spans.clamp_min(0.1 * float(spans.median()))


def changed(logits: Tensor, again: Tensor) -> tuple[float, int]:
    """How far logits [B, K] of some images lie from others of the same, by their spread at most;
    and how many images have another class."""
    logits, again = logits.double(), again.double()
    off, of = (logits - again).abs().amax(1), spread(logits)
    share = torch.where(off > 0, off / of, 0.0).nan_to_num(torch.inf, torch.inf)
    top = logits.topk(min(2, logits.shape[1])).values
    certain = top[:, 0] - top[:, -1] > CERTAIN * of
    other = (logits.argmax(1) != again.argmax(1)) & certain
    return float(share.max()), int(other.sum())


def check_same(logits: Tensor, again: Tensor, said: str) -> None:
    """Raise BenchError with `said` in front unless two answers [B, K] about some images are one."""
    share, other = changed(logits[: len(again)], again)
    require(
        share <= SAME and not other,
        f"{said} (logits differ by up to {share:.2g} of their spread, and {other} of {len(again)} "
        "images have another class)",
    )


def check_repeated(logits: Tensor, again: Tensor) -> None:
    """Logits [B, K] of some images, and again of the first of them, in other company."""
    check_same(
        logits,
        again,
        "the student gives an image other logits the second time, or in another batch; expected "
        "the same in eval mode; look for dropout, noise, or BatchNorm in train mode",
    )


def check_as_before(logits: Tensor, again: Tensor, who: str) -> None:
    """Logits [B, K] of some images, and those of the first of them after `who` had the network.

    What `who` put in the place of a forward, or of a function of torch, shows here.
    """
    check_same(
        logits,
        again,
        f"{who} changed what the network says of clean images; expected one that leaves the "
        "network, and all of torch, as they were",
    )


def check_judged(logits: Tensor, judged: Tensor) -> None:
    """Logits [B, K] of adversarial images where they were made, and of a process that never saw
    anything else."""
    check_same(
        judged,
        logits,
        "the student says another thing of the adversarial images where they were made than in a "
        "process of its own; expected a network that keeps nothing of what it was asked, and an "
        "attack that leaves it as it was",
    )


def check_given(before: str, after: str) -> None:
    """Digests of the images and labels that an attack was given a copy of, before and after it."""
    require(
        before == after,
        "the attack changed the test images or their labels; expected it to leave alone what it "
        "was not given",
    )


def check_standing(
    parts: Sequence[tuple[str, str, int]], right: Tensor, logits: Tensor, labels: Tensor
) -> None:
    """What stands after the last part of an attack, as it says, and of the images that were `right`
    [B] by their logits [B, K] now."""
    found = int((right.cpu() & (logits.argmax(1) == labels.cpu())).sum())
    said = parts[-1][-1] if parts else found
    require(
        abs(said - found) <= BORDERLINE,
        f"the attack says that {said} images stand after its last part, and {found} do; expected "
        "what the network says of the images that it returns",
    )


@dataclass(eq=False)
class Answer:
    """What a network has said of a few images [B, C, H, W], and how it sloped there."""

    images: Tensor
    logits: Tensor  # [B, K], float32, on the CPU
    above: Tensor | None = None  # a gradient that came back to these logits [B, K] ...
    slope: Tensor | None = None  # ... and went on to the images


@dataclass(eq=False)
class Overheard:
    """Some of what a network, or a copy of it, has answered while something else asked.

    Which passes are kept is drawn, the k-th with a chance of `OFTEN` / k: nobody knows beforehand
    when the truth is asked for.
    """

    draws: random.Random
    answers: list[Answer] = field(default_factory=list)
    passes: int = 0
    seen: Tensor | None = None  # the images of the pass that is under way

    def __deepcopy__(self, memo: dict[int, Any]) -> Overheard:
        return self  # a copy of the network is overheard as well

    def listen(self, network: nn.Module) -> tuple[RemovableHandle, RemovableHandle]:
        return (
            network.register_forward_pre_hook(self._comes),
            network.register_forward_hook(self._went),
        )

    def _comes(self, module: nn.Module, inputs: Any) -> Any:
        """A view of the images, whose gradient is what comes through this pass and nothing else."""
        if not inputs or not isinstance(inputs[0], Tensor):
            return None
        self.seen = inputs[0].view_as(inputs[0])
        return self.seen, *inputs[1:]

    def _went(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self.passes += 1
        images = inputs[0] if inputs else None
        if not isinstance(images, Tensor) or images.ndim != 4 or not len(images):
            return
        if self.draws.random() * self.passes >= OFTEN:
            return
        if not isinstance(output, Tensor) or output.ndim != 2:
            return
        rows = self.draws.sample(range(len(images)), min(KEPT, len(images)))
        said = output[rows].detach().float().cpu()
        answer = Answer(images[rows].detach().clone(), said)
        self.answers.append(answer)
        if images is self.seen and images.requires_grad and output.requires_grad:
            for name, tensor in (("above", output), ("slope", images)):
                tensor.register_hook(partial(_keep, answer, name, rows))  # type: ignore[no-untyped-call]


def _keep(answer: Answer, name: str, rows: list[int], gradient: Tensor) -> None:
    """Of several gradients that come back, the first that reaches the images."""
    if answer.slope is None:
        setattr(answer, name, gradient[rows].detach().clone())


@contextmanager
def overhearing(network: nn.Module, seed: int) -> Iterator[Overheard]:
    """What the network answers inside the block."""
    heard = Overheard(random.Random(seed))
    first, second = heard.listen(network)
    with removed_after(first), removed_after(second):
        yield heard


def check_overheard(heard: Overheard, network: nn.Module) -> None:
    """Ask a network again what it was asked while it was attacked.

    A student that looks for hooks, for frozen weights, for copies of itself, for gradients or at
    the call stack answers an attack otherwise than it answers whoever scores it.
    """
    for answer in heard.answers:
        with torch.no_grad():
            again = network(answer.images).float().cpu()
        check_same(
            again,
            answer.logits,
            "the student answers an attack otherwise than anybody else; expected the same "
            "logits with hooks, without gradients of weights, in a copy, and whoever asks",
        )
        if answer.above is not None and answer.slope is not None:
            off = _turned(network, answer.images, answer.above, answer.slope)
            require(
                off <= TURNED,
                "the student has another slope for an attack than for anybody else (off by "
                f"{off:.2g} of its length at most images); expected the same with hooks, without "
                "gradients of weights, in a copy, and whoever asks",
            )


def _turned(network: nn.Module, images: Tensor, above: Tensor, slope: Tensor) -> float:
    """How far slopes [B, C, H, W] lie from those of a network now, by their length: the median."""
    x = images.clone().requires_grad_()
    with torch.enable_grad():
        logits = network(x)
    now = torch.zeros_like(x)
    if logits.requires_grad:
        (now,) = torch.autograd.grad(logits, x, above, allow_unused=True, materialize_grads=True)
    one, other = (t.double().nan_to_num(0, 0, 0).flatten(1) for t in (slope, now))
    length = torch.maximum(one.norm(dim=1), other.norm(dim=1))
    share = torch.where(length > 0, (one - other).norm(dim=1) / length, 0.0)
    return float(share.median())
