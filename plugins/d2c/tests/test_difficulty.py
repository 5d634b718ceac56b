import math

import pytest
import torch
from torch import nn

from bench import Task, TensorSplit
from bench.training.diffusion import Denoiser, Schedule
from bench.training.passes import counting
from bench_d2c import difficulty as module
from bench_d2c.difficulty import difficulty, reliability

SHAPE, CLASSES, COUNT = (1, 4, 4), 3, 23


class Shrinks(nn.Module):
    """Says a part of x that depends on time and class, so that both are seen to arrive."""

    def __init__(self):
        super().__init__()
        self.parts = nn.Parameter(torch.tensor([0.1, 0.5, 0.9, 7.0]))

    def forward(self, x, t, labels, extras):
        return (self.parts[labels] * t).view(-1, 1, 1, 1) * x


def scorer(noise="linear", prediction="noise", timesteps=100):
    schedule = Schedule(noise, prediction, timesteps)
    return Denoiser(Shrinks(), SHAPE, CLASSES, schedule).eval()


def split():
    generator = torch.Generator().manual_seed(0)
    return TensorSplit(torch.rand(COUNT, *SHAPE, generator=generator), torch.arange(COUNT) % 3)


def scored(times=4, noises=2, seed=5, data=None, network=None):
    task = Task(
        train=data or split(),
        classes=("a", "b", "c"),
        shape=SHAPE,
        mean=(0.5,),
        std=(0.3,),
        flip=False,
        ipc=1,
        seed=seed,
        networks={"scorer": lambda: network or scorer()},
    )
    return difficulty(task, times, noises)


def test_a_score_is_the_denoising_loss_at_evenly_spaced_times():
    """Against one image at a time, by the definition of the path."""
    generator = torch.Generator().manual_seed(5)
    kept = torch.cumprod(1 - torch.linspace(1e-3, 0.2, 100, dtype=torch.float64), 0)
    parts, data = [0.1, 0.5, 0.9], split()
    expected = torch.zeros(COUNT, 8)
    for time in (12, 37, 62, 87):
        for draw in range(2):
            noise = torch.randn(1, *SHAPE, generator=generator)[0]
            for row in range(COUNT):
                x = 2 * data.pixels[row] - 1
                noised = math.sqrt(kept[time]) * x + math.sqrt(1 - kept[time]) * noise
                said = parts[data.labels[row]] * time / 100 * noised
                column = (time // 25) * 2 + draw
                expected[row, column] = ((said - noise) ** 2).mean()
    assert torch.allclose(scored(), expected, atol=1e-5)


def test_all_images_meet_the_same_noise(monkeypatch):
    """Twins have one score, wherever they stand; with noise of their own they would not."""
    monkeypatch.setattr(module, "BATCH", 5)
    data = split()
    pixels, labels = data.pixels.clone(), data.labels.clone()
    for twin in (7, 21):
        pixels[twin], labels[twin] = data.pixels[0], data.labels[0]
    found = scored(data=TensorSplit(pixels, labels))
    assert torch.equal(found[7], found[0])
    assert torch.equal(found[21], found[0])
    assert not torch.equal(found[1], found[0])


def test_a_score_does_not_depend_on_the_batch(monkeypatch):
    together = scored()
    monkeypatch.setattr(module, "BATCH", 4)
    assert torch.allclose(scored(), together, atol=1e-6)


def test_the_noise_is_that_of_the_seed():
    assert torch.equal(scored(), scored())
    assert not torch.equal(scored(seed=6), scored())


def test_each_image_goes_forward_once_a_draw_and_never_back():
    network = scorer()
    with counting(network) as passes:
        scored(times=3, noises=2, network=network)
    assert passes.as_json() == {"forward": COUNT * 6, "backward": 0}


def test_a_path_without_betas_is_walked_too():
    found = scored(network=scorer("straight", "velocity", 50))
    assert found.shape == (COUNT, 8)
    assert bool((found > 0).all())


# ---- reliability


def losses(images, draws, deviation, spread=1.0, groups=4):
    """Scores of images that differ by `spread` within groups, and noise; groups lie far apart."""
    generator = torch.Generator().manual_seed(0)
    of_image = spread * torch.randn(images, 1, generator=generator)
    noise = deviation * torch.randn(images, draws, generator=generator)
    group = torch.arange(images) % groups
    index = [(group == k).nonzero().squeeze(1) for k in range(groups)]
    return of_image + noise + 100.0 * group[:, None], index


@pytest.mark.parametrize("deviation", [0.5, 2.0, 5.0])
def test_reliability_is_what_the_variances_say(deviation):
    """Halves correlate by variance of images over all of it; ranks of Gaussians by an arc sine."""
    found = reliability(*losses(20_000, 8, deviation))
    linear = 1 / (1 + deviation**2 / 4)
    assert found == pytest.approx(6 / math.pi * math.asin(linear / 2), abs=0.02)


def test_that_classes_differ_makes_no_score_reliable():
    assert abs(reliability(*losses(20_000, 8, 1.0, spread=0.0))) < 0.02


def test_scores_without_a_rank_have_no_reliability():
    index = [torch.arange(5)]
    assert reliability(torch.rand(5, 1), index) == 0  # one draw
    assert reliability(torch.ones(5, 4), index) == 0  # all alike
    assert reliability(torch.rand(2, 4), [torch.tensor([0]), torch.tensor([1])]) == 0
