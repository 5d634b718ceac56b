import pytest
import torch
import torchvision
from torch import nn

from bench import BenchError
from bench_standard.architectures.resnet import RESNET18, RESNET50, RESNET101, ResNet


def shapes(network):
    return {key: value.shape for key, value in network.state_dict().items()}


@pytest.mark.parametrize("architecture", [RESNET18, RESNET50, RESNET101], ids=lambda a: a.name)
def test_at_224_the_state_has_the_names_and_shapes_of_torchvision(architecture):
    with torch.device("meta"):
        reference = getattr(torchvision.models, architecture.name)(weights=None)
        network = architecture.build((3, 224, 224), 1000)
    assert shapes(network) == shapes(reference)


@pytest.mark.parametrize(
    ("architecture", "block"), [("resnet18", "BasicBlock"), ("resnet50", "Bottleneck")]
)
def test_with_the_weights_of_torchvision_it_gives_the_logits_of_torchvision(architecture, block):
    kind, blocks = getattr(torchvision.models.resnet, block), (1, 2, 1, 2)
    reference = torchvision.models.ResNet(kind, list(blocks), num_classes=11).eval()
    ours = ResNet(architecture, blocks=blocks, bottleneck=block == "Bottleneck")
    network = ours.build((3, 224, 224), 11).eval()
    network.load_state_dict(reference.state_dict())
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(network(images), reference(images))


def test_the_initial_weights_are_drawn_as_torchvision_draws_them():
    torch.manual_seed(0)
    network = RESNET18.build((3, 224, 224), 10)
    reference = torchvision.models.resnet18(num_classes=10)
    theirs = reference.state_dict()
    for key, value in network.state_dict().items():
        if value.ndim == 4 or key == "fc.weight":
            assert value.std() == pytest.approx(theirs[key].std().item(), rel=0.05)
        elif key == "fc.bias":  # ten numbers: only their range is known
            assert value.abs().max() <= 512**-0.5
        else:
            assert torch.equal(value, theirs[key])


@pytest.mark.parametrize(
    ("side", "stem", "kernel", "mapped"),
    [
        (32, "auto", 3, 32),
        (64, "auto", 3, 64),
        (65, "auto", 7, 17),
        (32, "large", 7, 8),
        (224, "half", 3, 114),
    ],
)
def test_the_stem_goes_by_the_size_of_the_image_or_as_one_says(side, stem, kernel, mapped):
    network = ResNet(width=4, stem=stem).build((1, side, side), 3)
    assert network.conv1.kernel_size == (kernel, kernel)
    assert network[:4](torch.rand(2, 1, side, side)).shape[2:] == (mapped, mapped)


def test_the_width_scales_every_layer():
    network = ResNet(width=16).build((1, 28, 28), 10)
    widths = {m.out_channels for m in network.modules() if isinstance(m, nn.Conv2d)}
    assert widths == {16, 32, 64, 128}
    assert network.fc.in_features == 128


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"stem": "tiny"}, "stem is 'tiny'; expected one of auto, small, large, half"),
        ({"width": 0}, "width is 0; expected 1 or more"),
        ({"blocks": (2, 2)}, r"blocks is \(2, 2\); expected 4 numbers"),
        ({"blocks": (2, 2, 0, 2)}, "expected 4 numbers from 1 up"),
    ],
)
def test_a_field_that_makes_no_sense_is_refused(wrong, said):
    with pytest.raises(BenchError, match=said):
        ResNet(**wrong)
