import os
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from bench.checks import checks_for, run_checks
from bench.contract.task import Trial
from bench.training import toy

FORM = "is well formed"
DECLARED = "declares what it looks at"
SCORES = "inside its bounds"
ORDER = "ranks perfect predictions"
INPUTS = "leaves its inputs as found"


@dataclass(frozen=True)
class Percent(toy.ToyAccuracy):
    """A percentage that says it is a fraction."""

    name: str = "percent"

    def measure(self, trial: Trial) -> float:
        return 100 * super().measure(trial)


@dataclass(frozen=True)
class OpenPercent(Percent):
    """A percentage that says so."""

    name: str = "open-percent"
    bounds: ClassVar = (0, 100)


@dataclass(frozen=True)
class Undecided(toy.ToyAccuracy):
    """No direction."""

    name: str = "undecided"
    higher_is_better: ClassVar = None


@dataclass(frozen=True)
class Aimless:
    """Does not say what it looks at."""

    name: str = "aimless"
    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar = (0, 1)
    unit: ClassVar[str] = "fraction"

    def measure(self, trial: Trial) -> float:
        return toy.ToyAccuracy().measure(trial)


@dataclass(frozen=True)
class Unbounded(toy.ToyAccuracy):
    """No bounds."""

    name: str = "unbounded"
    bounds: ClassVar = None


@dataclass(frozen=True)
class Unitless(toy.ToyAccuracy):
    """Does not say what its value is in."""

    name: str = "unitless"
    unit: ClassVar = None


@dataclass(frozen=True)
class OpenRate(toy.ToyAccuracy):
    """A rate that may be more than all."""

    name: str = "open-rate"
    bounds: ClassVar = (0.0, None)


@dataclass(frozen=True)
class InPercent(toy.ToyAccuracy):
    """A unit that the harness makes of fractions."""

    name: str = "in-percent"
    unit: ClassVar[str] = "percent"


@dataclass(frozen=True)
class BadNeeds(toy.ToyAccuracy):
    """Needs that are no coordinates."""

    name: str = "bad-needs"
    needs: ClassVar = ("a sibling",)

    def measure(self, trial: Trial, sibling: Trial) -> float:
        return super().measure(trial)


@dataclass(frozen=True)
class Errors(toy.ToyAccuracy):
    """The share of images that are wrong, in the wrong direction."""

    name: str = "errors"

    def measure(self, trial: Trial) -> float:
        return 1 - super().measure(trial)


@dataclass(frozen=True)
class Loss(Errors):
    """The share of images that are wrong."""

    name: str = "loss"
    higher_is_better: ClassVar[bool] = False


@dataclass(frozen=True)
class Tensorial(toy.ToyAccuracy):
    """A tensor where a float was promised."""

    name: str = "tensorial"

    def measure(self, trial: Trial) -> float:
        return trial.correct.double().mean()


@dataclass(frozen=True)
class Nan(toy.ToyAccuracy):
    """Nothing, divided by nothing."""

    name: str = "nan"

    def measure(self, trial: Trial) -> float:
        return float("nan")


@dataclass(frozen=True)
class InPlace(toy.ToyAccuracy):
    """Softens the logits in place."""

    name: str = "in-place"

    def measure(self, trial: Trial) -> float:
        trial.logits.div_(2)
        return super().measure(trial)


@dataclass(frozen=True)
class Retrains(toy.ToyAccuracy):
    """Counts a batch."""

    name: str = "retrains"

    def measure(self, trial: Trial) -> float:
        trial.student.train()(torch.rand(2, 1, 8, 8))
        trial.student.eval()
        return super().measure(trial)


@dataclass(frozen=True)
class ByProcess(toy.ToyAccuracy):
    """Another number in every process."""

    name: str = "by-process"

    def measure(self, trial: Trial) -> float:
        return super().measure(trial) / (1 + os.getpid() / 1e9)


@pytest.mark.parametrize(
    ("metric", "claim", "words"),
    [
        (Percent(), SCORES, "on perfect predictions: measure() returned 100; the metric declares"),
        (OpenPercent(), DECLARED, "expected a rate as a fraction in [0, 1]"),
        (Undecided(), FORM, "its class variable `higher_is_better` is missing; expected True or"),
        (Aimless(), FORM, "its class variable `of` is missing; expected one of ('set', "),
        (Unbounded(), FORM, "its class variable `bounds` is missing; expected (lowest, highest)"),
        (Unitless(), FORM, "its class variable `unit` is missing; expected a string: "),
        (OpenRate(), DECLARED, "its unit is 'fraction' and its bounds are (0.0, None); expected"),
        (InPercent(), DECLARED, "expected a rate as a fraction in [0, 1]"),
        (BadNeeds(), DECLARED, "its `needs` are ('a sibling',)"),
        (Errors(), ORDER, "perfect predictions score 0 and constant ones 0.875"),
        (Tensorial(), SCORES, "expected a float"),
        (Nan(), SCORES, "expected a finite number"),
        (InPlace(), INPUTS, "trial.logits"),
        (Retrains(), INPUTS, "(trial.student)"),
        (ByProcess(), "same trial in another process", "on constant predictions: two processes"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_a_metric_with_one_fault_fails_the_check_that_is_for_it(
    fails, metric, claim, words
) -> None:
    fails("metric", metric, claim, words)


@dataclass(frozen=True)
class Size:
    """Number of condensed images; sees neither student nor predictions."""

    name: str = "size"
    of: ClassVar[str] = "set"
    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar = (0, None)
    unit: ClassVar[str] = "images"

    def measure(self, trial: Trial) -> float:
        assert trial.student is None
        assert trial.labels is None
        return float(len(trial.condensed))


@dataclass(frozen=True)
class Parameters:
    """Number of the student's parameters; sees no predictions."""

    name: str = "parameters"
    of: ClassVar[str] = "student"
    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar = (1, None)
    unit: ClassVar[str] = ""

    def measure(self, trial: Trial) -> float:
        assert trial.logits is None
        return float(sum(p.numel() for p in trial.student.parameters()))


@pytest.mark.parametrize("metric", [Size(), Parameters()], ids=["set", "student"])
def test_a_metric_sees_what_it_declares_and_no_more(metric) -> None:
    verdicts = {v.check: v for v in run_checks(checks_for("metric", metric))}
    skipped = [v for v in verdicts.values() if v.status == "skipped"]
    assert [ORDER in v.check for v in skipped] == [True]
    assert {v.status for v in verdicts.values()} == {"passed", "skipped"}


@dataclass(frozen=True)
class Gain(toy.ToyAccuracy):
    """Accuracy above that of a sibling cell."""

    name: str = "gain"
    bounds: ClassVar = (-1.0, 1.0)
    unit: ClassVar[str] = ""
    needs: ClassVar = ({"method": "toy-first"},)

    def measure(self, trial: Trial, sibling: Trial) -> float:
        return super().measure(trial) - super().measure(sibling)


@dataclass(frozen=True)
class PixelError:
    """Mean distance of the samples from the mean test image."""

    name: str = "pixel-error"
    of: ClassVar[str] = "probe"
    track: ClassVar[str] = "generation"
    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar = (0.0, None)
    unit: ClassVar[str] = "pixels"

    def measure(self, trial: Trial) -> float:
        real = trial.data.test.images(trial.index)
        return (trial.samples - real).abs().mean().item()


@dataclass(frozen=True)
class Likeness(PixelError):
    """The error in the wrong direction."""

    name: str = "likeness"
    higher_is_better: ClassVar[bool] = True


@dataclass(frozen=True)
class Rounds(PixelError):
    """Rounds the samples in place."""

    name: str = "rounds"

    def measure(self, trial: Trial) -> float:
        trial.samples.round_()
        return super().measure(trial)


@dataclass(frozen=True)
class TrainsOn(PixelError):
    """Leaves the denoiser in train mode."""

    name: str = "trains-on"

    def measure(self, trial: Trial) -> float:
        trial.student.train()
        return super().measure(trial)


@dataclass(frozen=True)
class Unasked(PixelError):
    """Looks with a network that it has not asked for."""

    name: str = "unasked"

    def measure(self, trial: Trial) -> float:
        return float(trial.features(trial.samples).mean())


@pytest.mark.parametrize(
    ("metric", "claim", "words"),
    [
        (Likeness(), ORDER, "with higher_is_better = True; expected perfect to be the better"),
        (Rounds(), INPUTS, "trial.samples"),
        (TrainsOn(), INPUTS, "train or eval mode (trial.student)"),
        (Unasked(), SCORES, "this trial has no features; expected a field `features: str` of the"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_a_metric_of_samples_with_one_fault_fails_the_check_that_is_for_it(
    fails, metric, claim, words
) -> None:
    fails("metric", metric, claim, words)


@dataclass(frozen=True)
class Recognised(PixelError):
    """Share of the samples that a classifier takes for what they should be."""

    name: str = "recognised"
    features: str = "toy-teacher"
    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar = (0.0, 1.0)
    unit: ClassVar[str] = "fraction"

    def measure(self, trial: Trial) -> float:
        said = trial.features(trial.samples).argmax(1)
        return (said == trial.labels).double().mean().item()


@dataclass(frozen=True)
class Denoising(PixelError):
    """What a denoiser that has learnt something says of a real image."""

    name: str = "denoising"
    of: ClassVar[str] = "student"

    def measure(self, trial: Trial) -> float:
        assert trial.samples is None
        x = trial.student.encode(trial.data.test.images(torch.arange(4)))
        with torch.no_grad():
            said = trial.student(x, torch.zeros(4), trial.data.test.labels[:4], {})
        return float(said.abs().mean())


def test_metrics_of_generators_may_look_at_the_denoiser_alone() -> None:
    status = {v.status for v in run_checks(checks_for("metric", Denoising()))}
    assert status == {"passed", "skipped"}  # it ranks no samples


@pytest.mark.parametrize(
    "metric",
    [
        Loss(),
        *(pytest.param(m, marks=pytest.mark.slow) for m in (Gain(), PixelError(), Recognised())),
    ],
    ids=lambda m: m.name,
)
def test_metrics_of_every_form_keep_the_contract(metric) -> None:
    assert {v.status for v in run_checks(checks_for("metric", metric))} == {"passed"}
