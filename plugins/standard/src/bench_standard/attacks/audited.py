"""AutoAttack's gradients on all images, and the rest of it on a sample: named apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench import Perturbed
from bench_standard.attacks.auto import PRELOAD, AutoAttack, decline, perturb_in_turn
from bench_standard.attacks.fields import BALLS, check, check_choice

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn


@dataclass(frozen=True)
class Audited:
    """APGD-CE and APGD-T on all images; FAB-T and Square on a sample, and on all if one falls.

    This is not AutoAttack, and leaves as many images as it or more. Where the first two are as
    strong as all four, FAB-T and Square cost three quarters of the passes and find nothing; the
    sample says whether that is so here. If a share p of the images that
    stand would fall to them, n sampled ones miss that with probability (1 - p)^n: 0.56 with
    n = 64 at a share of 0.9 %; a page says so of each figure. The sample is drawn anew for every
    batch; the harness hands over 250 images at once, so that of 1,000 images 64 are sampled.
    """

    name: str = "autoattack-audited"
    eps: float = 8 / 255  # radius, in pixels of [0, 1]
    norm: str = "linf"  # "linf" | "l2"
    sample: int = 16  # images of a batch that FAB-T and Square look at, of those that stand
    steps: int = 100
    queries: int = 5000
    targets: int = 9  # at most; there are only so many other classes
    search: ClassVar[str] = "ensemble"
    block: ClassVar[int] = 250
    quick: ClassVar[dict[str, Any]] = {"steps": 3, "queries": 10, "targets": 2}
    early_stop: ClassVar[bool] = True
    preload: ClassVar[tuple[str, ...]] = PRELOAD

    def __post_init__(self) -> None:
        check(self, eps=0, sample=1, steps=1, queries=1, targets=1)
        check_choice(self, "norm", BALLS)

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, generator: Generator
    ) -> Perturbed:
        import torch

        from bench_standard.attacks.search import right

        if not len(images):
            return Perturbed(images)
        whole = AutoAttack(
            norm=self.norm, steps=self.steps, queries=self.queries, targets=self.targets
        )
        gradients, rest = whole.parts()[:2], whole.parts()[2:]
        decline(rest, self, model, images)
        with torch.no_grad():
            found = perturb_in_turn(gradients, self, model, images, labels, generator).clone()
            standing = right(model, found, labels).nonzero().squeeze(1)
            looked = 0
            order = torch.randperm(len(standing), generator=generator).to(images.device)
            for rows in (standing[order[: self.sample]], standing[order[self.sample :]]):
                some = (model, images[rows], labels[rows], generator)
                found[rows] = perturb_in_turn(rest, self, *some)
                looked += len(rows)
                if bool(right(model, found[rows], labels[rows]).all()):
                    break
        whole_look = looked == len(standing) or not self.eps
        return Perturbed(found, sampled=(0, 0) if whole_look else (looked, len(standing)))
