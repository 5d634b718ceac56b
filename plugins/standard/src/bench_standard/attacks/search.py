"""Run a library's attacks on the images that still stand, and leave everything as found.

Libraries leave gradients on the weights, reseed the global generator, and attack images that are
wrong already. So they are given a frozen copy of the network (it shares the hooks, so passes
through it are counted) and batches of standing images; which ones stand, the network itself says.
Most take no generator and draw from the global one: `search` seeds that by a draw from the
generator of the harness, and puts it back. This is the one place where that is done for attacks
by torchattacks and pyautoattack; what takes a seed of its own gets it from `seed`.

This module imports torch: components import it inside their verbs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from bench_standard.attacks.frozen import frozen

Run = Callable[[nn.Module, Tensor, Tensor], Tensor]  # network, images, labels -> images

BATCH = 250  # images attacked at once, at most
PIXELS = 2**21  # of all channels, attacked at once: a graph keeps hundreds of bytes for each


def search(
    runs: Iterable[Run],
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    generator: Generator,
    *,
    all_first: bool = False,
    batch: int = 0,
    left: list[int] | None = None,
) -> Tensor:
    """Images [B, C, H, W] after each run in turn, which gets those that the model has right.

    Images that are wrong as they come are given back, unless `all_first`: then the first run gets
    everything. A run gets up to `batch` images at once (0: as memory allows). How many are right
    after each run is appended to `left`.
    """
    if not len(images):
        return images
    batch = batch or max(1, min(BATCH, PIXELS // images[0].numel()))
    adversarial = images.detach().clone()
    standing = torch.arange(len(images), device=images.device)
    gpus = [images.device] if images.is_cuda else []
    drawn = seed(generator)
    with torch.random.fork_rng(devices=gpus), torch.no_grad():
        torch.manual_seed(drawn)
        network = frozen(model, images)
        for number, run in enumerate(runs):
            if number or not all_first:
                standing = standing[right(model, adversarial[standing], labels[standing])]
            for rows in torch.split(standing, batch) if len(standing) else ():
                adversarial[rows] = run(network, images[rows], labels[rows]).detach()
            if left is not None:
                still = right(model.forward, adversarial[standing], labels[standing])
                left.append(int(still.sum()))  # by `forward`: no pass of the attack
    return adversarial


def right(model: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> Tensor:
    """Which images [B] the model has right (bool)."""
    if not len(images):
        return labels == labels
    return torch.cat([model(batch).argmax(1) for batch in torch.split(images, BATCH)]) == labels


def seed(generator: Generator) -> int:
    """A seed drawn from a generator, for what takes no generator."""
    return int(torch.randint(2**31, (), generator=generator))


class Standing(nn.Module):
    """A network that looks at an image until it is wrong: for attacks that keep what fools.

    The first version of an image that is wrong is kept in `adversarial`. From then on the image
    has logits that are right and constant, so that it costs nothing and looks like a failure.
    """

    constant: Tensor  # logits [B, K] that are right

    def __init__(self, network: nn.Module, images: Tensor, labels: Tensor) -> None:
        super().__init__()
        self.network = network
        self.labels = labels
        self.adversarial = images.clone()
        self.fallen = torch.zeros_like(labels, dtype=torch.bool)

    def forward(self, images: Tensor) -> Tensor:  # [B, C, H, W] -> [B, K]
        rows = (~self.fallen).nonzero().squeeze(1)
        if not len(rows):
            return self.constant + 0 * images.flatten(1).sum(1, keepdim=True)
        logits = self.network(images[rows])
        self.constant = F.one_hot(self.labels, logits.shape[1]).to(logits.dtype)
        wrong = rows[logits.argmax(1) != self.labels[rows]]
        self.adversarial[wrong] = images[wrong].detach()
        self.fallen[wrong] = True
        return self.constant.index_copy(0, rows, logits)


class Directed(nn.Module):
    """A network whose gradients at images have a largest entry of 1, or are 0.

    For code that wants their direction alone, but takes the loss of a batch as a mean and adds a
    constant to norms: of an image that the network is sure of, nothing would be left.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:  # [B, C, H, W] -> [B, K]
        if images.requires_grad:
            images.register_hook(_directions)  # type: ignore[no-untyped-call]
        logits: Tensor = self.network(images)
        return logits


def _directions(gradient: Tensor) -> Tensor:
    largest = gradient.flatten(1).abs().amax(1).view(-1, 1, 1, 1)
    return torch.where(largest > 0, gradient / largest, 0)


class Margin(nn.Module):
    """A network whose cross-entropy falls as the margin does, by which a class is the largest.

    Cross-entropy itself has no gradient in float32 once logits are far apart: a network that
    multiplies its logits by 60 would look robust. Here logits are 0, but for that of the label,
    which has the gradient of the margin and no value: whatever the scale of the logits, the
    direction is the same, and never lost.
    """

    def __init__(self, network: nn.Module, labels: Tensor) -> None:
        super().__init__()
        self.network = network
        self.labels = labels

    def forward(self, images: Tensor) -> Tensor:  # [B, C, H, W] -> [B, K]
        logits = self.network(images)
        true = F.one_hot(self.labels, logits.shape[1])
        others = logits.masked_fill(true.bool(), -torch.inf).amax(1)
        margin = logits.gather(1, self.labels[:, None]).squeeze(1) - others
        hidden: Tensor = true * (margin - margin.detach())[:, None]
        return hidden


class Shifted(nn.Module):
    """A network whose smallest logit is 0: for code that takes 0 for less than any logit."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:  # [B, C, H, W] -> [B, K]
        logits: Tensor = self.network(images)
        return logits - logits.amin(1, keepdim=True)
