"""GUARD in gradient matching: the curvature of the loss on real images, in what is matched."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import BenchError
from bench_matching.methods import DC

if TYPE_CHECKING:
    from torch import Tensor, nn

FORMS = ("gradient", "loss")


@dataclass(frozen=True)
class GuardDC(DC):
    """DC that matches the gradient of cross-entropy plus curvature (after Xue et al., 2025).

    On real images the loss is the cross-entropy plus `lam` times the mean curvature term of
    `bench_guard.curvature`; on synthetic ones it is the cross-entropy alone, as in DC. A
    reconstruction: the authors describe it and have released no code of it.
    """

    name: str = "guard-dc"
    lam: float = 1.0  # weight of the mean curvature term of the real images
    h: float = 0.5  # length of the step along the gradient, in pixels of [0, 1]
    form: str = "gradient"  # "gradient" (difference of gradients) | "loss" (of losses)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.lam < math.inf:
            raise BenchError(f"{self.name}: lam is {self.lam}; expected 0 or more")
        if not 0 < self.h < math.inf:
            raise BenchError(f"{self.name}: h is {self.h}; expected more than 0")
        if self.form not in FORMS:
            expected = " or ".join(map(repr, FORMS))
            raise BenchError(f"{self.name}: form is {self.form!r}; expected {expected}")

    def real_loss(self, network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        from bench_guard.curvature import curvature, loss_difference

        term = curvature if self.form == "gradient" else loss_difference
        plain = super().real_loss(network, images, labels)
        return plain + self.lam * term(network, images, labels, h=self.h).mean()


FIRST_ORDER = GuardDC("guard-dc-first-order", form="loss")
