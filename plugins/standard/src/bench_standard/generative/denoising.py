"""How well a student denoises images that it has not seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from bench import BenchError, Trial


@dataclass(frozen=True)
class DenoisingLoss:
    """Denoising loss of the student on test images, at evenly spaced times: what it has learnt.

    Comparable where the noise path and the prediction are the same. Times and noise are one fixed
    bank for all students.
    """

    name: str = "denoising-loss"
    images: int = 500
    times: int = 10
    seed: int = 0
    quick: ClassVar[dict[str, Any]] = {"images": 20, "times": 4}
    of: ClassVar[str] = "student"
    track: ClassVar[str] = "generation"
    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float | None, float | None]] = (0.0, None)
    unit: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for name in ("images", "times"):
            if getattr(self, name) < 1:
                raise BenchError(
                    f"{self.name}: {name} is {getattr(self, name)}; expected 1 or more"
                )

    def measure(self, trial: Trial) -> float:
        import torch

        from bench.training.diffusion import losses, of_classes

        denoiser: Any = trial.student
        device = next(denoiser.parameters()).device
        test, generator = trial.data.test, torch.Generator().manual_seed(self.seed)
        index = torch.randperm(len(test.labels), generator=generator)[: self.images]
        labels = test.labels[index].to(device)
        extras = {k: v.to(device) for k, v in of_classes(trial.condensed.extras).items()}
        steps = denoiser.schedule.timesteps
        with torch.no_grad():
            x = denoiser.encode(test.images(index).to(device))
            found = []
            for k in range(self.times):
                time = torch.full((len(x),), int((k + 0.5) * steps / self.times), device=device)
                noise = torch.randn(x.shape, generator=generator).to(device)
                found.append(losses(denoiser, x, labels, time, noise, extras).double().mean())
        return float(torch.stack(found).mean())
