"""What the bilevel method of `bench_d2c` costs, and what its shortcuts are worth: four questions.

    steps      an outer step that matches K = 8 points in time, against one that matches all 1,000
    memory     the peak of a condensation as T grows
    times      the held-out loss of denoisers trained on pools learnt at K = 8 and at K = 50
    gradients  the cosine of each hypergradient to the exact one, and its cost

Handwritten digits, 2 images a class, a residual MLP of 30 thousand weights (or `--network dit-xs`
for the first two); CPU seconds, one thread. Held-out images are carved from the training split.

    python tests/speed/d2c.py [steps memory times gradients] [--network mlp]
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench import Task
from bench.contract.data import Data, TensorSplit
from bench.training import diffusion
from bench.training.classifier import Examples
from bench.training.denoiser import fit
from bench.training.diffusion import Schedule, losses
from bench.training.recipe import DiffusionRecipe

QUESTIONS = ("steps", "memory", "times", "gradients")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("questions", nargs="*", default=[], metavar="QUESTION")
    arguments.add_argument("--network", choices=("mlp", "dit-xs"), default="mlp")
    arguments.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    args = arguments.parse_args()
    torch.set_num_threads(1)
    if args.peak:
        print(peak(args.network, args.peak))
        return
    answers = {"steps": steps, "memory": memory, "times": times, "gradients": gradients}
    for question in args.questions or QUESTIONS:
        answers[question](args.network)


@dataclass(frozen=True)
class MLP:
    """64 pixels to 96, a residual layer, and back; the last layer sees the input, too."""

    name: str = "mlp"
    track = "generation"

    def build(self, shape: Any, classes: int, extras: Any) -> nn.Module:
        return Network(math.prod(shape), classes)


class Network(nn.Module):
    def __init__(self, size: int, classes: int, width: int = 96) -> None:
        super().__init__()
        self.enter, self.time = nn.Linear(size, width), nn.Linear(16, width)
        self.label, self.middle = nn.Embedding(classes + 1, width), nn.Linear(width, width)
        self.leave = nn.Linear(width + size, size)

    def forward(self, x: Any, t: Any, labels: Any, extras: Any) -> Any:
        angles = t.to(x)[:, None] * math.pi / 2 * 2 ** torch.arange(8).to(x)
        hidden = self.enter(x.flatten(1)) + self.label(labels)
        hidden = F.silu(hidden + self.time(torch.cat([angles.sin(), angles.cos()], 1)))
        hidden = hidden + F.silu(self.middle(hidden))
        return self.leave(torch.cat([hidden, x.flatten(1)], 1)).view_as(x)


def architecture(name: str) -> Any:
    if name == "mlp":
        return MLP()
    from bench_standard.architectures.dit import DIT_XS

    return replace(DIT_XS, patch=2)


def digits() -> Data:
    """Its training images, of which 300 are held out in place of the test split."""
    from bench_standard.datasets.digits import Digits

    data = Digits().load()
    order = torch.randperm(len(data.train.labels), generator=torch.Generator().manual_seed(9))

    def part(index: Any) -> TensorSplit:
        return TensorSplit(data.train.images(index), data.train.labels[index])

    return replace(data, train=part(order[300:]), test=part(order[:300]))


def task(network: str, seed: int = 0, timesteps: int = 1000) -> Task:
    data, calls = digits(), itertools.count()

    def fresh() -> nn.Module:
        torch.manual_seed(1000 * seed + next(calls))
        schedule = Schedule(timesteps=timesteps)
        return diffusion.build(architecture(network), data.shape, len(data.classes), schedule)

    facts = (data.train, data.classes, data.shape, data.mean, data.std, data.flip)
    return Task(*facts, 2, seed, networks={"denoiser": fresh})


def steps(network: str) -> None:
    """One class, one outer step; exact matching from 40 of the 1,000 times, by 25."""
    from bench_d2c.bilevel import D2C
    from bench_d2c.hypergradient import hypergradient, implicit
    from bench_d2c.learning import Problem
    from bench_d2c.matching import Bank, denoising, last_layer, matched
    from bench_matching.matching import RealImages

    how, given, draws = D2C(text=False), task(network), torch.Generator().manual_seed(0)
    labels = torch.arange(10).repeat_interleave(2)
    here = Problem(given, how, draws, labels, RealImages(given, draws), {})
    denoiser, pool = here.fresh(), [(torch.rand(20, *given.shape) * 2 - 1).requires_grad_()]
    layer = last_layer(denoiser, pool[0].detach(), {})
    weights = dict(denoiser.named_parameters())

    def step(at: Any) -> float:
        options = {"kind": how.distance, "distribution": how.distribution, "extras": {}}
        pairs = (here.pair(3, t[None], denoiser, pool) for t in at)
        terms = (matched(denoiser, pair, layer, total=True, **options) for pair in pairs)
        bank = Bank.drawn(torch.arange(how.batch // 2) % 20, at, pool[0].detach(), draws)
        inner = denoising(denoiser, labels, bank)
        made = implicit(inner, weights, pool, how.damping, how.iterations)
        start = time.process_time()
        with sdpa_kernel(SDPBackend.MATH):
            hypergradient(terms, made[0], pool, made[1])
        return time.process_time() - start

    few, many = torch.arange(62, 1000, 125), torch.arange(12, 1000, 25)
    step(few)
    costs = [min(step(at) for _ in range(3)) for at in (few, many)]
    each = (costs[1] - costs[0]) / (len(many) - len(few))
    exact = costs[0] + (1000 - len(few)) * each
    print(
        f"steps      {network}: K = 8 {costs[0]:.3f} s; all 1,000 {exact:.1f} s (extrapolated from "
        f"40); 1/{exact / costs[0]:.0f}"
    )


def memory(network: str) -> None:
    """A process for each T, from scoring to the last step."""
    found = {}
    for timesteps in (100, 1000, 4000):
        command = [sys.executable, __file__, "--network", network, "--peak", str(timesteps)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found[timesteps] = float(done.stdout.split()[-1])
    print(
        "memory     peak above the start: "
        + ", ".join(f"T = {t} {m:.0f} MB" for t, m in found.items())
    )


def peak(network: str, timesteps: int) -> float:
    from bench_d2c.bilevel import D2C

    given = task(network, timesteps=timesteps)
    D2C(text=False, outer=1, warmup=2, steps=1).condense(given)  # what is loaded once
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    D2C(text=False, outer=6, warmup=10, steps=6).condense(given)
    return resident("VmHWM") - before


def resident(what: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024


def times(network: str, seeds: int = 3) -> None:
    """Means over seeds of pool and denoiser; the lowest loss at any of four checkpoints."""
    from bench_d2c.bilevel import D2C

    data = digits()
    methods = {
        "real images": D2C(text=False, outer=1, lr=1e-9),
        "K = 1": D2C(text=False, timesteps=1),
        "K = 8": D2C(text=False, timesteps=8),
        "K = 50": D2C(text=False, timesteps=50, choose="systematic"),
        "K = 8, uniform": D2C(text=False, timesteps=8, score="uniform"),
        "K = 8, norm": D2C(text=False, timesteps=8, score="norm"),
        "K = 8, gm": D2C(text=False, timesteps=8, hypergrad="gm"),
        "K = 8, unroll": D2C(text=False, timesteps=8, hypergrad="unroll"),
        "K = 8, cg, loss": D2C(text=False, timesteps=8, objective="loss"),
        "K = 8, unroll, loss": D2C(text=False, timesteps=8, hypergrad="unroll", objective="loss"),
        "K = 8, head, loss": D2C(text=False, timesteps=8, hypergrad="head", objective="loss"),
        "K = 8, no features": D2C(text=False, timesteps=8, distribution=0.0),
        "K = 8, no pull": D2C(text=False, timesteps=8, pull=0.0),
        "K = 8, gm, real": D2C(text=False, timesteps=8, hypergrad="gm", denoisers="real"),
        "K = 8, cg, real": D2C(text=False, timesteps=8, denoisers="real"),
    }
    print(f"times      held-out loss of {network}, 800 steps on 2 images a class, {seeds} seeds")
    for name, method in methods.items():
        found, spent = [], 0.0
        for seed in range(seeds):
            start = time.process_time()
            made = method.condense(task(network, seed))
            spent += time.process_time() - start
            found.append(held_out(made, data, network, seed))
        shown = " ".join(f"{f:.4f}" for f in found)
        mean = sum(found) / seeds
        print(f"           {name:<18}{mean:.4f}  ({shown})  {spent / seeds:.0f} s", flush=True)


def held_out(made: Any, data: Data, network: str, seed: int) -> float:
    from bench.training import networks

    torch.manual_seed(77 + seed)
    denoiser = diffusion.build(architecture(network), data.shape, len(data.classes))
    labels = made.labels.argmax(1)
    examples = Examples(TensorSplit(made.images, labels), torch.arange(len(labels)), labels)
    recipe = DiffusionRecipe(steps=800, checkpoints=(100, 200, 400))
    kept = fit(denoiser, examples, recipe, seed=seed)
    states = [*kept.values(), networks.state(denoiser)]
    x, found = 2 * data.test.images(torch.arange(300)) - 1, []
    for state in states:
        networks.load(denoiser, state)
        generator = torch.Generator().manual_seed(5)
        parts = []
        for _ in range(8):
            at = torch.randint(1000, (300,), generator=generator)
            noise = torch.randn(x.shape, generator=generator)
            with torch.no_grad():
                parts.append(losses(denoiser, x, data.test.labels, at, noise, {}).mean())
        found.append(float(torch.stack(parts).mean()))
    return min(found)


def gradients(network: str, steps: int = 100, lr: float = 0.1) -> None:
    """The loss on real images after 100 steps of descent from a denoiser that has learnt for 300.

    float64; all from the same weights, bank of 160 draws and 256 real images.
    """
    from bench_d2c.hypergradient import hypergradient, implicit, largest_curvature, solved, unrolled
    from bench_d2c.matching import Bank, Pair, denoising, head, last_layer, matched
    from bench_d2c.pool import begin

    given, draws = task("mlp"), torch.Generator().manual_seed(0)
    images, labels = begin(given, "random", draws)
    denoiser = given.denoiser()
    examples = Examples(TensorSplit(images, labels), torch.arange(len(labels)), labels)
    fit(denoiser, examples, DiffusionRecipe(steps=300, ema=0.0, dropout=0.0), seed=0)
    denoiser.double()
    pool, grid = [(2 * images.double() - 1).requires_grad_()], torch.arange(200, 800, 75)
    bank = Bank.drawn(torch.arange(80) % len(labels), grid, pool[0].detach(), draws)
    inner = denoising(denoiser, labels, bank)
    picked = torch.randperm(len(given.train.labels), generator=draws)[:128]
    real = 2 * given.train.images(picked).double() - 1
    aim = Bank.drawn(torch.arange(128), grid, real, draws)
    outer = denoising(denoiser, given.train.labels[picked], aim, real)
    start = {name: weight.detach() for name, weight in denoiser.named_parameters()}

    def after(count: int) -> Any:
        weights: Any = start
        for _ in range(count):
            made, _ = unrolled(inner, weights, [pool[0].detach()], 1, lr)
            weights = {name: weight.detach() for name, weight in made.items()}
        return weights

    def took(make: Any, *, terms: Any = None) -> tuple[Any, float]:
        begun = time.process_time()
        weights, respond = make()
        _, found = hypergradient(terms or [outer], weights, pool, respond)
        return found[0], time.process_time() - begun

    print(
        f"gradients  mlp, {steps} steps, lr {lr:g}; largest curvature "
        f"{largest_curvature(inner, after(steps), pool, 20):.1f}"
    )
    exact, whole = took(lambda: unrolled(inner, start, pool, steps, lr))
    reached = after(steps)
    layer = last_layer(denoiser, pool[0].detach(), {})
    fitted = head(denoiser, layer, labels, bank, 1 / (lr * steps))
    rows = {}
    for last in (1, 5, 20, 50):
        before = after(steps - last)
        rows[f"unroll, last {last}"] = took(
            lambda weights=before, last=last: unrolled(inner, weights, pool, last, lr)
        )
    for damping in (1 / (lr * steps), 0.01, 1.0):
        rows[f"cg, 20, damping {damping:g}"] = took(
            lambda d=damping: implicit(inner, reached, pool, d, 20)
        )
    rows["head"] = took(lambda: solved(fitted, reached, pool))
    terms = []
    for label in range(10):
        own = (given.train.labels == label).nonzero().squeeze(1)[:64]
        items = (labels == label).nonzero().squeeze(1)[torch.arange(32) % 2]
        pair = Pair(
            label,
            2 * given.train.images(own).double() - 1,
            Bank.drawn(items, grid, pool[0].detach(), draws),
        )
        options = {"kind": "cosine", "distribution": 0.0, "extras": {}, "total": False}
        terms.append(matched(denoiser, pair, layer, **options))
    rows["gm (matching)"] = took(lambda: (reached, None), terms=terms)
    for name, (found, cost) in rows.items():
        cosine = F.cosine_similarity(found.flatten(), exact.flatten(), dim=0)
        print(f"           {name:<24}cosine {cosine:.3f}  cost {cost / whole:.2f} of the exact")


if __name__ == "__main__":
    main()
