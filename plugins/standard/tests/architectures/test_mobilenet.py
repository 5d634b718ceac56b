import pytest
import torch
import torchvision

from bench import BenchError
from bench_standard.architectures.mobilenet import MobileNetV2


def test_at_224_it_is_the_network_of_torchvision():
    reference = torchvision.models.mobilenet_v2(weights=None, num_classes=11).eval()
    network = MobileNetV2().build((3, 224, 224), 11).eval()
    network.load_state_dict(reference.state_dict())
    images = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        assert torch.equal(network(images), reference(images))


@pytest.mark.parametrize(("side", "left"), [(8, 1), (32, 4), (64, 8), (96, 3)])
def test_small_images_are_reduced_by_eight_and_large_ones_by_32(side, left):
    network = MobileNetV2(width=0.25).build((1, side, side), 3).eval()
    with torch.no_grad():
        assert network.features(torch.rand(1, 1, side, side)).shape[2:] == (left, left)


def test_dropout_draws_in_training_alone():
    network = MobileNetV2(width=0.25).build((1, 8, 8), 3).eval()
    images = torch.rand(2, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(network(images), network(images))


def test_a_width_of_nothing_is_refused():
    with pytest.raises(BenchError, match=r"width is 0\.0; expected a factor above 0"):
        MobileNetV2(width=0.0)
