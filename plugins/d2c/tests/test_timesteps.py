"""Scores of times, against data whose analysis of variance is known, and how times are chosen."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bench.checks import fixtures
from bench.training import diffusion, toy
from bench.training.diffusion import Denoiser
from bench_d2c.timesteps import FLOATS, Spread, best, evenly, spread, systematic
from bench_standard.architectures.dit import DIT_NANO


def anova(between, within, images=400, draws=6, size=20, seed=0):
    """The spread of gradients whose variances between and within images are known."""
    generator = torch.Generator().manual_seed(seed)
    centre = 3 + between**0.5 * torch.randn(images, 1, size, generator=generator)
    return gathered(centre + within**0.5 * torch.randn(images, draws, size, generator=generator))


def gathered(g):  # [n, r, D]
    means = g.mean(1)
    return Spread(g.square().sum(2), means.square().sum(1), means.mean(0).square().sum())


@pytest.mark.parametrize(("between", "within"), [(4.0, 1.0), (1.0, 4.0), (0.05, 1.0)])
def test_the_ratio_is_that_of_the_variances(between, within):
    assert anova(between, within).ratio() == pytest.approx(between / within, rel=0.15, abs=0.02)


def test_one_image_has_no_ratio():
    assert anova(4.0, 1.0, images=1).ratio() == 0


def test_noise_alone_has_no_ratio_however_few_draws_there_are():
    for draws in (2, 12):
        assert anova(0.0, 1.0, images=800, draws=draws).ratio() < 0.02


def test_the_ratio_is_blind_to_scale_and_the_norm_is_not():
    g = torch.randn(20, 4, 10, generator=torch.Generator().manual_seed(0))
    assert gathered(10 * g).ratio() == pytest.approx(gathered(g).ratio(), rel=1e-3)
    assert gathered(10 * g).norm() == pytest.approx(10 * gathered(g).norm(), rel=1e-4)


def moved(shape=(1, 8, 8), classes=3):
    torch.manual_seed(0)
    denoiser = diffusion.build(DIT_NANO, shape, classes).eval()
    with torch.no_grad():
        for parameter in denoiser.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return denoiser


@pytest.mark.parametrize("floats", [FLOATS, 1], ids=["at once", "image by image"])
def test_the_spread_is_that_of_gradients_taken_one_by_one(monkeypatch, floats):
    monkeypatch.setattr("bench_d2c.timesteps.FLOATS", floats)
    denoiser, draws = moved(), 2
    x, labels = torch.rand(3, 1, 8, 8) * 2 - 1, torch.tensor([0, 1, 2])
    generator = torch.Generator().manual_seed(5)
    found = spread(denoiser, x, labels, 400, draws, generator, {})

    noise = torch.randn(3 * draws, 1, 8, 8, generator=torch.Generator().manual_seed(5))
    parameters, rows = list(denoiser.parameters()), []
    for k in range(3 * draws):
        image, label = x[k // draws, None], labels[k // draws, None]
        error = diffusion.losses(
            denoiser, image, label, torch.tensor([400]), noise[k, None], {}
        ).sum()
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(error, parameters)]))
    expected = gathered(torch.stack(rows).view(3, draws, -1))
    for one, two in zip(found, expected, strict=True):
        assert torch.allclose(one, two, rtol=1e-3, atol=1e-6)


def test_a_denoiser_that_does_not_look_at_the_image_has_gradients_of_noise_alone():
    class Blind(nn.Module):
        def __init__(self):
            super().__init__()
            self.guess = nn.Parameter(torch.zeros(1, 1, 8, 8))

        def forward(self, x, t, labels, extras):
            return self.guess.expand_as(x)

    x = torch.rand(60, 1, 8, 8) * 2 - 1
    generator = torch.Generator().manual_seed(0)
    blind = Denoiser(Blind(), (1, 8, 8), 3)
    found = spread(blind, x, torch.zeros(60, dtype=torch.int64), 100, 8, generator, {})
    assert found.ratio() < 0.05
    assert found.norm() == pytest.approx(2 * 8 / 64, rel=0.05)  # 2 / 64 times a noise of length 8


def test_a_denoiser_is_left_as_it_was():
    denoiser = moved()
    before = [p.clone() for p in denoiser.parameters()]
    x, labels = torch.rand(2, 1, 8, 8), torch.tensor([0, 1])
    spread(denoiser, x, labels, 10, 2, torch.Generator(), {})
    assert all(torch.equal(a, b) for a, b in zip(before, denoiser.parameters(), strict=True))
    assert all(p.grad is None and p.requires_grad for p in denoiser.parameters())


def test_a_toy_denoiser_can_be_scored():
    denoiser = fixtures.denoiser(toy.GRAY)
    data = toy.GRAY.load()
    x = 2 * data.train.images(torch.arange(6)) - 1
    found = spread(denoiser, x, data.train.labels[:6], 500, 3, torch.Generator(), {})
    assert found.ratio() >= 0
    assert found.norm() > 0


# ---- choice


def test_even_times_are_the_middles_of_equal_parts():
    assert evenly(4, 1000).tolist() == [125, 375, 625, 875]
    assert evenly(1000, 1000).tolist() == list(range(1000))


def test_the_best_times_keep_their_distance():
    grid = torch.arange(10) * 100
    score = torch.tensor([0, 1, 9, 8, 7, 2, 1, 5, 0, 3.0])
    assert best(grid, score, 3, 0).tolist() == [200, 300, 400]
    assert best(grid, score, 3, 200).tolist() == [200, 400, 700]
    assert best(grid, score, 2, 300).tolist() == [200, 700]


def test_as_many_are_chosen_as_were_asked_for_even_where_there_is_no_room():
    grid = torch.arange(5) * 10
    assert best(grid, torch.tensor([1, 2, 3, 2, 1.0]), 4, 30).unique().numel() == 4
    assert best(grid, torch.zeros(5), 5, 1000).tolist() == grid.tolist()


def test_systematic_sampling_follows_the_score():
    assert systematic(torch.ones(20), 4, 1000).tolist() == evenly(4, 1000).tolist()
    assert systematic(torch.zeros(20), 4, 1000).tolist() == evenly(4, 1000).tolist()
    peaked = torch.zeros(10)
    peaked[3] = 1
    assert systematic(peaked, 3, 1000).tolist() == [316, 350, 383]
    half = torch.tensor([1, 3.0])  # a quarter of the quantiles in the first half
    assert systematic(half, 8, 800).tolist()[:3] == [100, 300, 433]
