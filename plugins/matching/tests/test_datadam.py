import dataclasses

import pytest
import torch
from torch import nn

from bench import BenchError
from bench.checks import checks_for, fixtures, run_checks
from bench.training import toy
from bench_matching.datadam import SCALE, DataDAM, attention, recording


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(24, 3),
    )


def images(count, seed=0):
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.slow
def test_the_contract_holds():
    assert [v for v in run_checks(checks_for("method", DataDAM())) if v.status != "passed"] == []


@pytest.mark.parametrize("power", [1.0, 4.0])
def test_attention_is_the_sum_of_powers_over_channels_with_length_one(power):
    maps = torch.randn(5, 7, 3, 2)
    found = attention(maps, power)
    wanted = (maps.abs() ** power).sum(1).view(5, 6)
    torch.testing.assert_close(found, wanted / wanted.norm(dim=1, keepdim=True))
    torch.testing.assert_close(found.norm(dim=1), torch.ones(5))


def test_brighter_maps_have_the_same_attention():
    maps = torch.rand(2, 3, 4, 4)
    torch.testing.assert_close(attention(5 * maps, 1.0), attention(maps, 1.0))


def test_maps_are_those_of_all_activations_in_the_order_of_the_pass():
    net = network()
    with recording(net) as maps:
        net(images(2))
        shapes = [tuple(m.shape) for m in maps()]
        net(images(3))
        again = maps()
    assert shapes == [(2, 4, 8, 8), (2, 6, 8, 8)]
    assert len(again) == 2
    net(images(2))  # no hook is left
    assert not any(m._forward_hooks for m in net.modules())


def test_the_distance_is_that_of_the_definition():
    net, real, made = network(), images(6), images(2, seed=1)
    first, last = net[:2], net[:6]

    def gap(of):
        return (of(real).mean(0) - of(made).mean(0)).square().sum()

    wanted = gap(lambda x: attention(first(x), 1.0)) + 0.01 * gap(last)
    found = DataDAM().distance_of(net, real, made, 0)
    torch.testing.assert_close(found, SCALE * wanted)  # the last activation takes no part


def test_the_same_images_are_no_distance_apart():
    assert DataDAM().distance_of(network(), images(4), images(4), 0).abs() < 1e-6


def test_matching_brings_images_nearer_in_networks_that_they_were_not_made_in():
    method = DataDAM(iterations=40, batch=64, lr=0.5, augment="", init="noise")
    task = dataclasses.replace(fixtures.task(method, toy.GRAY, 2), ipc=2)
    start = dataclasses.replace(method, iterations=1, lr=1e-9).condense(task).images
    made = method.condense(task).images
    train, net = toy.GRAY.load().train, network().eval()

    def apart(found):
        total = 0.0
        for label in range(len(task.classes)):
            real = train.images((train.labels == label).nonzero().squeeze(1)[:64])
            mine = found[2 * label : 2 * label + 2].float() / 255
            total += method.distance_of(net, real, mine, label).item()
        return total

    assert apart(made) < 0.7 * apart(start)


def test_a_backbone_without_maps_says_so():
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3))
    with pytest.raises(BenchError, match="no activation that gives maps"):
        DataDAM().distance_of(net, images(4), images(2), 0)


@pytest.mark.parametrize(("field", "value"), [("power", 0.0), ("balance", -1.0), ("lr", 0.0)])
def test_a_field_that_makes_no_sense_is_refused(field, value):
    with pytest.raises(BenchError, match=f"{field} is {value!r}; expected more than 0"):
        DataDAM(**{field: value})
