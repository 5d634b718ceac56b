import dataclasses
import functools
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bench import BenchError, Task
from bench.checks import checks_for, run_checks
from bench.training.networks import build, predict, state
from bench.training.passes import counting
from bench_guard import curvature, gradient_norm
from bench_guard.curvature import with_curvature
from bench_guard.teachers import (
    CIFAR,
    FASHION,
    FIRST_ORDER,
    IMAGENETTE,
    Adversarial,
    GradientNorm,
    Guard,
    attacked,
)
from bench_guard.teachers import HALF as HALF_A_BATCH
from bench_standard.architectures.convnet import ConvNet
from bench_standard.datasets.digits import Digits
from bench_standard.teachers import STANDARD_FASHION, Standard

TEACHERS = [Guard(), HALF_A_BATCH, FIRST_ORDER, Adversarial(), GradientNorm()]
OFF = [Guard(lam=0.0), Adversarial(eps=0.0), GradientNorm(lam=0.0)]
BUDGET = {"epochs": 6, "batch": 64, "channels_last": True}
GUARD = Guard(**BUDGET, lam=0.3)
HALF = Guard("half", **BUDGET, lam=0.3, fraction=0.5)
LOSS = dataclasses.replace(FIRST_ORDER, **BUDGET, lam=0.3)
ADVERSARIAL = Adversarial(**BUDGET, eps=0.1, steps=3)
GRADNORM = GradientNorm(**BUDGET, lam=0.3)
by_name = {"ids": lambda teacher: teacher.name}


@pytest.fixture(scope="module")
def digits():
    return Digits().load()


@pytest.fixture(scope="module")
def images(digits):
    index = torch.arange(150)
    return digits.test.images(index), digits.test.labels[index]


def task(data, seed=0):
    def backbone():
        torch.manual_seed(0)
        network = ConvNet(width=16, depth=2, norm="batch")
        return build(network, data.shape, 10, data.mean, data.std)

    return Task(
        **{f: getattr(data, f) for f in ("train", "classes", "shape", "mean", "std", "flip")},
        ipc=0,
        seed=seed,
        networks={"backbone": backbone},
    )


@pytest.fixture(scope="module")
def trained(digits):
    """Teachers of one budget, each trained once."""
    return functools.cache(lambda teacher: teacher.squeeze(task(digits)))


@pytest.fixture(scope="module")
def plain(trained):
    return trained(Standard(**BUDGET))


def accuracy(network, data):
    logits = predict(network, data.test, torch.arange(len(data.test)))
    return (logits.argmax(1) == data.test.labels).double().mean().item()


def right_under_attack(network, images, labels, eps):
    moved = attacked(network, images, labels, eps=eps, alpha=eps / 4, steps=10)
    with torch.no_grad():
        return (network(moved).argmax(1) == labels).double().mean().item()


def same(a, b):
    a, b = state(a), state(b)
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize(
    "teacher",
    [t if t.name == "gradnorm" else pytest.param(t, marks=pytest.mark.slow) for t in TEACHERS],
    **by_name,
)
def test_the_contract_holds(teacher):
    verdicts = run_checks(checks_for("teacher", teacher))
    assert [v for v in verdicts if v.status != "passed"] == []


# ---- beside the standard teacher


def test_fields_of_training_are_those_of_the_standard_teacher_with_its_defaults():
    usual = dataclasses.asdict(Standard())
    for teacher in TEACHERS:
        own = dataclasses.asdict(teacher)
        assert {key: own[key] for key in usual if key != "name"} == {
            key: value for key, value in usual.items() if key != "name"
        }


@pytest.mark.parametrize("teacher", OFF, **by_name)
def test_without_penalty_or_attack_it_is_the_standard_teacher_to_the_byte(teacher, digits):
    settings = {"epochs": 2, "batch": 100, "lr": 0.04, "warmup": 0.1, "crop": 1, "flip": True}
    usual = Standard(**settings, channels_last=True).squeeze(task(digits, seed=3))
    other = dataclasses.replace(teacher, **settings, channels_last=True)
    assert same(other.squeeze(task(digits, seed=3)), usual)


@pytest.mark.parametrize(
    "teacher",
    [pytest.param(t, marks=pytest.mark.slow) for t in (GUARD, HALF, LOSS, ADVERSARIAL)]
    + [GRADNORM],
    **by_name,
)
def test_with_it_it_is_another_and_still_learns(teacher, trained, plain, digits):
    network = trained(teacher)
    assert not same(network, plain)
    assert accuracy(network, digits) > 0.9
    assert not network.training


@pytest.mark.parametrize("teacher", [GUARD, HALF], **by_name)
def test_guard_lowers_the_curvature(teacher, trained, plain, images):
    before, after = (
        curvature(n, *images, h=teacher.h).mean().item() for n in (plain, trained(teacher))
    )
    assert after < 0.6 * before


def test_the_penalty_of_gradnorm_moves_the_weights_and_lowers_the_norm(trained, plain, images):
    before, after = (gradient_norm(n, *images).mean().item() for n in (plain, trained(GRADNORM)))
    assert after < 0.9 * before


@pytest.mark.parametrize("teacher", [GUARD, HALF, ADVERSARIAL], **by_name)
def test_robust_accuracy_rises(teacher, trained, plain, images):
    before, after = (right_under_attack(n, *images, eps=0.1) for n in (plain, trained(teacher)))
    assert after > before + 0.1


# ---- what the term is computed on


@pytest.mark.parametrize(("fraction", "rows"), [(1.0, 64), (0.5, 32), (0.01, 1)])
def test_a_fraction_takes_the_first_rows_of_a_batch(fraction, rows, digits, monkeypatch):
    module, seen, batches = sys.modules["bench_guard.curvature"], [], []

    def recorded(network, images, labels, *, h):
        seen.append((images, labels, h))
        return with_curvature(network, images, labels, h=h)

    def network():
        model = plain()
        model.register_forward_pre_hook(
            lambda module, inputs: batches.append(inputs[0]) if module.training else None
        )
        return model

    setting = task(digits)
    plain = setting.networks["backbone"]
    setting = dataclasses.replace(setting, networks={"backbone": network})
    monkeypatch.setattr(module, "with_curvature", recorded)
    teacher = Guard(epochs=1, batch=64, fraction=fraction, h=0.7)
    teacher.squeeze(setting)
    assert len(seen) == len(batches) == 19  # 1,198 images
    for (images, labels, h), whole in zip(seen[:-1], batches[:-1], strict=True):
        assert h == 0.7
        assert len(whole) == 64
        assert torch.equal(images, whole[:rows])
        assert len(labels) == rows


@pytest.mark.parametrize(
    ("norm", "fraction", "passes"),
    [
        ("batch", 1.0, (3, 5)),  # images of a batch that go forward, and come back
        ("instance", 1.0, (2, 4)),
        ("instance", 0.5, (1.5, 2.5)),
        ("batch", 0.5, (2, 3)),
    ],
)
def test_without_batchnorm_the_term_shares_a_pass_with_the_loss(norm, fraction, passes, digits):
    convnet = ConvNet(width=4, depth=1, norm=norm)
    network = build(convnet, digits.shape, 10, digits.mean, digits.std)
    setting = dataclasses.replace(task(digits), networks={"backbone": lambda: network})
    with counting(network) as counted:
        Guard(epochs=1, batch=599, fraction=fraction).squeeze(setting)  # of 1,198: 2 x 600 / 2
    share = 600 / 599 if fraction < 1 else 1
    assert counted.forward == pytest.approx(1198 * passes[0], abs=2 * share)
    assert counted.backward == pytest.approx(1198 * passes[1], abs=4 * share)


@pytest.mark.parametrize("teacher", [Guard(), Guard(fraction=0.5), GradientNorm(), FIRST_ORDER])
def test_a_pass_that_is_shared_changes_rounding_alone(teacher, digits, monkeypatch):
    teacher = dataclasses.replace(teacher, epochs=1, batch=200, lr=0.01)

    def trained():
        torch.manual_seed(0)
        convnet = ConvNet(width=8, depth=2, norm="instance")
        network = build(convnet, digits.shape, 10, digits.mean, digits.std)
        setting = dataclasses.replace(task(digits), networks={"backbone": lambda: network})
        return state(teacher.squeeze(setting))

    shared = trained()
    module = sys.modules["bench_guard.curvature"]
    monkeypatch.setattr(module, "same_in_both_modes", lambda network, images: False)
    for key, value in trained().items():
        torch.testing.assert_close(value, shared[key], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("preset", "step", "weight", "batch", "deviation"),  # theirs, and that of a pixel
    [(CIFAR, 3, 100, 128, 0.2), (FASHION, 3, 100, 128, 0.353), (IMAGENETTE, 3, 100, 32, 0.226)],
)
def test_presets_are_the_values_of_the_authors_converted(preset, step, weight, batch, deviation):
    assert preset.h == pytest.approx(deviation * step, rel=0.01)
    assert preset.lam == pytest.approx(deviation * weight / batch, rel=0.02)
    assert dataclasses.replace(preset, name="guard", lam=1.0, h=0.5) == Guard()


def test_form_loss_is_the_loss_difference(trained):
    assert (FIRST_ORDER.name, FIRST_ORDER.form) == ("guard-first-order", "loss")
    assert not same(trained(LOSS), trained(GUARD))


# ---- the attack of adversarial training


@pytest.mark.parametrize("eps", [0.05, 0.4])
def test_attacked_images_stay_in_range_and_ball_and_have_a_larger_loss(eps, plain, images):
    network, (x, y) = plain, images
    network.zero_grad()
    for generator in (None, torch.Generator().manual_seed(1)):
        moved = attacked(network, x, y, eps=eps, alpha=eps / 4, steps=7, generator=generator)
        assert moved.min() >= 0
        assert moved.max() <= 1
        assert (moved - x).abs().max() <= eps + 1e-6
        assert (moved - x).abs().max() > 0.9 * eps
        losses = [F.cross_entropy(network(i), y, reduction="none") for i in (x, moved)]
        assert losses[1].mean() > losses[0].mean() + 0.01
        assert not moved.requires_grad
    assert all(p.grad is None for p in network.parameters())


def test_an_attack_reaches_the_best_corner_of_a_linear_network():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    x, y = torch.rand(6, 1, 4, 4), torch.tensor([0, 1, 0, 1, 0, 1])
    w = network[1].weight
    worse = (w[1 - y] - w[y]).sign().view_as(x)
    expected = (x + 0.1 * worse).clamp(0, 1)
    for generator in (None, torch.Generator().manual_seed(0)):
        found = attacked(network, x, y, eps=0.1, alpha=0.05, steps=5, generator=generator)
        torch.testing.assert_close(found, expected)


def test_adversarial_training_sees_images_of_the_right_range(digits):
    """Not so in the released code, where normalised pixels are clamped to [0, 1]."""
    seen = []

    def network():
        model = plain()
        model.register_forward_pre_hook(
            lambda module, inputs: seen.append(inputs[0]) if module.training else None
        )
        return model

    setting = task(digits)
    plain = setting.networks["backbone"]
    setting = dataclasses.replace(setting, networks={"backbone": network})
    Adversarial(epochs=1, batch=200, eps=0.1, steps=2).squeeze(setting)
    pixels, whole = torch.cat(seen), digits.train.images(torch.arange(len(digits.train.labels)))
    assert pixels.min() == 0
    assert pixels.max() == 1
    assert len(pixels) == len(whole)
    assert 0.01 < (pixels.mean() - whole.mean()).abs() < 0.1  # black pixels can but brighten


def test_random_starts_are_seeded_by_the_task(digits):
    quick = Adversarial(epochs=1, steps=1, alpha=1e-4)
    first, again = (quick.squeeze(task(digits)) for _ in range(2))
    assert same(first, again)
    fixed = dataclasses.replace(quick, random_start=False).squeeze(task(digits))
    assert not same(first, fixed)


# ---- fields


@pytest.mark.parametrize(
    ("teacher", "field", "value", "expected"),
    [
        (Guard, "lam", -1.0, "0 or more"),
        (Guard, "h", 0.0, "more than 0"),
        (Guard, "fraction", 0.0, "more than 0, at most 1"),
        (Guard, "fraction", 1.5, "more than 0, at most 1"),
        (Guard, "form", "hessian", "'gradient' or 'loss'"),
        (Guard, "epochs", 0, "1 or more"),
        (Adversarial, "eps", 8.0, "pixels of"),
        (Adversarial, "steps", 0, "1 or more"),
        (Adversarial, "alpha", -0.1, "0 or more"),
        (GradientNorm, "lam", -1.0, "0 or more"),
    ],
)
def test_a_field_that_makes_no_sense_is_refused(teacher, field, value, expected):
    with pytest.raises(BenchError, match=f"{field} is {value!r}; expected .*{expected}"):
        teacher(**{field: value})


def test_a_setting_that_no_recipe_knows_is_refused():
    with pytest.raises(BenchError, match="optimizer is 'lion'"):
        Guard(optimizer="lion")


def test_the_budget_of_standard_fashion_can_be_set_on_all():
    fields = dataclasses.asdict(STANDARD_FASHION)
    del fields["name"]
    for teacher in TEACHERS:
        assert dataclasses.replace(teacher, **fields).lr == STANDARD_FASHION.lr
