import dataclasses
import subprocess
import sys
from importlib.metadata import entry_points

import pytest
import torch

import bench_wmdd
from bench import BenchError, Subset, Task, TensorSplit, Unsupported
from bench.checks import checks_for, fixtures, run_checks
from bench.training import networks, toy
from bench.training.classifier import Examples, fit
from bench.training.recipe import Recipe
from bench_inversion.statistics import distance, of_classes, recording
from bench_standard.architectures.convnet import CONVNET, ConvNet
from bench_standard.datasets.digits import Digits
from bench_wmdd.methods import (
    BN,
    CE,
    CE_BN,
    FROM_NEAREST,
    MMD,
    NEAREST,
    SLICED,
    UNIFORM,
    WMDD,
)
from bench_wmdd.supports import barycenter

ARMS = [WMDD(), UNIFORM, SLICED, MMD, BN, CE, CE_BN]


def quick(method, **changes):
    return dataclasses.replace(method, **{**method.quick, "iterations": 20, **changes})


def condensed(method, ipc=4):
    return method.condense(fixtures.task(method, toy.GRAY, ipc))


@pytest.mark.parametrize(
    "method", [pytest.param(WMDD(), marks=pytest.mark.slow), CE_BN], ids=lambda m: m.name
)
def test_the_contract_holds(method):
    verdicts = run_checks(checks_for("method", method))
    assert [v for v in verdicts if v.status != "passed"] == []


def test_the_entry_point_brings_all_arms():
    [entry] = [e for e in entry_points(group="bench") if e.name == "wmdd"]
    assert entry.load() is bench_wmdd
    names = [m.name for m in bench_wmdd.bench_methods()]
    assert names[0] == "wmdd"
    arms = ["uniform", "sliced", "mmd", "bn", "ce", "ce-bn"]
    assert names[1:] == [f"wmdd-{arm}" for arm in [*arms, "from-nearest", "nearest"]]


def test_arms_differ_in_what_they_are_named_after():
    images = [condensed(quick(arm)).images for arm in ARMS]
    for i, one in enumerate(images):
        assert not any(torch.equal(one, other) for other in images[:i])


def test_weights_are_those_of_the_barycenter_and_positive():
    made, task = condensed(quick(WMDD())), fixtures.task(WMDD(), toy.GRAY, 4)
    for label in range(8):
        members = (task.train.labels == label).nonzero().squeeze(1)
        with torch.no_grad():
            points = networks.features(task.teacher, task.train.images(members))[0]
        mass = barycenter(points, 4, weights="free", seed=task.seed)[1]
        torch.testing.assert_close(made.weights[4 * label : 4 * label + 4], 4 * mass.float())
    assert made.weights.min() > 0
    assert made.weights.std() > 0.01


def test_weights_are_equal_where_the_barycenter_has_none_and_absent_without_one():
    torch.testing.assert_close(condensed(quick(UNIFORM)).weights, torch.ones(32))
    assert condensed(quick(CE)).weights is None
    assert condensed(quick(CE_BN)).weights is None


def test_the_bandwidth_is_that_of_the_kernel():
    assert not torch.equal(
        condensed(quick(MMD)).images, condensed(quick(MMD, bandwidth=0.2)).images
    )
    one, other = (condensed(quick(WMDD(), bandwidth=b)).images for b in (1.0, 0.2))
    assert torch.equal(one, other)


def test_weights_count_in_the_statistics_of_a_class():
    with_weights, without = quick(WMDD(), features=1e-9), quick(UNIFORM, features=1e-9)
    assert not torch.equal(condensed(with_weights).images, condensed(without).images)


def gaps(method):
    """Of the set: to the statistics of classes, unweighted, and of features to the targets."""
    task = fixtures.task(method, toy.GRAY, 4)
    images = method.condense(task).images
    statistics = of_classes(task.teacher, task.train, 8)
    supports = []
    for label in range(8):
        members = (task.train.labels == label).nonzero().squeeze(1)
        with torch.no_grad():
            points = networks.features(task.teacher, task.train.images(members))[0]
        supports.append(UNIFORM.support(points, 4, task.seed)[0])
    with torch.no_grad(), recording(task.teacher) as moments:
        found = networks.features(task.teacher, images.float() / 255)[0]
        gap = distance(moments(), statistics, torch.ones(8, 4))
    return float(gap), float((found - torch.cat(supports)).norm())


def test_the_feature_loss_brings_features_to_the_barycenter_and_by_class_its_statistics():
    settings = {"iterations": 100, "lam": 1.0, "scale": (1.0, 1.0), "roll": 0}
    full, ce, ce_bn = (gaps(quick(arm, **settings)) for arm in (UNIFORM, CE, CE_BN))
    assert full[1] < 0.8 * ce[1]
    assert ce[0] < 0.8 * ce_bn[0]


def test_arms_without_real_images_do_not_look_at_them():
    task = fixtures.task(CE_BN, toy.GRAY, 2)

    class Blind:
        labels = task.train.labels

        def images(self, index, boxes=None):
            raise AssertionError("asked for images")

    blind = dataclasses.replace(task, train=Blind())
    assert torch.equal(
        quick(CE_BN).condense(blind).images,
        quick(CE_BN).condense(task).images,
    )
    with pytest.raises(AssertionError, match="asked for images"):
        quick(CE).condense(blind)


@pytest.mark.parametrize("method", [WMDD(), UNIFORM, SLICED, MMD], ids=lambda m: m.name)
def test_a_class_of_fewer_images_than_ipc_shares_points_and_weights(method):
    points = torch.rand(3, 5, generator=torch.Generator().manual_seed(0))
    found, weights = method.support(points, 7, 0)
    assert found.shape == (7, 5)
    assert torch.equal(found[:3], found[3:6])
    assert torch.equal(found[0], found[6])
    torch.testing.assert_close(weights.mean(), torch.tensor(1.0))
    of_point = torch.stack([weights[j::3].sum() for j in range(3)])
    mass = method.support(points, 3, 0)[1] / 3
    torch.testing.assert_close(of_point, 7 * mass.float())


def test_a_set_of_classes_smaller_than_ipc_is_legal():
    method = quick(UNIFORM)
    task = fixtures.task(method, toy.GRAY, 6)
    few = torch.arange(24)  # three images of each class
    made = method.condense(dataclasses.replace(task, train=Subset(task.train, few)))
    assert len(made) == 48
    assert made.weights.min() > 0


def test_a_class_without_images_is_an_error():
    task = fixtures.task(WMDD(), toy.GRAY, 1)
    few = (task.train.labels < 7).nonzero().squeeze(1)
    with pytest.raises(BenchError, match="no training images"):
        quick(WMDD()).condense(dataclasses.replace(task, train=Subset(task.train, few)))


def test_a_teacher_without_batchnorm_is_declined_before_any_work():
    task = fixtures.task(WMDD(), toy.GRAY, 1)
    teacher = networks.build(CONVNET, task.shape, 8, task.mean, task.std)
    task = dataclasses.replace(task, train=None, networks={"teacher": lambda: teacher})
    with pytest.raises(Unsupported, match="no BatchNorm layer"):
        WMDD().condense(task)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("barycenter", "mean"),
        ("statistics", "batch"),
        ("feature_loss", "l1"),
        ("lam", -1.0),
        ("bandwidth", 0.0),
    ],
)
def test_a_field_that_makes_no_sense_is_refused(field, value):
    with pytest.raises(BenchError, match=f"{field} is {value!r}; expected"):
        WMDD(**{field: value})


def test_without_iterations_a_set_is_the_real_images_nearest_to_the_points():
    made, task = condensed(NEAREST), fixtures.task(WMDD(), toy.GRAY, 4)
    assert made.images.dtype == torch.uint8
    for label in range(8):
        members = (task.train.labels == label).nonzero().squeeze(1)
        real = task.train.images(members)
        with torch.no_grad():
            points = networks.features(task.teacher, real)[0]
        targets = barycenter(points, 4, seed=task.seed)[0]
        own = made.images[4 * label : 4 * label + 4].flatten(1)
        pixels = (real * 255).round().to(torch.uint8).flatten(1)
        taken = [int((pixels == image).all(1).nonzero()[0, 0]) for image in own]
        assert len({*taken}) == 4
        gap = torch.cdist(targets, points)
        first = int(gap.min(1).values.argmin())  # of all pairs the nearest comes first
        assert taken[first] == int(gap[first].argmin())


def test_a_start_keeps_weights_and_labels_of_its_recovery():
    start, moved = condensed(NEAREST), condensed(quick(FROM_NEAREST))
    assert torch.equal(start.weights, moved.weights)
    assert torch.equal(start.classes, moved.classes)
    noise = condensed(quick(WMDD(), lr=0.05)).images.float()
    begun = start.images.float()
    assert (moved.images - begun).abs().mean() < 0.5 * (noise - begun).abs().mean()


@pytest.mark.parametrize("arm", [CE, CE_BN], ids=lambda m: m.name)
def test_an_arm_without_points_has_no_nearest_images(arm):
    with pytest.raises(BenchError, match=r"init is 'nearest'; .* aims at no points"):
        dataclasses.replace(arm, init="nearest")
    assert dataclasses.replace(arm, init="random").init == "random"


def test_a_student_learns_digits_from_ten_images_a_class():
    data = Digits().load()
    architecture = ConvNet(width=16, depth=2, norm="batch")

    def network(seed):
        torch.manual_seed(seed)
        return networks.build(architecture, data.shape, 10, data.mean, data.std)

    torch.set_num_threads(1)
    everything = torch.arange(len(data.train.labels))
    examples = Examples(data.train, everything, data.train.labels)
    teacher = fit(network(0), examples, Recipe(epochs=5, batch=64, lr=0.05), classes=10, seed=0)
    task = Task(
        *(data.train, data.classes, data.shape, data.mean, data.std, data.flip, 10, 0),
        networks={"teacher": lambda: teacher},
    )
    made = quick(WMDD(), iterations=150, scale=(0.5, 1.0)).condense(task)
    student = fit(
        network(1),
        Examples(
            TensorSplit(made.images, made.labels.argmax(1)),
            torch.arange(100),
            made.labels,
            made.weights,
        ),
        Recipe(steps=150, batch=50, lr=0.05, crop=1),
        classes=10,
        seed=1,
        regime="teacher",
        teacher=teacher,
    )
    logits = networks.predict(student, data.test, torch.arange(len(data.test.labels)))
    assert (logits.argmax(1) == data.test.labels).double().mean() > 0.8


def test_discovery_imports_nothing_heavy():
    code = (
        "import sys, bench_wmdd as b; b.bench_methods()\n"
        "print([m for m in ('torch', 'ot', 'sklearn', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
