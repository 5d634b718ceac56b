"""G-VBSM: images recovered from several networks in turn, by statistics of all their layers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from bench import BenchError, CondensedSet, Task
from bench_inversion.settings import Recovery

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bench.training.recipe import Recipe
    from bench_inversion.statistics import Moments, Statistics

BETAS = (0.5, 0.9)  # of Adam
BATCH = 256  # real images looked at once


@dataclass(frozen=True)
class GVBSM:
    """Generalised matching of statistics, after G-VBSM (Shao et al., CVPR 2024).

    In each step one of `networks` networks gives the loss: cross-entropy, plus `lam` times the
    distance of means and variances to those of all real images, at the inputs of convolutions (of
    the first: the pixels) and of BatchNorm; so backbones without BatchNorm will do. `densify`
    spreads the images of a class out: it flattens the spectrum of their inner products, as released
    not scaled by their number or size. The labels come from the mean of all networks' logits.

    Smaller than in print: the networks are the labelling teacher and others of the board's backbone
    with other initial weights, where the authors have five architectures; statistics of patches and
    their moving average are left out.
    """

    name: str = "g-vbsm"
    teacher: str = "standard"  # the first network; it labels the views where a board asks for it
    networks: int = 5
    epochs: int = 30  # of the others' training, with batches of 64, lr 0.05, cosine
    iterations: int = 4000
    lr: float = 0.05
    lam: float = 0.01  # weight of the statistics
    first: float = 10.0  # factor of the first layer in them
    densify: float = 1.0  # weight of the spectrum
    tau: float = 4.0  # how much flatter it is to be
    scale: tuple[float, ...] = (1.0, 1.0)  # area of the random resized crop of each step
    roll: int = 4  # largest shift of each step, in pixels
    mirror: bool = True  # views may be mirrored, where that keeps the label
    batch: int = 100  # images optimised at once, class after class
    temperature: float = 1.0  # of the labels
    quick: ClassVar[dict[str, Any]] = {
        "networks": 2,
        "epochs": 3,
        "iterations": 120,
        "lr": 0.25,
        "roll": 1,
    }
    fresh_networks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("networks", "epochs"):
            if getattr(self, name) < 1:
                raise BenchError(f"{name} is {getattr(self, name)}; expected 1 or more")
        if not 0 <= self.densify < math.inf:
            raise BenchError(f"densify is {self.densify}; expected 0 or more")
        if not self.tau >= 1:
            raise BenchError(f"tau is {self.tau}; expected 1 or more")
        Recovery.of(self, cross_entropy=1.0, first_bn=self.first)

    def condense(self, task: Task) -> CondensedSet:
        import torch

        from bench_inversion.labels import owners

        kept = task.checkpoint.load()
        networks = several(self, task, kept)
        statistics = [of_all(network, task) for network in networks]
        done: list[Tensor] = [kept["images"]] if "images" in kept else []
        rows = torch.arange(len(task.classes) * task.ipc)
        for number, part in enumerate(torch.split(rows, self.batch)):
            if number < int(kept.get("passes", torch.tensor(0))):
                continue
            done.append(self._recovered(task, networks, statistics, part, number))
            task.progress(number + 1, -(-len(rows) // self.batch))
            task.checkpoint.save(partial(_state, networks, [*done], number + 1))
        images = torch.cat(done)
        labels = ensemble(networks, images, task, self.temperature)
        return CondensedSet(images, labels, classes=owners(task, len(images)))

    def _recovered(
        self,
        task: Task,
        networks: Sequence[nn.Module],
        statistics: Sequence[Statistics],
        rows: Tensor,
        number: int,
    ) -> Tensor:
        """The images at `rows` [B], uint8 [B, C, H, W]: noise, optimised."""
        import torch
        from torch.nn import functional as F

        from bench.training.loop import generator_of
        from bench_inversion import views
        from bench_inversion.statistics import distance

        generator = generator_of(task.seed, f"pass {number}")
        z = torch.randn(len(rows), *task.shape, generator=generator).to(task.device)
        mean, std = (
            torch.tensor(v, device=task.device).view(-1, 1, 1) for v in (task.mean, task.std)
        )
        smallest = torch.full((self.iterations,), self.scale[0], dtype=torch.float64)
        mirror = task.flip and self.mirror
        seen = views.beside([views.draw(smallest, self.scale[1], self.roll, mirror, generator)])
        labels, weights = (rows // task.ipc).to(task.device), z.new_ones(1, len(z))
        adam = torch.optim.Adam([z.requires_grad_()], self.lr, BETAS)
        for step in range(self.iterations):
            adam.param_groups[0]["lr"] = (
                self.lr * (1 + math.cos(math.pi * step / self.iterations)) / 2
            )
            which = step % len(networks)
            view = seen.step(step).of(z)
            with recording(networks[which]) as passed:
                logits = networks[which](mean + std * view)
            far = distance(moments(passed), statistics[which], weights, first=self.first)
            loss = F.cross_entropy(logits, labels) + self.lam * far
            if self.densify:
                loss = loss + self.densify * crowding(view, labels, self.tau)
            (z.grad,) = torch.autograd.grad(loss, z)
            adam.step()
            with torch.no_grad():
                z.clamp_(-mean / std, (1 - mean) / std)
        if not z.isfinite().all():
            raise BenchError(
                f"recovery diverged (lam {self.lam:g}, lr {self.lr:g}); expected finite images; "
                "lower one of them"
            )
        pixels = (mean + std * z.detach()).clamp(0, 1)
        return (pixels * 255).round().to(torch.uint8).cpu()


def several(how: GVBSM, task: Task, kept: Mapping[str, Tensor]) -> list[nn.Module]:
    """The teacher and networks that are trained as it was, but from other weights: frozen."""
    import copy

    import torch

    from bench.training import networks
    from bench.training.classifier import Examples, fit

    found, labels = [copy.deepcopy(task.teacher)], task.train.labels
    for number in range(1, how.networks):
        own = {k.partition("/")[2]: v for k, v in kept.items() if k.startswith(f"{number}/")}
        if own:  # and the checkpoint has counted it: one more would give the next other weights
            network = copy.deepcopy(task.teacher)
            networks.load(network, own)
        else:
            network = task.network()
            fit(
                network,
                Examples(task.train, torch.arange(len(labels)), labels),
                _recipe(how),
                classes=len(task.classes),
                seed=(task.seed + number) % 2**62,
                flip=task.flip,
                device=task.device,
            )
        found.append(network)
        task.checkpoint.save(lambda: states(found))
    return [one.to(task.device).eval().requires_grad_(False) for one in found]


def states(networks: Sequence[nn.Module]) -> dict[str, Tensor]:
    """Those that were trained here, by names like "1/0.weight"."""
    from bench.training.networks import state

    return {
        f"{number}/{name}": tensor
        for number, network in enumerate(networks)
        if number
        for name, tensor in state(network).items()
    }


def _state(networks: Sequence[nn.Module], done: Sequence[Tensor], passes: int) -> dict[str, Tensor]:
    import torch

    made = {"images": torch.cat(list(done)), "passes": torch.tensor(passes)}
    return states(networks) | made


def _recipe(how: GVBSM) -> Recipe:
    from bench.training.recipe import Recipe

    return Recipe(epochs=how.epochs, batch=64, lr=0.05, flip=True)


@contextmanager
def recording(network: nn.Module) -> Iterator[list[Tensor]]:
    """What convolutions and BatchNorm take in [B, ch, ...] inside the block, in order."""
    from torch import nn
    from torch.nn.modules.batchnorm import _BatchNorm

    seen: list[Tensor] = []

    def into(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0])

    handles = [
        module.register_forward_pre_hook(into)
        for module in network.modules()
        if isinstance(module, _BatchNorm | nn.Conv2d)
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def moments(seen: Sequence[Tensor]) -> Moments:
    """Means and mean squares [B, ch] of each image, the channels of all places side by side."""
    import torch

    if not seen:
        raise BenchError(
            "the backbone has neither a convolution nor BatchNorm, whose statistics images are "
            "recovered from; use another backbone"
        )
    flat = [x.flatten(2) for x in seen]
    return torch.cat([x.mean(2) for x in flat], 1), torch.cat([x.square().mean(2) for x in flat], 1)


def of_all(network: nn.Module, task: Task) -> Statistics:
    """The exact means and variances [ch] of all training images, one pass over them."""
    from contextlib import closing

    import torch

    from bench.training.loading import batches
    from bench_inversion.statistics import Statistics

    count, sums = len(task.train.labels), [torch.zeros(1, dtype=torch.float64)] * 2
    with torch.no_grad(), closing(batches(task.train, torch.arange(count), BATCH)) as read:
        for images in read:
            with recording(network) as seen:
                network(images.to(task.device))
            sums = [s + m.double().sum(0).cpu() for s, m in zip(sums, moments(seen), strict=True)]
    mean, square = (s / count for s in sums)
    variance = (square - mean.square()).clamp_min(0)
    widths = tuple(x.shape[1] for x in seen)
    return Statistics(mean.float(), variance.float(), widths).to(task.device)


def crowding(images: Tensor, labels: Tensor, tau: float) -> Tensor:
    """How steep the spectrum of each class's inner products is: the sum over classes of the
    Kullback-Leibler divergence of softmax(l) from softmax(l / tau), l the eigenvalues; 0 for a
    class of one image.
    """
    import torch
    from torch.nn import functional as F

    total = images.new_zeros(())
    flat = (
        F.adaptive_avg_pool2d(images, 32).flatten(1) if images.shape[2] > 32 else images.flatten(1)
    )
    for label in labels.unique():  # type: ignore[no-untyped-call]
        own = flat[labels == label]
        values = torch.linalg.eigvalsh(own @ own.T)
        aim = (values / tau).softmax(0).detach()
        total = total + F.kl_div(values.log_softmax(0), aim, reduction="sum")
    return total


def ensemble(
    networks: Sequence[nn.Module], images: Tensor, task: Task, temperature: float
) -> Tensor:
    """Distributions [N, K] by the mean of the networks' logits, of images [N, C, H, W]."""
    import torch

    from bench import TensorSplit
    from bench.training.networks import predict
    from bench_inversion.labels import owners

    index = torch.arange(len(images))
    split = TensorSplit(images, owners(task, len(images)))
    logits = [predict(one, split, index, device=task.device) for one in networks]
    return (torch.stack(logits).mean(0) / temperature).softmax(1)
