"""What the bilevel method of `bench_d2c` costs, and what its shortcuts are worth: six questions.

An outer step that matches K = 8 points in time, against one that matches all 1,000; the time and
the peak memory of a condensation as T grows; each hypergradient against the exact one, cost and
cosine; and, the longest, the held-out loss of denoisers trained on pools that were learnt with and
without each part of the method.

Handwritten digits, 2 images a class, a residual MLP of 30 thousand weights or `dit-xs`. Held-out
images are carved from the training split.

What a step is worth before all that: how far two gradients of the same images agree, by what is
done about their noise; and what a step on 28x28 takes, in float32 and in bfloat16.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from bench import CondensedSet, Task
from bench.contract.data import Data, TensorSplit
from bench.training import diffusion, networks
from bench.training.classifier import Examples
from bench.training.denoiser import fit
from bench.training.diffusion import Schedule, losses
from bench.training.recipe import DiffusionRecipe
from bench_d2c.bilevel import D2C
from bench_d2c.hypergradient import hypergradient, implicit, largest_curvature, solved, unrolled
from bench_d2c.learning import Problem
from bench_d2c.matching import Bank, Pair, denoising, head, last_layer, matched
from bench_d2c.pool import begin
from bench_matching.matching import RealImages
from bench_standard.architectures.dit import DIT_XS
from bench_standard.datasets.digits import Digits

CLASSES, STEPS, LR = 10, 100, 0.1  # steps and rate of the descent that hypergradients go back on


@dataclass(frozen=True)
class MLP:
    """64 pixels to 96, a residual layer, and back; the last layer sees the input, too."""

    name: str = "mlp"
    track = "generation"

    def build(self, shape: tuple[int, ...], classes: int, extras: Any) -> nn.Module:
        return Network(math.prod(shape), classes)


class Network(nn.Module):
    def __init__(self, size: int, classes: int, width: int = 96) -> None:
        super().__init__()
        self.enter, self.time = nn.Linear(size, width), nn.Linear(16, width)
        self.label, self.middle = nn.Embedding(classes + 1, width), nn.Linear(width, width)
        self.leave = nn.Linear(width + size, size)

    def forward(self, x: Tensor, t: Tensor, labels: Tensor, extras: Any) -> Tensor:
        angles = t.to(x)[:, None] * math.pi / 2 * 2 ** torch.arange(8).to(x)
        hidden = self.enter(x.flatten(1)) + self.label(labels)
        hidden = F.silu(hidden + self.time(torch.cat([angles.sin(), angles.cos()], 1)))
        hidden = hidden + F.silu(self.middle(hidden))
        return self.leave(torch.cat([hidden, x.flatten(1)], 1)).view_as(x)


ARCHITECTURES: dict[str, Any] = {"mlp": MLP(), "dit-xs": replace(DIT_XS, patch=2)}


@cache
def digits() -> Data:
    """Its training images, of which 300 are held out in place of the test split."""
    data = Digits().load()
    order = torch.randperm(len(data.train.labels), generator=torch.Generator().manual_seed(9))

    def part(index: Tensor) -> TensorSplit:
        return TensorSplit(data.train.images(index), data.train.labels[index])

    return replace(data, train=part(order[300:]), test=part(order[:300]))


def task(network: str, seed: int = 0, timesteps: int = 1000) -> Task:
    data, calls = digits(), itertools.count()

    def fresh() -> nn.Module:
        torch.manual_seed(1000 * seed + next(calls))
        schedule = Schedule(timesteps=timesteps)
        return diffusion.build(ARCHITECTURES[network], data.shape, CLASSES, schedule)

    facts = (data.train, data.classes, data.shape, data.mean, data.std, data.flip)
    return Task(*facts, 2, seed, networks={"denoiser": fresh})


def wide() -> Task:
    """18 images a class of 28x28, of noise: what a step takes does not depend on what they show."""
    generator = torch.Generator().manual_seed(0)
    train = TensorSplit(
        torch.rand(400, 1, 28, 28, generator=generator), torch.arange(400) % CLASSES
    )
    names = [str(k) for k in range(CLASSES)]
    return Task(train, names, (1, 28, 28), (0.5,), (0.5,), False, 18, 0)


@pytest.mark.parametrize("times", ["K = 8", "all"])
@pytest.mark.parametrize(
    ("network", "timesteps"),
    [pytest.param("mlp", 100, marks=pytest.mark.short), ("mlp", 1000), ("dit-xs", 1000)],
)
def test_outer_step(network: str, timesteps: int, times: str, benchmark: BenchmarkFixture) -> None:
    """One class, one step: the gradient of the match of real and pool, at so many times."""
    benchmark.group = f"an outer step of {network}, T = {timesteps:,}"
    how, given = D2C(text=False), task(network, timesteps=timesteps)
    draws, few = torch.Generator().manual_seed(0), times == "K = 8"
    labels = torch.arange(CLASSES).repeat_interleave(2)
    here = Problem(given, how, draws, labels, RealImages(given, draws), {})
    denoiser, pool = here.fresh(), [(torch.rand(20, *given.shape) * 2 - 1).requires_grad_()]
    layer = last_layer(denoiser, pool[0].detach(), {})
    weights = dict(denoiser.named_parameters())
    options = {"kind": how.distance, "distribution": how.distribution, "extras": {}}

    def prepared() -> tuple[Any, Any]:
        at = torch.linspace(0, timesteps - 1, 8 if few else timesteps).long()
        pairs = (here.pair(3, t[None], denoiser, pool) for t in at)
        terms = (matched(denoiser, pair, layer, total=True, **options) for pair in pairs)
        bank = Bank.drawn(torch.arange(how.batch // 2) % 20, at, pool[0].detach(), draws)
        inner = denoising(denoiser, labels, bank)
        made = implicit(inner, weights, pool, how.damping, how.iterations)
        return (terms, made[0], pool, made[1]), {}

    def step(*parts: Any) -> Any:
        with sdpa_kernel(SDPBackend.MATH):
            return hypergradient(*parts)

    _, (found,) = benchmark.pedantic(
        step, setup=prepared, rounds=5 if few else 1, warmup_rounds=few
    )
    assert found.isfinite().all()


@pytest.mark.parametrize("timesteps", [100, 1000, 4000])
@pytest.mark.parametrize("network", ARCHITECTURES)
def test_timesteps(
    network: str,
    timesteps: int,
    benchmark: BenchmarkFixture,
    memory: Callable[[], AbstractContextManager[None]],
) -> None:
    """From scoring to the last step: neither time nor memory grows with T."""
    benchmark.group = f"a condensation with {network}, by the T of its schedule"
    given = task(network, timesteps=timesteps)
    D2C(text=False, outer=1, warmup=2, steps=1).condense(given)  # what is loaded once
    with memory():
        benchmark.pedantic(D2C(text=False, outer=6, warmup=10, steps=6).condense, (given,))


FEW = D2C(pairs=10, real_batch=16, hypergrad="gm", text=False)
NOISE = {
    "gm, 16 images a pair": FEW,
    "stratified": replace(FEW, stratified=True),
    "stratified, 64 real and 16 of the pool": replace(
        FEW, stratified=True, real_batch=64, pool_batch=16
    ),
    "stratified, 64 and 64": replace(FEW, stratified=True, real_batch=64),
    "two denoisers": replace(FEW, stratified=True, averaged=2),
    "cg": replace(FEW, stratified=True, hypergrad="cg", iterations=5),
    "cg, 64 and 64, 256 in its Hessian": replace(
        FEW, stratified=True, real_batch=64, hypergrad="cg", iterations=5, batch=256
    ),
    "head, loss, 640 real and 512": replace(
        FEW, stratified=True, real_batch=128, hypergrad="head", objective="loss", batch=512
    ),
}


@pytest.mark.parametrize("name", NOISE)
@pytest.mark.benchmark(
    group="a step's gradient of 100 images by dit-xs, and what it shares with another"
)
def test_agreement(name: str, benchmark: BenchmarkFixture) -> None:
    """Three gradients of the same images by the same denoisers, 80 steps old: their cosines.

    `signal to noise` is cos / (1 - cos), by the second: what a step brings at its price.
    """
    how, given = NOISE[name], replace(task("dit-xs"), ipc=10)
    draws = torch.Generator().manual_seed(0)
    images, labels = begin(given, "random", draws)
    here = Problem(given, how, draws, labels, RealImages(given, draws), {})
    pool = [(2 * images - 1).requires_grad_()]
    denoisers = [here.fresh() for _ in range(how.averaged)]
    for denoiser in denoisers:
        here.train(denoiser, here.shown(denoiser, pool), 80, {})
    times, found = torch.tensor([125, 275, 425, 575, 725, 875]), []

    def step() -> None:
        parts = [here.gradient(denoiser, times, pool)[1][0] for denoiser in denoisers]
        found.append(torch.stack(parts).mean(0).flatten())

    benchmark.pedantic(step, rounds=3)
    cosine = float(
        torch.stack([F.cosine_similarity(*p, 0) for p in itertools.combinations(found, 2)]).mean()
    )
    benchmark.extra_info["cosine"] = cosine
    benchmark.extra_info["signal to noise, a second"] = (
        cosine / (1 - cosine) / benchmark.stats.stats.mean
    )


STEPS_OF = {
    f"{kind}, {'bf16' if bf16 else 'float32'}": D2C(
        text=False, pairs=1, hypergrad=kind, iterations=3, bf16=bf16
    )
    for kind in ("cg", "gm")
    for bf16 in (False, True)
}


@pytest.mark.parametrize("name", STEPS_OF)
@pytest.mark.benchmark(group="a step of dit-xs on 28x28: conjugate gradients, or none; bf16")
def test_rounded(name: str, benchmark: BenchmarkFixture) -> None:
    """The same gradient but for rounding."""
    how, given = STEPS_OF[name], wide()

    def prepared(how: D2C) -> tuple[Any, Any]:
        draws = torch.Generator().manual_seed(0)
        images, labels = begin(given, "random", draws)
        here = Problem(given, how, draws, labels, RealImages(given, draws), {})
        torch.manual_seed(0)
        denoiser = diffusion.build(DIT_XS, given.shape, CLASSES)
        pool = [(2 * images - 1).requires_grad_()]
        here.train(denoiser, here.shown(denoiser, pool), 3, {})
        return (here, denoiser, torch.tensor([200, 500, 800]), pool), {}

    def step(here: Problem, *asked: Any) -> Tensor:
        return here.gradient(*asked)[1][0].flatten()

    found = benchmark.pedantic(step, setup=lambda: prepared(how), rounds=3)
    plain = step(*prepared(replace(how, bf16=False))[0])
    assert F.cosine_similarity(found, plain, 0) > 0.99


class Products(TorchDispatchMode):
    """The shapes of the matrix products that run inside, those of fused attention among them."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[torch.Size, torch.Size]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._overloadpacket.__name__
        if name in ("mm", "bmm"):
            self.shapes.append((args[0].shape, args[1].shape))
        elif name == "addmm":
            self.shapes.append((args[1].shape, args[2].shape))
        elif name.startswith("_scaled_dot_product_flash_attention_for_cpu"):
            back = name.endswith("backward")
            q = args[1 if back else 0].flatten(0, 1)  # [B * heads, N, d]
            for _ in range(5 if back else 2):
                self.shapes.append((q.shape, q.mT.shape))
        return func(*args, **(kwargs or {}))


STEPS_AND_PRODUCTS = [
    (what, alone) for what in ("a training step", "an outer step") for alone in (False, True)
]


@pytest.mark.parametrize(("what", "alone"), STEPS_AND_PRODUCTS)
def test_products(what: str, alone: bool, benchmark: BenchmarkFixture) -> None:
    """What a step of dit-xs takes, and what its matrix products take alone."""
    benchmark.group = f"{what} of dit-xs on 28x28 (64 images), and its matrix products alone"
    how, given = D2C(text=False, pairs=1, real_batch=32, iterations=5), wide()
    draws = torch.Generator().manual_seed(0)
    images, labels = begin(given, "random", draws)
    here = Problem(given, how, draws, labels, RealImages(given, draws), {})
    torch.manual_seed(0)
    denoiser = diffusion.build(DIT_XS, given.shape, CLASSES)
    pool = [(2 * images - 1).requires_grad_()]
    shown = here.shown(denoiser, pool)
    here.train(denoiser, shown, 3, {})

    def step() -> None:
        if what == "a training step":
            here.train(denoiser, shown, 10, {})
        else:
            here.gradient(denoiser, torch.tensor([200, 500, 800]), pool)

    seen = Products()
    with seen:
        step()
    given_to = [(torch.rand(a), torch.rand(b)) for a, b in seen.shapes]

    def products() -> None:
        for a, b in given_to:
            a @ b

    benchmark.pedantic(products if alone else step, rounds=5, warmup_rounds=1)


METHODS = {
    "real images": D2C(text=False, outer=1, lr=1e-9),
    "K = 1": D2C(text=False, timesteps=1),
    "K = 8": D2C(text=False, timesteps=8),
    "K = 50": D2C(text=False, timesteps=50, choose="systematic"),
    "uniform": D2C(text=False, timesteps=8, score="uniform"),
    "norm": D2C(text=False, timesteps=8, score="norm"),
    "gm": D2C(text=False, timesteps=8, hypergrad="gm"),
    "unroll": D2C(text=False, timesteps=8, hypergrad="unroll"),
    "cg, loss": D2C(text=False, timesteps=8, objective="loss"),
    "unroll, loss": D2C(text=False, timesteps=8, hypergrad="unroll", objective="loss"),
    "head, loss": D2C(text=False, timesteps=8, hypergrad="head", objective="loss"),
    "no features": D2C(text=False, timesteps=8, distribution=0.0),
    "no pull": D2C(text=False, timesteps=8, pull=0.0),
    "gm, real": D2C(text=False, timesteps=8, hypergrad="gm", denoisers="real"),
    "cg, real": D2C(text=False, timesteps=8, denoisers="real"),
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.benchmark(
    group="a condensation, by what is left out; K = 8 where nothing else is said"
)
def test_parts(name: str, benchmark: BenchmarkFixture) -> None:
    """Three seeds of pool and denoiser; the loss is the lowest at any of four checkpoints."""
    seeds, made = iter(range(3)), []

    def condense(given: Task) -> None:
        made.append(METHODS[name].condense(given))

    benchmark.pedantic(condense, setup=lambda: ((task("mlp", next(seeds)),), {}), rounds=3)
    found = [held_out(each, seed) for seed, each in enumerate(made)]
    benchmark.extra_info["held-out loss, mean"] = sum(found) / len(found)
    benchmark.extra_info["by seed"] = " ".join(f"{loss:.4f}" for loss in found)


def held_out(made: CondensedSet, seed: int) -> float:
    """The loss on images that the pool never saw, after 800 steps on the pool or before."""
    data = digits()
    torch.manual_seed(77 + seed)
    denoiser = diffusion.build(ARCHITECTURES["mlp"], data.shape, CLASSES)
    labels = made.labels.argmax(1)
    examples = Examples(TensorSplit(made.images, labels), torch.arange(len(labels)), labels)
    recipe = DiffusionRecipe(steps=800, checkpoints=(100, 200, 400))
    kept = fit(denoiser, examples, recipe, seed=seed)
    x, found = 2 * data.test.images(torch.arange(300)) - 1, []
    for state in [*kept.values(), networks.state(denoiser)]:
        networks.load(denoiser, state)
        generator, parts = torch.Generator().manual_seed(5), []
        for _ in range(8):
            at = torch.randint(1000, (300,), generator=generator)
            noise = torch.randn(x.shape, generator=generator)
            with torch.no_grad():
                parts.append(losses(denoiser, x, data.test.labels, at, noise, {}).mean())
        found.append(float(torch.stack(parts).mean()))
    return min(found)


class Descent:
    """100 steps on the pool, float64, from a denoiser that has learnt for 300; banks are fixed."""

    def __init__(self) -> None:
        self.given, draws = task("mlp"), torch.Generator().manual_seed(0)
        images, self.labels = begin(self.given, "random", draws)
        self.denoiser = self.given.denoiser()
        examples = Examples(TensorSplit(images, self.labels), torch.arange(20), self.labels)
        fit(self.denoiser, examples, DiffusionRecipe(steps=300, ema=0.0, dropout=0.0), seed=0)
        self.denoiser.double()
        self.pool = [(2 * images.double() - 1).requires_grad_()]
        self.grid, flat = torch.arange(200, 800, 75), self.pool[0].detach()
        self.bank = Bank.drawn(torch.arange(80) % 20, self.grid, flat, draws)
        self.inner = denoising(self.denoiser, self.labels, self.bank)
        picked = torch.randperm(len(self.given.train.labels), generator=draws)[:128]
        real = 2 * self.given.train.images(picked).double() - 1
        aim = Bank.drawn(torch.arange(128), self.grid, real, draws)
        self.outer = denoising(self.denoiser, self.given.train.labels[picked], aim, real)
        self.layer = last_layer(self.denoiser, flat, {})
        self.terms = [self.match(label, draws) for label in range(CLASSES)]
        self.path: list[Any] = [{k: w.detach() for k, w in self.denoiser.named_parameters()}]
        for _ in range(STEPS):
            made, _ = unrolled(self.inner, self.path[-1], [flat], 1, LR)
            self.path.append({k: w.detach() for k, w in made.items()})

    def match(self, label: int, draws: torch.Generator) -> Any:
        """Another objective: the gradients on the pool match those on real images."""
        train, flat = self.given.train, self.pool[0].detach()
        own = (train.labels == label).nonzero().squeeze(1)[:64]
        items = (self.labels == label).nonzero().squeeze(1)[torch.arange(32) % 2]
        bank = Bank.drawn(items, self.grid, flat, draws)
        pair = Pair(label, 2 * train.images(own).double() - 1, bank)
        options = {"kind": "cosine", "distribution": 0.0, "extras": {}, "total": False}
        return matched(self.denoiser, pair, self.layer, **options)

    def gradient(self, how: str) -> Tensor:
        """Of the outer loss in the pool; weights that a shortcut begins with are there already."""
        reached, terms = self.path[STEPS], [self.outer]
        kind, _, number = how.partition(" ")
        if kind == "unroll":
            weights, respond = unrolled(
                self.inner, self.path[STEPS - int(number)], self.pool, int(number), LR
            )
        elif kind == "cg":
            weights, respond = implicit(self.inner, reached, self.pool, float(number), 20)
        elif kind == "head":
            fitted = head(self.denoiser, self.layer, self.labels, self.bank, 1 / (LR * STEPS))
            weights, respond = solved(fitted, reached, self.pool)
        else:
            weights, respond, terms = reached, None, self.terms
        return hypergradient(terms, weights, self.pool, respond)[1][0]


EXACT = f"unroll {STEPS}"
LONG = ["unroll 1", "unroll 5", "unroll 20", "unroll 50", "cg 0.01", "cg 1"]
SHORT = [pytest.param(how, marks=pytest.mark.short) for how in (EXACT, "cg 0.1", "head", "gm")]


@cache
def descent() -> tuple[Descent, Tensor]:
    made = Descent()
    return made, made.gradient(EXACT)


@pytest.mark.parametrize("how", [*SHORT, *LONG])
@pytest.mark.benchmark(group="a hypergradient of 100 steps: the last unrolled, or damped cg, ...")
def test_hypergradient(how: str, benchmark: BenchmarkFixture) -> None:
    made, exact = descent()
    found = benchmark.pedantic(made.gradient, (how,), rounds=1 if how == EXACT else 3)
    cosine = float(F.cosine_similarity(found.flatten(), exact.flatten(), dim=0))
    benchmark.extra_info["cosine to the exact"] = cosine
    if how == EXACT:
        curvature = largest_curvature(made.inner, made.path[STEPS], made.pool, 20)
        benchmark.extra_info["largest curvature of the inner loss"] = curvature
    assert cosine > 0.4
