"""The settings of a recovery; this module is light, so that components can check their fields."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from bench import BenchError

FEATURE_LOSSES = ("norm", "squared")
INITS = ("noise", "random", "nearest")


@dataclass(frozen=True)
class Recovery:
    """How images are optimised (`bench_inversion.recovery.recover`).

    The loss is lam x statistics + cross_entropy x cross-entropy + features x feature loss.
    Raises BenchError for a value that makes no sense.
    """

    init: str = "noise"  # as published | real images: "random" | "nearest" to what is aimed at
    iterations: int = 1000  # 0: the images that it starts from, in eight bits
    lr: float = 0.25  # of Adam, in units of the data's standard deviation; cosine to 0
    lam: float = 0.01  # weight of the distance between BatchNorm statistics
    first_bn: float = 1.0  # factor of the first layer in it
    cross_entropy: float = 0.0  # weight of the cross-entropy with the class
    features: float = 0.0  # weight of the distance to target features
    feature_loss: str = "norm"  # "norm": Frobenius, of the batch | "squared": mean over images
    scale: tuple[float, float] = (1.0, 1.0)  # area of the random resized crop of each step
    curriculum: float = 0.0  # part of the run in which the smallest area falls from the largest
    roll: int = 4  # largest shift of each step in pixels; what leaves comes in opposite
    mirror: bool = True  # views may be mirrored, where that keeps the label
    batch: int = 100  # images optimised at once
    whole: bool = True  # batches of whole classes (a class larger than `batch` goes alone), or
    # of one image a class
    temperature: float = 1.0  # of the teacher's labels for the images

    @classmethod
    def of(cls, component: Any, **given: Any) -> Recovery:
        """The settings that a component has as fields, and those given."""
        names = {f.name for f in fields(cls)}
        return cls(**{k: v for k, v in asdict(component).items() if k in names} | given)

    def __post_init__(self) -> None:
        self._check("init", self.init in INITS, " or ".join(map(repr, INITS)))
        self._check("batch", self.batch >= 1, "1 or more")
        for name in ("iterations", "lam", "first_bn", "cross_entropy", "features", "roll"):
            self._check(name, getattr(self, name) >= 0, "0 or more")
        for name in ("lr", "temperature"):
            self._check(name, getattr(self, name) > 0, "more than 0")
        self._check("curriculum", 0 <= self.curriculum <= 1, "a fraction of the run, in [0, 1]")
        known = self.feature_loss in FEATURE_LOSSES
        self._check("feature_loss", known, " or ".join(map(repr, FEATURE_LOSSES)))
        area = len(self.scale) == 2 and 0 < self.scale[0] <= self.scale[1] <= 1
        if not self.lam + self.cross_entropy + self.features:
            raise BenchError("lam, cross_entropy and features are all 0; expected one above 0")
        self._check("scale", area, "two areas with 0 < smallest <= largest <= 1")

    def aims_at_no_points(self) -> Recovery:
        """These settings, of a recovery without targets. Raises BenchError for init "nearest"."""
        expected = "'noise' or 'random': it aims at no points that real images could be nearest to"
        self._check("init", self.init != "nearest", expected)
        return self

    def _check(self, name: str, ok: bool, expected: str) -> None:
        if not ok:
            raise BenchError(f"{name} is {getattr(self, name)!r}; expected {expected}")
