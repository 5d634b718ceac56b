import pytest
import torch
from torch import nn

from bench import BenchError, Unsupported
from bench_standard.architectures.convnet import NORMS, POOLINGS, ConvNet
from bench_standard.architectures.layers import AvgPool2x2


def parameters(network):
    return sum(p.numel() for p in network.parameters())


def test_the_convnet_of_the_literature_has_320010_parameters():
    assert parameters(ConvNet().build((3, 32, 32), 10)) == 320_010


def test_28x28_is_padded_so_that_the_classifier_is_that_of_32x32():
    small, large = (ConvNet().build((1, side, side), 10) for side in (28, 32))
    assert parameters(small) == parameters(large)
    assert small(torch.rand(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (3, 33, 47), (3, 224, 224)])
def test_any_shape_gives_logits_even_for_a_batch_of_one(shape):
    network = ConvNet(width=8).build(shape, 7).eval()
    assert network(torch.rand(1, *shape)).shape == (1, 7)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_variant_trains_and_ends_in_the_only_linear_layer(norm, pooling):
    network = ConvNet(width=8, depth=2, norm=norm, pooling=pooling).build((1, 8, 8), 10)
    network(torch.rand(4, 1, 8, 8)).square().sum().backward()
    assert all(p.grad is not None for p in network.parameters())
    linear = [m for m in network.modules() if isinstance(m, nn.Linear)]
    assert linear == [network[-1]]


# the finest cut of maps [B, 4 groups, 2 channels, H, W] of which every part has mean 0
CUTS = {"instance": (3, 4), "group": (2, 3, 4), "layer": (1, 2, 3, 4), "batch": (0, 3, 4)}


@pytest.mark.parametrize("norm", CUTS)
def test_a_norm_centers_what_it_is_named_after_and_nothing_finer(norm):
    torch.manual_seed(0)
    convolution, layer = ConvNet(width=8, norm=norm).build((1, 8, 8), 10)[:2]
    maps = layer(convolution(torch.rand(3, 1, 8, 8))).view(3, 4, 2, 8, 8)
    assert maps.mean(CUTS[norm]).abs().max() < 1e-5
    finer = [cut for cut in CUTS.values() if set(cut) < set(CUTS[norm])]
    assert all(maps.mean(cut).abs().max() > 0.01 for cut in finer)


@pytest.mark.parametrize("depth", [4, 9])
def test_a_depth_that_leaves_nothing_of_the_image_is_declined(depth):
    with pytest.raises(Unsupported, match=f"depth {depth} halves images of 8x8"):
        ConvNet(depth=depth).build((1, 8, 8), 10)


def test_without_pooling_no_depth_is_too_large():
    network = ConvNet(width=4, depth=5, pooling="none").build((1, 8, 8), 3)
    assert network(torch.rand(2, 1, 8, 8)).shape == (2, 3)


@pytest.mark.parametrize("wrong", [{"norm": "bach"}, {"pooling": "mean"}, {"activation": "gelu"}])
def test_an_unknown_choice_is_refused_with_the_choices(wrong):
    [value] = wrong.values()
    with pytest.raises(BenchError, match=f"is '{value}'; expected one of"):
        ConvNet(**wrong)


def test_group_norm_wants_a_width_of_whole_groups():
    with pytest.raises(BenchError, match="multiple of 4"):
        ConvNet(width=6, norm="group")


@pytest.mark.parametrize("sides", [(8, 8), (7, 5), (2, 3)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_pooling_is_that_of_torch_with_its_gradient(sides, layout):
    torch.manual_seed(0)
    maps = torch.rand(2, 3, *sides).contiguous(memory_format=layout).double().requires_grad_()
    ours, reference = AvgPool2x2()(maps), nn.AvgPool2d(2)(maps)
    assert torch.allclose(ours, reference, atol=1e-12)
    weight = torch.rand_like(reference)
    one, two = (torch.autograd.grad((out * weight).sum(), maps)[0] for out in (ours, reference))
    assert torch.allclose(one, two, atol=1e-12)


@pytest.mark.parametrize("fields", [{"width": 0}, {"width": -4}, {"depth": 0}, {"depth": -1}])
def test_a_network_without_channels_or_blocks_is_refused(fields):
    with pytest.raises(BenchError, match="expected 1 or more"):
        ConvNet(**fields)
