"""Metrics of classification: pure functions of which test images are right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bench import Trial


@dataclass(frozen=True)
class Accuracy:
    """Fraction of the test images that are right, clean and under the attack of the cell."""

    name: str = "accuracy"
    of: ClassVar[str] = "probe"
    track: ClassVar[str] = "classification"
    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    unit: ClassVar[str] = "fraction"

    def measure(self, trial: Trial) -> float:
        return trial.correct.double().mean().item()


@dataclass(frozen=True)
class WorstClass:
    """The lowest accuracy of a class, over the classes that occur among the test images."""

    name: str = "worst-class"
    of: ClassVar[str] = "probe"
    track: ClassVar[str] = "classification"
    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    unit: ClassVar[str] = "fraction"
    tolerance: ClassVar[tuple[float, float]] = (
        1.0,
        0.0,
    )  # of part of the images: another training may be far off

    def measure(self, trial: Trial) -> float:
        correct, labels = trial.correct, trial.labels
        assert labels is not None  # or `correct` would have refused
        images = labels.bincount()  # [K]
        right = labels[correct].bincount(minlength=len(images))
        return float((right.double() / images)[images > 0].min())
