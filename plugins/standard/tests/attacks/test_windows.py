import pytest
import torch
from torch import nn

from bench.training import networks
from bench.training.networks import Normalized
from bench.training.passes import counting
from bench_standard.architectures.convnet import ConvNet
from bench_standard.architectures.layers import AvgPool2x2
from bench_standard.attacks import parts
from bench_standard.attacks.auto import Square
from bench_standard.attacks.frozen import frozen
from bench_standard.attacks.windows import windowed

SIDES = (12, 11)


def random_images(count, seed=0):
    return torch.rand(count, 2, *SIDES, generator=torch.Generator().manual_seed(seed))


def convnet(norm="batch"):
    torch.manual_seed(0)
    made = ConvNet(width=6, depth=2, norm=norm)
    network = networks.build(made, (2, *SIDES), 5, (0.4, 0.5), (0.3, 0.2))
    network(random_images(30))
    return network.eval().requires_grad_(False)


def kernels():
    """Odd sizes, even kernels, much padding, no pooling, groups."""
    layers = nn.Sequential(
        *(nn.Conv2d(2, 4, (2, 3), padding=(2, 1)), nn.ReLU(), AvgPool2x2()),
        *(nn.Conv2d(4, 6, 3, groups=2, bias=False), nn.ReLU()),
        *(nn.Conv2d(6, 3, 1, padding=1), nn.Flatten(), nn.LazyLinear(5)),
    )
    network = Normalized(layers, [0.4, 0.5], [0.3, 0.2])
    network(random_images(1))
    return network.eval().requires_grad_(False)


NETWORKS = {"batch": convnet, "no norm": lambda: convnet("none"), "kernels": kernels}


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_after_a_change_in_a_window_are_those_of_the_network(name):
    network, images = NETWORKS[name](), random_images(6)
    local = windowed(frozen(network, images), images)
    generator = torch.Generator().manual_seed(1)

    def drawn(most):
        return int(torch.randint(0, most + 1, (), generator=generator))

    for _ in range(60):
        side = 1 + drawn(10)
        top, left = (drawn(n - side) for n in SIDES)
        moved = images.clone()
        window = (..., slice(top, top + side), slice(left, left + side))
        moved[window] = torch.rand(moved[window].shape, generator=generator)
        said = local(moved, (top, top + side, left, left + side))
        torch.testing.assert_close(said, network(moved), rtol=1e-5, atol=1e-5)
        better = torch.rand(len(images), generator=generator) < 0.5
        local.keep(better)
        images = moved.where(better.view(-1, 1, 1, 1), images)
    fell = torch.tensor([True, False, False, True, False, False])
    local.drop(fell)
    said = local(images[~fell], (0, 1, 0, 1))
    torch.testing.assert_close(said, network(images[~fell]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("norm", ["instance", "layer"])
def test_a_network_whose_layers_see_whole_maps_is_asked_as_a_whole(norm):
    assert windowed(frozen(convnet(norm), random_images(2)), random_images(2)) is None


def test_a_layer_that_is_watched_is_not_passed_over():
    network = convnet("none")
    network.network[0].register_forward_hook(lambda *_: None)
    assert windowed(network, random_images(2)) is None
    network = convnet("none")
    network.network[1].forward = lambda maps: maps
    assert windowed(network, random_images(2)) is None


def test_square_ends_at_the_images_of_passes_through_the_whole_network(monkeypatch):
    network, images = convnet(), random_images(20)
    labels = network(images).argmax(1)

    def attacked():
        with counting(network) as passes:
            square = Square(eps=0.03, queries=300)
            return square.perturb(network, images, labels, torch.Generator()), passes.forward

    in_windows, price = attacked()
    monkeypatch.setattr(parts, "windowed", lambda network, images: None)
    whole, same = attacked()
    fell = network(whole).argmax(1) != labels
    assert 0 < fell.sum() < 20
    assert torch.equal(network(in_windows).argmax(1) != labels, fell)
    torch.testing.assert_close(in_windows, whole, rtol=0, atol=1e-6)
    assert price == same
