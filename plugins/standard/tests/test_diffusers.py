"""What the harness writes out for itself is what diffusers gives, bit for bit."""

import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import EMAModel
from torch import nn

from bench.training import denoiser, diffusion, toy
from bench.training.average import Average
from bench.training.classifier import Examples
from bench.training.diffusion import Schedule
from bench.training.recipe import DiffusionRecipe

KINDS = {"cosine": "squaredcos_cap_v2", "linear": "linear"}


def bits(tensor):
    return tensor.detach().flatten().view(torch.uint8).tolist()  # -0.0 is not 0.0


# ---- betas


@pytest.mark.parametrize("timesteps", [2, 10, 100, 1000, 4000])
@pytest.mark.parametrize("noise", KINDS)
def test_betas_are_those_of_the_scheduler(noise, timesteps):
    ends = {
        "beta_start": min(0.1 / timesteps, 0.5),  # 1e-4 at a thousand
        "beta_end": min(20 / timesteps, 0.999),
    }
    theirs = DDPMScheduler(num_train_timesteps=timesteps, beta_schedule=KINDS[noise], **ends)
    ours = Schedule(noise, timesteps=timesteps).betas
    assert ours.dtype == theirs.betas.dtype == torch.float32
    assert bits(ours) == bits(theirs.betas)


@pytest.mark.parametrize("noise", KINDS)
def test_at_a_thousand_steps_a_path_is_that_of_the_scheduler(noise):
    theirs = DDPMScheduler(num_train_timesteps=1000, beta_schedule=KINDS[noise])
    ours = Schedule(noise, "velocity")
    assert bits(ours.betas) == bits(theirs.betas)
    x, noises = torch.randn(2, 6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    time = torch.tensor([0, 1, 250, 500, 900, 999])
    noised, velocity = theirs.add_noise(x, noises, time), theirs.get_velocity(x, noises, time)
    assert torch.allclose(ours.noised(x, noises, time), noised, atol=2e-4)
    assert torch.allclose(ours.target(x, noises, time), velocity, atol=2e-4)


# ---- averages


def network(dtype):
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 5, 3), nn.GroupNorm(5, 5), nn.Flatten(), nn.Linear(45, 7))
    layers.register_parameter("scale", nn.Parameter(torch.tensor(0.3)))  # of no dimension
    return layers.to(dtype, memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 0.999])
def test_an_average_is_that_of_the_class(decay, dtype):
    parameters = list(network(dtype).parameters())
    ours, theirs = Average(parameters, decay), EMAModel(parameters, decay=decay)
    generator = torch.Generator().manual_seed(1)
    for _ in range(50):
        with torch.no_grad():
            for p in parameters:
                p.mul_(0.98).add_(0.1 * torch.randn(p.shape, generator=generator).to(dtype))
        ours.step(parameters)
        theirs.step(parameters)
        assert [bits(m) for m in ours.means] == [bits(m) for m in theirs.shadow_params]
    found, expected = network(dtype), network(dtype)
    ours.copy_to(list(found.parameters()))
    theirs.copy_to(expected.parameters())
    assert [bits(p) for p in found.parameters()] == [bits(p) for p in expected.parameters()]


def test_a_training_with_it_ends_as_one_with_the_class(monkeypatch):
    data = toy.GRAY.load()
    labels = data.train.labels
    examples = Examples(data.train, torch.arange(len(labels)), labels)
    recipe = DiffusionRecipe(steps=50, batch=16, lr=0.01, ema=0.9, checkpoints=(1, 20))

    def trained():
        torch.manual_seed(0)
        student = diffusion.build(toy.ToyDenoiser(), data.shape, len(data.classes))
        kept = denoiser.fit(student, examples, recipe, seed=0)
        states = [student.state_dict(), *kept.values()]
        return [{name: bits(tensor) for name, tensor in state.items()} for state in states]

    ours = trained()
    monkeypatch.setattr(denoiser, "Average", lambda p, decay: EMAModel(p, decay=decay))
    assert trained() == ours
    assert len({str(state) for state in ours}) == 3
