import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bench import BenchError
from bench.checks import checks_for, fixtures, run_checks
from bench.training import networks, toy
from bench_guard.matching import FIRST_ORDER, GuardDC
from bench_matching.methods import DC

GUARD_DC = GuardDC()


def quick(method, **changes):
    return dataclasses.replace(method, **{**method.quick, **changes})


def condensed(method):
    return method.condense(fixtures.task(method, toy.GRAY, 2)).images


def smooth():
    """A network with curvature in its images and no kinks."""
    torch.manual_seed(0)
    layers = [nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3)]
    return networks.Normalized(nn.Sequential(*layers), [0.4], [0.3]).double()


def plain_term(network, images, labels, h, form):
    """The mean over the images, one after another, with the step held fixed."""
    terms = []
    for image, label in zip(images, labels, strict=True):

        def loss(x, label=label):
            return F.cross_entropy(network(x[None]), label[None])

        x = image.clone().requires_grad_()
        (g,) = torch.autograd.grad(loss(x), x, create_graph=True)
        z = h * (g / g.norm()).detach()
        if form == "loss":
            terms.append((loss(image + z) - loss(image)).abs())
            continue
        y = (image + z).clone().requires_grad_()
        (there,) = torch.autograd.grad(loss(y), y, create_graph=True)
        terms.append((there - g).norm())
    return torch.stack(terms).mean()


@pytest.mark.slow
@pytest.mark.parametrize("method", [GUARD_DC, FIRST_ORDER], ids=lambda m: m.name)
def test_the_contract_holds(method):
    verdicts = run_checks(checks_for("method", method))
    assert [v for v in verdicts if v.status != "passed"] == []


@pytest.mark.parametrize("form", ["gradient", "loss"])
def test_the_real_loss_and_its_gradient_in_the_weights_are_those_of_the_formula(form):
    network, generator = smooth(), torch.Generator().manual_seed(1)
    images = torch.rand(5, 1, 4, 4, generator=generator, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 0, 1])
    method = GuardDC(lam=2.0, h=0.3, form=form)
    found = method.real_loss(network, images, labels)
    cross_entropy = F.cross_entropy(network(images), labels)
    expected = cross_entropy + 2.0 * plain_term(network, images, labels, 0.3, form)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    assert expected > cross_entropy + 1e-3
    weights = list(network.parameters())
    for got, wanted in zip(
        torch.autograd.grad(found, weights), torch.autograd.grad(expected, weights), strict=True
    ):
        assert torch.allclose(got, wanted, rtol=1e-5, atol=1e-9)


def test_only_the_real_side_has_the_term():
    """The distance is that of DC with the gradient of the regularised loss as its aim."""
    network, generator = smooth(), torch.Generator().manual_seed(1)
    real, made = torch.rand(2, 4, 1, 4, 4, generator=generator, dtype=torch.float64)
    method, labels = GuardDC(lam=3.0, h=0.3), torch.full((4,), 2)
    weights = list(network.parameters())
    aims = torch.autograd.grad(method.real_loss(network, real, labels), weights)
    found = torch.autograd.grad(F.cross_entropy(network(made), labels), weights)
    expected = sum(
        (1 - F.cosine_similarity(a, b)).sum()
        for a, b in zip(found, aims, strict=True)
        if a.ndim > 1
    )
    far = method.distance_of(network, real, made.requires_grad_(), 2)
    assert far.item() == pytest.approx(expected.item(), abs=1e-3)  # an epsilon beside the norms
    assert far.item() != pytest.approx(DC().distance_of(network, real, made, 2).item(), abs=1e-2)


@pytest.mark.slow
def test_without_weight_it_is_dc_and_with_it_not():
    plain = condensed(quick(DC()))
    assert torch.equal(condensed(quick(GUARD_DC, lam=0.0)), plain)
    forms = [condensed(quick(GUARD_DC, form=form, lam=5.0)) for form in ("gradient", "loss")]
    assert not any(torch.equal(images, plain) for images in forms)
    assert not torch.equal(*forms)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("lam", -1.0, "0 or more"),
        ("h", 0.0, "more than 0"),
        ("form", "hessian", "'gradient' or 'loss'"),
        ("lr", 0.0, "more than 0"),
    ],
)
def test_a_field_that_makes_no_sense_is_refused(field, value, expected):
    with pytest.raises(BenchError, match=f"{field} is {value!r}; expected {expected}"):
        GuardDC(**{field: value})
