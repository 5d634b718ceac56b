import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench import BenchError, Unsupported
from bench.checks import checks_for
from bench_standard.architectures.unet import UNET_CIFAR, UNET_S, UNET_XS, UNet

SHAPE, CLASSES = (1, 8, 8), 3
SMALL = UNet("small", widths=(8, 8), attention=(1,))
ROWS = {"class.text": (4, 6), "image.features": (5, 3, 3)}


@pytest.mark.slow
@pytest.mark.parametrize("check", checks_for("architecture", UNET_XS), ids=str)
def test_contract(check):
    check.run()


def test_without_its_classes_the_one_for_cifar_is_that_of_ddpm():
    with torch.device("meta"):
        network = UNET_CIFAR.build((3, 32, 32), 10, {})
    assert sum(p.numel() for p in network.unet.parameters()) == 35_746_307  # 35.7 M, Ho et al.
    kinds = [type(block).__name__ for block in network.unet.down_blocks]
    assert kinds == ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"]
    assert {m.heads for m in network.modules() if hasattr(m, "heads")} == {1}


@pytest.mark.parametrize(("architecture", "millions"), [(UNET_XS, 0.26), (UNET_S, 1.05)])
def test_the_small_ones_are_small(architecture, millions):
    with torch.device("meta"):
        network = architecture.build((1, 28, 28), 10, {})
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 2) == millions


@pytest.fixture
def inputs():
    torch.manual_seed(0)
    return torch.randn(3, *SHAPE), torch.tensor([0.1, 0.5, 1.0]), torch.tensor([0, 2, CLASSES])


def test_it_is_told_the_time_the_class_and_the_text(inputs):
    x, t, labels = inputs
    network = SMALL.build(SHAPE, CLASSES, ROWS).eval()
    network.conditions.label.weight.data.mul_(20)  # a fresh one hardly listens
    extras = {"class.text": torch.randn(CLASSES, 4, 6)}
    said = network(x, t, labels, extras)
    assert not torch.allclose(network(x, t.flip(0), labels, extras), said, atol=1e-3)
    assert not torch.allclose(network(x, t, labels.flip(0), extras), said, atol=1e-3)
    other = network(x, t, labels, {"class.text": 20 * extras["class.text"]})
    changed = ((other - said).abs().amax((1, 2, 3)) > 1e-3).tolist()
    assert changed == [True, True, False]  # the last has no class


def test_features_are_those_of_the_middle(inputs):
    network = SMALL.build(SHAPE, CLASSES, {"image.features": (5, 3, 3)}).eval()
    said, features = network.projected(*inputs, {})
    assert torch.equal(said, network(*inputs, {}))
    assert features["image.features"].shape == (3, 5, 3, 3)
    (gradient,) = torch.autograd.grad(
        features["image.features"].sum(), network.unet.conv_out.weight, allow_unused=True
    )
    assert gradient is None
    network.unet.mid_block.resnets[1].conv2.bias.data += 1
    again = network.projected(*inputs, {})[1]["image.features"]
    assert not torch.allclose(again, features["image.features"], atol=1e-3)


def test_looking_at_the_middle_leaves_no_hook(inputs):
    network = SMALL.build(SHAPE, CLASSES, {"image.features": (5, 3, 3)})
    network.projected(*inputs, {})
    assert not network.unet.mid_block._forward_hooks


def test_a_second_derivative_agrees_with_finite_differences(inputs):
    network = SMALL.build(SHAPE, CLASSES, {}).double().eval()
    x, t, labels = inputs
    x = x.double().requires_grad_()
    weights = list(network.parameters())
    direction = torch.randn_like(x)

    def gradient(x, create_graph=False):
        loss = network(x, t, labels, {}).square().sum()
        return torch.autograd.grad(loss, weights, create_graph=create_graph)

    with sdpa_kernel(SDPBackend.MATH):
        cotangent = [torch.randn_like(w) for w in weights]
        inner = sum((g * c).sum() for g, c in zip(gradient(x, True), cotangent, strict=True))
        product = (torch.autograd.grad(inner, x)[0] * direction).sum()
        step = 1e-6
        ahead, behind = gradient(x + step * direction), gradient(x - step * direction)
    slopes = zip(ahead, behind, cotangent, strict=True)
    difference = sum(((a - b) * c).sum() for a, b, c in slopes) / (2 * step)
    assert product.abs() > 1e-3
    assert torch.isclose(product, difference, rtol=1e-5)


def test_images_that_cannot_be_halved_are_declined():
    with pytest.raises(Unsupported, match=r"3 levels do not halve 30x28 evenly; .* multiples of 4"):
        UNET_XS.build((1, 30, 28), 10, {})


def test_attachments_that_it_has_no_use_for_are_declined():
    with pytest.raises(Unsupported, match=r"unet-xs has no use for the attachment 'class\.sound'"):
        UNET_XS.build(SHAPE, CLASSES, {"class.sound": (3,)})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"widths": ()}, "widths is \\(\\); expected one multiple of 4"),
        ({"widths": (16, 18)}, "widths is .*; expected one multiple of 4"),
        ({"layers": 0}, "layers is 0; expected 1 or more"),
        ({"attention": (3,)}, "attention is .*; expected levels from 0 to 2"),
    ],
)
def test_a_field_that_makes_no_sense_is_refused(wrong, said):
    with pytest.raises(BenchError, match=said):
        UNet(**wrong)
