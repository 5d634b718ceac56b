import dataclasses
import math

import numpy as np
import ot
import pytest
import torch
from torch import nn

from bench import BenchError, CondensedSet, Data, Selection, Trial, Unsupported
from bench.checks import checks_for, run_checks
from bench_wmdd.metrics import CLASS_W1, ClassDisparity, ClassWasserstein, Diversity, RiskGap
from bench_wmdd.supports import barycenter

W2 = ClassWasserstein()
METRICS = [CLASS_W1, W2, Diversity(), RiskGap(), ClassDisparity()]
ON_TEACHER = [CLASS_W1, W2, Diversity()]
ON_IMAGES = [*ON_TEACHER, RiskGap()]


class Network(nn.Module):
    """Its features are the pixels; logits are `gain` times the first two."""

    def __init__(self, gain=1.0):
        super().__init__()
        self.classifier = nn.Linear(4, 2, bias=False)
        nn.init.eye_(self.classifier.weight)
        self.classifier.weight.data *= gain

    def forward(self, images):
        return self.classifier(images.flatten(1))


def real(seed=0, counts=(30, 20)):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(2), torch.tensor(counts))
    pixels = torch.rand(len(labels), 1, 2, 2, generator=generator)
    order = torch.randperm(len(labels), generator=generator)
    return pixels[order], labels[order]


def trial(images=None, classes=None, weights=None, teacher=Network, student=Network, train=None):
    """Condensed images [N, 1, 2, 2] of `classes` [N]; none: the training images themselves."""
    train = real() if train is None else train
    data = Data.from_tensors(train, train, ("a", "b"))
    if images is None:
        images, classes = Selection(torch.arange(len(train[1]))), train[1]
    labels = 0.1 + 0.8 * torch.eye(2)[torch.as_tensor(classes)]
    networks = {"teacher": teacher, "student": student}
    return Trial(
        data,
        CondensedSet(images, labels, weights),
        networks={name: network for name, network in networks.items() if network},
    )


def rows(label):
    pixels, labels = real()
    return pixels[labels == label].flatten(1).double().numpy()


@pytest.mark.parametrize(
    "metric",
    [
        pytest.param(m, marks=pytest.mark.slow) if m.name in ("class-w1", "class-w2") else m
        for m in METRICS
    ],
    ids=lambda m: m.name,
)
def test_the_contract_holds(metric):
    verdicts = run_checks(checks_for("metric", metric))
    failed = [v for v in verdicts if v.status == "failed"]
    skipped = [v.check for v in verdicts if v.status == "skipped"]
    assert failed == []
    assert all("ranks perfect" in check for check in skipped)  # it does not look at predictions


# ---- class-w1, class-w2


@pytest.mark.parametrize(("metric", "order"), [(CLASS_W1, 1), (W2, 2)])
def test_the_distance_to_one_image_is_the_mean_power_of_the_distances(metric, order):
    centre = torch.full((2, 1, 2, 2), 0.5)
    wanted = [
        (np.linalg.norm(rows(k) - 0.5, axis=1) ** order).mean() ** (1 / order) for k in (0, 1)
    ]
    assert metric.measure(trial(centre, [0, 1])) == pytest.approx(np.mean(wanted))


def test_weights_are_masses_within_a_class():
    """Two images of class 0, one of class 1; only the ratio within a class counts."""
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(3, 1, 2, 2, generator=generator)
    weights = torch.tensor([3.0, 1.0, 7.0])
    x = images.flatten(1).double().numpy()
    plans = [(x[:2], [0.75, 0.25], rows(0)), (x[2:], [1.0], rows(1))]
    costs = [ot.emd2(mass, ot.unif(len(y)), ot.dist(x, y)) for x, mass, y in plans]
    found = W2.measure(trial(images, [0, 0, 1], weights))
    assert found == pytest.approx(np.mean(np.sqrt(costs)))
    assert found != pytest.approx(W2.measure(trial(images, [0, 0, 1])))


def test_on_a_line_it_is_the_sorted_difference():
    """Independent of any solver: features of one dimension, as many on both sides."""
    pixels, labels = real(counts=(20, 20))
    pixels[:, :, 0, 1] = pixels[:, :, 1] = 0
    made, _ = real(seed=5, counts=(20, 20))
    made[:, :, 0, 1] = made[:, :, 1] = 0
    gaps = [
        np.sort(pixels[labels == k, 0, 0, 0].numpy()) - np.sort(made[labels == k, 0, 0, 0].numpy())
        for k in (0, 1)
    ]
    given = trial(made, labels, train=(pixels, labels))
    assert CLASS_W1.measure(given) == pytest.approx(
        np.mean([abs(g).mean() for g in gaps]), rel=1e-5
    )
    wanted = np.mean([math.sqrt((g**2).mean()) for g in gaps])
    assert W2.measure(given) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("metric", [CLASS_W1, W2])
def test_the_training_images_are_at_no_distance_from_themselves(metric):
    assert metric.measure(trial()) == pytest.approx(0, abs=1e-6)
    fewer = dataclasses.replace(metric, images=7)  # the same seven on both sides
    assert fewer.measure(trial()) == pytest.approx(0, abs=1e-6)


def test_w1_is_at_most_w2_and_bounds_the_gap_of_a_lipschitz_loss():
    images, labels = real(seed=3, counts=(4, 5))
    given = trial(images, labels)
    assert CLASS_W1.measure(given) <= W2.measure(given)
    # cross-entropy is sqrt(2)-Lipschitz in the logits, and these are pixels
    assert RiskGap().measure(given) <= math.sqrt(2) * CLASS_W1.measure(given)


def test_fewer_images_are_drawn_by_the_seed():
    images, labels = real(seed=3, counts=(4, 5))
    few = ClassWasserstein(images=5)
    given = trial(images, labels)
    assert few.measure(given) == few.measure(given)
    other = dataclasses.replace(few, seed=1).measure(given)
    assert len({few.measure(given), other, W2.measure(given)}) == 3


# ---- diversity


def test_all_images_are_as_diverse_as_themselves_and_one_is_not():
    assert Diversity().measure(trial()) == pytest.approx(1)
    assert Diversity().measure(trial(torch.rand(2, 1, 2, 2), [0, 1])) == 0


def test_diversity_is_the_ratio_of_weighted_variances():
    images = torch.rand(3, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    x = images[:2].flatten(1).double().numpy()
    kept = 0.75 * 0.25 * np.square(x[0] - x[1]).sum()  # class 1 has one image
    there = sum(rows(k).var(0).sum() for k in (0, 1))
    found = Diversity().measure(trial(images, [0, 0, 1], torch.tensor([3.0, 1.0, 7.0])))
    assert found == pytest.approx(kept / there)


def test_scatter_beyond_the_class_is_no_diversity():
    pixels, labels = real()
    apart = [pixels[labels == k].mean(0) + s * 9 for k in (0, 1) for s in (-1, 1)]
    found = Diversity().measure(trial(torch.stack(apart), [0, 0, 1, 1]))
    assert 0 < found < 0.1


def test_a_barycenter_loses_the_share_that_its_distance_takes():
    """Images whose features are the points of barycenters: spread and W2^2 add up to the whole."""
    pixels, labels = real()
    parts = [barycenter(pixels[labels == k].flatten(1), 6) for k in (0, 1)]
    images, weights = (torch.cat(part) for part in zip(*parts, strict=True))
    given = trial(images.view(-1, 1, 2, 2), [0] * 6 + [1] * 6, weights)
    lost = 0.0
    for k, (positions, mass) in enumerate(parts):
        x = positions.double().numpy()
        mass = mass.double().numpy()
        lost += ot.emd2(mass / mass.sum(), ot.unif(len(rows(k))), ot.dist(x, rows(k)))
    there = sum(rows(k).var(0).sum() for k in (0, 1))
    assert Diversity().measure(given) == pytest.approx(1 - lost / there, rel=1e-5)


def test_images_that_do_not_differ_are_declined():
    flat = torch.ones(6, 1, 2, 2), torch.arange(6) % 2
    with pytest.raises(Unsupported, match="do not differ"):
        Diversity().measure(trial(train=flat))


# ---- risk-gap


def test_the_risk_gap_is_that_of_class_means_of_the_loss():
    images, labels = real(seed=3, counts=(4, 5))
    weights = torch.linspace(1, 2, 9)

    def loss(pixels, label):
        logits = pixels.flatten(1).double().numpy()[:, :2] * 3
        return np.log(np.exp(logits).sum(1)) - logits[:, label]

    pixels, owners = real()
    gaps = [
        loss(pixels[owners == k], k).mean()
        - np.average(loss(images[labels == k], k), weights=weights[labels == k])
        for k in (0, 1)
    ]
    found = RiskGap().measure(trial(images, labels, weights, student=lambda: Network(3.0)))
    assert found == pytest.approx(abs(np.mean(gaps)), rel=1e-5)


def test_the_training_images_have_no_gap_and_a_student_is_needed():
    assert RiskGap().measure(trial()) == pytest.approx(0, abs=1e-12)
    with pytest.raises(BenchError, match="no student"):
        RiskGap().measure(trial(student=None))


# ---- class-disparity


@pytest.mark.parametrize(
    ("clean", "attacked", "wanted"),
    [
        ([0, 0, 0, 2, 2, 3], [0, 1, 0, 2, 0, 3], 1 - 1 / 2),  # 2/3, 1/2, 1; class 1 is absent
        ([0, 0, 0, 2, 2, 3], [0, 0, 0, 2, 2, 3], 0.0),
        ([0, 0, 0, 2, 2, 0], [0, 0, 0, 2, 2, 3], 1.0),  # wrong clean is wrong
    ],
)
def test_disparity_is_from_the_best_class_to_the_worst(clean, attacked, wanted):
    logits = torch.eye(4)
    given = Trial(
        data=None,
        condensed=CondensedSet(Selection(torch.arange(4)), logits),
        labels=torch.tensor([0, 0, 0, 2, 2, 3]),
        clean_logits=logits[clean],
        logits=logits[attacked],
        norm="linf",
    )
    assert ClassDisparity().measure(given) == pytest.approx(wanted)


# ---- all


@pytest.mark.parametrize("metric", ON_TEACHER, ids=lambda m: m.name)
def test_without_a_teacher_the_cell_is_declined(metric):
    with pytest.raises(Unsupported, match="needs a teacher"):
        metric.measure(trial(teacher=None))


@pytest.mark.parametrize("metric", ON_IMAGES, ids=lambda m: m.name)
def test_a_class_without_an_image_is_declined(metric):
    with pytest.raises(Unsupported, match="no image of class 1"):
        metric.measure(trial(torch.rand(2, 1, 2, 2), [0, 0]))


@pytest.mark.parametrize("metric", ON_IMAGES, ids=lambda m: m.name)
def test_networks_come_back_in_their_mode(metric):
    network = Network().train()
    metric.measure(trial(teacher=lambda: network, student=lambda: network))
    assert network.training


@pytest.mark.parametrize("metric", ON_IMAGES, ids=lambda m: m.name)
def test_a_sample_of_no_image_is_refused(metric):
    with pytest.raises(BenchError, match="images is 0"):
        dataclasses.replace(metric, images=0)


def test_orders_are_one_and_two():
    with pytest.raises(BenchError, match="order is 3; expected 1 or 2"):
        ClassWasserstein(order=3)
