"""`bench_inversion.recovery.recover` against the loops that a user would write.

How many images go through one iteration in a second.

The same teacher (a ConvNet with BatchNorm), data of the shape of Fashion-MNIST, settings and
number of images on both sides; one thread, CPU seconds, each row in a process of its own and all
of them in turn, so that a busy machine slows all. Our rows run with the allocator settings that
the harness gives its workers, the user's with the system's; rows show what the user's loops would
gain from them.

The user's loops are written after the published descriptions: a frozen network in eval mode, a
resized crop and a shift of the whole batch, means and variances by hooks at every BatchNorm
layer, Adam. "by class" optimises one class after another; "batches" as many whole classes as the
released WMDD (100 images). "SRe2L" optimises one image of every class at a time. "DM" matches the
mean features of real and synthetic images in a fresh random network in every iteration (256 real
images a class). Memory is the peak of a process over what it had before the loop began.

    python tests/speed/recovery.py [--ipc 10] [--rounds 3] [--iterations 30] [--width 32]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

MALLOC = {"MALLOC_MMAP_THRESHOLD_": "2000000000", "MALLOC_TRIM_THRESHOLD_": "4000000000"}
ROWS = {
    "by class": "WMDD, plain, class by class",
    "by class, malloc": "the same, allocator settings",
    "batches": "WMDD, plain, whole classes up to 100",
    "batches, malloc": "the same, allocator settings",
    "wmdd": "WMDD, recover",
    "plain sre2l": "SRe2L, plain",
    "plain sre2l, malloc": "the same, allocator settings",
    "sre2l": "SRe2L, recover",
    "dm": "DM, plain",
}
OURS = ("wmdd", "sre2l")
SHAPE, CLASSES, REAL = (1, 28, 28), 10, 256
LAM, FIRST, LR, ROLL, SCALE = 1.0, 10.0, 0.25, 4, (0.08, 1.0)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--ipc", type=int, default=10)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--iterations", type=int, default=30)
    arguments.add_argument("--width", type=int, default=32)
    arguments.add_argument("--one", metavar="ROW", help=argparse.SUPPRESS)
    args = arguments.parse_args()
    if args.one:
        print(json.dumps(measure(args.one, args.ipc, args.iterations, args.width)))
        return

    runs: dict[str, list[dict[str, float]]] = {row: [] for row in ROWS}
    for _ in range(args.rounds):
        for row in ROWS:
            command = [sys.executable, __file__, "--one", row, "--ipc", str(args.ipc)]
            command += ["--iterations", str(args.iterations), "--width", str(args.width)]
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            environment |= MALLOC if row in OURS or "malloc" in row else {}
            done = subprocess.run(command, env=environment, check=True, capture_output=True)
            runs[row].append(json.loads(done.stdout.splitlines()[-1]))
            print(f"{ROWS[row]:<38}{runs[row][-1]['rate']:8.0f}", flush=True)
    print(
        f"\nConvNet-{args.width} with BatchNorm, {SHAPE[1]}x{SHAPE[2]}, {CLASSES} classes, IPC "
        f"{args.ipc}, {args.iterations} iterations, one thread, median of {args.rounds}"
    )
    rates = {row: statistics.median(run["rate"] for run in of) for row, of in runs.items()}
    for row, name in ROWS.items():
        base = "plain sre2l" if "sre2l" in row else "by class"
        ratio = f"{rates[row] / rates[base]:5.2f}x" if row != "dm" else ""
        memory = statistics.median(run["mb"] for run in runs[row])
        images = CLASSES * args.ipc
        print(
            f"{name:<38}{rates[row]:8.0f} images x iterations/s  {ratio:>6}  "
            f"{1000 / rates[row]:6.2f} ms and {memory / images:5.2f} MB an image"
        )


def measure(row: str, ipc: int, iterations: int, width: int) -> dict[str, float]:
    """Images x iterations in a CPU second, and the peak of memory beyond the start, in MB."""
    import torch
    import torch._dynamo  # an optimiser imports it, 1 s; the harness's workers have it already

    torch.set_num_threads(1)
    world = World(ipc, width)
    loops = {
        "by class": lambda: plain_wmdd(world, ipc, iterations),
        "batches": lambda: plain_wmdd(world, 100, iterations),
        "wmdd": lambda: ours(world, iterations, whole=True),
        "plain sre2l": lambda: plain_sre2l(world, iterations),
        "sre2l": lambda: ours(world, iterations, whole=False),
        "dm": lambda: plain_dm(world, iterations),
    }
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    start = time.process_time()
    loops[row.removesuffix(", malloc")]()
    seconds = time.process_time() - start
    return {"rate": CLASSES * ipc * iterations / seconds, "mb": resident("VmHWM") - before}


def resident(what: str) -> float:
    """Megabytes of this process: "VmRSS" now, "VmHWM" at the peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024


class World:
    """A teacher with statistics of its own, targets for it, and real images (made up)."""

    def __init__(self, ipc: int, width: int) -> None:
        import torch

        from bench.contract.data import TensorSplit
        from bench_inversion.statistics import running, stacked, survey

        generator = torch.Generator().manual_seed(0)
        self.ipc, self.width = ipc, width
        labels = torch.arange(CLASSES).repeat_interleave(REAL)
        pixels = torch.rand(len(labels), *SHAPE, generator=generator)
        self.real = TensorSplit(pixels, labels)
        self.network = self.fresh(0)
        self.network.train()
        with torch.no_grad():
            self.network(pixels[::160])
        self.network.eval().requires_grad_(False)
        self.all = running(self.network)
        # few at a time, since memory that is freed here would not show in the loops
        surveys = [
            survey(self.network, self.real, torch.arange(k, len(labels), 100), batch=8)[0]
            for k in range(CLASSES)
        ]
        self.classes = stacked(surveys)
        features = width * 16
        self.features = torch.rand(CLASSES * ipc, features, generator=generator)
        self.weights = 0.5 + torch.rand(CLASSES * ipc, generator=generator)

    def fresh(self, seed: int) -> Any:
        import torch

        from bench.training import networks
        from bench_standard.architectures.convnet import ConvNet

        torch.manual_seed(seed)
        architecture = ConvNet(width=self.width, norm="batch")
        return networks.build(architecture, SHAPE, CLASSES, (0.5,), (0.29,))


def ours(world: World, iterations: int, whole: bool) -> None:
    from bench import Task
    from bench_inversion.recovery import recover
    from bench_inversion.settings import Recovery

    names = tuple(map(str, range(CLASSES)))
    task = Task(
        *(world.real, names, SHAPE, (0.5,), (0.29,), False, world.ipc, 0),
        networks={"teacher": lambda: world.network},
    )
    how = Recovery(iterations=iterations, lam=LAM, first_bn=FIRST, lr=LR, roll=ROLL, scale=SCALE)
    if whole:
        how = Recovery.of(how, features=1.0)
        recover(task, world.classes, how, features=world.features, weights=world.weights)
    else:
        recover(task, world.all, Recovery.of(how, cross_entropy=1.0, whole=False))


def plain_wmdd(world: World, batch: int, iterations: int) -> None:
    """Whole classes, `batch` images at a time: features to targets, statistics class by class."""
    import torch

    ipc = world.ipc
    together = max(1, batch // ipc)
    widths = world.classes.widths
    for first in range(0, CLASSES, together):
        classes = torch.arange(first, min(first + together, CLASSES))
        rows = torch.cat([torch.arange(ipc) + k * ipc for k in classes])
        target = world.features[rows]
        weights = world.weights[rows].view(-1, ipc)
        weights = weights / weights.sum(1, keepdim=True)
        means = world.classes.mean[classes].split(widths, 1)
        variances = world.classes.variance[classes].split(widths, 1)

        def loss(seen: Any, features: Any, logits: Any) -> Any:
            total = torch.linalg.norm(features - target)  # noqa: B023
            for layer, (x, mean, variance) in enumerate(zip(seen, means, variances, strict=True)):  # noqa: B023
                x = x.view(len(weights), ipc, *x.shape[1:])  # noqa: B023
                w = weights[:, :, None, None, None]  # noqa: B023
                m = (w * x).sum(1).mean((2, 3))
                v = (w * (x - m[:, None, :, None, None]).square()).sum(1).mean((2, 3))
                gap = (v - variance).norm(dim=1).mean() + (m - mean).norm(dim=1).mean()
                total = total + LAM * (FIRST if layer == 0 else 1) * gap
            return total

        optimise(world.network, len(rows), iterations, loss)


def plain_sre2l(world: World, iterations: int) -> None:
    """One image of each class at a time: cross-entropy, and the running statistics."""
    import torch
    from torch.nn import functional as F

    owners = torch.arange(CLASSES)
    means, variances = (s.split(world.all.widths) for s in (world.all.mean, world.all.variance))

    def loss(seen: Any, features: Any, logits: Any) -> Any:
        total = F.cross_entropy(logits, owners)
        for layer, (x, mean, variance) in enumerate(zip(seen, means, variances, strict=True)):
            m = x.mean((0, 2, 3))
            v = x.transpose(0, 1).flatten(1).var(1, unbiased=False)
            gap = (v - variance).norm() + (m - mean).norm()
            total = total + LAM * (FIRST if layer == 0 else 1) * gap
        return total

    for _ in range(world.ipc):
        optimise(world.network, CLASSES, iterations, loss)


def optimise(network: Any, count: int, iterations: int, loss_of: Any) -> None:
    import torch
    from torch import nn

    seen: list[Any] = []
    features: list[Any] = []
    linear = next(m for m in network.modules() if isinstance(m, nn.Linear))
    hooks = [linear.register_forward_hook(lambda _, i, o: features.append(i[0]))]
    layers = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    hooks += [m.register_forward_hook(lambda _, i, o: seen.append(i[0])) for m in layers]
    inputs = torch.randn(count, *SHAPE, requires_grad=True)
    adam = torch.optim.Adam([inputs], lr=LR, betas=(0.5, 0.9))
    low, high = -0.5 / 0.29, 0.5 / 0.29
    for iteration in range(iterations):
        for group in adam.param_groups:
            group["lr"] = 0.5 * LR * (1 + math.cos(math.pi * iteration / iterations))
        view = crop(inputs)
        shift = torch.randint(0, ROLL + 1, (2,)).tolist()
        seen.clear()
        features.clear()
        adam.zero_grad()
        logits = network(0.5 + 0.29 * torch.roll(view, shift, (2, 3)))
        loss_of(seen, features[0], logits).backward()
        adam.step()
        inputs.data = inputs.data.clamp(low, high)
    for hook in hooks:
        hook.remove()


def crop(images: Any) -> Any:
    """A random resized crop of whole pixels, the same for all images."""
    import torch
    from torch.nn import functional as F

    height, width = images.shape[2:]
    area = float(torch.empty(1).uniform_(*SCALE)) * height * width
    ratio = math.exp(float(torch.empty(1).uniform_(math.log(3 / 4), math.log(4 / 3))))
    h = min(height, max(1, round(math.sqrt(area / ratio))))
    w = min(width, max(1, round(math.sqrt(area * ratio))))
    top = int(torch.randint(0, height - h + 1, (1,)))
    left = int(torch.randint(0, width - w + 1, (1,)))
    part = images[:, :, top : top + h, left : left + w]
    return F.interpolate(part, (height, width), mode="bilinear", align_corners=False)


def plain_dm(world: World, iterations: int) -> None:
    """Distribution matching (Zhao and Bilen, 2023), without its augmentation."""
    import torch
    from torch import nn

    features: list[Any] = []
    images = torch.randn(CLASSES * world.ipc, *SHAPE, requires_grad=True)
    sgd = torch.optim.SGD([images], lr=1.0, momentum=0.5)
    for iteration in range(iterations):
        network = world.fresh(iteration).train().requires_grad_(False)
        linear = next(m for m in network.modules() if isinstance(m, nn.Linear))
        linear.register_forward_hook(lambda _, i, o: features.append(i[0]))
        loss = torch.zeros(())
        for k in range(CLASSES):
            features.clear()
            members = torch.randint(k * REAL, (k + 1) * REAL, (REAL,))
            with torch.no_grad():
                network(world.real.images(members))
            network(images[k * world.ipc : (k + 1) * world.ipc])
            loss = loss + (features[0].mean(0) - features[1].mean(0)).square().sum()
        sgd.zero_grad()
        loss.backward()
        sgd.step()


if __name__ == "__main__":
    main()
