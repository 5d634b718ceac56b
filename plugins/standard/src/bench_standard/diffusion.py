"""Teachers of the generation track: denoisers that know the real data, for methods that score."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench import BenchError, Task
from bench.training.recipe import DiffusionRecipe
from bench_standard.pretrained import Pretrained

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Diffusion:
    """A denoiser trained on the whole training split, as DDPM is (Ho et al., 2020).

    The fields mean what they mean in a recipe; the defaults suit small data.
    """

    name: str = "diffusion"
    steps: int = 2000
    batch: int = 64
    optimizer: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.0
    schedule: str = "constant"  # of the learning rate
    warmup: float = 0.05
    clip: float = 1.0
    ema: float = 0.999
    flip: bool = False  # mirror images, where that keeps the label
    noise: str = "cosine"
    prediction: str = "velocity"
    timesteps: int = 1000
    dropout: float = 0.1  # share of the images that are shown without their label
    bf16: bool = False
    quick: ClassVar[dict[str, Any]] = {"steps": 40, "batch": 32, "lr": 0.03}
    track: ClassVar[str] = "generation"

    def __post_init__(self) -> None:
        self._recipe()

    def _recipe(self) -> DiffusionRecipe:
        return DiffusionRecipe(
            **{key: value for key, value in asdict(self).items() if key != "name"}
        )

    def squeeze(self, task: Task) -> nn.Module:
        import torch

        from bench.training.classifier import Examples
        from bench.training.denoiser import fit
        from bench.training.diffusion import Schedule

        denoiser: Any = task.network()
        denoiser.schedule = Schedule(self.noise, self.prediction, self.timesteps)
        labels = task.train.labels
        fit(
            denoiser,
            Examples(task.train, torch.arange(len(labels)), labels),
            self._recipe(),
            seed=task.seed,
            flip=task.flip,
            device=task.device,
            checkpoint=task.checkpoint,
            progress=task.progress,
        )
        network: nn.Module = denoiser
        return network


@dataclass(frozen=True)
class PretrainedDiffusion:
    """A denoiser from a safetensors file, checked by its SHA-256; it must fit the board's denoiser.

    The file holds the state of such a network of ours. The other fields say what it was trained on.
    """

    name: str = "pretrained-diffusion"
    file: str = ""  # absolute, or below the data folder
    sha256: str = ""  # of the file: 64 hex digits
    noise: str = "cosine"
    prediction: str = "velocity"
    timesteps: int = 1000
    track: ClassVar[str] = "generation"

    def __post_init__(self) -> None:
        path = {name: getattr(self, name) for name in ("noise", "prediction", "timesteps")}
        try:
            DiffusionRecipe(**path)
        except BenchError as error:
            raise BenchError(f"{self.name}: {error}") from None

    def squeeze(self, task: Task) -> nn.Module:
        from bench.training.diffusion import Schedule

        denoiser: Any = Pretrained(self.name, self.file, self.sha256).squeeze(task)
        denoiser.schedule = Schedule(self.noise, self.prediction, self.timesteps)
        network: nn.Module = denoiser
        return network
