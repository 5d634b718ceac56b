"""The gradient of an outer loss in what an inner training was done on, against finite differences.

In float64, on a tiny smooth denoiser that is written here, and on the tiny transformer of ours.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench import Unsupported
from bench.training import diffusion
from bench.training.diffusion import Denoiser, Schedule
from bench_d2c.hypergradient import (
    conjugate_gradients,
    hypergradient,
    implicit,
    largest_curvature,
    leaves,
    ridge,
    solved,
    unrolled,
)
from bench_d2c.matching import Bank, Pair, denoising, gradient_distance, head, last_layer, matched
from bench_standard.architectures.dit import DIT_NANO

SHAPE, CLASSES, ITEMS = (1, 4, 4), 2, 4
LABELS = torch.tensor([0, 0, 1, 1])
TIMES = torch.tensor([300, 600])


class Smooth(nn.Module):
    """An MLP told the time, the class and its text."""

    def __init__(self, width=6, text=3):
        super().__init__()
        self.label = nn.Embedding(CLASSES + 1, width)
        self.text = nn.Linear(text, width)
        self.enter = nn.Linear(16 + 1, width)
        self.leave = nn.Linear(width, 16)

    def forward(self, x, t, labels, extras):
        hidden = self.enter(torch.cat([x.flatten(1), t.to(x)[:, None]], 1)) + self.label(labels)
        if extras:
            tokens = extras["class.text"][labels] + extras.get("image.text", 0)
            hidden = hidden + self.text(tokens.mean(1))
        return self.leave(torch.tanh(hidden)).view_as(x)


def world(network=None, shape=SHAPE, prediction="noise"):
    """A denoiser, its weights, and a pool of images and texts, in float64."""
    torch.manual_seed(0)
    denoiser = Denoiser(network or Smooth(), shape, CLASSES, Schedule(prediction=prediction))
    denoiser.double().eval()
    pool = [torch.rand(ITEMS, *shape).double() * 2 - 1, torch.randn(CLASSES, 2, 3).double()]
    return denoiser, dict(denoiser.named_parameters()), [p.requires_grad_() for p in pool]


def fixed(pool):
    """What real images are told: texts that do not follow the pool's."""
    return {"class.text": pool[1].detach().clone()}


def draws(pool, items=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Bank.drawn(torch.arange(items) % ITEMS, TIMES, pool[0].detach(), generator)


def objective(denoiser, pool, kind="cosine", layer=None, distribution=0.3, total=True):
    """Two pairs of a class and its times: what is matched."""
    real = torch.rand(8, *pool[0].shape[1:], generator=torch.Generator().manual_seed(1)).double()
    terms = []
    for label in range(CLASSES):
        bank = draws(pool, seed=label + 2)
        bank = Bank(bank.items % 2 + 2 * label, bank.time, bank.noise)
        pair = Pair(label, real, bank)
        options = {
            "kind": kind,
            "distribution": distribution,
            "extras": fixed(pool),
            "total": total,
        }
        terms.append(matched(denoiser, pair, layer, **options))
    return terms


def agrees(value, found, pool, tolerance, size=1e-5, seed=3):
    """`found`, along a random direction, is the central difference of `value(pool)`."""
    generator = torch.Generator().manual_seed(seed)
    ways = [torch.randn(p.shape, generator=generator).double() for p in pool]
    ends = [
        value(
            [(p.detach() + s * size * w).requires_grad_() for p, w in zip(pool, ways, strict=True)]
        )
        for s in (1, -1)
    ]
    expected = float((ends[0] - ends[1]) / (2 * size))
    got = float(sum((f * w).sum() for f, w in zip(found, ways, strict=True)))
    assert got == pytest.approx(expected, rel=tolerance)
    assert abs(expected) > 1e-9


def summed(terms, weights, pool):
    """The outer loss at weights that the pool may have made, with a past."""
    return sum(term(weights, pool) for term in terms).detach()


@pytest.mark.parametrize("total", [False, True])
@pytest.mark.parametrize("kind", ["layerwise", "cosine", "l2"])
def test_matching_at_constant_weights_is_its_finite_difference(kind, total):
    """In images and in texts."""
    denoiser, weights, pool = world()
    terms = objective(denoiser, pool, kind, denoiser.network.leave, total=total)
    value, found = hypergradient(terms, weights, pool, None)
    assert value == pytest.approx(float(summed(terms, weights, pool)))
    agrees(lambda at: summed(terms, weights, at), found, pool, 1e-4)


@pytest.mark.parametrize("total", [False, True])
def test_an_embedding_of_each_image_has_its_finite_difference(total):
    denoiser, weights, pool = world()
    text = torch.randn(ITEMS, 2, 3, generator=torch.Generator().manual_seed(5)).double() / 4
    pool = [*pool, text.requires_grad_()]
    terms = objective(denoiser, pool, total=total)
    made = unrolled(denoising(denoiser, LABELS, draws(pool)), weights, pool, 2, 0.5)
    _, found = hypergradient(terms, *(_swap(made, pool) if total else (weights, pool, None)))
    assert found[2].flatten(1).any(1).all()

    def value(at):
        if not total:
            return summed(terms, weights, at)
        inner = denoising(denoiser, LABELS, draws(at))
        return summed(terms, unrolled(inner, weights, at, 2, 0.5)[0], at)

    agrees(value, found, pool, 1e-3)


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("loss", [False, True], ids=["match", "loss"])
def test_the_unroll_is_the_finite_difference_of_a_descent(steps, loss):
    denoiser, weights, pool = world()
    real, bank = torch.rand(4, *SHAPE).double(), draws(pool, seed=9)
    terms = [denoising(denoiser, LABELS, bank, real)] if loss else objective(denoiser, pool)
    inner = denoising(denoiser, LABELS, draws(pool))

    def reached(at):
        return summed(terms, unrolled(inner, weights, at, steps, 0.5)[0], at)

    _, found = hypergradient(terms, *_swap(unrolled(inner, weights, pool, steps, 0.5), pool))
    agrees(reached, found, pool, 1e-3)


def _swap(made, pool):
    weights, respond = made
    return weights, pool, respond


def bent(denoiser, pool, towards, pull):
    """An inner loss that a pull to some weights makes convex: it has a minimum."""
    loss = denoising(denoiser, LABELS, draws(pool))

    def inner(weights, pool):
        near = sum((weights[k] - towards[k].detach()).square().sum() for k in weights)
        return loss(weights, pool) + pull / 2 * near

    return inner


@pytest.mark.parametrize("loss", [False, True], ids=["match", "loss"])
def test_the_implicit_gradient_is_the_finite_difference_of_a_minimum(loss):
    denoiser, start, pool = world()
    bank = draws(pool, seed=9)
    terms = objective(denoiser, pool)
    if loss:
        terms = [denoising(denoiser, LABELS, bank, torch.rand(4, *SHAPE).double())]
    pull = 1.0
    inner = bent(denoiser, pool, start, pull)

    def minimum(at):
        weights = start
        for _ in range(40):
            made, _ = unrolled(inner, weights, [p.detach() for p in at], 1, 0.7)
            weights = leaves(made)
        return weights

    # the pull is what the damping of the loss without it stands for
    plain = denoising(denoiser, LABELS, draws(pool))
    made = implicit(plain, minimum(pool), pool, damping=pull, iterations=60)
    _, found = hypergradient(terms, *_swap(made, pool))
    agrees(lambda at: summed(terms, minimum(at), at), found, pool, 1e-2, size=1e-4)


@pytest.mark.parametrize("prediction", ["noise", "velocity"])
@pytest.mark.parametrize("loss", [False, True], ids=["match", "loss"])
def test_the_head_is_the_finite_difference_of_a_fit(loss, prediction):
    denoiser, weights, pool = world(prediction=prediction)
    real = torch.rand(4, *SHAPE).double()
    terms = objective(denoiser, pool)
    if loss:
        terms = [denoising(denoiser, LABELS, draws(pool, seed=9), real)]
    fitted = head(denoiser, denoiser.network.leave, LABELS, draws(pool, 8), 0.1)
    _, found = hypergradient(terms, *_swap(solved(fitted, weights, pool), pool))
    agrees(lambda at: summed(terms, solved(fitted, weights, at)[0], at), found, pool, 1e-3)


def nano():
    """The tiny transformer, whose fresh weights predict zeros: they are moved away from that."""
    shape = (1, 8, 8)
    network = DIT_NANO.build(shape, CLASSES, {"class.text": (2, 3)})
    torch.manual_seed(4)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return world(network, shape)


@pytest.mark.parametrize("how", ["gm", "unroll", "cg", "head"])
def test_a_transformer_has_all_of_them(how):
    denoiser, weights, pool = nano()
    terms, bank = objective(denoiser, pool), draws(pool, 8)
    inner = denoising(denoiser, LABELS, bank)
    layer = last_layer(denoiser, pool[0].detach(), {"class.text": pool[1].detach()})
    assert layer is denoiser.network.out
    fitted = head(denoiser, layer, LABELS, bank, 0.1)
    at_weights = {
        "gm": lambda at: (weights, None),
        "unroll": lambda at: unrolled(inner, weights, at, 2, 0.05),
        "cg": lambda at: implicit(inner, weights, at, 1.0, 4),
        "head": lambda at: solved(fitted, weights, at),
    }[how]
    with sdpa_kernel(SDPBackend.MATH):
        _, found = hypergradient(terms, *_swap(at_weights(pool), pool))
        assert all(part.isfinite().all() for part in found)
        if how != "cg":  # a damped response is that of no training
            agrees(lambda at: summed(terms, at_weights(at)[0], at), found, pool, 1e-2)


def test_a_head_fits_its_bank_as_a_dense_solve_of_all_of_it_does():
    denoiser, weights, pool = nano()
    bank = draws(pool, 8)
    layer, schedule = denoiser.network.out, denoiser.schedule
    with sdpa_kernel(SDPBackend.MATH):
        new = head(denoiser, layer, LABELS, bank, 1e-6)(weights, pool)
        inner = denoising(denoiser, LABELS, bank)
        before, after = inner(weights, pool), inner({**weights, **new}, pool)
        # no other head does better: the loss is flat there
        there = {k: v.detach().requires_grad_() for k, v in {**weights, **new}.items()}
        slopes = torch.autograd.grad(inner(there, pool), [there[k] for k in new])
    assert after < before
    assert all(slope.abs().max() < 1e-5 for slope in slopes)
    assert schedule.prediction == "noise"


def test_a_layer_that_does_not_give_the_prediction_is_declined():
    class Scaled(Smooth):
        def forward(self, x, t, labels, extras):
            return 2 * super().forward(x, t, labels, extras)

    denoiser, weights, pool = world(Scaled())
    fitted = head(denoiser, denoiser.network.leave, LABELS, draws(pool), 0.1)
    with pytest.raises(Unsupported, match="last linear layer gives the prediction"):
        fitted(weights, pool)


# ---- the solver


def quadratic(eigenvalues):
    torch.manual_seed(0)
    basis, _ = torch.linalg.qr(torch.randn(len(eigenvalues), len(eigenvalues)).double())
    return basis @ torch.diag(torch.tensor(eigenvalues).double()) @ basis.T


def test_conjugate_gradients_solve_a_quadratic_as_a_dense_solve_does():
    matrix = quadratic([0.01, 0.1, 0.5, 2.0, 7.0, 30.0])
    aim = torch.arange(6).double() - 2
    found = conjugate_gradients(lambda v: matrix @ v, aim, 6)
    assert torch.allclose(found, torch.linalg.solve(matrix, aim), rtol=1e-6)


def test_more_iterations_leave_no_more_of_the_aim():
    matrix, aim = quadratic([0.1, 0.5, 2.0, 7.0]), torch.ones(4).double()
    left = [
        float((matrix @ conjugate_gradients(lambda v: matrix @ v, aim, k) - aim).norm())
        for k in range(5)
    ]
    assert all(b <= a for a, b in itertools.pairwise(left))
    assert left[-1] < 1e-9


def test_negative_curvature_ends_the_search_with_what_it_has():
    matrix, aim = torch.diag(torch.tensor([2.0, -1.0])), torch.tensor([1.0, 0.5])
    found = conjugate_gradients(lambda v: matrix @ v, aim, 10)
    assert torch.allclose(found, aim * (aim @ aim) / (aim @ matrix @ aim))  # its first step
    assert not conjugate_gradients(lambda v: -v, aim, 10).any()


def test_a_step_that_leads_away_is_not_taken():
    """What is left of the aim may grow on the way, where the matrix is flat or bends down."""
    matrix, aim = torch.diag(torch.tensor([1.0, -0.99])), torch.ones(2)
    assert not conjugate_gradients(lambda v: matrix @ v, aim, 1).any()


def test_ridge_is_the_solution_of_the_normal_equations():
    torch.manual_seed(0)
    features, targets = torch.randn(30, 4).double(), torch.randn(30, 3).double()
    start = torch.randn(4, 3).double()
    rows = torch.cat([features / 30**0.5, 0.1**0.5 * torch.eye(4).double()])
    aims = torch.cat([targets / 30**0.5, 0.1**0.5 * start])
    assert torch.allclose(
        ridge(features, targets, start, 0.1), torch.linalg.lstsq(rows, aims).solution
    )


def test_power_iteration_finds_the_largest_curvature():
    matrix = quadratic([0.1, 0.5, 2.0, 9.0])

    def inner(weights, pool):
        return weights["w"] @ matrix @ weights["w"] / 2

    weights = {"w": torch.ones(4).double()}
    found = largest_curvature(inner, weights, [torch.zeros(1).double().requires_grad_()], 20)
    assert found == pytest.approx(9, rel=1e-3)


# ---- what is matched


def test_a_pool_that_is_the_real_images_has_nothing_to_gain():
    denoiser, weights, pool = world()
    items = torch.tensor([0, 1, 0, 1])
    bank = draws(pool, 2)
    bank = Bank(items, bank.time, bank.noise)
    for kind in ("layerwise", "cosine", "l2"):
        pair = Pair(0, pool[0].detach()[items], bank)
        options = {"kind": kind, "distribution": 1.0, "extras": fixed(pool), "total": False}
        term = matched(denoiser, pair, denoiser.network.leave, **options)
        value, found = hypergradient([term], weights, pool, None)
        idle = 2 / 31 if kind == "layerwise" else 0  # rows of the other class, and of none
        assert float(value) == pytest.approx(idle, abs=1e-3)
        elsewhere = matched(denoiser, Pair(0, -pair.real, bank), denoiser.network.leave, **options)
        _, pulled = hypergradient([elsewhere], weights, pool, None)
        assert found[0].norm() < 0.01 * pulled[0].norm()


def test_a_text_that_is_wrong_on_both_sides_gains_nothing():
    """Only the pool is seen with it: else any text would do, if it is wrong enough."""
    denoiser, weights, pool = world()
    items = torch.tensor([0, 1, 0, 1])
    bank = Bank(items, draws(pool, 2).time, draws(pool, 2).noise)
    options = {"kind": "cosine", "distribution": 0.0, "extras": fixed(pool), "total": True}
    same = matched(denoiser, Pair(0, pool[0].detach()[items], bank), None, **options)
    assert float(same(weights, pool).detach()) == pytest.approx(0, abs=1e-5)
    assert same(weights, [pool[0], pool[1] + 3]) > 0.01


def test_the_scale_of_gradients_is_no_part_of_their_distance():
    torch.manual_seed(0)
    one, two = ([torch.randn(3, 4).double(), torch.randn(3).double()] for _ in range(2))
    for kind in ("layerwise", "cosine"):
        tiny = gradient_distance([1e-6 * a for a in one], [1e-6 * b for b in two], kind)
        assert float(tiny) == pytest.approx(float(gradient_distance(one, two, kind)), rel=1e-4)
    assert float(gradient_distance(one, one, "layerwise")) == pytest.approx(0, abs=1e-5)
    assert float(gradient_distance([-a for a in one], one, "layerwise")) == pytest.approx(
        2, abs=1e-4
    )


def test_a_bank_has_each_draw_and_its_opposite():
    _, _, pool = world()
    bank = draws(pool)
    half = len(bank.items) // 2
    assert torch.equal(bank.noise[:half], -bank.noise[half:])
    assert torch.equal(bank.items[:half], bank.items[half:])
    assert torch.equal(bank.time[:half], bank.time[half:])
    assert {*bank.time.tolist()} <= {*TIMES.tolist()}


def test_the_loss_on_a_bank_is_that_of_the_harness():
    denoiser, weights, pool = world()
    bank = draws(pool)
    shown = (pool[0][bank.items], LABELS[bank.items], bank.time, bank.noise)
    expected = diffusion.losses(denoiser, *shown, {"class.text": pool[1]}).mean()
    assert torch.equal(denoising(denoiser, LABELS, bank)(weights, pool), expected)
