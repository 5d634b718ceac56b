"""MTT: synthetic images take a network where epochs of real training would have taken it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench import BenchError, CondensedSet, Task
from bench_matching.methods import ALL
from bench_matching.settings import Matching

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn


@dataclass(frozen=True)
class MTT:
    """Some steps on the images end near where some epochs on real ones end (Cazenavette et al.,
    CVPR 2022).

    `experts` networks are trained on the real data, and their weights are kept after every epoch.
    In each step a student starts from an expert's weights in one of the first `start` epochs and
    makes `steps` steps of SGD on the images. The squared distance of its weights to the expert's
    `ahead` epochs later, over that which the expert went, is differentiated through all of them, in
    the images and in the student's learning rate. Experts are trained as far as they are followed,
    `start - 1 + ahead` epochs. Labels are one-hot.

    The learning rate that was learnt is in the set's notes: students of a board have the board's.
    """

    name: str = "mtt"
    experts: int = 100
    iterations: int = 5000  # steps of the images
    steps: int = 20  # of the student in each; theirs on CIFAR-10: 50 at IPC 1, else 30
    ahead: int = 3  # epochs of an expert that these are to replace; theirs on CIFAR-10: 2
    start: int = 25  # a student starts in one of so many epochs; on CIFAR-10 5, 15, 40 by IPC
    lr: float = 1000.0  # of the images, in units of normalised pixels
    momentum: float = 0.5  # of the images, and of the learning rate
    lr_network: float = 0.01  # of experts, and that which the student's starts from
    lr_lr: float = 1e-5  # of the student's learning rate; theirs on CIFAR-10 at IPC 1: 1e-7
    batch: int = 256  # real images in a step of an expert
    batch_student: int = 0  # images in a step of a student; 0: all
    init: str = "real"  # "real" images of the class | "noise"
    augment: str = ALL  # operations, of which each step draws one; "flip" where it keeps the label
    quick: ClassVar[dict[str, Any]] = {
        "experts": 2,
        "iterations": 15,
        "steps": 5,
        "ahead": 1,
        "start": 2,
        "batch": 16,
        "lr": 10.0,
        "lr_network": 0.1,
    }
    fresh_networks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("experts", "steps", "ahead", "start"):
            if getattr(self, name) < 1:
                raise BenchError(f"{name} is {getattr(self, name)}; expected 1 or more")
        for name in ("lr_lr", "batch_student"):
            if not 0 <= getattr(self, name) < math.inf:
                raise BenchError(f"{name} is {getattr(self, name)}; expected 0 or more")
        Matching.of(self)

    def condense(self, task: Task) -> CondensedSet:
        import torch
        from torch.nn import functional as F

        from bench_matching.matching import begin

        draws, kept = torch.Generator().manual_seed(task.seed), task.checkpoint.load()
        paths, student = trajectories(self, task, kept)
        mean, std = (
            torch.tensor(v, device=task.device).view(-1, 1, 1) for v in (task.mean, task.std)
        )
        low, high = -mean / std, (1 - mean) / std
        z = ((begin(task, self.init) - mean) / std).clamp(low, high).flatten(0, 1)  # [N, C, H, W]
        lr = torch.tensor(self.lr_network, device=task.device)
        labels = torch.arange(len(task.classes), device=task.device).repeat_interleave(task.ipc)
        sgd = torch.optim.SGD(
            [{"params": [z], "lr": self.lr}, {"params": [lr], "lr": self.lr_lr}],
            lr=self.lr,
            momentum=self.momentum,
        )
        for done in range(_resume(kept, z, lr, sgd, draws), self.iterations):
            path = paths[int(torch.randint(len(paths), (1,), generator=draws))]
            first = int(torch.randint(self.start, (1,), generator=draws))
            begun, aim = (path[i].to(task.device) for i in (first, first + self.ahead))
            images, rate = z.clone().requires_grad_(), lr.clone().requires_grad_()
            end = walk(self, student, begun, mean + std * images, labels, rate, draws, task.flip)
            far = distance(end, begun, aim)
            z.grad, lr.grad = torch.autograd.grad(far, (images, rate))
            sgd.step()
            z.clamp_(low, high)
            if not far.isfinite() or not z.isfinite().all() or not lr > 0:
                raise BenchError(
                    f"matching diverged: the distance is {far.item():g} by step {done + 1} of "
                    f"{self.iterations}, the student's learning rate {lr.item():g}; expected "
                    f"finite numbers and a rate above 0; lower lr ({self.lr:g}) or lr_lr "
                    f"({self.lr_lr:g})"
                )
            task.progress(done + 1, self.iterations)
            task.checkpoint.save(
                lambda done=done: _state(done + 1, paths, z, lr, sgd, draws)  # type: ignore[misc]
            )
        pixels = (255 * (mean + std * z).clamp(0, 1)).round().to(torch.uint8).cpu()
        one_hot = F.one_hot(labels.cpu(), len(task.classes)).float()
        return CondensedSet(pixels, one_hot, notes={"student_lr": lr.cpu()})


def distance(end: Tensor, begun: Tensor, aim: Tensor) -> Tensor:
    """How far weights [P] are from an expert's later ones, as a share of how far these had gone."""
    return (end - aim).square().sum() / (begun - aim).square().sum()


def walk(
    how: MTT,
    student: nn.Module,
    weights: Tensor,
    images: Tensor,
    labels: Tensor,
    rate: Tensor,
    draws: Generator,
    flip: bool,
) -> Tensor:
    """Weights [P] after `how.steps` steps of SGD on images, differentiable in these and `rate`."""
    import torch
    from torch.nn import functional as F

    from bench.training import augment, networks

    units = networks.units_of(student)
    weights, waiting = weights.clone().requires_grad_(), list[Any]()
    for _ in range(how.steps):
        if not waiting:
            order = torch.randperm(len(images), generator=draws).to(images.device)
            waiting = list(torch.split(order, how.batch_student or len(images)))
        rows = waiting.pop()
        seen = augment.dsa(images[rows], how.augment, draws, flip=flip, units=units)
        logits = torch.func.functional_call(student, unflat(student, weights), (seen,))
        loss = F.cross_entropy(logits, labels[rows])
        (slope,) = torch.autograd.grad(loss, weights, create_graph=True)
        weights = weights - rate * slope
    return weights


def trajectories(
    how: MTT, task: Task, kept: Mapping[str, Tensor]
) -> tuple[list[Tensor], nn.Module]:
    """The weights [1 + epochs, P] of each expert, before and after every epoch; and a network that
    such weights fit, in training mode."""
    import torch

    from bench.training.classifier import Examples, fit
    from bench.training.recipe import Recipe

    real, paths = task.train.labels, list[Any]()
    expert: nn.Module | None = None
    recipe = Recipe(
        epochs=1,
        batch=how.batch,
        lr=how.lr_network,
        momentum=0.0,
        weight_decay=0.0,
        schedule="constant",
        dsa=how.augment,
    )
    for number in range(how.experts):
        if (name := f"expert/{number}") in kept:  # and the checkpoint has counted its network
            paths.append(kept[name])
            continue
        expert = task.network().to(task.device)
        path = [flat(expert)]
        for epoch in range(how.start - 1 + how.ahead):
            fit(
                expert,
                Examples(task.train, torch.arange(len(real)), real),
                recipe,
                classes=len(task.classes),
                seed=(task.seed + number * 1000003 + epoch) % 2**62,
                flip=task.flip,
                device=task.device,
            )
            path.append(flat(expert))
        paths.append(torch.stack(path))
        if how.experts > 1:
            task.progress(0, how.iterations)
        task.checkpoint.save(lambda: {f"expert/{i}": p for i, p in enumerate(paths)})
    return paths, (expert or task.network().to(task.device)).train()


def flat(network: nn.Module) -> Tensor:
    """The parameters of a network as one vector [P], on the CPU."""
    import torch

    return torch.cat([p.detach().flatten() for p in network.parameters()]).cpu()


def unflat(network: nn.Module, weights: Tensor) -> dict[str, Tensor]:
    """One vector [P] as the parameters of a network, by name: views of it."""
    import torch

    named = dict(network.named_parameters())
    parts = torch.split(weights, [p.numel() for p in named.values()])
    return {name: part.view(p.shape) for (name, p), part in zip(named.items(), parts, strict=True)}


def _state(
    done: int, paths: Sequence[Tensor], z: Tensor, lr: Tensor, sgd: Any, draws: Generator
) -> dict[str, Tensor]:
    import torch

    kept = {f"expert/{i}": path for i, path in enumerate(paths)}
    kept |= {"done": torch.tensor(done), "z": z, "lr": lr, "draws": draws.get_state()}
    moments = {"z": sgd.state[z], "lr": sgd.state[lr]}
    return kept | {
        f"momentum/{name}": state["momentum_buffer"]
        for name, state in moments.items()
        if state.get("momentum_buffer") is not None
    }


def _resume(kept: Mapping[str, Tensor], z: Tensor, lr: Tensor, sgd: Any, draws: Generator) -> int:
    """Go back to what a checkpoint has kept; the steps of the images that were done then."""
    if "done" not in kept:
        return 0
    draws.set_state(kept["draws"])
    for name, value in (("z", z), ("lr", lr)):
        value.copy_(kept[name])
        if f"momentum/{name}" in kept:
            sgd.state[value]["momentum_buffer"] = kept[f"momentum/{name}"].to(value)
    return int(kept["done"])


# The settings that are in use for CIFAR-10 without whitening, by images a class.
MTT_CIFAR_1 = MTT("mtt-cifar-1", steps=50, ahead=2, start=5, lr_lr=1e-7)
MTT_CIFAR_10 = MTT("mtt-cifar-10", steps=30, ahead=2, start=15)
