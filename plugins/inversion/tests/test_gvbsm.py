import dataclasses

import pytest
import torch
from torch import nn

from bench import BenchError
from bench.checks import checks_for, fixtures, run_checks
from bench.training import networks, toy
from bench_inversion.gvbsm import GVBSM, crowding, ensemble, moments, of_all, recording, several
from bench_inversion.statistics import distance
from bench_standard.architectures.convnet import ConvNet

QUICK = dataclasses.replace(GVBSM(), **{**GVBSM.quick, "iterations": 20, "epochs": 1})


def task(**changes):
    return dataclasses.replace(fixtures.task(GVBSM(), toy.GRAY, 2), **changes)


@pytest.mark.slow
def test_the_contract_holds():
    assert [v for v in run_checks(checks_for("method", GVBSM())) if v.status != "passed"] == []


# ---- statistics


def test_convolutions_and_batchnorm_are_watched_where_they_begin():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 3, 3)).eval()
    images = torch.rand(4, 1, 8, 8)
    with recording(net) as seen:
        net(images)
    first, last = net[0](images), net[:3](images)
    assert all(torch.equal(a, b) for a, b in zip(seen, (images, first, last), strict=True))
    mean, square = moments(seen)
    assert mean.shape == square.shape == (4, 1 + 2 + 2)
    torch.testing.assert_close(square[:, 3:], last.square().mean((2, 3)))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_the_statistics_are_those_of_all_real_images():
    given = task()
    network = given.teacher
    found = of_all(network, given)
    images = given.train.images(torch.arange(len(given.train.labels)))
    with recording(network) as seen:
        network(images)
    pixels = torch.cat([x.transpose(0, 1).flatten(1) for x in seen])  # [ch, all pixels]
    torch.testing.assert_close(found.mean, pixels.mean(1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.variance, pixels.var(1, correction=0), atol=1e-4, rtol=1e-3)
    assert found.widths == tuple(x.shape[1] for x in seen)


def test_images_match_the_statistics_of_every_network_and_not_of_one_alone():
    how = dataclasses.replace(QUICK, networks=2, iterations=120, lr=0.1, lam=0.1, densify=0.0)
    given = task()
    made = how.condense(given).images.float() / 255
    noise = torch.rand(made.shape, generator=torch.Generator().manual_seed(0))
    for network in several(how, task(), {}):
        aim, far = of_all(network, given), []
        for images in (made, noise):
            with recording(network) as seen:
                network(images)
            far.append(distance(moments(seen), aim, torch.ones(1, len(images))).item())
        assert far[0] < 0.7 * far[1]


def test_a_backbone_without_batchnorm_will_do():
    def network():
        architecture = ConvNet(width=8, depth=2)
        return networks.build(architecture, toy.GRAY.load().shape, 8, (0.5,), (0.2,))

    made = QUICK.condense(task(networks={"teacher": network, "backbone": network}))
    assert made.images.shape == (16, *toy.GRAY.load().shape)


def test_a_backbone_without_layers_to_watch_says_so():
    with pytest.raises(BenchError, match="neither a convolution nor BatchNorm"):
        moments([])


# ---- the spectrum


def test_one_image_a_class_is_not_crowded():
    assert crowding(torch.rand(3, 1, 4, 4), torch.arange(3), 4.0).abs() < 1e-6


def test_images_that_point_elsewhere_are_less_crowded_than_copies():
    labels = torch.zeros(4, dtype=torch.int64)
    apart = torch.eye(4).view(4, 1, 2, 2)
    alike = apart[:1].expand(4, 1, 2, 2)
    assert crowding(apart, labels, 4.0) < 1e-6  # a flat spectrum
    assert crowding(alike, labels, 4.0) > 0.1


def test_crowding_falls_along_its_gradient():
    images = torch.rand(4, 1, 3, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    labels = torch.zeros(4, dtype=torch.int64)
    before = crowding(images, labels, 4.0)
    (slope,) = torch.autograd.grad(before, images)
    assert crowding(images - 0.01 * slope, labels, 4.0) < before


# ---- networks


def test_the_first_network_is_the_teacher_and_the_others_differ():
    given = task()
    found = several(dataclasses.replace(QUICK, networks=3), given, {})
    states = [networks.state(one) for one in found]
    assert all(torch.equal(v, networks.state(given.teacher)[k]) for k, v in states[0].items())
    assert not any(torch.equal(states[1][k], states[2][k]) for k in states[1] if "weight" in k)


def test_labels_come_from_the_mean_of_the_networks_logits():
    given = task()
    found, images = several(QUICK, given, {}), torch.rand(16, *toy.GRAY.load().shape)
    with torch.no_grad():
        wanted = (torch.stack([one(images) for one in found]).mean(0) / 2).softmax(1)
    torch.testing.assert_close(ensemble(found, images, given, 2.0), wanted)


class Killed(Exception):
    pass


class Memory:
    """A checkpoint after every network and every batch; it kills after `last` of them.

    As that of the store, it counts the networks that were drawn before a kill.
    """

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


@pytest.mark.parametrize("last", [1, 2, 3])
def test_a_set_whose_making_was_killed_has_the_bytes_of_one_that_was_not(last):
    how = dataclasses.replace(QUICK, networks=3, batch=8)

    def made(memory):
        given = task(checkpoint=memory)
        given = dataclasses.replace(given, networks={**given.networks, "backbone": memory.network})
        return how.condense(given).images

    whole = made(Memory(99))
    memory = Memory(last)
    with pytest.raises(Killed):
        made(memory)
    memory.last = 99
    assert torch.equal(made(memory), whole)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [("networks", 0, "1 or more"), ("densify", -1.0, "0 or more"), ("tau", 0.5, "1 or more")],
)
def test_a_field_that_makes_no_sense_is_refused(field, value, expected):
    with pytest.raises(BenchError, match=f"{field} is {value}; expected {expected}"):
        GVBSM(**{field: value})
