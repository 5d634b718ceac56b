"""Toy components: one or two of each kind, small enough for the contract kit and for tests.

They are not registered anywhere; `registry_of(toy.COMPONENTS)` makes a registry of them. Each
goes through the whole kit, and is the shortest example of its kind. Those of the generation track
stand in a module of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench.contract.data import Data
from bench.contract.task import CondensedSet, Selection, Task, Trial
from bench.training.toy_generation import ToyDenoiser, ToyDiffusion, ToyDistance, ToySampler

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn


@dataclass(frozen=True)
class ToyData:
    """One random template a class, and noise: a tiny network learns it in a second."""

    name: str = "toy-data"
    shape: tuple[int, ...] = (1, 8, 8)  # C, H, W
    classes: int = 8
    train: int = 40  # images per class
    test: int = 20  # images per class
    noise: float = 0.15  # standard deviation, in pixels of [0, 1]
    uint8: bool = False  # pixels at rest: uint8, or float32
    seed: int = 0
    level: float = 0.0  # share of a template that is alike in all its pixels, as crops keep it

    def load(self) -> Data:
        import torch

        generator = torch.Generator().manual_seed(self.seed)
        templates = torch.rand(self.classes, *self.shape, generator=generator)
        levels = torch.linspace(0, 1, self.classes)[:, None]  # each channel has an order of its own
        levels = torch.cat([levels.roll(3 * c, 0) for c in range(self.shape[0])], 1)  # [K, C]
        templates = (1 - self.level) * templates + self.level * levels[..., None, None]
        templates = 0.2 + 0.6 * templates

        def split(count: int) -> tuple[Tensor, Tensor]:
            labels = torch.arange(self.classes).repeat(count)  # [T], the classes in turn
            noise = torch.randn(len(labels), *self.shape, generator=generator)
            pixels = (templates[labels] + self.noise * noise).clamp(0, 1)
            return ((pixels * 255).round().to(torch.uint8) if self.uint8 else pixels), labels

        names = [f"template {k}" for k in range(self.classes)]
        return Data.from_tensors(split(self.train), split(self.test), names)


@dataclass(frozen=True)
class ToyTeacher:
    """A short plain training on the whole training split."""

    name: str = "toy-teacher"
    steps: int = 60
    lr: float = 0.1
    track: ClassVar[str] = "classification"

    def squeeze(self, task: Task) -> nn.Module:
        import torch

        from bench.training.classifier import Examples, fit
        from bench.training.recipe import Recipe

        labels = task.train.labels
        return fit(
            task.network(),
            Examples(task.train, torch.arange(len(labels)), labels),
            Recipe(steps=self.steps, batch=32, lr=self.lr),
            classes=len(task.classes),
            seed=task.seed,
            device=task.device,
            progress=task.progress,
        )


@dataclass(frozen=True)
class ToyMeans:
    """Mean images: each class is cut into `ipc` parts, and each part is averaged."""

    name: str = "toy-means"
    teacher: str = ""  # whose probabilities are the labels; "": one-hot

    def condense(self, task: Task) -> CondensedSet:
        import torch
        from torch.nn import functional as F

        means, owners = [], []
        for k in range(len(task.classes)):
            members = (task.train.labels == k).nonzero().squeeze(1)
            for part in members.tensor_split(task.ipc):
                means.append(task.train.images(part).mean(0))
                owners.append(k)
            task.progress(k + 1, len(task.classes))
        images = torch.stack(means)  # [N, C, H, W]
        if self.teacher:
            with torch.no_grad():
                labels = task.teacher(images.to(task.device)).softmax(1).cpu()
        else:
            labels = F.one_hot(torch.tensor(owners), len(task.classes)).float()
        return CondensedSet(images, labels)


@dataclass(frozen=True)
class ToyFirst:
    """The first images of each class, as they stand in the training split."""

    name: str = "toy-first"
    selects: ClassVar[bool] = True

    def condense(self, task: Task) -> CondensedSet:
        import torch

        members = [(task.train.labels == k).nonzero()[: task.ipc] for k in range(len(task.classes))]
        return _selected(task, torch.cat(members).squeeze(1))


@dataclass(frozen=True)
class ToyFull:
    """The whole training split."""

    name: str = "toy-full"
    ceiling: ClassVar[bool] = True
    selects: ClassVar[bool] = True

    def condense(self, task: Task) -> CondensedSet:
        import torch

        return _selected(task, torch.arange(len(task.train.labels)))


def _selected(task: Task, index: Tensor) -> CondensedSet:
    from torch.nn import functional as F

    one_hot = F.one_hot(task.train.labels[index], len(task.classes)).float()
    return CondensedSet(Selection(index), one_hot)


@dataclass(frozen=True)
class ToyReal(ToyFull):
    """Real training images in the place of samples."""

    name: str = "toy-real"
    samples: ClassVar[bool] = True


@dataclass(frozen=True)
class ToyConvNet:
    """One convolution with BatchNorm, pooled, and a linear classifier."""

    name: str = "toy-convnet"
    width: int = 8
    track: ClassVar[str] = "classification"

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        from torch import nn

        channels, height, width = shape
        return nn.Sequential(
            nn.Conv2d(channels, self.width, 3, padding=1),
            nn.BatchNorm2d(self.width),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(self.width * (height // 2) * (width // 2), classes),
        )


@dataclass(frozen=True)
class ToyLinear:
    """A linear classifier: what an attack can do to it is known in closed form."""

    name: str = "toy-linear"
    track: ClassVar[str] = "classification"

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        from torch import nn

        channels, height, width = shape
        return nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, classes))


@dataclass(frozen=True)
class ToyClean:
    """No attack: the images as they are."""

    name: str = "toy-clean"
    eps: float = 0.0
    norm: ClassVar[str] = ""

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, generator: Generator
    ) -> Tensor:
        return images


@dataclass(frozen=True)
class ToyStep:
    """One signed gradient step (Goodfellow et al., 2015)."""

    name: str = "toy-step"
    eps: float = 8 / 255
    norm: ClassVar[str] = "linf"
    search: ClassVar[str] = "single-step"
    exact_on_linear: ClassVar[bool] = True

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, generator: Generator
    ) -> Tensor:
        import torch
        from torch.nn import functional as F

        with torch.enable_grad():
            x = images.detach().clone().requires_grad_()
            loss = F.cross_entropy(model(x), labels, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, x)  # leaves no .grad on the weights
        return (images + self.eps * gradient.sign()).clamp(0, 1)


@dataclass(frozen=True)
class ToyNoise:
    """Uniform noise in the ball: the shortest example of an attack that draws."""

    name: str = "toy-noise"
    eps: float = 8 / 255
    norm: ClassVar[str] = "linf"
    search: ClassVar[str] = "noise"

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, generator: Generator
    ) -> Tensor:
        import torch

        noise = 2 * torch.rand(images.shape, generator=generator) - 1  # the generator is on the CPU
        return (images + self.eps * noise.to(images.device)).clamp(0, 1)


@dataclass(frozen=True)
class ToyAccuracy:
    """Fraction of the test images that are right, clean and under attack."""

    name: str = "toy-accuracy"
    of: ClassVar[str] = "probe"
    track: ClassVar[str] = "classification"
    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    unit: ClassVar[str] = "fraction"

    def measure(self, trial: Trial) -> float:
        return trial.correct.double().mean().item()


GRAY = ToyData()
COLOR = ToyData("toy-color", shape=(3, 16, 16), classes=10, uint8=True, seed=1)

COMPONENTS: dict[str, tuple[Any, ...]] = {
    "dataset": (GRAY, COLOR),
    "teacher": (ToyTeacher(), ToyDiffusion()),
    "method": (
        ToyMeans(),
        ToyMeans("toy-soft", teacher="toy-teacher"),
        ToyFirst(),
        ToyFull(),
        ToyReal(),
    ),
    "architecture": (ToyConvNet(), ToyLinear(), ToyDenoiser()),
    "attack": (ToyClean(), ToyStep(), ToyNoise()),
    "sampler": (ToySampler(),),
    "metric": (ToyAccuracy(), ToyDistance()),
}
"""By kind, as `registry_of` takes them."""
