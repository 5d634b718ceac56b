"""IDM: mean features match in networks that learn meanwhile; each image holds several tiles."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench import BenchError, CondensedSet, Task
from bench_matching.methods import ALL
from bench_matching.settings import Matching

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn


@dataclass(frozen=True)
class IDM:
    """Improved distribution matching: partition, a queue of networks in training, and a
    cross-entropy by how well the network does (Zhao et al., CVPR 2023).

    Each image is a sheet of `factor` x `factor` tiles, which start as small real images; what is
    matched are the tiles, scaled up. In each step the mean features of a class's tiles are brought
    near those of `batch` real images in one network of the queue, and `cross_entropy` x the
    network's training accuracy (in percent) weighs the cross-entropy of the tiles. Then two
    networks of the queue are trained on real images for `train` steps. A new one comes in every
    `every` steps; of more than `queue` the oldest leaves.

    The set holds the sheets, as they weigh. For students that see the tiles, as published, say
    `recipe.formation = 2`.
    """

    name: str = "idm"
    iterations: int = 20000  # steps of the images
    factor: int = 2  # tiles along each side
    lr: float = 0.2  # of the images, in units of normalised pixels
    momentum: float = 0.5  # of the images
    batch: int = 256  # real images of a class in each step; as published 5,000 at IPC 1
    cross_entropy: float = 0.5  # as published at IPC 1 and 10; 0.1 at 50
    queue: int = 100  # networks
    every: int = 30  # steps between new networks; as published 5 at IPC 1
    train: int = 10  # steps of each network that is trained
    lr_network: float = 0.01
    init: str = "real"  # "real" images of the class | "noise"
    augment: str = ALL  # operations, of which each step draws one; "flip" where it keeps the label
    quick: ClassVar[dict[str, Any]] = {
        "iterations": 20,
        "batch": 16,
        "every": 10,
        "train": 2,
        "factor": 1,  # the students of the checks see whole images
    }
    fresh_networks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("factor", "queue", "every"):
            if getattr(self, name) < 1:
                raise BenchError(f"{name} is {getattr(self, name)}; expected 1 or more")
        for name in ("train", "cross_entropy", "iterations"):
            if not 0 <= getattr(self, name) < math.inf:
                raise BenchError(f"{name} is {getattr(self, name)}; expected 0 or more")
        Matching.of(self, iterations=max(1, self.iterations))

    def condense(self, task: Task) -> CondensedSet:
        import torch
        from torch.nn import functional as F

        from bench_matching.matching import RealImages, settle

        draws = torch.Generator().manual_seed(task.seed)
        real, learners = RealImages(task, draws), Learners(self, task, draws)
        mean, std = (
            torch.tensor(v, device=task.device).view(-1, 1, 1) for v in (task.mean, task.std)
        )
        low, high = -mean / std, (1 - mean) / std
        z = ((sheets(self, task, real, draws) - mean) / std).clamp(low, high)  # [K, m, C, H, W]
        sgd = torch.optim.SGD([z], self.lr, self.momentum)
        for done in range(self.iterations):
            network, accuracy = learners.draw(done)
            settle(network, lambda: torch.cat([real.draw(k, 16) for k in range(len(z))]))
            z.grad = torch.empty_like(z)
            for label in range(len(z)):
                own = z[label].clone().requires_grad_()
                loss = self.loss(network, accuracy, real, mean + std * own, label, draws)
                (z.grad[label],) = torch.autograd.grad(loss, own)
            sgd.step()
            z.clamp_(low, high)
            if not z.isfinite().all():
                raise BenchError(
                    f"matching diverged by step {done + 1} of {self.iterations} (lr {self.lr:g}, "
                    f"lr_network {self.lr_network:g}); expected finite images; lower one of them"
                )
            learners.train()
            task.progress(done + 1, self.iterations)
        pixels = (255 * (mean + std * z).clamp(0, 1)).round().to(torch.uint8).cpu().flatten(0, 1)
        labels = torch.arange(len(z)).repeat_interleave(task.ipc)
        return CondensedSet(pixels, F.one_hot(labels, len(z)).float())

    def loss(
        self,
        network: nn.Module,
        accuracy: float,
        real: Any,
        images: Tensor,
        label: int,
        draws: Generator,
    ) -> Tensor:
        """What the images of a class [m, C, H, W] are moved down."""
        import torch
        from torch.nn import functional as F

        from bench.training import networks
        from bench_matching.distances import mean_distance
        from bench_matching.siamese import alike

        pair = real.draw(label, self.batch), tiles(images, self.factor)
        pictures, made = alike(
            pair, self.augment, draws, flip=real.task.flip, units=(real.task.mean, real.task.std)
        )
        with torch.no_grad():
            aim, _ = networks.features(network, pictures)
        found, logits = networks.features(network, made)
        told = F.cross_entropy(logits, torch.full((len(made),), label, device=made.device))
        return mean_distance(found, aim) + self.cross_entropy * 100 * accuracy * told


class Learners:
    """Networks that learn from real images, each from another moment on."""

    def __init__(self, how: IDM, task: Task, draws: Generator) -> None:
        self.how, self.task, self.draws = how, task, draws
        self.networks: deque[Learner] = deque(maxlen=how.queue)
        for _ in range(3):  # as released, and one more in the first step
            self.networks.append(Learner(how, task))

    def draw(self, step: int) -> tuple[nn.Module, float]:
        """One of them, and its accuracy on what it was trained on; a new one if it is time."""
        if step % self.how.every == 0:
            self.networks.append(Learner(self.how, self.task))
        (chosen,) = self._some(1)
        return chosen.network, chosen.accuracy

    def train(self) -> None:
        """Two of them make some steps."""
        for learner in self._some(2):
            learner.train(self.how.train, self.draws)

    def _some(self, count: int) -> list[Learner]:
        import torch

        order = torch.randperm(len(self.networks), generator=self.draws)[:count]
        return [self.networks[i] for i in order.tolist()]


class Learner:
    """A network in training: SGD, momentum 0.9, weight decay 5e-4, as published."""

    BATCH = 256

    def __init__(self, how: IDM, task: Task) -> None:
        import torch

        self.task, self.network = task, task.network().to(task.device)
        self.sgd = torch.optim.SGD(
            self.network.parameters(), how.lr_network, 0.9, weight_decay=5e-4
        )
        self.right = self.seen = 0

    @property
    def accuracy(self) -> float:
        """Of the batches that it was trained on so far."""
        return self.right / self.seen if self.seen else 0.0

    def train(self, steps: int, draws: Generator) -> None:
        import torch
        from torch.nn import functional as F

        from bench.training import loading

        split, device = self.task.train, self.task.device
        self.network.train()
        for _ in range(steps):
            index = torch.randperm(len(split.labels), generator=draws)[: self.BATCH]
            (images,) = loading.read(split, [(index, None)])
            labels = split.labels[index].to(device)
            logits = self.network(images.to(device))
            self.sgd.zero_grad()
            F.cross_entropy(logits, labels).backward()  # type: ignore[no-untyped-call]
            self.sgd.step()
            self.right += int((logits.argmax(1) == labels).sum())
            self.seen += len(index)


def sheets(how: IDM, task: Task, real: Any, draws: Generator) -> Tensor:
    """The first images [K, m, C, H, W]: of real ones made small, `factor`^2 on each; or noise."""
    import torch
    from torch.nn import functional as F

    _, height, width = task.shape
    if height % how.factor or width % how.factor:
        raise BenchError(
            f"factor is {how.factor} and images are {height} x {width} pixels; expected a factor "
            "that divides both sides"
        )
    if how.init == "noise":
        from bench_matching.matching import begin

        return begin(task, "noise")
    made, size = [], (height // how.factor, width // how.factor)
    for label in range(len(task.classes)):
        rows = []
        for _ in range(how.factor):
            row = [
                F.interpolate(
                    real.draw(label, task.ipc), size, mode="bilinear", align_corners=False
                )
                for _ in range(how.factor)
            ]
            rows.append(torch.cat(row, 3))
        made.append(torch.cat(rows, 2))
    return torch.stack(made)


def tiles(images: Tensor, factor: int) -> Tensor:
    """The tiles [m x factor^2, C, H, W] of sheets [m, C, H, W], each as large as a sheet."""
    from torch.nn import functional as F

    count, channels, height, width = images.shape
    cut = images.view(count, channels, factor, height // factor, factor, width // factor)
    cut = cut.permute(0, 2, 4, 1, 3, 5).reshape(-1, channels, height // factor, width // factor)
    return F.interpolate(cut, (height, width), mode="bilinear", align_corners=False)


# For students that see images as they are: no tiles.
IDM_WHOLE = IDM("idm-whole", factor=1)
# What `idm` starts from: small real images, four to a sheet.
IDM_START = IDM("idm-start", iterations=0)
