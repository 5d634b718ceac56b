import pytest
import torch
import torchvision
from torch import nn

from bench import BenchError
from bench_standard.architectures.vgg import VGG11


def test_its_convolutions_are_those_of_torchvision():
    network = VGG11().build((3, 224, 224), 10)[0].eval()
    reference = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["A"], True).eval()
    network.load_state_dict(reference.state_dict())
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(network(images), reference(images))


@pytest.mark.parametrize(("side", "pools", "left"), [(8, 3, 1), (28, 4, 1), (32, 5, 1), (64, 5, 2)])
def test_only_the_poolings_that_would_leave_nothing_are_dropped(side, pools, left):
    features = VGG11(width=2).build((1, side, side), 3)[0]
    assert sum(isinstance(m, nn.MaxPool2d) for m in features) == pools
    assert features(torch.rand(2, 1, side, side)).shape[2:] == (left, left)


def test_the_shorter_side_decides_how_often_is_pooled():
    network = VGG11(width=2).build((1, 8, 64), 3).eval()
    assert network(torch.rand(1, 1, 8, 64)).shape == (1, 3)


def test_a_width_of_nothing_is_refused():
    with pytest.raises(BenchError, match="width is 0; expected 1 or more"):
        VGG11(width=0)
