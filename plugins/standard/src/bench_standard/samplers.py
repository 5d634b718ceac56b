"""How images are drawn from a denoiser: walks from noise along the path that it was trained on.

A walk visits some of the T times of the path. diffusers' schedulers make the steps of those with
betas; they are given the shortened path, whose times are the visited ones (Nichol & Dhariwal,
2021), so that steps that do not divide T are exact, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench import BenchError, Unsupported

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from bench.training.diffusion import Denoiser

SPACINGS = ("trailing", "leading")
PREDICTIONS = {
    "noise": "epsilon",
    "image": "sample",
    "velocity": "v_prediction",
}  # diffusers' words


@dataclass(frozen=True)
class DDIM:
    """Denoising diffusion implicit model (Song et al., 2021), with classifier-free guidance.

    Raises Unsupported for a straight path. Latents are not clipped: where the network predicts
    noise, the cosine path, which ends in nothing but noise, is then a bad one.
    """

    name: str = "ddim"
    steps: int = 20  # of the T times of the path; all, where there are fewer
    guidance: float = 1.5  # weight of the class (Ho & Salimans, 2022); 1: plain
    eta: float = 0.0  # share of fresh noise: 0 is deterministic, 1 ancestral
    spacing: str = "trailing"  # times visited: "trailing" has the last of them, "leading" the first
    clip: bool = True  # keep the image that each step heads for in [-1, 1]
    quick: ClassVar[dict[str, Any]] = {"steps": 4}
    preload: ClassVar[tuple[str, ...]] = ("diffusers.schedulers.scheduling_ddim",)

    def __post_init__(self) -> None:
        _check(self)
        if not 0 <= self.eta <= 1:
            raise BenchError(f"{self.name}: eta is {self.eta}; expected a share in [0, 1]")
        if self.spacing not in SPACINGS:
            raise BenchError(
                f"{self.name}: spacing is {self.spacing!r}; expected {' or '.join(SPACINGS)}"
            )

    def sample(
        self,
        model: Denoiser,
        labels: Tensor,
        extras: Mapping[str, Tensor],
        shape: tuple[int, int, int],
        generator: Generator,
    ) -> Tensor:
        from diffusers import DDIMScheduler

        times = visited(model.schedule.timesteps, self.steps, self.spacing)
        scheduler = shortened(DDIMScheduler, self.name, model, times, clip=self.clip)

        def step(said: Tensor, number: int, x: Tensor) -> Tensor:
            # the noise left goes by the clipped image, as in the code of ADM and DiT
            stepped: Tensor = scheduler.step(
                said, number, x, self.eta, use_clipped_model_output=True, generator=generator
            ).prev_sample
            return stepped

        return _walk(model, labels, extras, shape, generator, times, self.guidance, step)


@dataclass(frozen=True)
class DDPM:
    """Ancestral sampling (Ho et al., 2020; in fewer steps Nichol & Dhariwal, 2021), with guidance.

    The noise of a step has the lower of the two variances. Raises Unsupported for a straight path.
    """

    name: str = "ddpm"
    steps: int = 250  # of the T times of the path; all, where there are fewer
    guidance: float = 1.5  # weight of the class (Ho & Salimans, 2022); 1: plain
    clip: bool = True  # keep the image that each step heads for in [-1, 1]; latents never are
    quick: ClassVar[dict[str, Any]] = {"steps": 4}
    preload: ClassVar[tuple[str, ...]] = ("diffusers.schedulers.scheduling_ddpm",)

    def __post_init__(self) -> None:
        _check(self)

    def sample(
        self,
        model: Denoiser,
        labels: Tensor,
        extras: Mapping[str, Tensor],
        shape: tuple[int, int, int],
        generator: Generator,
    ) -> Tensor:
        from diffusers import DDPMScheduler

        times = visited(model.schedule.timesteps, self.steps)
        scheduler = shortened(DDPMScheduler, self.name, model, times, clip=self.clip)

        def step(said: Tensor, number: int, x: Tensor) -> Tensor:
            stepped: Tensor = scheduler.step(said, number, x, generator=generator).prev_sample
            return stepped

        return _walk(model, labels, extras, shape, generator, times, self.guidance, step)


@dataclass(frozen=True)
class Euler:
    """Euler's steps down a straight path (rectified flow, Liu et al., 2023), with guidance.

    Raises Unsupported for a path that is not straight, and for a network that predicts noise:
    where all is noise, that says nothing of the image.
    """

    name: str = "euler"
    steps: int = 50  # of the T times of the path; all, where there are fewer
    guidance: float = 1.5  # weight of the class (Ho & Salimans, 2022); 1: plain
    quick: ClassVar[dict[str, Any]] = {"steps": 4}

    def __post_init__(self) -> None:
        _check(self)

    def sample(
        self,
        model: Denoiser,
        labels: Tensor,
        extras: Mapping[str, Tensor],
        shape: tuple[int, int, int],
        generator: Generator,
    ) -> Tensor:
        schedule = model.schedule
        if schedule.noise != "straight" or schedule.prediction == "noise":
            raise Unsupported(
                f"{self.name} walks straight paths by velocity or image; this network was trained "
                f"on noise = {schedule.noise!r} with prediction = {schedule.prediction!r}"
            )
        times = visited(schedule.timesteps, self.steps)
        t = [0.0, *schedule.fraction(times).tolist()]  # where step n leads, and n + 1 starts

        def step(said: Tensor, number: int, x: Tensor) -> Tensor:
            to, start = t[number : number + 2]
            velocity: Tensor = said if schedule.prediction == "velocity" else (x - said) / start
            stepped: Tensor = x + (to - start) * velocity
            return stepped

        return _walk(model, labels, extras, shape, generator, times, self.guidance, step)


def _check(sampler: DDIM | DDPM | Euler) -> None:
    if sampler.steps < 1:
        raise BenchError(f"{sampler.name}: steps is {sampler.steps}; expected 1 or more")
    if not 0 <= sampler.guidance < math.inf:
        raise BenchError(
            f"{sampler.name}: guidance is {sampler.guidance}; expected 0 (no class) or more"
        )


def visited(timesteps: int, steps: int, spacing: str = "trailing") -> Tensor:
    """The times that a walk visits, rising: int64 [S], evenly spaced in 0..timesteps - 1.

    "trailing" ends at the last time, where all is noise, as a walk must start (Lin et al., 2024);
    "leading" begins at the first, as in older code.
    """
    import torch

    steps = min(steps, timesteps)
    if spacing == "leading":
        return torch.arange(steps) * (timesteps // steps)
    places = torch.arange(1, steps + 1, dtype=torch.float64) * timesteps / steps
    return places.round().long() - 1


def shortened(kind: Any, name: str, model: Denoiser, times: Tensor, *, clip: bool) -> Any:
    """A scheduler of diffusers whose step n is from time `times[n]` to the one before."""
    schedule = model.schedule
    if schedule.betas is None:
        raise Unsupported(
            f"{name} walks paths with betas (noise = 'cosine' or 'linear'); this network was "
            f"trained on noise = {schedule.noise!r}"
        )
    scheduler = kind(
        num_train_timesteps=len(times),
        prediction_type=PREDICTIONS[schedule.prediction],
        clip_sample=clip and not hasattr(model.network, "decode"),
    )
    scheduler.set_timesteps(len(times))
    # not by `trained_betas`: as float32 they are a sixth off where almost all is noise
    scheduler.alphas_cumprod = (1 - schedule.betas.double()).cumprod(0)[times]
    return scheduler


def _walk(
    model: Denoiser,
    labels: Tensor,
    extras: Mapping[str, Tensor],
    shape: tuple[int, int, int],
    generator: Generator,
    times: Tensor,
    guidance: float,
    step: Callable[[Tensor, int, Tensor], Tensor],  # what the network says, n, x
) -> Tensor:
    """From noise at the last of `times` to x [P, *shape], on the device of the labels."""
    import torch

    with torch.no_grad():
        x = torch.randn(len(labels), *shape, generator=generator).to(labels.device)
        for number in reversed(range(len(times))):
            time = times[number].to(labels.device).expand(len(labels))
            x = step(_guided(model, x, time, labels, extras, guidance), number, x)
    return x


def _guided(
    model: Denoiser,
    x: Tensor,
    time: Tensor,
    labels: Tensor,
    extras: Mapping[str, Tensor],
    guidance: float,
) -> Tensor:
    """What the network says of x, away from what it says where it is told no class."""
    import torch

    t = model.schedule.fraction(time)
    if guidance == 1:
        said: Tensor = model(x, t, labels, extras)
        return said
    none = torch.full_like(labels, model.classes)
    both = model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([labels, none]), extras)
    asked, plain = both.chunk(2)
    guided: Tensor = plain + guidance * (asked - plain)
    return guided
