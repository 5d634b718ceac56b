from dataclasses import replace

import pytest
import torch
from torch import nn

from bench import BenchError, Unsupported
from bench.checks import checks_for, run_checks
from bench.training.diffusion import Denoiser, Schedule
from bench_standard.samplers import DDIM, DDPM, Euler, shortened, visited

SHAPE = (1, 2, 2)
CLASSES = 2
SAMPLERS = [DDIM(), DDPM(), Euler()]


@pytest.mark.parametrize(
    "check", [c for s in SAMPLERS[:2] for c in checks_for("sampler", s)], ids=str
)
def test_contract(check):
    check.run()


def test_the_contract_of_euler_fails_nowhere():
    verdicts = run_checks(checks_for("sampler", Euler()))
    assert {v.status for v in verdicts} <= {"passed", "skipped"}


# ---- on normal distributions, of which the best denoiser is known


class Exact(nn.Module):
    """The best prediction for images of class k that are normal: mean `means[k]`, covariance."""

    def __init__(self, schedule):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        factor = 0.15 * torch.randn(4, 4, generator=generator, dtype=torch.float64)
        self.covariance = factor @ factor.T + 0.01 * torch.eye(4, dtype=torch.float64)
        self.means = torch.tensor(
            [[0.3, -0.2, 0.0, 0.1], [-0.3, 0.1, 0.2, -0.1], [0, 0, 0, 0]], dtype=torch.float64
        )
        self.schedule, self.asked = schedule, []

    def forward(self, x, t, labels, extras):
        self.asked.append((t, labels))
        schedule = self.schedule
        time = (t * schedule.timesteps).round().long() - int(schedule.noise == "straight")
        (time,) = time.unique()  # one for the batch
        assert torch.equal(schedule.fraction(time.expand(len(x))), t)
        a, b = (value.double() for value in schedule.coefficients(time))
        mean, flat = self.means[labels], x.double().flatten(1)
        of_noised = a**2 * self.covariance + b**2 * torch.eye(4)
        gain = torch.linalg.solve(of_noised, a * self.covariance)  # [4, 4]
        image = mean + (flat - a * mean) @ gain
        noise = (flat - a * image) / b
        said = {
            "image": image,
            "noise": noise,
            "velocity": noise - image if schedule.noise == "straight" else a * noise - b * image,
        }[schedule.prediction]
        return said.float().view_as(x)


def exact(noise="cosine", prediction="noise", timesteps=1000):
    schedule = Schedule(noise, prediction, timesteps)
    return Denoiser(Exact(schedule), SHAPE, CLASSES, schedule)


def sampled(sampler, model, labels, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return sampler.sample(model, labels, {}, SHAPE, generator)


PLAIN = {"guidance": 1, "clip": False}
WALKS = [
    *(
        (sampler, noise, prediction)
        for sampler in (DDIM(steps=200, **PLAIN), DDPM(steps=400, **PLAIN))
        for noise in ("cosine", "linear")
        for prediction in ("noise", "image", "velocity")
    ),
    (DDIM("ancestral", steps=400, eta=1.0, **PLAIN), "linear", "noise"),
    (DDIM("leading", steps=200, spacing="leading", **PLAIN), "cosine", "noise"),
    (Euler(steps=200, guidance=1), "straight", "image"),
    (Euler(steps=200, guidance=1), "straight", "velocity"),
]


@pytest.mark.parametrize(
    ("sampler", "noise", "prediction"),
    [
        pytest.param(*walk, marks=pytest.mark.slow if walk[2] == "velocity" else ())
        for walk in WALKS
    ],
    ids=lambda v: getattr(v, "name", v),
)
def test_samples_have_the_mean_and_the_covariance_of_the_data(sampler, noise, prediction):
    model = exact(noise, prediction)
    count = 8000
    x = sampled(sampler, model, torch.ones(count, dtype=torch.int64)).double().flatten(1)
    network = model.network
    error = network.covariance.diagonal().amax().sqrt() / count**0.5
    assert (x.mean(0) - network.means[1]).abs().max() < 5 * error
    off = torch.cov(x.T) - network.covariance
    assert off.norm() < 0.06 * network.covariance.norm()


@pytest.mark.parametrize("noise", ["cosine", "linear"])
def test_steps_that_do_not_divide_the_times_walk_to_the_same_place(noise):
    labels = torch.zeros(200, dtype=torch.int64)
    one, two = (
        sampled(DDIM(steps=steps, guidance=1, clip=False), exact(noise), labels)
        for steps in (500, 333)
    )
    assert (one - two).abs().max() < 0.02


def test_a_straight_walk_is_that_of_the_scheduler_of_diffusers():
    from diffusers import FlowMatchEulerDiscreteScheduler

    model, labels, steps = exact("straight", "velocity"), torch.tensor([0, 1]), 8
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000)
    scheduler.set_timesteps(sigmas=[1 - n / steps for n in range(steps)])
    x = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    for time in scheduler.timesteps:
        said = model(x, (time / 1000).expand(2), labels, {})
        x = scheduler.step(said, time, x).prev_sample
    assert torch.allclose(sampled(Euler(steps=steps, guidance=1), model, labels), x, atol=1e-6)


@pytest.mark.parametrize("spacing", ["trailing", "leading"])
def test_where_steps_divide_the_times_a_walk_is_that_of_diffusers(spacing):
    from diffusers import DDIMScheduler

    model, labels = exact("linear"), torch.tensor([0, 1])
    scheduler = DDIMScheduler(timestep_spacing=spacing, clip_sample=False)
    scheduler.set_timesteps(20)
    x = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    for time in scheduler.timesteps:
        said = model(x, model.schedule.fraction(time.expand(2)), labels, {})
        x = scheduler.step(said, time, x).prev_sample
    sampler = DDIM(guidance=1, clip=False, spacing=spacing)
    assert torch.allclose(sampled(sampler, model, labels), x, atol=1e-4)


# ---- what is visited


@pytest.mark.parametrize(
    ("timesteps", "steps", "spacing", "times"),
    [
        (1000, 4, "trailing", [249, 499, 749, 999]),
        (1000, 3, "trailing", [332, 666, 999]),
        (1000, 4, "leading", [0, 250, 500, 750]),
        (5, 250, "trailing", [0, 1, 2, 3, 4]),
        (10, 1, "trailing", [9]),
    ],
)
def test_the_times_that_are_visited(timesteps, steps, spacing, times):
    assert visited(timesteps, steps, spacing).tolist() == times


@pytest.mark.parametrize(
    ("sampler", "noise", "prediction"),
    [
        (DDIM(steps=7, guidance=1), "cosine", "noise"),
        (DDPM(steps=7, guidance=1), "linear", "image"),
        (Euler(steps=7, guidance=1), "straight", "velocity"),
    ],
    ids=lambda v: getattr(v, "name", v),
)
def test_the_network_is_told_the_fraction_of_each_time_from_noise_on(sampler, noise, prediction):
    model = exact(noise, prediction)
    sampled(sampler, model, torch.tensor([1]))
    times = visited(1000, 7).flip(0)
    told = torch.cat([t for t, _ in model.network.asked])
    assert torch.equal(told, model.schedule.fraction(times))


@pytest.mark.parametrize("noise", ["cosine", "linear"])
@pytest.mark.parametrize("timesteps", [10, 1000])
def test_the_alphas_of_a_shortened_path_are_those_of_the_schedule(noise, timesteps):
    from diffusers import DDIMScheduler, DDPMScheduler

    model = exact(noise, timesteps=timesteps)
    times = visited(timesteps, 7)
    a, b = model.schedule.coefficients(times)
    for kind in (DDIMScheduler, DDPMScheduler):
        kept = shortened(kind, "mine", model, times, clip=True).alphas_cumprod
        assert torch.allclose(kept.sqrt(), a.double(), rtol=1e-6, atol=0)
        assert torch.allclose((1 - kept).sqrt(), b.double(), rtol=1e-6, atol=0)


# ---- guidance, clipping, draws


class Classes(nn.Module):
    """Says the label, at each pixel, and remembers what it was asked."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def forward(self, x, t, labels, extras):
        self.asked.append(labels.tolist())
        return labels.float().view(-1, 1, 1, 1).expand_as(x) + 0 * x


def flat(timesteps=1):
    """One step down this path, with the image predicted, ends at what is said."""
    schedule = Schedule("linear", "image", max(2, timesteps))
    return Denoiser(Classes(), SHAPE, 5, schedule)


@pytest.mark.parametrize("guidance", [0.0, 0.5, 1.0, 1.5, 4.0])
def test_guidance_is_linear_in_what_the_network_says(guidance):
    labels = torch.tensor([0, 3])
    x = sampled(DDIM(steps=1, guidance=guidance, clip=False), flat(), labels)
    expected = 5 + guidance * (labels.float() - 5)
    assert torch.allclose(x.amax((1, 2, 3)), expected)
    assert torch.allclose(x.amin((1, 2, 3)), expected)


@pytest.mark.parametrize(
    ("guidance", "asked"), [(1.0, [[0, 3]]), (1.5, [[0, 3, 5, 5]])], ids=["plain", "guided"]
)
def test_no_class_is_asked_for_beside_the_labels_only_where_there_is_guidance(guidance, asked):
    model = flat()
    sampled(DDIM(steps=1, guidance=guidance), model, torch.tensor([0, 3]))
    assert model.network.asked == asked


@pytest.mark.parametrize("kind", [DDIM, DDPM])
def test_images_are_clipped_and_latents_are_not(kind):
    labels, model = torch.tensor([3]), flat()
    assert sampled(kind(steps=1, guidance=1), model, labels).unique().tolist() == [1]
    assert sampled(kind(steps=1, guidance=1, clip=False), model, labels).unique().tolist() == [3]
    model.network.decode = lambda x: x
    assert sampled(kind(steps=1, guidance=1), model, labels).unique().tolist() == [3]


@pytest.mark.parametrize(
    ("sampler", "model"),
    [
        (DDIM(steps=3, eta=0.5), exact()),
        (DDPM(steps=3), exact()),
        (Euler(steps=3), exact("straight", "velocity")),
    ],
    ids=["ddim", "ddpm", "euler"],
)
def test_the_seed_of_the_generator_decides_and_no_other(sampler, model):
    labels = torch.tensor([0, 1, 1])
    torch.manual_seed(1)
    one = sampled(sampler, model, labels)
    torch.manual_seed(2)
    assert torch.equal(sampled(sampler, model, labels), one)
    assert not torch.equal(sampled(sampler, model, labels, seed=3), one)
    assert one.shape == (3, *SHAPE)
    assert not one.requires_grad


@pytest.mark.parametrize(
    ("sampler", "noise", "prediction", "said"),
    [
        (DDIM(), "straight", "velocity", "ddim walks paths with betas"),
        (DDPM(), "straight", "image", "ddpm walks paths with betas"),
        (Euler(), "cosine", "velocity", "euler walks straight paths by velocity or image"),
        (Euler(), "straight", "noise", "euler walks straight paths by velocity or image"),
    ],
    ids=lambda v: getattr(v, "name", v),
)
def test_a_path_that_it_cannot_walk_is_declined(sampler, noise, prediction, said):
    with pytest.raises(Unsupported, match=f"{said}.*'{noise}'"):
        sampled(sampler, exact(noise, prediction), torch.tensor([0]))


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda s: s.name)
@pytest.mark.parametrize("wrong", [{"steps": 0}, {"guidance": -1.0}])
def test_a_field_that_makes_no_sense_is_refused(sampler, wrong):
    ((field, value),) = wrong.items()
    with pytest.raises(BenchError, match=f"{sampler.name}: {field} is {value}; expected"):
        replace(sampler, **wrong)


@pytest.mark.parametrize("wrong", [{"eta": 2.0}, {"spacing": "linspace"}])
def test_a_field_of_ddim_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(BenchError, match=f"{next(iter(wrong))} is .*; expected"):
        DDIM(**wrong)
