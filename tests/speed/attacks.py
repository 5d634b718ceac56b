"""Our PGD and AutoAttack against torchattacks and pyautoattack called directly: cost, verdicts.

The same student (a ConvNet that is trained here on Fashion-MNIST, 28x28), the same images and the
same seed on both sides, one thread, CPU seconds. The two take turns on parts of the images, so
that a busy machine slows both. The radii leave about 80, 50 and 20 % of the images standing. A
user calls the libraries as their READMEs do, with all images of a part in one batch of at most
250, in a process as Python starts it; ours runs in a process with the allocator settings that
the harness gives its workers. `--same` gives both sides those settings.

    python tests/speed/attacks.py [--norm batch] [--images 200] [--same] [--only pgd]
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from bench.engine.fork import ENVIRONMENT

STANDING = (0.8, 0.5, 0.2)
PARTS = 2


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--norm", choices=["batch", "instance"], default="batch")
    arguments.add_argument("--width", type=int, default=32)
    arguments.add_argument("--images", type=int, default=200)
    arguments.add_argument("--steps", type=int, default=400, help="of the student's training")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--standing", type=float, nargs="*", default=STANDING)
    arguments.add_argument("--only", choices=["pgd", "autoattack"])
    arguments.add_argument("--same", action="store_true")
    args = arguments.parse_args()

    import torch

    torch.set_num_threads(1)
    student, data = trained(args.width, args.norm, args.steps)
    index = torch.arange(args.images)
    images, labels = data.test.images(index), data.test.labels[index]
    print(
        f"ConvNet-{args.width} with {args.norm} norm, {args.images} images, one thread, "
        f"allocator of the harness on {'both sides' if args.same else 'our side'}"
    )
    sides = (process(ENVIRONMENT if args.same else {}), process(ENVIRONMENT))
    pairs = {"pgd": (their_pgd, our_pgd), "autoattack": (their_autoattack, our_autoattack)}
    for name, pair in pairs.items():
        if args.only in (None, name):
            for share in args.standing:
                eps = radius(student, images, labels, share)
                compare(name, pair, sides, student, images, labels, eps, args.seed)
    for side in sides:
        side.shutdown()


def process(settings: dict[str, str]) -> ProcessPoolExecutor:
    """A process of its own, started with these environment variables."""
    before = dict(os.environ)
    os.environ |= settings
    pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    pool.submit(os.getpid).result()  # it starts with the first task
    os.environ.clear()
    os.environ |= before
    return pool


def trained(width: int, norm: str, steps: int) -> tuple[Any, Any]:
    import torch

    from bench.training import networks
    from bench.training.classifier import Examples, fit
    from bench.training.recipe import Recipe
    from bench_standard.architectures.convnet import ConvNet
    from bench_standard.datasets.idx import FashionMNIST

    data = FashionMNIST().load()
    torch.manual_seed(0)
    architecture = ConvNet(width=width, norm=norm)
    student = networks.build(architecture, data.shape, len(data.classes), data.mean, data.std)
    fit(
        student,
        Examples(data.train, torch.arange(len(data.train.labels)), data.train.labels),
        Recipe(steps=steps, batch=128, lr=0.05),
        classes=len(data.classes),
        seed=0,
    )
    return student.eval(), data


def radius(student: Any, images: Any, labels: Any, share: float) -> float:
    """The radius in which PGD leaves that share of the images standing, to a quarter of 1/255."""
    import torch

    from bench_standard.attacks.gradient import PGD

    low, high = 0.0, 64.0
    while high - low > 0.25:
        eps = (low + high) / 2
        torch.manual_seed(0)
        attacked = PGD(eps=eps / 255, steps=20).perturb(student, images, labels)
        left = float(standing(student, attacked, labels).double().mean())
        low, high = (eps, high) if left > share else (low, eps)
    return (low + high) / 2 / 255


def standing(student: Any, images: Any, labels: Any) -> Any:
    import torch

    with torch.no_grad():
        return student(images).argmax(1) == labels


Attack = Callable[[Any, Any, Any, float, int], Any]  # student, images, labels, eps, seed


def their_pgd(student: Any, images: Any, labels: Any, eps: float, seed: int) -> Any:
    import torch
    import torchattacks

    torch.manual_seed(seed)
    attack = torchattacks.PGD(student, eps=eps, alpha=2.5 * eps / 100, steps=100)
    return attack(images, labels)


def our_pgd(student: Any, images: Any, labels: Any, eps: float, seed: int) -> Any:
    import torch

    from bench_standard.attacks.gradient import PGD

    torch.manual_seed(seed)
    return PGD(eps=eps, steps=100).perturb(student, images, labels)


def their_autoattack(student: Any, images: Any, labels: Any, eps: float, seed: int) -> Any:
    from pyautoattack import AutoAttack

    attack = AutoAttack(student, eps=eps, norm="Linf", seed=seed)
    attack.logger.setLevel("ERROR")
    return attack.run_standard_evaluation(images, labels, batch_size=250)[0]


def our_autoattack(student: Any, images: Any, labels: Any, eps: float, seed: int) -> Any:
    import torch

    from bench_standard.attacks.auto import AutoAttack

    torch.manual_seed(seed)
    return AutoAttack(eps=eps).perturb(student, images, labels)


def attacked(
    attack: Attack, student: Any, images: Any, labels: Any, eps: float, seed: int
) -> tuple[Any, float, int, int]:
    """Which images still stand, CPU seconds, passes forward and back: in a process of a side."""
    import torch

    from bench.training.passes import counting

    torch.set_num_threads(1)
    start = time.process_time()
    with counting(student) as passes:
        moved = attack(student, images, labels, eps, seed)
    seconds = time.process_time() - start
    return standing(student, moved, labels), seconds, passes.forward, passes.backward


def compare(
    name: str,
    pair: tuple[Attack, Attack],
    sides: tuple[ProcessPoolExecutor, ProcessPoolExecutor],
    student: Any,
    images: Any,
    labels: Any,
    eps: float,
    seed: int,
) -> None:
    import torch

    right: list[list[Any]] = [[], []]
    seconds, forward, backward = [0.0, 0.0], [0, 0], [0, 0]
    for side in (0, 1):  # whatever is slow the first time
        sides[side].submit(attacked, pair[side], student, images[:2], labels[:2], 0.5, 0).result()
    for turn, (some, their) in enumerate(parts(images, labels)):
        for side in (0, 1) if turn % 2 == 0 else (1, 0):
            task = sides[side].submit(attacked, pair[side], student, some, their, eps, seed)
            still, took, went, back = task.result()
            seconds[side] += took
            forward[side] += went
            backward[side] += back
            right[side].append(still)
    theirs, ours = (torch.cat(r) for r in right)
    n = len(labels)
    print(
        f"{name:<11}eps {eps * 255:5.2f}/255  standing {theirs.double().mean():.1%} -> "
        f"{ours.double().mean():.1%} (other verdict: {int((theirs & ~ours).sum())} fall with us "
        f"alone, {int((ours & ~theirs).sum())} with them alone)  "
        f"forward {forward[0] / n:.0f} -> {forward[1] / n:.0f}, backward {backward[0] / n:.0f} "
        f"-> {backward[1] / n:.0f} an image  {seconds[0]:.1f} s -> {seconds[1]:.1f} s: "
        f"{seconds[0] / seconds[1]:.2f}x as fast",
        flush=True,
    )


def parts(images: Any, labels: Any) -> Iterator[tuple[Any, Any]]:
    return zip(images.chunk(PARTS), labels.chunk(PARTS), strict=True)


if __name__ == "__main__":
    main()
