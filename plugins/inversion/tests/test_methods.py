import dataclasses
import subprocess
import sys
from importlib.metadata import entry_points

import pytest
import torch

import bench_inversion
from bench import BenchError, Unsupported
from bench.checks import checks_for, fixtures, run_checks
from bench.training import networks, toy
from bench_inversion.methods import CDA, SRe2L
from bench_standard.architectures.convnet import CONVNET


def quick(method, **changes):
    return dataclasses.replace(method, **{**method.quick, "iterations": 20, **changes})


def condensed(method):
    return method.condense(fixtures.task(method, toy.GRAY, 2))


@pytest.mark.slow
@pytest.mark.parametrize("method", [SRe2L(), CDA()], ids=lambda m: m.name)
def test_the_contract_holds(method):
    verdicts = run_checks(checks_for("method", method))
    assert [v for v in verdicts if v.status != "passed"] == []


def test_the_entry_point_brings_all():
    [entry] = [e for e in entry_points(group="bench") if e.name == "inversion"]
    assert entry.load() is bench_inversion
    published, better = ["sre2l", "cda"], ["sre2l-from-random", "cda-from-random", "sre2l-random"]
    names = [m.name for m in bench_inversion.bench_methods()]
    assert names == [*published, *better, "rded", "rded-whole", "g-vbsm"]


def test_cda_is_sre2l_with_a_curriculum():
    one, two = condensed(quick(SRe2L())), condensed(quick(CDA()))
    assert not torch.equal(one.images, two.images)
    without = condensed(quick(CDA(), curriculum=0.0, scale=(1.0, 1.0)))
    assert torch.equal(one.images, without.images)


def test_labels_are_the_teachers_and_lead_to_the_class_of_each_image():
    made = condensed(quick(SRe2L()))
    assert made.labels.argmax(1).tolist() == [k for k in range(8) for _ in range(2)]
    assert made.labels.amax(1).max() < 1
    flat = condensed(quick(SRe2L(), temperature=20.0))
    assert torch.equal(made.images, flat.images)
    assert flat.labels.amax(1).mean() < made.labels.amax(1).mean()


def test_a_teacher_without_batchnorm_is_declined():
    task = fixtures.task(SRe2L(), toy.GRAY, 1)
    teacher = networks.build(CONVNET, task.shape, 8, task.mean, task.std)
    task = dataclasses.replace(task, networks={"teacher": lambda: teacher})
    with pytest.raises(Unsupported, match="no BatchNorm layer"):
        SRe2L().condense(task)


@pytest.mark.parametrize("method", [SRe2L, CDA])
@pytest.mark.parametrize(("field", "value"), [("lr", -1.0), ("temperature", 0.0)])
def test_a_field_that_makes_no_sense_is_refused(method, field, value):
    with pytest.raises(BenchError, match=f"{field} is {value}"):
        method(**{field: value})


def test_discovery_imports_nothing_heavy():
    code = "import sys, bench_inversion as b; b.bench_methods(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
