import dataclasses
import subprocess
import sys
from importlib.metadata import entry_points

import pytest
import torch

import bench_matching
from bench import BenchError
from bench.checks import checks_for, fixtures, run_checks
from bench.training import toy
from bench_matching.methods import DC, DM, DSA

METHODS = (DC(), DSA(), DM())


def quick(method, **changes):
    return dataclasses.replace(method, **{**method.quick, **changes})


def condensed(method, data=toy.GRAY, **changes):
    return method.condense(dataclasses.replace(fixtures.task(method, data, 2), **changes))


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_the_contract_holds(method):
    verdicts = run_checks(checks_for("method", method))
    assert [v for v in verdicts if v.status != "passed"] == []


def test_the_entry_point_brings_all_methods():
    [entry] = [e for e in entry_points(group="bench") if e.name == "matching"]
    assert entry.load() is bench_matching
    assert [m.name for m in bench_matching.bench_methods()] == [
        *("dc", "dsa", "dm", "datadam"),
        *("idm", "idm-whole", "idm-start"),
        *("mtt", "mtt-cifar-1", "mtt-cifar-10"),
    ]


def test_dsa_is_dc_under_augmentation():
    one = condensed(quick(DC()))
    assert not torch.equal(condensed(quick(DSA())).images, one.images)
    assert torch.equal(condensed(quick(DSA(), augment="")).images, one.images)


@pytest.mark.parametrize("method", [DSA(), DM()], ids=lambda m: m.name)
def test_mirror_images_take_part_only_where_they_keep_the_label(method):
    without = condensed(quick(method, augment="scale"), flip=False)
    illegal = condensed(quick(method, augment="scale_flip"), flip=False)
    legal = condensed(quick(method, augment="scale_flip"), flip=True)
    assert torch.equal(illegal.images, without.images)
    assert not torch.equal(legal.images, without.images)


def test_labels_are_one_hot_and_pixels_of_eight_bits():
    made = condensed(quick(DM()))
    assert made.labels.tolist() == torch.eye(8).repeat_interleave(2, 0).tolist()
    assert made.images.dtype == torch.uint8


def test_loops_are_those_of_the_budget_unless_they_are_fields():
    told = []
    method = dataclasses.replace(DC(), iterations=1, batch=4)
    task = dataclasses.replace(
        fixtures.task(method, toy.GRAY, 3), progress=lambda done, total: told.append(total)
    )
    method.condense(task)
    assert told == [3] * 3
    told.clear()
    dataclasses.replace(method, outer=2, inner=1).condense(task)
    assert told == [2] * 2


def test_what_a_subclass_adds_to_the_loss_on_real_images_is_matched():
    seen = []

    class Added(DC):
        def real_loss(self, network, images, labels):
            seen.append((len(images), labels.unique().tolist()))
            return super().real_loss(network, images, labels) + network(images).square().sum()

    one, two = (condensed(quick(c(), iterations=1, outer=1)) for c in (DC, Added))
    assert not torch.equal(one.images, two.images)
    assert seen == [(16, [k]) for k in range(8)]


@pytest.mark.parametrize("method", [DC, DSA, DM])
@pytest.mark.parametrize(("field", "value"), [("lr", -1.0), ("init", "zero")])
def test_a_field_that_makes_no_sense_is_refused(method, field, value):
    with pytest.raises(BenchError, match=f"{field} is {value!r}"):
        method(**{field: value})


@pytest.mark.parametrize(("field", "value"), [("outer", -1), ("inner", -1), ("distance", "far")])
def test_loops_and_distances_are_checked(field, value):
    with pytest.raises(BenchError, match=f"{field} is {value!r}"):
        DC(**{field: value})


def test_an_unknown_operation_is_refused():
    with pytest.raises(BenchError, match="augment is 'blur'"):
        DM(augment="blur")


def test_discovery_imports_nothing_heavy():
    code = "import sys, bench_matching as b; b.bench_methods(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


class Killed(Exception):
    pass


class Memory:
    """A checkpoint of every network, with how many were drawn by then; it kills after `last`."""

    def __init__(self, last):
        self.last, self.times, self.drawn, self.kept = last, 0, 0, ({}, 0)

    def load(self):
        tensors, self.drawn = self.kept
        return tensors

    def save(self, state):
        self.times += 1
        if self.times > self.last:
            raise Killed
        self.kept = ({name: one.clone() for name, one in state().items()}, self.drawn)

    def network(self):
        self.drawn += 1
        return fixtures.network(toy.ToyConvNet(), toy.GRAY.load(), seed=self.drawn)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_a_set_whose_making_was_killed_has_the_bytes_of_one_that_was_not(method):
    def made(memory):
        networks = {"backbone": memory.network}
        return condensed(quick(method), networks=networks, checkpoint=memory).images

    whole = made(Memory(99))
    memory = Memory(3)
    with pytest.raises(Killed):
        made(memory)
    memory.last = 99
    assert torch.equal(made(memory), whole)
