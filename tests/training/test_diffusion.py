"""Schedules against closed forms; the space of a denoiser; its loss."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from bench.contract.errors import BenchError
from bench.training import diffusion, toy
from bench.training.diffusion import Denoiser, Schedule, losses, of_classes, of_images, rows_of


def x_and_noise(count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(2, count, 1, 8, 8, generator=generator))  # type: ignore[return-value]


def test_a_straight_path_runs_from_image_to_noise_at_one_velocity() -> None:
    schedule = Schedule("straight", "velocity", timesteps=10)
    x, noise = x_and_noise(10)
    time = torch.arange(10)
    t = schedule.fraction(time)
    assert t.tolist() == pytest.approx([k / 10 for k in range(1, 11)])
    assert torch.equal(schedule.noised(x, noise, time)[-1], noise[-1])
    moved = schedule.noised(x, noise, time) - t.view(-1, 1, 1, 1) * schedule.target(x, noise, time)
    assert torch.allclose(moved, x, atol=1e-6)
    assert schedule.betas is None


@pytest.mark.parametrize("noise", diffusion.NOISES)
@pytest.mark.parametrize("timesteps", [10, 100, 1000, 4000])
def test_every_path_starts_at_the_image_and_ends_in_noise(noise: str, timesteps: int) -> None:
    schedule = Schedule(noise, timesteps=timesteps)
    a, b = schedule.coefficients(torch.arange(timesteps))
    assert a[0] > min(0.98, 0.999 - 1 / timesteps)  # a straight path starts one step from it
    assert a[-1] < 0.02
    assert bool((a.diff() < 0).all())
    if noise != "straight":
        assert torch.allclose(a**2 + b**2, torch.ones_like(a), atol=1e-6)
    t = schedule.fraction(torch.arange(timesteps))
    assert 0 <= float(t.min()) <= float(t.max()) <= 1


def test_the_cosine_path_is_the_published_one() -> None:
    """Nichol & Dhariwal (2021), equation 17, but for their cut of the last steps."""
    a, _ = Schedule("cosine").coefficients(torch.arange(990))
    t = torch.arange(991, dtype=torch.float64) / 1000
    f = ((t + 0.008) / 1.008 * torch.pi / 2).cos() ** 2
    assert torch.allclose(a.double() ** 2, f[1:] / f[0], atol=1e-5)


def test_the_linear_path_is_the_published_one_at_a_thousand_steps() -> None:
    """Ho et al. (2020), section 4."""
    betas = Schedule("linear").betas
    assert betas is not None
    assert torch.allclose(betas, torch.linspace(1e-4, 0.02, 1000))


@pytest.mark.parametrize("noise", diffusion.NOISES)
def test_noise_and_image_can_be_told_from_a_velocity(noise: str) -> None:
    """What samplers rely on: x_t and the velocity of a path give both."""
    schedule, time = Schedule(noise, "velocity"), torch.tensor([1, 400, 900])
    x, noises = x_and_noise(3)
    a, b = (value.view(-1, 1, 1, 1) for value in schedule.coefficients(time))
    noised, said = schedule.noised(x, noises, time), schedule.target(x, noises, time)
    image = noised - b * said if noise == "straight" else a * noised - b * said
    assert torch.allclose(image, x, atol=1e-5)
    assert torch.allclose(a * image + b * noises, noised, atol=1e-5)


@pytest.mark.parametrize(
    ("prediction", "wanted"), [("noise", "noise"), ("image", "x")], ids=lambda p: p
)
def test_a_network_is_asked_for_the_noise_or_the_image(prediction: str, wanted: str) -> None:
    x, noise = x_and_noise(3)
    target = Schedule("cosine", prediction).target(x, noise, torch.tensor([1, 500, 998]))
    assert torch.equal(target, {"x": x, "noise": noise}[wanted])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"noise": "pink"}, "noise is 'pink'; expected one of cosine, linear, straight"),
        ({"prediction": "x"}, "prediction is 'x'; expected one of noise, image, velocity"),
        ({"timesteps": 1}, "timesteps is 1; expected 2 or more"),
        ({"timesteps": 10.0}, "timesteps is 10.0; expected 2 or more"),
        ({"noise": "straight", "timesteps": -3}, "timesteps is -3; expected 2 or more"),
    ],
)
def test_a_bad_schedule_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(BenchError) as caught:
        Schedule(**fields)
    assert said in str(caught.value)


def test_pixels_lie_between_minus_one_and_one_and_come_back() -> None:
    denoiser = diffusion.build(toy.ToyDenoiser(), (1, 8, 8), 4)
    images = torch.rand(3, 1, 8, 8)
    assert denoiser.encode(images).amin() >= -1
    assert torch.allclose(denoiser.decode(denoiser.encode(images)), images, atol=1e-6)
    far = denoiser.decode(torch.full((1, 1, 8, 8), 9.0))
    assert float(far.max()) == 1


class Halves(nn.Module):
    """A space of its own: every other pixel."""

    latent_shape = (1, 4, 4)

    def forward(self, x: Any, t: Any, labels: Any, extras: Any) -> Any:
        return x

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        return images[..., ::2, ::2]

    def decode(self, x: torch.Tensor) -> torch.Tensor:
        return 3 * x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_a_network_may_have_a_space_of_its_own() -> None:
    denoiser = Denoiser(Halves(), (1, 8, 8), 4)
    assert denoiser.shape == (1, 4, 4)
    images = torch.rand(2, 1, 8, 8)
    assert denoiser.encode(images).shape == (2, 1, 4, 4)
    assert float(denoiser.decode(denoiser.encode(images)).max()) == 1  # kept in range


@pytest.mark.parametrize("noise", diffusion.NOISES)
def test_the_loss_of_each_image_is_its_mean_squared_error(noise: str) -> None:
    torch.manual_seed(0)
    denoiser = diffusion.build(toy.ToyDenoiser(), (1, 8, 8), 4, Schedule(noise, "velocity"))
    x, noises = x_and_noise(4)
    labels, time = torch.tensor([0, 1, 2, 4]), torch.tensor([3, 400, 700, 999])
    found = losses(denoiser, x, labels, time, noises, {})
    for k in range(4):
        one = [value[k : k + 1] for value in (x, labels, time, noises)]
        noised = denoiser.schedule.noised(one[0], one[3], one[2])
        said = denoiser(noised, denoiser.schedule.fraction(one[2]), one[1], {})
        error = (said - denoiser.schedule.target(one[0], one[3], one[2])).square().mean()
        assert torch.allclose(found[k], error)


def test_the_loss_is_differentiable_in_the_image_as_in_the_weights() -> None:
    torch.manual_seed(0)
    denoiser = diffusion.build(toy.ToyDenoiser(), (1, 8, 8), 4)
    x, noises = x_and_noise(2)
    x.requires_grad_()
    labels, time = torch.tensor([0, 3]), torch.tensor([3, 700])
    losses(denoiser, x, labels, time, noises, {}).sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert bool((x.grad != 0).any())
    assert denoiser.network.images.weight.grad[[0, 3]].abs().amin(1).ne(0).any()


def test_a_network_is_built_for_the_rows_of_what_a_set_attaches() -> None:
    asked: list[Any] = []

    class Built(toy.ToyDenoiser):
        def build(self, shape: Any, classes: Any, extras: Any) -> nn.Module:
            asked.append((shape, classes, extras))
            return super().build(shape, classes, {})

    diffusion.build(Built(), (1, 8, 8), 4, extras={"class.text": [3, 5]})  # as JSON has it
    diffusion.build(Built(), (1, 8, 8), 4)
    assert asked == [((1, 8, 8), 4, {"class.text": (3, 5)}), ((1, 8, 8), 4, {})]


def test_attachments_are_told_apart() -> None:
    extras = {"class.text": torch.zeros(4, 3, 5), "image.features": torch.zeros(9, 6, 2, 2)}
    assert rows_of(extras) == {"class.text": (3, 5), "image.features": (6, 2, 2)}
    assert list(of_classes(extras)) == ["class.text"]
    told, seen = of_images({**extras, "image.text": torch.zeros(9, 3, 5)})
    assert (list(told), list(seen)) == (["image.text"], ["image.features"])
