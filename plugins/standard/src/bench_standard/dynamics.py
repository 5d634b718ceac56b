"""What trainings on the real data tell of each image: how wrong, how often forgotten, which margin.

This module imports torch: components import it inside their verbs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench import Task
from bench.training import networks
from bench.training.classifier import Examples, fit
from bench.training.loop import generator_of
from bench.training.recipe import Recipe


@dataclass(eq=False)
class Dynamics:
    """What has been seen of the training images [T], over all networks and epochs so far."""

    labels: Tensor  # [T] int64
    error: Tensor  # [T] sum over networks of ||softmax - one-hot||, at their last epoch (EL2N)
    margin: Tensor  # [T] sum over epochs of p of the label less the largest p of another (AUM)
    forgotten: Tensor  # [T] int64: how often it went from right to wrong
    right: Tensor  # [T] bool: in the epoch before, of this network
    learnt: Tensor  # [T] bool: ever right

    @classmethod
    def of(cls, labels: Tensor) -> Dynamics:
        """Of images that nothing has been seen of."""
        zero, never = torch.zeros(len(labels)), torch.zeros(len(labels), dtype=torch.bool)
        return cls(labels, zero, zero.clone(), torch.zeros_like(labels), never, never.clone())

    def see(self, p: Tensor, *, first: bool = False, last: bool = False) -> None:
        """One epoch, from the distributions p [T, K]; the first or the last of a network."""
        own = F.one_hot(self.labels, p.shape[1]).bool()
        margin = p[own] - p.masked_fill(own, -1).amax(1)
        self.margin = self.margin + margin
        right = margin > 0
        if not first:
            self.forgotten = self.forgotten + (self.right & ~right)
        self.right, self.learnt = right, self.learnt | right
        if last:
            self.error = self.error + torch.linalg.vector_norm(p - own.float(), dim=1)

    def tensors(self) -> dict[str, Tensor]:
        return {f"seen/{name}": value for name, value in vars(self).items()}

    def restore(self, kept: Mapping[str, Tensor]) -> None:
        for name in vars(self):
            setattr(self, name, kept[f"seen/{name}"])


def dynamics(task: Task, how: Any) -> Dynamics:
    """Train `how.networks` fresh networks for `how.epochs` epochs each, and look at all training
    images after every epoch, in eval mode.

    `how` also says `batch`, `lr`, `schedule` ("constant" or "cosine" over the epochs), `crop` and
    `flip`; SGD with Nesterov's momentum of 0.9 begins anew in each epoch, and weight decay is
    5e-4. The published scores are taken batch by batch, as images pass in training; here all are
    taken under the same weights.
    """
    seen, index = Dynamics.of(task.train.labels), torch.arange(len(task.train.labels))
    # all are drawn before the checkpoint is loaded: it counts those that were drawn before a kill
    drawn = [task.network().to(task.device) for _ in range(how.networks)]
    kept = task.checkpoint.load()
    if kept:
        seen.restore(kept)
    start, total, done = int(kept["done"]) if kept else 0, how.networks * how.epochs, 0
    for network in drawn:
        for epoch in range(how.epochs):
            done += 1
            if done == start:
                networks.load(network, _without("network/", kept))
            if done <= start:
                continue
            _epoch(task, network, how, done - 1)
            p = networks.predict(network, task.train, index, device=task.device).softmax(1)
            seen.see(p, first=epoch == 0, last=epoch == how.epochs - 1)
            task.progress(done, total)
            task.checkpoint.save(partial(_state, done, network, seen))
    return seen


def _epoch(task: Task, network: nn.Module, how: Any, done: int) -> None:
    share = (done % how.epochs) / how.epochs
    cosine = 0.5 * (1 + torch.tensor(share * torch.pi).cos().item())
    recipe = Recipe(
        epochs=1,
        batch=how.batch,
        lr=how.lr * (cosine if how.schedule == "cosine" else 1.0),
        schedule="constant",
        crop=how.crop,
        flip=how.flip,
    )
    labels = task.train.labels
    fit(
        network,
        Examples(task.train, torch.arange(len(labels)), labels),
        recipe,
        classes=len(task.classes),
        seed=int(torch.randint(2**62, (1,), generator=generator_of(task.seed, f"epoch {done}"))),
        flip=task.flip,
        device=task.device,
    )


def _state(done: int, network: nn.Module, seen: Dynamics) -> dict[str, Tensor]:
    weights = {f"network/{name}": value for name, value in networks.state(network).items()}
    return {"done": torch.tensor(done), **weights, **seen.tensors()}


def _without(prefix: str, kept: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in kept.items() if k.startswith(prefix)}
