"""What all networks for classification have in common."""

from dataclasses import replace

import pytest
import torch

from bench import Unsupported
from bench.checks import checks_for
from bench.training import networks
from bench_standard.architectures.convnet import (
    CONVNET,
    CONVNET_BN,
    CONVNET_D4,
    CONVNET_D5,
    CONVNET_D6,
)
from bench_standard.architectures.mobilenet import MobileNetV2
from bench_standard.architectures.resnet import RESNET18, RESNET50, RESNET101
from bench_standard.architectures.vgg import VGG11
from bench_standard.architectures.vit import VIT_NANO, VIT_SMALL, VIT_TINY

CONVNETS = [CONVNET, CONVNET_BN, CONVNET_D4, CONVNET_D5, CONVNET_D6]
RESNETS = [RESNET18, RESNET50, RESNET101]
ALL = [*CONVNETS, *RESNETS, VGG11(), MobileNetV2(), VIT_TINY, VIT_SMALL, VIT_NANO]
KIT = [CONVNET, CONVNET_BN, CONVNET_D6, RESNET18, RESNET50, VGG11(), MobileNetV2(), VIT_NANO]
"""Those whose quick forms differ."""
SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 64), (3, 224, 224)]


@pytest.mark.parametrize(
    "check",
    [
        pytest.param(check, marks=() if network in CONVNETS else pytest.mark.slow)
        for network in KIT
        for check in checks_for("architecture", network)
    ],
    ids=str,
)
def test_contract(check):
    check.run()


@pytest.mark.parametrize(
    ("architecture", "published"),
    [
        (RESNET18, 11_689_512),  # torchvision's documentation
        (RESNET50, 25_557_032),
        (RESNET101, 44_549_160),
        (MobileNetV2(), 3_504_872),
        (VIT_TINY, 5_717_416),  # timm's deit_tiny_patch16_224
        (VIT_SMALL, 22_050_664),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_at_224_with_1000_classes_the_number_of_parameters_is_the_published_one(
    architecture, published
):
    assert parameters(architecture, (3, 224, 224), 1000) == published


@pytest.mark.parametrize(
    ("architecture", "published"),
    [(RESNET18, 11_173_962), (VGG11(), 9_231_114)],  # Liu Kuang's pytorch-cifar
    ids=lambda value: getattr(value, "name", value),
)
def test_on_cifar_the_number_of_parameters_is_that_of_the_literature(architecture, published):
    assert parameters(architecture, (3, 32, 32), 10) == published


def parameters(architecture, shape, classes):
    return sum(p.numel() for p in architecture.build(shape, classes).parameters())


@pytest.mark.parametrize("architecture", ALL, ids=lambda a: a.name)
def test_it_takes_every_shape_that_leaves_something_of_the_image(architecture):
    quick = replace(architecture, **architecture.quick)
    declined = []
    for shape in SHAPES:
        try:
            network = quick.build(shape, 7).eval()
        except Unsupported:
            declined.append(shape[1])
            continue
        with torch.no_grad():
            features, logits = networks.features(network, torch.rand(1, *shape))
        assert logits.shape == (1, 7)
        assert features.ndim == 2
    pooled_away = {"convnet-d4": [8], "convnet-d5": [8], "convnet-d6": [8, 28, 32]}
    assert declined == pooled_away.get(architecture.name, [])


@pytest.mark.parametrize("architecture", ALL, ids=lambda a: a.name)
def test_it_can_be_differentiated_twice_with_deterministic_algorithms(architecture, deterministic):
    network = replace(architecture, **architecture.quick).build((3, 64, 64), 5)

    def gradients():
        torch.manual_seed(0)
        images = torch.rand(2, 3, 64, 64).requires_grad_()
        loss = network.eval()(images).logsumexp(1).sum()
        (first,) = torch.autograd.grad(loss, images, create_graph=True)
        return torch.autograd.grad(first.square().sum(), images)[0]

    one, two = gradients(), gradients()
    assert one.isfinite().all()
    assert one.any()
    assert torch.equal(one, two)


@pytest.fixture
def deterministic():
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(before)
