"""Synthetic images that share something with real ones in many networks: the loop of DC to DM.

This module imports torch: components import it inside their verbs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from bench import BenchError, CondensedSet, Task, TensorSplit, digest
from bench.training import loading
from bench.training.classifier import Examples, fit
from bench.training.recipe import Recipe
from bench_matching.settings import Matching
from bench_matching.siamese import alike

BATCHNORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
SETTLING = 16  # real images of each class that give BatchNorm its statistics,
SETTLING_ALL = 1024  # and of all classes, as far as one of each allows

Distance = Callable[[nn.Module, Tensor, Tensor, int], Tensor]
"""(network, real images [B, C, H, W], synthetic ones [m, C, H, W], class) -> a scalar."""


def match(task: Task, how: Matching, distance_of: Distance) -> CondensedSet:
    """`task.ipc` images of each class, uint8, class after class, with one-hot labels.

    In each of `how.iterations` fresh networks the images make `how.outer` steps of SGD; between
    two of them the network is trained on the images for `how.inner` epochs. In each step, of
    every class: real images are drawn, real and synthetic ones are augmented alike, and
    `distance_of` says how far they are apart in the network, which is in eval mode. The gradient is
    taken class by class: the same as that of the sum, with the memory of one class. BatchNorm has
    the statistics of 16 real images of each class, or fewer from 65 classes on.

    As published, what is optimised is z in pixels = mean + std z, and `how.lr` is in its units;
    here it is clamped to the range of pixels after each step.

    Raises BenchError for a distance or images that are not finite.
    """
    draws = _generator(task.seed, "draws")
    real = RealImages(task, draws)
    mean, std = (torch.tensor(v, device=task.device).view(-1, 1, 1) for v in (task.mean, task.std))
    low, high = -mean / std, (1 - mean) / std
    z = ((begin(task, how.init) - mean) / std).clamp(low, high)  # [K, m, C, H, W]
    sgd = torch.optim.SGD([z], how.lr, how.momentum)
    total, each = how.iterations * how.outer, max(1, min(SETTLING, SETTLING_ALL // len(z)))
    for done in range(_resume(task.checkpoint.load(), z, sgd, draws), total):
        if done % how.outer == 0:
            task.checkpoint.save(lambda done=done: _state(done, z, sgd, draws))  # type: ignore[misc]
            network = task.network().to(task.device)
        else:
            _train(network, mean + std * z, task, how, draws)
        settle(network, lambda: torch.cat([real.draw(k, each) for k in range(len(z))]))
        z.grad, far = torch.empty_like(z), torch.zeros((), device=task.device)
        for label in range(len(z)):
            own = z[label].clone().requires_grad_()
            pictures, made = alike(
                (real.draw(label, how.batch), mean + std * own),
                how.augment,
                draws,
                flip=task.flip,
                units=(mean, std),
            )
            distance = distance_of(network, pictures, made, label)
            (z.grad[label],) = torch.autograd.grad(distance, own)
            far += distance.detach()
        sgd.step()
        z.clamp_(low, high)
        _check_finite(far, z, done + 1, total, how)
        task.progress(done + 1, total)
    pixels = (255 * (mean + std * z).clamp(0, 1)).round().to(torch.uint8).cpu().flatten(0, 1)
    return CondensedSet(pixels, F.one_hot(_labels(len(z), task.ipc)).float())


class RealImages:
    """Real images of each class, drawn without repeats as often as asked."""

    def __init__(self, task: Task, generator: Generator) -> None:
        self.task, self.generator = task, generator
        labels = task.train.labels
        self.members = [(labels == k).nonzero().squeeze(1) for k in range(len(task.classes))]

    def draw(self, label: int, count: int) -> Tensor:
        """Images [count, C, H, W] of a class, on the device; all of it if it has no more."""
        members = self.members[label]
        picked = torch.randperm(len(members), generator=self.generator)[:count]
        (images,) = loading.read(self.task.train, [(members[picked], None)])
        return images.to(self.task.device)


def begin(task: Task, init: str) -> Tensor:
    """The first images [K, m, C, H, W]: real ones of each class, or noise of their mean and std."""
    generator = _generator(task.seed, "begin")
    shape = (len(task.classes), task.ipc, *task.shape)
    if init == "noise":
        mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (task.mean, task.std))
        return (mean + std * torch.randn(shape, generator=generator)).to(task.device)
    real = RealImages(task, generator)
    return torch.stack([real.draw(label, task.ipc) for label in range(len(task.classes))])


def settle(network: nn.Module, images: Callable[[], Tensor]) -> None:
    """Eval mode; running statistics of BatchNorm, if any, become those of `images()` [B, C, H, W].

    A batch of few synthetic images has no statistics to speak of, so they are not its own.
    """
    network.eval()
    layers = [m for m in network.modules() if isinstance(m, BATCHNORM)]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 1.0
        layer.train()
    with torch.no_grad():
        network(images())
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
        layer.eval()


def _train(network: nn.Module, images: Tensor, task: Task, how: Matching, draws: Generator) -> None:
    """Some epochs on the synthetic images [K, m, C, H, W], by plain SGD."""
    if not how.inner:
        return
    labels = _labels(len(images), task.ipc)
    recipe = Recipe(
        epochs=how.inner,
        lr=how.lr_network,
        momentum=0.0,
        weight_decay=0.0,
        schedule="constant",
        dsa=how.augment,
    )
    try:
        fit(
            network,
            Examples(TensorSplit(images.flatten(0, 1), labels), torch.arange(len(labels)), labels),
            recipe,
            classes=len(images),
            seed=int(torch.randint(2**62, (1,), generator=draws)),
            flip=task.flip,
            device=task.device,
        )
    except BenchError as error:
        raise BenchError(
            f"a network that is trained on the synthetic images failed (lr_network "
            f"{how.lr_network:g}, {how.inner} epochs): {error}; here: lower lr_network or inner"
        ) from error


def _state(done: int, z: Tensor, sgd: torch.optim.SGD, draws: Generator) -> dict[str, Tensor]:
    """What changes from one network to the next."""
    momentum = sgd.state[z].get("momentum_buffer")
    kept = {"done": torch.tensor(done), "z": z, "draws": draws.get_state()}
    return kept if momentum is None else kept | {"momentum": momentum}


def _resume(kept: Mapping[str, Tensor], z: Tensor, sgd: torch.optim.SGD, draws: Generator) -> int:
    """Go back to what a checkpoint has kept; the steps that were done then."""
    if not kept:
        return 0
    z.copy_(kept["z"])
    draws.set_state(kept["draws"])
    if "momentum" in kept:
        sgd.state[z]["momentum_buffer"] = kept["momentum"].to(z)
    return int(kept["done"])


def _labels(classes: int, ipc: int) -> Tensor:
    return torch.arange(classes).repeat_interleave(ipc)


def _generator(seed: int, purpose: str) -> Generator:
    return Generator().manual_seed(int(digest([seed, purpose]), 16) >> 1)


def _check_finite(far: Tensor, z: Tensor, done: int, total: int, how: Matching) -> None:
    if not far.isfinite() or not z.isfinite().all():
        raise BenchError(
            f"matching diverged: the distance is {far.item():g} by step {done} of {total} "
            f"(lr {how.lr:g}, lr_network {how.lr_network:g}); expected finite distances and "
            "images; lower lr or lr_network"
        )
