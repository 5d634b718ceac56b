import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bench import BenchError, CondensedSet, Data, Selection, Trial, Unsupported
from bench.checks import checks_for, run_checks
from bench.training.loading import probed_images
from bench_guard.both_sides import worst_loss
from bench_guard.curvature import curvature
from bench_guard.metrics import (
    METRICS,
    AdversarialGap,
    Curvature,
    CurvatureCosine,
    FeatureDeviation,
    InputCurvature,
)
from bench_guard.spectrum import top_curvature

ON_BOTH = [AdversarialGap(), FeatureDeviation()]


class Network(nn.Module):
    """Its features are the pixels; logits are `gain` times the first two."""

    def __init__(self, gain=1.0):
        super().__init__()
        self.classifier = nn.Linear(4, 2, bias=False)
        nn.init.eye_(self.classifier.weight)
        self.classifier.weight.data *= gain

    def forward(self, images):
        return self.classifier(images.flatten(1))


def some(counts, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(2), torch.tensor(counts))
    pixels = torch.rand(len(labels), 1, 2, 2, generator=generator)
    order = torch.randperm(len(labels), generator=generator)
    return pixels[order], labels[order]


TRAIN, TEST = some((6, 4)), some((30, 20), seed=1)


def trial(images=None, classes=None, weights=None, teacher=Network, student=Network, test=TEST):
    """Condensed images [N, 1, 2, 2] of `classes` [N]; none: the training images themselves."""
    data = Data.from_tensors(TRAIN, test, ("a", "b"))
    if images is None:
        images, classes = Selection(torch.arange(len(TRAIN[1]))), TRAIN[1]
    labels = 0.1 + 0.8 * torch.eye(2)[torch.as_tensor(classes)]
    networks = {"teacher": teacher, "student": student}
    return Trial(
        data,
        CondensedSet(images, labels, weights),
        networks={name: network for name, network in networks.items() if network},
    )


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.name)
def test_the_contract_holds(metric):
    verdicts = run_checks(checks_for("metric", metric))
    failed = [v for v in verdicts if v.status == "failed"]
    skipped = [v.check for v in verdicts if v.status == "skipped"]
    assert failed == []
    assert all("ranks perfect" in check for check in skipped)  # it does not look at predictions


# ---- input-curvature, curvature-cosine, curvature


def test_of_a_linear_network_curvature_is_in_closed_form():
    """Logits w x: the Hessian is p (1 - p) d d^T, with d = w_1 - w_0; so is the gradient's line."""
    gain = 3.0
    pixels = TEST[0].flatten(1).double()
    p = torch.sigmoid(gain * (pixels[:, 0] - pixels[:, 1]))
    wanted = (p * (1 - p)).mean().item() * 2 * gain**2
    given = trial(student=lambda: Network(gain))
    assert InputCurvature().measure(given) == pytest.approx(wanted, rel=1e-5)
    assert CurvatureCosine().measure(given) == pytest.approx(1, abs=1e-5)


def test_they_look_at_the_first_images_that_attacks_are_given():
    given = trial()
    index = probed_images(given.data.test, given.data.digest, 7)
    images, labels = given.data.test.images(index), given.data.test.labels[index]
    values, cosines = top_curvature(given.student, images, labels)
    changes = curvature(given.student, images, labels, h=0.7)
    assert InputCurvature(images=7).measure(given) == pytest.approx(values.mean().item())
    assert CurvatureCosine(images=7).measure(given) == pytest.approx(cosines.mean().item())
    assert Curvature(images=7, h=0.7).measure(given) == pytest.approx(changes.mean().item())
    assert InputCurvature(images=8).measure(given) != InputCurvature(images=7).measure(given)


def test_more_images_than_a_batch_are_all_counted():
    test = some((80, 45), seed=2)
    values, _ = top_curvature(Network(), *test)
    found = InputCurvature(images=125).measure(trial(test=test))
    assert found == pytest.approx(values.mean().item(), rel=1e-5)


def test_images_without_a_gradient_have_no_cosine():
    class Half(Network):
        def forward(self, images):  # flat on dark images
            return super().forward(images) * (images[:, 0, 1, 1] > 0.5)[:, None]

    dark = TEST[0][:, 0, 1, 1] <= 0.5
    assert 0 < dark.sum() < len(dark)
    assert CurvatureCosine().measure(trial(student=Half)) == pytest.approx(1, abs=1e-5)
    with pytest.raises(Unsupported, match="no gradient"):
        CurvatureCosine().measure(trial(student=lambda: Network(0.0)))


# ---- adversarial-gap


def test_the_worst_loss_of_a_linear_network_is_at_the_end_of_the_ball():
    model, images = Network(3.0), torch.full((2, 1, 2, 2), 0.5)
    labels = torch.tensor([0, 1])
    found = worst_loss(model, images, labels, eps=0.2, steps=4)
    wanted = math.log1p(math.exp(3.0 * math.sqrt(2) * 0.2))  # against the difference of two pixels
    assert found.tolist() == pytest.approx([wanted] * 2, rel=1e-5)


def test_the_worst_loss_stays_among_images_and_is_no_less_than_the_clean_one():
    model, images = Network(3.0), torch.zeros(1, 1, 2, 2)
    images[0, 0, 0, 1] = 1.0  # class 1; worse still would be beyond black and white
    found = worst_loss(model, images, torch.tensor([0]), eps=5.0, steps=4)
    assert found.item() == pytest.approx(F.softplus(torch.tensor(3.0)).item(), rel=1e-6)

    class Bumpy(Network):
        def forward(self, images):
            return super().forward(torch.sin(40 * images))

    losses = F.cross_entropy(Bumpy()(TEST[0]), TEST[1], reduction="none")
    found = worst_loss(Bumpy(), *TEST, eps=0.2, steps=3)
    assert (found >= losses.double() - 1e-6).all()
    assert (found > losses + 0.1).any()


def test_the_gap_is_that_of_class_means_of_the_worst_loss():
    images, labels = some((4, 5), seed=3)
    weights = torch.linspace(1, 2, 9)
    metric = AdversarialGap(eps=0.1)

    def risk(pixels, owners, masses):
        losses = worst_loss(Network(3.0), pixels, owners, eps=0.1, steps=10).numpy()
        means = [np.average(losses[owners == k], weights=masses[owners == k]) for k in (0, 1)]
        return np.mean(means)

    wanted = abs(risk(*TEST, np.ones(50)) - risk(images, labels, weights.numpy()))
    found = metric.measure(trial(images, labels, weights, student=lambda: Network(3.0)))
    assert found == pytest.approx(wanted, rel=1e-5)
    assert found > 1e-3
    assert metric.measure(trial(*TEST)) == pytest.approx(0, abs=1e-7)


def test_the_gap_keeps_the_bound_that_it_is_the_left_side_of():
    """At a linear network the worst loss is Lipschitz in the pixels, which are its features."""
    centre = torch.full((2, 1, 2, 2), 0.5)
    given = trial(centre, [0, 1])
    gap = AdversarialGap(eps=0.1).measure(given)
    distances = [(TEST[0][TEST[1] == k].flatten(1) - 0.5).norm(dim=1).mean().item() for k in (0, 1)]
    assert gap <= math.sqrt(2) * np.mean(distances)


# ---- feature-deviation


def test_the_deviation_is_the_mean_distance_to_the_class_mean_by_that_of_real_images():
    images, labels = some((4, 5), seed=3)
    weights = torch.linspace(1, 2, 9)
    made, real = [], []
    for k in (0, 1):
        points = TEST[0][TEST[1] == k].flatten(1).double().numpy()
        centre = points.mean(0)
        distances = np.linalg.norm(images[labels == k].flatten(1).numpy() - centre, axis=1)
        made.append(np.average(distances, weights=weights[labels == k].numpy()))
        real.append(np.linalg.norm(points - centre, axis=1).mean())
    found = FeatureDeviation().measure(trial(images, labels, weights))
    assert found == pytest.approx(np.mean(made) / np.mean(real), rel=1e-5)


def test_real_images_deviate_as_real_images_and_their_mean_does_not():
    assert FeatureDeviation().measure(trial(*TEST)) == pytest.approx(1)
    means = torch.stack([TEST[0][TEST[1] == k].mean(0) for k in (0, 1)])
    assert FeatureDeviation().measure(trial(means, [0, 1])) == pytest.approx(0, abs=1e-6)


def test_images_that_do_not_differ_are_declined():
    flat = torch.ones(6, 1, 2, 2), torch.arange(6) % 2
    with pytest.raises(Unsupported, match="do not differ"):
        FeatureDeviation().measure(trial(test=flat))


# ---- all


@pytest.mark.parametrize("metric", ON_BOTH, ids=lambda m: m.name)
def test_a_selection_is_of_training_images_and_fewer_are_drawn_by_the_seed(metric):
    assert metric.measure(trial()) == metric.measure(trial(*TRAIN))
    few = dataclasses.replace(metric, images=3)
    other = dataclasses.replace(few, seed=1)
    assert few.measure(trial()) == few.measure(trial())
    assert len({m.measure(trial()) for m in (few, other, metric)}) == 3


@pytest.mark.parametrize("metric", ON_BOTH, ids=lambda m: m.name)
def test_a_class_without_an_image_is_declined(metric):
    with pytest.raises(Unsupported, match="no image of class 1"):
        metric.measure(trial(torch.rand(2, 1, 2, 2), [0, 0]))


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.name)
def test_without_a_network_the_cell_is_declined(metric):
    with pytest.raises(Unsupported, match="no student"):
        metric.measure(trial(student=None))
    with pytest.raises(Unsupported, match="no teacher"):
        dataclasses.replace(metric, network="teacher").measure(trial(teacher=None))


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.name)
def test_the_teacher_can_be_looked_at_instead(metric):
    bent = nn.Sequential(nn.Tanh(), Network(4.0))
    found = dataclasses.replace(metric, network="teacher").measure(trial(teacher=lambda: bent))
    assert found == metric.measure(trial(student=lambda: bent))
    assert found != metric.measure(trial())


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.name)
def test_networks_come_back_in_their_mode(metric):
    network = Network().train()
    metric.measure(trial(student=lambda: network))
    assert network.training
    assert network.classifier.weight.grad is None


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.name)
def test_values_that_make_no_sense_are_refused(metric):
    with pytest.raises(BenchError, match="network is 'scorer'; expected 'student' or 'teacher'"):
        dataclasses.replace(metric, network="scorer")
    for name in {f.name for f in dataclasses.fields(metric)} & {"images", "steps", "eps", "h"}:
        with pytest.raises(BenchError, match=f"{name} is 0; expected more than 0"):
            dataclasses.replace(metric, **{name: 0})
