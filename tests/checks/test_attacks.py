from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.checks import checks_for, run_checks
from bench.training import toy

BALL = "stays in its ball"
ONE = "takes a batch of one"
FORM = "is well formed"
ZERO = "with eps = 0 is the identity"
PROCESS = "leaves the process as found"
INPUTS = "leaves its inputs as found"
SAME = "same seed in another process"
DRAWN = "draws from its generator alone"
LINEAR = "agrees with the closed form"


def gradient(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    x = images.clone().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(model(x), labels, reduction="sum"), x)[0]


@dataclass(frozen=True)
class Wrong:
    """One signed gradient step with one thing wrong."""

    name: str = "wrong"
    how: str = ""
    eps: float = 8 / 255
    norm: ClassVar[str] = "linf"
    exact_on_linear: ClassVar[bool] = True

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator
    ) -> Tensor:
        return globals()[self.how](self, model, images, labels)


def too_far(self, model, images, labels):
    return (images + 2 * self.eps * gradient(model, images, labels).sign()).clamp(0, 1)


def out_of_range(self, model, images, labels):
    return images + self.eps * gradient(model, images, labels).sign()


def not_a_number(self, model, images, labels):
    step = gradient(model, images, labels) * 0
    return images + step / step


def squeezed(self, model, images, labels):
    return toy.ToyStep(eps=self.eps).perturb(model, images, labels, torch.Generator()).squeeze()


def doubled(self, model, images, labels):
    return toy.ToyStep(eps=self.eps).perturb(model, images, labels, torch.Generator()).double()


def fixed_step(self, model, images, labels):
    return toy.ToyStep().perturb(model, images, labels, torch.Generator())


def downhill(self, model, images, labels):
    return toy.ToyStep(eps=self.eps).perturb(
        model, images, 1 - labels.clamp(max=1), torch.Generator()
    )


def half_way(self, model, images, labels):
    return toy.ToyStep(eps=self.eps / 2).perturb(model, images, labels, torch.Generator())


def in_train_mode(self, model, images, labels):
    return toy.ToyStep(eps=self.eps).perturb(model.train(), images, labels, torch.Generator())


def counts_batches(self, model, images, labels):
    adversarial = toy.ToyStep(eps=self.eps).perturb(
        model.train(), images, labels, torch.Generator()
    )
    model.eval()
    return adversarial


def leaves_gradients(self, model, images, labels):
    F.cross_entropy(model(images), labels).backward()
    return toy.ToyStep(eps=self.eps).perturb(model, images, labels, torch.Generator())


def in_place(self, model, images, labels):
    step = self.eps * gradient(model, images, labels).sign()
    return images.add_(step).clamp_(0, 1)


def noisy(self, model, images, labels):
    return (images + self.eps * (2 * torch.rand(images.shape) - 1)).clamp(0, 1)


def forks(self, model, images, labels):
    with torch.random.fork_rng():
        return noisy(self, model, images, labels)


def unseeded(self, model, images, labels):
    generator = torch.Generator()
    generator.seed()
    noise = 2 * torch.rand(images.shape, generator=generator) - 1
    return (images + self.eps * noise).clamp(0, 1)


@pytest.mark.parametrize(
    ("how", "claim", "words"),
    [
        ("too_far", BALL, "on toy-data: the attack moves an image by 0.0627"),
        ("out_of_range", BALL, "expected [0, 1]"),
        ("not_a_number", BALL, "NaN or infinity"),
        ("squeezed", BALL, "have shape [12, 8, 8]"),
        ("doubled", BALL, "torch.float64"),
        ("squeezed", ONE, "have shape [8, 8]"),
        ("fixed_step", ZERO, "with eps = 0 it moves a pixel by 0.03137"),
        ("downhill", LINEAR, "it helps the model"),
        ("half_way", LINEAR, "it declares exact_on_linear; expected 99%"),
        ("too_far", LINEAR, "the result is outside its ball"),
        ("in_train_mode", INPUTS, "its train or eval mode (model)"),
        ("counts_batches", INPUTS, "its weights or buffers (model)"),
        ("leaves_gradients", INPUTS, "its gradients of parameters (model)"),
        ("in_place", INPUTS, "it changed images in place"),
        ("noisy", PROCESS, "torch's global generator"),
        ("forks", DRAWN, "it makes other images when global generators are in another state"),
        ("unseeded", SAME, "two processes"),
    ],
)
def test_an_attack_with_one_fault_fails_the_check_that_is_for_it(fails, how, claim, words) -> None:
    fails("attack", Wrong(how=how), claim, words)


@pytest.mark.parametrize("attack", [toy.ToyNoise(), toy.ToyStep()], ids=lambda a: a.name)
def test_an_attack_without_a_seed_of_its_own_keeps_the_contract(attack) -> None:
    assert {v.status for v in run_checks(checks_for("attack", attack))} == {"passed"}


def test_the_kit_says_whether_an_attack_draws(verdict) -> None:
    assert verdict("attack", toy.ToyNoise(), DRAWN).detail == "another state, other images"
    assert verdict("attack", toy.ToyStep(), DRAWN).detail == "draws nothing"


@dataclass(frozen=True)
class Old:
    """An attack as they were written before they were given a generator."""

    name: str = "old"
    norm: ClassVar[str] = ""

    def perturb(self, model, images, labels):
        return images


def test_an_attack_that_takes_no_generator_is_told_what_has_changed(verdict) -> None:
    assert verdict("attack", Old(), FORM).detail == (
        "attack 'old' of here: its verb is perturb(model, images, labels); expected perturb(model, "
        "images, labels, generator): attacks now draw from the torch.Generator that they are "
        "given, and those that draw nothing ignore it"
    )


@dataclass(frozen=True)
class Sphere:
    """One normalised gradient step: the optimum in the L2 ball of a linear model."""

    name: str = "sphere"
    eps: float = 0.5
    norm: ClassVar[str] = "l2"
    exact_on_linear: ClassVar[bool] = True

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator
    ) -> Tensor:
        step = F.normalize(gradient(model, images, labels).flatten(1), eps=1e-30).view_as(images)
        return (images + self.eps * step).clamp(0, 1)


def test_an_attack_in_the_l2_ball_reaches_its_closed_form(verdict) -> None:
    assert {v.status for v in run_checks(checks_for("attack", Sphere()))} == {"passed"}
    assert verdict("attack", Sphere(), LINEAR).detail.startswith("goes 100.0% of the way")


def test_a_corner_of_the_cube_is_outside_the_l2_ball(verdict) -> None:
    @dataclass(frozen=True)
    class Corner(Sphere):
        """A signed step where a normalised one was promised."""

        def perturb(
            self, model: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator
        ) -> Tensor:
            return toy.ToyStep(eps=self.eps).perturb(model, images, labels, torch.Generator())

    from bench.checks.attacks import check_linear
    from bench.contract.errors import BenchError

    with pytest.raises(BenchError, match="outside its ball"):
        check_linear(Corner(eps=0.1))


@dataclass(frozen=True)
class Unbounded(Sphere):
    """As far as it takes."""

    name: str = "unbounded"
    eps: float = 1e6

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator
    ) -> Tensor:
        return images if self.eps == 0 else 1 - images


def test_where_the_range_cuts_the_ball_there_is_no_closed_form(verdict) -> None:
    found = verdict("attack", Unbounded(), LINEAR)
    assert (found.status, found.detail[:26]) == ("skipped", "its ball is so large that ")
    assert verdict("attack", Unbounded(), BALL).status == "passed"


@dataclass(frozen=True)
class Nowhere(toy.ToyStep):
    """An attack in a ball that nobody knows."""

    name: str = "nowhere"
    norm: ClassVar[str] = "l7"


@dataclass(frozen=True)
class NoBall:
    """An attack that does not say whether it stays in a ball."""

    name: str = "no-ball"

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator
    ) -> Tensor:
        return images


@dataclass(frozen=True)
class NoRadius:
    """An attack in a ball without a radius."""

    name: str = "no-radius"
    norm: ClassVar[str] = "l2"

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator
    ) -> Tensor:
        return images


def test_a_ball_needs_a_known_norm_and_a_radius(verdict) -> None:
    assert "`norm` is 'l7'; expected one of" in verdict("attack", Nowhere(), FORM).detail
    assert "`norm` is missing; expected one of" in verdict("attack", NoBall(), FORM).detail
    assert "no field `eps`, the radius" in verdict("attack", NoRadius(), FORM).detail
    inside_out = verdict("attack", toy.ToyStep(eps=-0.1), BALL).detail
    assert "its eps is -0.1; expected a field `eps: float`" in inside_out
