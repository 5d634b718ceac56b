"""The settings of a matching; this module is light, so that components can check their fields."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from bench import BenchError
from bench.training.recipe import DSA_OPERATIONS

INITS = ("real", "noise")


@dataclass(frozen=True)
class Matching:
    """How synthetic images are optimised (`bench_matching.matching.match`).

    Raises BenchError for a value that makes no sense.
    """

    iterations: int = 1000  # fresh networks
    outer: int = 1  # steps of the images in each
    inner: int = 0  # epochs that the network is trained on the images, between two of those
    lr: float = 0.1  # of the images, in units of normalised pixels (std)
    momentum: float = 0.5  # of the images
    lr_network: float = 0.01
    batch: int = 256  # real images of a class in each step
    init: str = "real"  # "real" images of the class | "noise"
    augment: str = ""  # differentiable siamese augmentation: operations, joined by "_"

    @classmethod
    def of(cls, component: Any, **given: Any) -> Matching:
        """The settings that a component has as fields, and those given."""
        names = {f.name for f in fields(cls)}
        return cls(**{k: v for k, v in asdict(component).items() if k in names} | given)

    def __post_init__(self) -> None:
        for name in ("iterations", "outer", "batch"):
            self._check(name, getattr(self, name) >= 1, "1 or more")
        for name in ("lr", "lr_network"):
            self._check(name, 0 < getattr(self, name) < math.inf, "more than 0")
        self._check("inner", self.inner >= 0, "0 or more")
        self._check("momentum", 0 <= self.momentum < 1, "in [0, 1)")
        self._check("init", self.init in INITS, " or ".join(map(repr, INITS)))
        unknown = set(filter(None, self.augment.split("_"))) - set(DSA_OPERATIONS)
        expected = f"operations out of {', '.join(DSA_OPERATIONS)}, joined by '_'"
        self._check("augment", not unknown, expected)

    def _check(self, name: str, ok: bool, expected: str) -> None:
        if not ok:
            raise BenchError(f"{name} is {getattr(self, name)!r}; expected {expected}")


def loops(ipc: int) -> tuple[int, int]:
    """(outer, inner) loops of DC by images per class.

    Published are (1, 1), (10, 50), (20, 25), (30, 20), (40, 15) and (50, 10), for 1, 10, ... 50
    images. Between those the inner count is interpolated linearly; above 50 both stay.
    """
    import numpy as np

    outer = min(ipc, 50)
    return outer, round(float(np.interp(outer, (1, 10, 20, 50), (1, 50, 25, 10))))
