import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import bench_guard
from bench import Unsupported
from bench.training import networks
from bench_guard import curvature, gradient_norm, loss_difference
from bench_guard.curvature import (
    same_in_both_modes,
    with_curvature,
    with_difference,
    with_norm,
)
from bench_standard.architectures.convnet import ConvNet

TERMS = {
    "curvature": lambda *given: curvature(*given, h=0.3),
    "loss_difference": lambda *given: loss_difference(*given, h=0.3),
    "gradient_norm": gradient_norm,
}
each_term = pytest.mark.parametrize("term", TERMS.values(), ids=TERMS)


class Loss(nn.Module):
    """A network whose cross-entropy with class 0 is `of(x)`, positive."""

    def __init__(self, of):
        super().__init__()
        self.of = of

    def forward(self, images):
        loss = self.of(images.flatten(1))
        return torch.stack([-loss, (-torch.expm1(-loss)).log()], 1)


def drawn(*shape, seed=0, dtype=torch.float64):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def some(count=5, dtype=torch.float64):
    return drawn(count, 2, 6, 6, dtype=dtype), torch.tensor([0, 2, 1, 1, 0])[:count]


def convnet(activation=nn.Tanh, dtype=torch.float64):
    """BatchNorm behind a convolution, with and without bias, and elsewhere; used statistics."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        activation(),
        nn.AvgPool2d(2),
        nn.Sequential(nn.Conv2d(4, 5, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(5)),
        activation(),
        nn.BatchNorm2d(5, affine=False),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(20, 7),
        nn.BatchNorm1d(7),
        nn.Linear(7, 3),
    ).to(dtype)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
            if module.affine:
                nn.init.uniform_(module.weight, -1.5, 1.5)
                nn.init.uniform_(module.bias, -0.5, 0.5)
    return networks.Normalized(network, [0.4, 0.5], [0.3, 0.2]).to(dtype)


def slopes(model, images, labels):
    """The gradient of each image's loss in the image, one after another, in eval mode."""
    found = []
    for image, label in zip(images, labels, strict=True):
        x = image[None].clone().requires_grad_()
        loss = F.cross_entropy(model(x), label[None])
        found.append(torch.autograd.grad(loss, x, create_graph=True)[0][0])
    return torch.stack(found)


def steps(model, images, labels, h):
    g = slopes(model, images, labels).detach()
    return h * g / g.flatten(1).norm(dim=1).view(-1, 1, 1, 1)


# ---- values


def test_a_loss_that_is_linear_in_the_image_has_no_curvature():
    slope = drawn(72)
    images, labels = drawn(5, 2, 6, 6, seed=1), torch.zeros(5, dtype=torch.int64)
    model = Loss(lambda x: x @ slope)
    assert curvature(model, images, labels, h=0.5).abs().max() < 1e-12
    there = torch.full((5,), 0.5 * slope.norm())
    torch.testing.assert_close(loss_difference(model, images, labels, h=0.5).float(), there.float())
    torch.testing.assert_close(
        gradient_norm(model, images, labels), slope.norm().expand(5), rtol=1e-9, atol=0
    )


@pytest.mark.parametrize("h", [1e-3, 0.5, 2.0])
def test_of_a_quadratic_it_is_h_times_the_hessian_on_the_unit_gradient(h):
    root = drawn(8, 8) - 0.5
    a = root + root.mT  # indefinite
    images, labels = drawn(5, 1, 2, 4, seed=1), torch.zeros(5, dtype=torch.int64)
    model = Loss(lambda x: 9 + (x * (x @ a)).sum(1) / 2)
    units = F.normalize(images.flatten(1) @ a)
    found = curvature(model, images, labels, h=h)
    torch.testing.assert_close(found, h * (units @ a).norm(dim=1), rtol=1e-8, atol=1e-12)


def test_values_are_those_of_the_formula_image_by_image():
    model, (images, labels) = convnet(), some()
    found = {name: term(model, images, labels) for name, term in TERMS.items()}  # in train mode
    model.eval()
    g, z = slopes(model, images, labels), steps(model, images, labels, 0.3)
    there = slopes(model, images + z, labels)
    losses = [F.cross_entropy(model(x), labels, reduction="none") for x in (images, images + z)]
    expected = {
        "curvature": (there - g).flatten(1).norm(dim=1),
        "loss_difference": (losses[1] - losses[0]).abs(),
        "gradient_norm": g.flatten(1).norm(dim=1),
    }
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, rtol=1e-8, atol=1e-12)
        assert values.min() > 1e-4


@each_term
def test_an_image_does_not_depend_on_its_batch(term):
    model, (images, labels) = convnet(), some()
    alone = torch.cat([term(model, images[i : i + 1], labels[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(term(model, images, labels), alone, rtol=1e-8, atol=0)


@each_term
def test_labels_may_be_distributions(term):
    model, (images, labels) = convnet(), some()
    one_hot = F.one_hot(labels, 3).double()
    plain = term(model, images, labels)
    torch.testing.assert_close(term(model, images, one_hot), plain)
    assert (term(model, images, 0.5 * one_hot + 0.5 / 3) - plain).abs().min() > 1e-4


def test_steps_have_their_length_however_small_the_gradient():
    seen = []
    model = Loss(lambda x: 0.5 + 1e-22 * x.square().sum(1))
    model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    images, labels = some(dtype=torch.float32)
    for term in (curvature, loss_difference):
        seen.clear()
        term(model, images, labels * 0, h=0.3)
        here, there = seen
        assert torch.equal(here, images)
        lengths = (there - here).flatten(1).norm(dim=1)
        torch.testing.assert_close(lengths, torch.full((5,), 0.3), rtol=1e-5, atol=0)


# ---- the derivative in the weights


def directions(model):
    return [drawn(*p.shape, seed=k) - 0.5 for k, p in enumerate(model.parameters())]


def assert_derivative(term, fixed, model):
    """That of `term` in the weights is that of `fixed()`, by central differences."""
    weights, along = list(model.parameters()), directions(model)
    found = torch.autograd.grad(term.mean(), weights)
    slope = sum((g * d).sum() for g, d in zip(found, along, strict=True)).item()
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            for p, d in zip(weights, along, strict=True):
                p.add_(d, alpha=sign * 1e-5)
        values.append(fixed().mean().item())
        with torch.no_grad():
            for p, d in zip(weights, along, strict=True):
                p.sub_(d, alpha=sign * 1e-5)
    assert slope == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-4)
    assert abs(slope) > 1e-3


def test_the_derivative_of_curvature_is_that_with_the_step_held_fixed():
    model, (images, labels) = convnet().eval(), some()
    moved = images + steps(model, images, labels, 0.3)

    def fixed():
        change = slopes(model, moved, labels) - slopes(model, images, labels)
        return change.flatten(1).norm(dim=1)

    assert_derivative(curvature(model, images, labels, h=0.3), fixed, model)


def test_the_derivative_of_the_loss_difference_is_that_with_the_step_held_fixed():
    model, (images, labels) = convnet().eval(), some()
    moved = images + steps(model, images, labels, 0.3)

    def fixed():
        losses = [F.cross_entropy(model(x), labels, reduction="none") for x in (moved, images)]
        return (losses[0] - losses[1]).abs()

    assert_derivative(loss_difference(model, images, labels, h=0.3), fixed, model)


def test_the_gradient_norm_has_a_derivative():
    model, (images, labels) = convnet().eval(), some()
    term = gradient_norm(model, images, labels)
    assert_derivative(term, lambda: slopes(model, images, labels).flatten(1).norm(dim=1), model)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@each_term
def test_every_weight_has_the_derivative_that_torch_finds_for_plain_layers(term, layout):
    """Whatever is done to be faster, as the user's own passes through the layers would be."""
    model, (images, labels) = convnet(nn.ReLU).eval(), some()
    plain = copy.deepcopy(model)
    model.to(memory_format=layout)
    found = term(model, images.contiguous(memory_format=layout), labels)
    g, z = slopes(plain, images, labels), steps(plain, images, labels, 0.3)
    expected = {
        TERMS["curvature"]: lambda: (slopes(plain, images + z, labels) - g).flatten(1).norm(dim=1),
        TERMS["loss_difference"]: lambda: (
            F.cross_entropy(plain(images + z), labels, reduction="none")
            - F.cross_entropy(plain(images), labels, reduction="none")
        ).abs(),
        TERMS["gradient_norm"]: lambda: g.flatten(1).norm(dim=1),
    }[term]()
    torch.testing.assert_close(found, expected)
    for got, wanted in zip(
        torch.autograd.grad(found.sum(), list(model.parameters()), materialize_grads=True),
        torch.autograd.grad(expected.sum(), list(plain.parameters()), materialize_grads=True),
        strict=True,
    ):
        torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-9)


@each_term
def test_where_the_loss_is_flat_all_is_zero_and_finite(term):
    model, (images, labels) = convnet(), some()
    nn.init.zeros_(model.network[-1].weight)
    found = term(model, images, labels)
    assert not found.any()
    for gradient in torch.autograd.grad(
        found.mean(), list(model.parameters()), materialize_grads=True
    ):
        assert gradient.isfinite().all()


@pytest.mark.parametrize(
    ("both", "term"),
    [
        (lambda *given: with_curvature(*given, h=0.3), TERMS["curvature"]),
        (lambda *given: with_difference(*given, h=0.3), TERMS["loss_difference"]),
        (with_norm, gradient_norm),
    ],
    ids=TERMS,
)
@pytest.mark.parametrize("norm", ["instance", "group", "none"])
def test_a_loss_that_comes_with_its_term_has_the_gradient_of_the_two_apart(norm, both, term):
    torch.manual_seed(0)
    model = networks.build(ConvNet(width=8, depth=2, norm=norm), (2, 6, 6), 3, (0.4,), (0.3,))
    model, (images, labels) = model.double(), some()
    weights = list(model.parameters())
    losses, terms = both(model, images, labels)
    apart = F.cross_entropy(model(images), labels) + 0.7 * term(model, images, labels).mean()
    together = losses.mean() + 0.7 * terms.mean()
    torch.testing.assert_close(together, apart, rtol=1e-9, atol=0)
    for got, wanted in zip(
        *(torch.autograd.grad(x, weights) for x in (together, apart)), strict=True
    ):
        torch.testing.assert_close(got, wanted, rtol=1e-7, atol=1e-12)


class Skipping(nn.Module):
    """A block that is left out of some batches in train mode, as drawn."""

    def forward(self, images):
        return images if not self.training or torch.rand(()) < 0.999 else 0 * images


@pytest.mark.parametrize(
    ("layer", "same"),
    [
        (nn.GroupNorm(2, 2), True),
        (nn.InstanceNorm2d(2), True),
        (nn.Dropout(0.5), False),
        (Skipping(), False),
        (nn.BatchNorm2d(2), False),
        (nn.BatchNorm2d(2, track_running_stats=False), True),
        (nn.InstanceNorm2d(2, track_running_stats=True), False),
    ],
)
def test_a_network_that_draws_or_keeps_statistics_is_not_the_same_in_both_modes(layer, same):
    images, _ = some(dtype=torch.float32)
    model = nn.Sequential(nn.Conv2d(2, 2, 3), layer)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    assert same_in_both_modes(model, images) == same
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in model.modules())


def test_attention_can_be_differentiated_twice():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv = nn.Linear(36, 24)

        def forward(self, images):
            q, k, v = self.qkv(images.flatten(2)).unsqueeze(1).chunk(3, 3)  # [B, 1, 2, 8]
            return F.scaled_dot_product_attention(q, k, v).sum((1, 2))

    torch.manual_seed(0)
    model = Attention()
    images, labels = some(dtype=torch.float32)
    found = curvature(model, images, labels, h=0.3)
    (gradient,) = torch.autograd.grad(found.mean(), model.qkv.weight)
    assert gradient.abs().max() > 0


# ---- what is left behind


@each_term
def test_the_network_is_left_as_it_was_found(term):
    model, (images, labels) = convnet(), some()
    model.train()
    model.network[1].eval()
    before, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    attributes = [set(vars(m)) for m in model.modules()]
    pixels, generator = images.clone(), torch.get_rng_state()
    term(model, images, labels)
    assert [m.training for m in model.modules()] == modes
    assert [set(vars(m)) for m in model.modules()] == attributes
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert torch.equal(images, pixels)
    assert not images.requires_grad
    assert torch.equal(torch.get_rng_state(), generator)


def test_the_network_is_left_as_it_was_found_by_a_failure_too():
    model, (images, labels) = convnet().train(), some()
    attributes = [set(vars(m)) for m in model.modules()]
    with pytest.raises(RuntimeError):
        curvature(model, images[:, :, :, :5, None], labels, h=0.3)
    assert [set(vars(m)) for m in model.modules()] == attributes
    assert all(m.training for m in model.modules())


@each_term
def test_no_graph_need_be_on(term):
    model, (images, labels) = convnet(), some()
    with torch.no_grad():
        quiet = term(model, images, labels)
    assert torch.equal(quiet, term(model, images, labels))


def test_weights_that_are_frozen_stay_out_of_it():
    model, (images, labels) = convnet(), some()
    model.network[0].requires_grad_(False)
    curvature(model, images, labels, h=0.3).mean().backward()
    assert model.network[0].weight.grad is None
    assert model.network[-1].weight.grad is not None
    assert not model.network[0].weight.requires_grad


def test_the_functions_are_public_and_the_package_names_them():
    assert {"curvature", "loss_difference", "gradient_norm"} <= set(bench_guard.__all__)
    assert all(callable(getattr(bench_guard, name)) for name in bench_guard.__all__)


def test_the_conversion_to_the_official_scaling_that_the_readme_gives():
    """Batch means of normalised pixels: R is the same term, if h and lambda are converted."""
    batch, std, h, lam = 5, 0.25, 3.0, 100.0
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(72, 9), nn.Tanh(), nn.Linear(9, 3)).double()
    images, labels = some()
    x = ((images - 0.5) / std).requires_grad_()
    (g,) = torch.autograd.grad(F.cross_entropy(network(x), labels), x)
    z = h * g / g.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    difference = F.cross_entropy(network(x + z), labels) - F.cross_entropy(network(x), labels)
    (change,) = torch.autograd.grad(difference, x)
    official = lam * change.flatten(1).norm(dim=1).mean()
    model = networks.Normalized(network, [0.5, 0.5], [std, std]).double()
    ours = lam / batch * std * curvature(model, images, labels, h=h * std).mean()
    assert ours.item() == pytest.approx(official.item(), rel=1e-9)
    assert not math.isclose(official.item(), 0, abs_tol=1e-3)


def test_a_compiled_network_has_the_terms_and_derivatives_of_the_network():
    images, labels = some(4, torch.float32)
    model, compiled = (convnet(nn.ReLU, torch.float32) for _ in range(2))
    compiled.compile(backend="aot_eager")
    found = []
    for network in (model, compiled):
        term = curvature(network, images, labels, h=0.5)
        found.append([term, *torch.autograd.grad(term.sum(), list(network.parameters()))])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_autocast_around_the_term_changes_nothing():
    images, labels = some(4, torch.float32)
    model = convnet(nn.ReLU, torch.float32)
    plain = curvature(model, images, labels, h=0.5)
    with torch.autocast("cpu", torch.bfloat16):
        found = curvature(model, images, labels, h=0.5)
    found.sum().backward()
    torch.testing.assert_close(found, plain)


def test_of_an_image_that_the_network_is_sure_of_single_precision_keeps_the_curvature():
    images, _ = some()
    model = convnet(nn.Tanh)
    with torch.no_grad():
        model.network[-1].bias[1] = 25.0  # single precision has p = 1
    labels = torch.ones(len(images), dtype=torch.long)
    exact = curvature(model, images, labels, h=0.3)
    assert 0 < exact.max() < 1e-7
    found = curvature(copy.deepcopy(model).float(), images.float(), labels, h=0.3)
    torch.testing.assert_close(found.double(), exact, rtol=1e-3, atol=0)


def test_a_network_that_keeps_no_graph_is_declined():
    class Frozen(nn.Linear):
        def forward(self, x):
            with torch.no_grad():
                return super().forward(x.flatten(1))

    images, labels = some(dtype=torch.float32)
    with pytest.raises(Unsupported, match="keeps no graph to its input"):
        curvature(Frozen(72, 3), images, labels, h=0.5)
