import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bench import BenchError
from bench.training.networks import Normalized
from bench_guard.double_backward import cheap_double_backward

CLASSES = 3


class Residual(nn.Module):
    """Convolutions and norms that no Sequential holds, functions instead of modules."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.shortcut = nn.Sequential(nn.Conv2d(2, 4, 1, bias=False), nn.BatchNorm2d(4))

    def forward(self, x):
        inner = self.second(self.relu(self.norm(self.first(x))))
        return F.avg_pool2d(F.relu(inner + self.shortcut(x)), 3, stride=2, padding=1)


class Gain(nn.Module):
    """A weight before the first convolution."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(1.5))

    def forward(self, x):
        return self.gain * x


class Doubled(nn.BatchNorm2d):
    def forward(self, x):
        return 2 * super().forward(x)


class Reused(nn.Module):
    """One convolution in two places, with a norm after it in one of them."""

    def __init__(self):
        super().__init__()
        conv = nn.Conv2d(2, 2, 3, padding=1)
        self.normed = nn.Sequential(conv, nn.BatchNorm2d(2))
        self.bare = nn.Sequential(conv, nn.Tanh())

    def forward(self, x):
        return self.bare(self.normed(x)) + self.normed[0](x)


NETWORKS = {
    "conv, norm, relu, pool": lambda: (
        *(nn.Conv2d(2, 4, 3, padding=3), nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(2)),
        *(nn.Conv2d(4, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.AvgPool2d(2)),
    ),
    "stride, dilation, groups": lambda: (
        *(nn.Conv2d(2, 4, (3, 2), (2, 1), (1, 2), (1, 3), 2, bias=False), nn.BatchNorm2d(4)),
        *(nn.ReLU(inplace=True), nn.Conv2d(4, 8, 2, 3, groups=4), nn.BatchNorm2d(8), nn.Tanh()),
    ),
    "other paddings": lambda: (
        *(nn.Conv2d(2, 4, 3, padding="same"), nn.BatchNorm2d(4), nn.ReLU()),
        *(nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(4), nn.Softplus()),
    ),
    "a residual block": lambda: (Residual(), nn.AvgPool2d(3, 1, 1, True, False)),
    "a weight before the first": lambda: (Gain(), nn.Conv2d(2, 4, 3), nn.Sigmoid()),
    "a norm before the first": lambda: (nn.BatchNorm2d(2), nn.Conv2d(2, 4, 3), nn.ReLU()),
    "no affine weights": lambda: (nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, affine=False), nn.ReLU()),
    "no running statistics": lambda: (
        *(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.ReLU()),
    ),
    "a subclass": lambda: (nn.Conv2d(2, 4, 3), Doubled(4), nn.ReLU(), nn.MaxPool2d(2)),
    "a layer used twice": lambda: (Reused(), nn.ReLU(), nn.Conv2d(2, 4, 2)),
    "groups": lambda: (
        *(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Conv2d(4, 6, 2)),
        *(nn.GroupNorm(3, 6, affine=False), nn.Sigmoid()),
    ),
    "a channel a group": lambda: (
        *(nn.Conv2d(2, 4, 3), nn.GroupNorm(4, 4), nn.ReLU(), nn.AvgPool2d(2)),
        *(nn.Conv2d(4, 3, 2), nn.GroupNorm(3, 3), nn.Tanh()),
    ),
    "groups before the first": lambda: (nn.GroupNorm(1, 2), nn.Conv2d(2, 4, 3), nn.ReLU()),
    "no convolution": lambda: (nn.Flatten(), nn.Linear(98, 8), nn.BatchNorm1d(8), nn.ReLU()),
}
EACH = pytest.mark.parametrize("name", NETWORKS)


def network(name):
    torch.manual_seed(0)
    made = nn.Sequential(*NETWORKS[name](), nn.Flatten(), nn.LazyLinear(CLASSES))
    made = Normalized(made, [0.4, 0.5], [0.3, 0.2]).double()
    for _ in range(2):
        made(torch.rand(9, 2, 7, 7, dtype=torch.float64))  # running statistics
    for parameter in made.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return made.eval()


def images(count=4):
    generator = torch.Generator().manual_seed(1)
    pixels = torch.rand(count, 2, 7, 7, generator=generator, dtype=torch.float64)
    return pixels.requires_grad_(), torch.arange(count) % CLASSES


def slope(model, x, labels):
    loss = F.cross_entropy(model(x), labels, reduction="sum")
    return loss, *torch.autograd.grad(loss, x, create_graph=True)


def weights_of(model):
    return [p for p in model.parameters() if p.requires_grad]


@EACH
def test_a_gradient_and_its_derivative_in_the_weights_are_those_of_torch(name):
    model, (x, labels) = network(name), images()
    loss, expected = slope(model, x, labels)
    wanted = torch.autograd.grad(
        loss + expected.square().sum(), weights_of(model), allow_unused=True
    )
    with cheap_double_backward(model):
        loss, found = slope(model, x, labels)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    got = torch.autograd.grad(loss + found.square().sum(), weights_of(model), allow_unused=True)
    assert sum(g is not None and bool(g.any()) for g in got) > 1
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", ["conv, norm, relu, pool", "groups", "a channel a group"])
def test_what_was_found_can_be_differentiated_any_number_of_times(name):
    model, (x, labels) = network(name), images()

    def third(block):
        if block:
            with cheap_double_backward(model):
                _, found = slope(model, x, labels)
        else:
            _, found = slope(model, x, labels)
        term = found.square().sum()
        second = torch.autograd.grad(term, weights_of(model), create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in second), weights_of(model))

    for got, wanted in zip(third(True), third(False), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-8, atol=1e-10)


def test_the_images_get_no_gradient_in_the_end():
    model, (x, labels) = network("conv, norm, relu, pool"), images()
    with cheap_double_backward(model):
        _, found = slope(model, x, labels)
    found.square().sum().backward()
    assert x.grad is None
    assert all(p.grad is not None for p in model.network[0].parameters())


@EACH
def test_a_network_is_left_as_it_was_found(name):
    model, (x, labels) = network(name), images()
    before = copy.deepcopy(model)
    with cheap_double_backward(model):
        slope(model, x, labels)
    with pytest.raises(BenchError), cheap_double_backward(model):
        raise BenchError("an interruption")
    for one, other in zip(model.modules(), before.modules(), strict=True):
        assert vars(one).keys() == vars(other).keys()
        assert not one._forward_pre_hooks
    for key, value in before.state_dict().items():
        assert torch.equal(model.state_dict()[key], value)
    assert torch.equal(model(x), before(x))


def test_a_hook_sees_what_it_always_sees():
    model, (x, labels) = network("conv, norm, relu, pool"), images()
    seen = []
    with model.network[0].register_forward_hook(lambda *call: seen.append(call[2].detach())):
        model(x)
        with cheap_double_backward(model):
            slope(model, x, labels)
    torch.testing.assert_close(*seen)


def test_a_sequential_with_a_forward_of_its_own_keeps_it():
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(48, CLASSES)).eval()
    plain = type(network).forward.__get__(network)
    network.forward = lambda x: 2 * plain(x)
    images = torch.rand(2, 2, 6, 6)
    expected = network(images)
    with cheap_double_backward(network):
        inside = network(images)
    torch.testing.assert_close(inside, expected)
    torch.testing.assert_close(network(images), expected)


def test_hooks_on_slopes_between_a_convolution_and_its_norm_are_called():
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)).eval()
    called = []
    network[0].register_full_backward_hook(lambda *_: called.append(1))
    with cheap_double_backward(network):
        network(torch.rand(2, 2, 6, 6, requires_grad=True)).sum().backward()
    assert called


def test_a_stride_of_one_number_in_a_list_is_that_of_both_sides():
    class Listed(nn.Conv2d):
        def forward(self, x):
            return F.conv2d(x, self.weight, self.bias, stride=[2])

    network = Listed(2, 3, 3).eval()
    images = torch.rand(2, 2, 7, 7, requires_grad=True)
    expected = network(images)
    with cheap_double_backward(network):
        torch.testing.assert_close(network(images), expected)


def test_a_deep_residual_network_is_walked_once():
    """Each block doubles the paths: walking every path would never end."""
    blocks = nn.ModuleList(nn.Conv2d(2, 2, 3, padding=1) for _ in range(40)).requires_grad_(False)

    class Deep(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = blocks

        def forward(self, x):
            for block in self.blocks:
                x = x + block(x)
            return x

    network = Deep().eval()
    with cheap_double_backward(network):
        found = network(torch.rand(1, 2, 6, 6, requires_grad=True))
    assert found.shape == (1, 2, 6, 6)
