"""`bench.training.classifier.fit` against the loop that a user would write: seconds, and accuracy.

The same network, optimiser, schedule, initial weights and number of steps on both sides, one
thread, images made up here. The user's loop is a DataLoader over PIL images with torchvision's
RandomCrop(32, padding=4), RandomHorizontalFlip, ToTensor and Normalize. The trainer's rows run
with the allocator settings that the harness gives its workers, the user's with the system's;
a row shows what the user's loop would gain from them. "network" is the share of the time
that goes into forward and backward, which no trainer of this network can leave out.

    python tests/speed/trainer.py [--seeds 3] [--steps 60] [--width 32] [--norm instance]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

ROWS = {
    "plain": "DataLoader + torchvision",
    "plain, malloc": "the same, allocator settings",
    "fit": "bench.training.classifier.fit",
    "fit, channels_last": "recipe.channels_last",
}
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "2000000000", "MALLOC_TRIM_THRESHOLD_": "4000000000"}
BATCH, LR, MOMENTUM, DECAY = 256, 0.05, 0.9, 5e-4
MEAN, STD = (0.5,) * 3, (0.25,) * 3


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--steps", type=int, default=60)
    arguments.add_argument("--width", type=int, default=32)
    arguments.add_argument("--norm", choices=["instance", "batch"], default="instance")
    arguments.add_argument("--one", nargs=2, metavar=("ROW", "SEED"), help=argparse.SUPPRESS)
    args = arguments.parse_args()
    if args.one:
        row, seed = args.one
        print(json.dumps(measure(row, int(seed), args.steps, args.width, args.norm)))
        return

    results: dict[str, list[dict[str, float]]] = {row: [] for row in ROWS}
    for seed in range(args.seeds):  # rows take turns, so that a busy machine slows all of them
        for row in ROWS:
            results[row].append(in_a_process(row, seed, args.steps, args.width, args.norm))
            print(f"seed {seed}  {row:<20}{summary([results[row][-1]])}", flush=True)
    base = results["plain"]
    print(
        f"\n{args.seeds} seeds, {args.steps} steps of {BATCH}, ConvNet-{args.width} with "
        f"{args.norm} norm, one thread, CPU seconds"
    )
    for row, runs in results.items():
        ratio = mean(base, "seconds") / mean(runs, "seconds")
        print(f"{ROWS[row]:<30}{summary(runs)}  {ratio:.2f}x as fast")
    loading = mean(base, "loading") / mean(results["fit"], "loading")
    print(f"loading and augmentation alone: {loading:.0f}x as fast")


def mean(runs: list[dict[str, float]], key: str) -> float:
    return statistics.fmean(run[key] for run in runs)


def summary(runs: list[dict[str, float]]) -> str:
    share = mean(runs, "network") / mean(runs, "seconds")
    spread = statistics.stdev(run["accuracy"] for run in runs) if len(runs) > 1 else 0
    return (
        f"{mean(runs, 'seconds'):7.1f} s  network {share:4.0%}  "
        f"loading {mean(runs, 'loading'):6.2f} s  "
        f"accuracy {mean(runs, 'accuracy'):6.1%} ± {spread:.1%}"
    )


def in_a_process(row: str, seed: int, steps: int, width: int, norm: str) -> dict[str, float]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | (MALLOC if row != "plain" else {})
    command = [sys.executable, __file__, "--one", row, str(seed)]
    command += ["--steps", str(steps), "--width", str(width), "--norm", norm]
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(output.stdout.splitlines()[-1])
    return result


def measure(row: str, seed: int, steps: int, width: int, norm: str) -> dict[str, float]:
    """CPU seconds: of the whole, of forward and backward alone, of loading alone; and accuracy."""
    import torch
    import torch._dynamo  # an optimiser imports it, 1 s; the harness's workers have it already

    torch.set_num_threads(1)
    train, test = pictures(1000, seed), pictures(1000, seed + 1000)
    torch.manual_seed(seed)
    network = convnet(width, norm)

    passes = clocked(network.network)
    start = time.process_time()
    if row.startswith("plain"):
        plain_loop(network, train, steps, seed)
    else:
        with_fit(network, train, steps, seed, channels_last="channels_last" in row)
    seconds, network_seconds = time.process_time() - start, sum(passes)

    network.eval()
    with torch.no_grad():
        right = [
            (network(images).argmax(1) == labels).float()
            for images, labels in zip(
                test[0].float().div(255).split(250), test[1].split(250), strict=True
            )
        ]
    start = time.process_time()
    batches = plain_batches if row.startswith("plain") else fit_batches
    for _ in batches(train, steps, seed):
        pass
    loading = time.process_time() - start
    return {
        "seconds": seconds,
        "loading": loading,
        "network": network_seconds,
        "accuracy": float(torch.cat(right).mean()),
    }


def pictures(count: int, seed: int):  # type: ignore[no-untyped-def]
    """Made-up images, uint8 [count, 3, 32, 32], 10 classes: a smooth pattern each, and noise."""
    import torch
    from torch.nn import functional as F

    patterns = torch.randn(10, 3, 6, 6, generator=torch.Generator().manual_seed(7))
    patterns = F.interpolate(patterns, size=(32, 32), mode="bicubic")
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 10
    noise = F.interpolate(torch.randn(count, 3, 8, 8, generator=generator), size=(32, 32))
    noise = noise + torch.randn(count, 3, 32, 32, generator=generator)
    images = 0.5 + 0.06 * patterns[labels] + 0.12 * noise
    return (images.clamp(0, 1) * 255).byte(), labels


def convnet(width: int, norm: str):  # type: ignore[no-untyped-def]
    """The ConvNet of the field: 3 blocks of convolution, norm, ReLU, average pooling."""
    from torch import nn

    from bench.training.networks import Normalized

    layers: list[nn.Module] = []
    for channels in (3, width, width):
        normalise = nn.BatchNorm2d(width) if norm == "batch" else nn.GroupNorm(width, width)
        layers += [nn.Conv2d(channels, width, 3, padding=1), normalise]
        layers += [nn.ReLU(), nn.AvgPool2d(2)]
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * 16, 10))
    return Normalized(network, MEAN, STD)


def plain_batches(train, steps: int, seed: int) -> Iterator:  # type: ignore[no-untyped-def,type-arg]
    import torch
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset
    from torchvision import transforms

    images = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in train[0]]
    labels = train[1].tolist()
    view = transforms.Compose(
        [
            transforms.RandomCrop(32, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )

    class Pictures(Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, row: int):  # type: ignore[no-untyped-def]
            return view(images[row]), labels[row]

    torch.manual_seed(seed)
    loader = DataLoader(Pictures(), batch_size=BATCH, shuffle=True)
    done = 0
    while done < steps:
        for batch in loader:
            if done == steps:
                return
            done += 1
            yield batch


def plain_loop(network, train, steps: int, seed: int) -> None:  # type: ignore[no-untyped-def]
    import torch
    from torch.nn import functional as F

    inner = network.network  # Normalize is one of the transforms
    optimizer = torch.optim.SGD(
        inner.parameters(), lr=LR, momentum=MOMENTUM, nesterov=True, weight_decay=DECAY
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    inner.train()
    for images, labels in plain_batches(train, steps, seed):
        optimizer.zero_grad()
        F.cross_entropy(inner(images), labels).backward()
        optimizer.step()
        schedule.step()


def recipe(steps: int, channels_last: bool = False):  # type: ignore[no-untyped-def]
    from bench.training.recipe import Recipe

    return Recipe(
        steps=steps,
        batch=BATCH,
        lr=LR,
        momentum=MOMENTUM,
        weight_decay=DECAY,
        crop=4,
        flip=True,
        channels_last=channels_last,
    )


def with_fit(network, train, steps: int, seed: int, channels_last: bool) -> None:  # type: ignore[no-untyped-def]
    import torch

    from bench.contract.data import TensorSplit
    from bench.training.classifier import Examples, fit

    examples = Examples(TensorSplit(*train), torch.arange(len(train[1])), train[1])
    fit(network, examples, recipe(steps, channels_last), classes=10, seed=seed, flip=True)


def fit_batches(train, steps: int, seed: int) -> Iterator:  # type: ignore[no-untyped-def,type-arg]
    """The batches of `fit`, without the network."""
    import torch

    from bench.contract.data import TensorSplit
    from bench.training import classifier as trainer

    examples = trainer.Examples(TensorSplit(*train), torch.arange(len(train[1])), train[1])
    generator = torch.Generator().manual_seed(seed)
    for _, images in trainer._loaded(examples, recipe(steps), steps, seed, "cpu"):
        yield trainer._view(images, recipe(steps), True, generator)


def clocked(network) -> list[float]:  # type: ignore[no-untyped-def]
    """From now on, the CPU seconds of each pass of `network`, forward or backward."""
    import torch

    spent: list[float] = []

    def timed(function):  # type: ignore[no-untyped-def]
        def call(*args):  # type: ignore[no-untyped-def]
            start = time.process_time()
            result = function(*args)
            spent.append(time.process_time() - start)
            return result

        return call

    network.forward = timed(network.forward)
    torch.Tensor.backward = timed(torch.Tensor.backward)
    return spent


if __name__ == "__main__":
    main()
