"""`bench_matching`'s DC against the loop that a user would write: steps of the images a second.

The same networks (fresh ConvNets), data of the shape of Fashion-MNIST (made up), settings and
number of images on both sides; one thread, CPU seconds, each row in a process of its own and all
of them in turn, so that a busy machine slows all. Our row runs with the allocator settings that
the harness gives its workers, the user's with the system's; a row shows what the user's loop
would gain from them.

The user's loop is written after the published description: one class after another, gradients of
all parameters on real and on synthetic images, a sum over classes with one backward pass, and a
data loader for the epochs in between. "steps" are those of the images, with the training of the
network between two of them. Passes are images that went through a network and came back, a step.
Memory is the peak of a process over what it had before the loop began.

    python tests/speed/matching.py [--ipc 10] [--inner 10] [--norm instance] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

MALLOC = {"MALLOC_MMAP_THRESHOLD_": "2000000000", "MALLOC_TRIM_THRESHOLD_": "4000000000"}
ROWS = {
    "plain": "DC, plain, class by class",
    "plain, malloc": "the same, allocator settings",
    "dc": "DC, bench_matching",
    "dm": "DM, bench_matching",
}
SHAPE, CLASSES, REAL = (1, 28, 28), 10, 256


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--ipc", type=int, default=10)
    arguments.add_argument("--inner", type=int, default=10, help="epochs between two steps")
    arguments.add_argument("--outer", type=int, default=3, help="steps in a network")
    arguments.add_argument("--norm", default="instance")
    arguments.add_argument("--width", type=int, default=32)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--one", metavar="ROW", help=argparse.SUPPRESS)
    args = arguments.parse_args()
    if args.one:
        print(json.dumps(measure(args)))
        return

    runs: dict[str, list[dict[str, float]]] = {row: [] for row in ROWS}
    for _ in range(args.rounds):
        for row in ROWS:
            command = [sys.executable, __file__, "--one", row]
            for name in ("ipc", "inner", "outer", "norm", "width"):
                command += [f"--{name}", str(getattr(args, name))]
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            environment |= MALLOC if row in ("dc", "dm") or "malloc" in row else {}
            done = subprocess.run(command, env=environment, check=True, capture_output=True)
            runs[row].append(json.loads(done.stdout.splitlines()[-1]))
            print(f"{ROWS[row]:<34}{runs[row][-1]['rate']:8.3f}", flush=True)
    print(
        f"\nConvNet-{args.width}, norm {args.norm}, {SHAPE[1]}x{SHAPE[2]}, {CLASSES} classes, IPC "
        f"{args.ipc}, {REAL} real images a class, {args.inner} epochs between steps, one thread, "
        f"median of {args.rounds}"
    )
    of = {row: {k: statistics.median(r[k] for r in rs) for k in rs[0]} for row, rs in runs.items()}
    for row, name in ROWS.items():
        ratio = f"{of[row]['rate'] / of['plain']['rate']:5.2f}x" if row != "dm" else ""
        print(
            f"{name:<34}{of[row]['rate']:8.3f} steps/s  {ratio:>6}  {of[row]['mb']:6.0f} MB  "
            f"{of[row]['forward']:6.0f} images forward and {of[row]['backward']:6.0f} back a step"
        )


def measure(args: argparse.Namespace) -> dict[str, float]:
    """Steps of the images in a CPU second, passes a step, and the peak of memory in MB."""
    import torch
    import torch._dynamo  # an optimiser imports it, 1 s; the harness's workers have it already

    torch.set_num_threads(1)
    world = World(args.norm, args.width)
    loops = {
        "plain": lambda: plain(world, args.ipc, args.outer, args.inner),
        "dc": lambda: ours(world, args.ipc, args.outer, args.inner),
        "dm": lambda: means(world, args.ipc, args.outer),
    }
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    start = time.process_time()
    loops[args.one.removesuffix(", malloc")]()
    seconds = time.process_time() - start
    passes = {k: v / args.outer for k, v in world.passes.as_json().items()}
    return {"rate": args.outer / seconds, "mb": resident("VmHWM") - before, **passes}


def resident(what: str) -> float:
    """Megabytes of this process: "VmRSS" now, "VmHWM" at the peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024


class World:
    """Real images (made up), and fresh networks whose passes are counted."""

    def __init__(self, norm: str, width: int) -> None:
        import torch

        from bench.contract.data import TensorSplit
        from bench.training.passes import Passes

        self.norm, self.width, self.passes = norm, width, Passes()
        generator = torch.Generator().manual_seed(0)
        labels = torch.arange(CLASSES).repeat_interleave(2 * REAL)
        pixels = torch.randint(256, (len(labels), *SHAPE), generator=generator).to(torch.uint8)
        self.real = TensorSplit(pixels, labels)

    def fresh(self) -> Any:
        from bench.training import networks
        from bench_standard.architectures.convnet import ConvNet

        architecture = ConvNet(width=self.width, norm=self.norm)
        network = networks.build(architecture, SHAPE, CLASSES, (0.5,), (0.29,))
        self.passes.count(network)
        return network

    def task(self, ipc: int) -> Any:
        from bench import Task

        names = tuple(map(str, range(CLASSES)))
        return Task(
            *(self.real, names, SHAPE, (0.5,), (0.29,), False, ipc, 0),
            networks={"backbone": self.fresh},
        )


def ours(world: World, ipc: int, outer: int, inner: int) -> None:
    from bench_matching.methods import DC

    DC(iterations=1, outer=outer, inner=inner, batch=REAL).condense(world.task(ipc))


def means(world: World, ipc: int, steps: int) -> None:
    from bench_matching.methods import DM

    DM(iterations=steps, batch=REAL).condense(world.task(ipc))


def plain(world: World, ipc: int, outer: int, inner: int) -> None:
    import torch
    from torch import nn
    from torch.nn import functional as F
    from torch.utils.data import DataLoader, TensorDataset

    reals = [world.real.pixels[world.real.labels == k].float() / 255 for k in range(CLASSES)]
    network = world.fresh()
    parameters = list(network.parameters())
    images = torch.cat([of_class[:ipc] for of_class in reals]).requires_grad_()
    owners = torch.arange(CLASSES).repeat_interleave(ipc)
    of_images = torch.optim.SGD([images], lr=0.1, momentum=0.5)
    of_network = torch.optim.SGD(parameters, lr=0.01)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    for step in range(outer):
        network.train()
        if norms:
            network(torch.cat([r[torch.randperm(len(r))[:16]] for r in reals]))
            for layer in norms:
                layer.eval()
        total = torch.zeros(())
        for k in range(CLASSES):
            pictures = reals[k][torch.randperm(len(reals[k]))[:REAL]]
            loss = F.cross_entropy(network(pictures), torch.full((len(pictures),), k))
            aims = [g.detach().clone() for g in torch.autograd.grad(loss, parameters)]
            own = images[k * ipc : (k + 1) * ipc]
            loss = F.cross_entropy(network(own), owners[k * ipc : (k + 1) * ipc])
            found = torch.autograd.grad(loss, parameters, create_graph=True)
            for a, b in zip(found, aims, strict=True):
                if a.ndim > 1:
                    a, b = a.flatten(1), b.flatten(1)
                    norm = a.norm(dim=1) * b.norm(dim=1) + 1e-6
                    total = total + (1 - (a * b).sum(1) / norm).sum()
        of_images.zero_grad()
        total.backward()
        of_images.step()
        if step + 1 == outer:
            break
        network.train()
        loader = DataLoader(TensorDataset(images.detach().clone(), owners), 256, shuffle=True)
        for _ in range(inner):
            for batch, labels in loader:
                of_network.zero_grad()
                F.cross_entropy(network(batch), labels).backward()
                of_network.step()


if __name__ == "__main__":
    main()
