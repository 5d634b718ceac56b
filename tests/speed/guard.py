"""What a step of training costs with the curvature of GUARD in its loss, in plain steps.

A ConvNet of width 32 with BatchNorm, channels last, images of the shape of Fashion-MNIST (made up),
equal batches, one thread, CPU seconds, with the allocator settings that the harness gives its
workers. All rows take turns, so that a busy machine slows all; a ratio is the median over rounds
of the ratio to the plain step of the same round. "written out" is the loop that a user would write
after the formula: the gradient for the direction, and the difference of two more, by torch alone.
Passes are images that went forward through the network and came back, by images of the batch.

    python tests/speed/guard.py [--batch 32 128] [--norm batch] [--rounds 15]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

SHAPE, CLASSES, LENGTH = (1, 28, 28), 10, 0.5


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--batch", type=int, nargs="+", default=[32, 128])
    arguments.add_argument("--norm", choices=["batch", "instance"], default="batch")
    arguments.add_argument("--width", type=int, default=32)
    arguments.add_argument("--rounds", type=int, default=15)
    args = arguments.parse_args()

    from bench.engine.fork import ENVIRONMENT

    if not ENVIRONMENT.items() <= os.environ.items():  # they are read when a process starts
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ENVIRONMENT)
    for batch in args.batch:
        measure(args, batch)


def measure(args: argparse.Namespace, batch: int) -> None:
    import torch

    from bench.training import networks
    from bench.training.passes import counting
    from bench_guard.curvature import curvature, gradient_norm, loss_difference
    from bench_standard.architectures.convnet import ConvNet

    torch.set_num_threads(1)
    torch.manual_seed(0)
    layout = torch.channels_last if args.norm == "batch" else torch.contiguous_format
    convnet = ConvNet(width=args.width, norm=args.norm)
    network = networks.build(convnet, SHAPE, CLASSES, (0.28,), (0.35,)).to(memory_format=layout)
    sgd = torch.optim.SGD(network.parameters(), 0.01, 0.9, nesterov=True, fused=True)
    images = torch.rand(batch, *SHAPE).contiguous(memory_format=layout)
    labels = torch.randint(CLASSES, (batch,))

    rows: dict[str, Callable[..., Any] | None] = {
        "plain step": None,
        "curvature, written out": written_out,
        "curvature": curvature,
        "loss difference": loss_difference,
        "gradient norm": lambda model, x, y, h: gradient_norm(model, x, y),
    }

    def step(term: Callable[..., Any] | None) -> None:
        loss = torch.nn.functional.cross_entropy(network(images), labels)
        if term:
            loss = loss + term(network, images, labels, h=LENGTH).mean()
        sgd.zero_grad()
        loss.backward()
        sgd.step()

    steps = max(1, 128 // batch)
    seconds: dict[str, list[float]] = {row: [] for row in rows}
    for turn in range(args.rounds + 1):
        for row, term in rows.items():
            start = time.process_time()
            for _ in range(steps):
                step(term)
            if turn:  # the first warms up
                seconds[row].append((time.process_time() - start) / steps)

    print(
        f"ConvNet-{args.width}, {args.norm} norm, batch {batch}, one thread, {args.rounds} rounds"
    )
    plain = seconds["plain step"]
    for row, term in rows.items():
        with counting(network) as passes:
            step(term)
        ratios = [a / b for a, b in zip(seconds[row], plain, strict=True)]
        print(
            f"{row:<24}{1000 * statistics.median(seconds[row]):8.1f} ms  "
            f"{statistics.median(ratios):5.2f}x  (best {min(seconds[row]) / min(plain):.2f}x)  "
            f"{passes.forward / batch:.0f} forward, {passes.backward / batch:.0f} back"
        )


def written_out(model: Any, images: Any, labels: Any, *, h: float) -> Any:
    import torch
    from torch.nn import functional as F

    model.eval()
    x = images.clone().requires_grad_()
    (slope,) = torch.autograd.grad(F.cross_entropy(model(x), labels, reduction="sum"), x)
    z = h * F.normalize(slope.flatten(1)).view_as(x)
    risen = F.cross_entropy(model(x + z), labels, reduction="sum")
    risen = risen - F.cross_entropy(model(x), labels, reduction="sum")
    (change,) = torch.autograd.grad(risen, x, create_graph=True)
    model.train()
    return change.flatten(1).norm(dim=1)


if __name__ == "__main__":
    main()
