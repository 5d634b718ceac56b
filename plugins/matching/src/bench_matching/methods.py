"""DC, DSA and DM: what each of them asks synthetic images to share with real ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench import BenchError, CondensedSet, Task, later
from bench_matching.settings import Matching, loops

if TYPE_CHECKING:
    from torch import Tensor, nn

DISTANCES = ("layerwise", "cosine", "l2")
ALL = "color_crop_cutout_flip_scale_rotate"


@dataclass(frozen=True)
class DC:
    """Gradients of fresh networks on synthetic images match those on real ones (Zhao et al., 2021).

    In each of `iterations` networks, `outer` times: for every class the gradient of the
    cross-entropy on its images is matched to that on `batch` real ones, the images make a step,
    and the network is trained on them for `inner` epochs. Labels are one-hot. A backbone with
    BatchNorm is matched in eval mode, with the statistics of 16 real images of each class (fewer
    from 65 classes on).
    """

    name: str = "dc"
    iterations: int = 1000  # fresh networks
    outer: int = 0  # steps of the images in each; 0: by IPC, as published
    inner: int = 0  # epochs of the network between two of them; 0: by IPC, as published
    distance: str = "layerwise"  # of gradients; "layerwise" (rows of weights) | "cosine" | "l2"
    lr: float = 0.1  # of the images, in units of normalised pixels (std)
    momentum: float = 0.5  # of the images
    lr_network: float = 0.01
    batch: int = 256  # real images of a class in each step
    init: str = "real"  # "real" images of the class | "noise"
    bf16: bool = later(False)  # real images by autocast: half the time where processors have bf16
    quick: ClassVar[dict[str, Any]] = {"iterations": 4, "outer": 2, "inner": 2, "batch": 16}
    fresh_networks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.distance not in DISTANCES:
            expected = " or ".join(map(repr, DISTANCES))
            raise BenchError(f"distance is {self.distance!r}; expected {expected}")
        for name in ("outer", "inner"):
            if getattr(self, name) < 0:
                raise BenchError(
                    f"{name} is {getattr(self, name)}; expected 1 or more, or 0 for the published "
                    "loops"
                )
        self._settings(1, 1)

    def _settings(self, outer: int, inner: int) -> Matching:
        return Matching.of(self, outer=self.outer or outer, inner=self.inner or inner)

    def condense(self, task: Task) -> CondensedSet:
        from bench_matching.matching import match

        return match(task, self._settings(*loops(task.ipc)), self.distance_of)

    def distance_of(
        self, network: nn.Module, real: Tensor, synthetic: Tensor, label: int
    ) -> Tensor:
        """How far the gradients on synthetic and on real images of one class are apart."""
        import torch
        from torch.nn import functional as F

        from bench_matching.distances import distance, gradients

        def labels(images: Tensor) -> Tensor:
            return torch.full((len(images),), label, device=images.device)

        parameters = [p for p in network.parameters() if p.requires_grad]
        with torch.autocast(real.device.type, torch.bfloat16, enabled=self.bf16):
            on_real = self.real_loss(network, real, labels(real))
        aim = gradients(on_real, parameters)
        loss = F.cross_entropy(network(synthetic), labels(synthetic))
        return distance(gradients(loss, parameters, differentiable=True), aim, self.distance)

    def real_loss(self, network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """Whose gradient on real images the synthetic ones match; a subclass may add to it."""
        from torch.nn import functional as F

        return F.cross_entropy(network(images), labels)


@dataclass(frozen=True)
class DSA(DC):
    """DC under differentiable siamese augmentation (Zhao and Bilen, 2021).

    Real and synthetic images of a class are augmented alike in each step; the networks are
    trained on images that are augmented one by one.
    """

    name: str = "dsa"
    augment: str = ALL  # operations, of which each step draws one; "flip" where it keeps the label


@dataclass(frozen=True)
class DM:
    """Mean features match those of real images in random networks (Zhao and Bilen, 2023).

    Each step has a fresh network, which is not trained; features are what enters its classifier.
    Real and synthetic images of a class are augmented alike. Labels are one-hot. A backbone with
    BatchNorm is in eval mode, with the statistics of 16 real images of each class (fewer from 65
    classes on).
    """

    name: str = "dm"
    iterations: int = 20000  # fresh networks, and steps of the images
    lr: float = 1.0  # of the images, in units of normalised pixels; theirs from IPC 100 on: 10
    momentum: float = 0.5  # of the images
    batch: int = 256  # real images of a class in each step
    init: str = "real"  # "real" images of the class | "noise"
    augment: str = ALL  # operations, of which each step draws one; "flip" where it keeps the label
    bf16: bool = later(False)  # real images by autocast: half the time where processors have bf16
    quick: ClassVar[dict[str, Any]] = {"iterations": 10, "batch": 16}
    fresh_networks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        Matching.of(self)

    def condense(self, task: Task) -> CondensedSet:
        from bench_matching.matching import match

        return match(task, Matching.of(self), self.distance_of)

    def distance_of(
        self, network: nn.Module, real: Tensor, synthetic: Tensor, label: int
    ) -> Tensor:
        """How far the mean features of synthetic and of real images are from each other."""
        import torch

        from bench.training import networks
        from bench_matching.distances import mean_distance

        with (
            torch.no_grad(),
            torch.autocast(real.device.type, torch.bfloat16, enabled=self.bf16),
        ):
            aim, _ = networks.features(network, real)
        found, logits = networks.features(network, synthetic)
        # by the logits passes are counted, so they take part
        return mean_distance(found, aim.float()) + 0 * logits.sum()
