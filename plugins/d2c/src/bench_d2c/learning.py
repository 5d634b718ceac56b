"""The outer loop of D2C: a pool makes steps, by what it does to denoisers trained on it.

This module imports torch: components import it inside their verbs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench import BenchError, CondensedSet, Split, Task, TensorSplit, Unsupported
from bench.training import loading
from bench.training.classifier import Examples
from bench.training.denoiser import fit
from bench.training.diffusion import Denoiser, rows_of
from bench.training.loop import generator_of
from bench.training.recipe import DiffusionRecipe
from bench_d2c import timesteps
from bench_d2c.attach import EMBEDDING, TEXT
from bench_d2c.hypergradient import (
    Loss,
    Pool,
    Respond,
    Weights,
    hypergradient,
    implicit,
    largest_curvature,
    solved,
    unrolled,
)
from bench_d2c.matching import Bank, Pair, denoising, head, last_layer, matched, told
from bench_d2c.pictures import plane, sketches
from bench_d2c.pool import (
    begin,
    begin_texts,
    centred,
    direction,
    moved,
    pulled,
    rounds,
    variation,
)
from bench_d2c.settings import SCORED, Bilevel
from bench_matching.matching import RealImages

CLASSES, IMAGES, DRAWS = 3, 4, 4  # that times are scored by; real images of each, noises of each
BETAS = (0.9, 0.99)  # of Adam on the pool
LOOKS = 8  # at the gradients of the classes while the pool is learnt,
SHOWN = 20  # and of how many classes, the first


def learn(task: Task, how: Bilevel) -> CondensedSet:
    """A pool of `task.ipc` images a class and a text of each class, as `how` says.

    With `how.embeddings`, also an embedding of each image, "image.text": what it is told beyond
    the text of its class, zero in the mean of a class, which is what a student is sampled with.

    Notes are the scores of times ("times.grid", "times.score", "times.chosen"), the outer
    objective by step ("loss"), how far the images have moved ("moved.*", see `pool.moved`), and
    where the gradients of the first classes lie ("gradients.real" and "gradients.pool" [S, K, 2])
    after so many steps ("gradients.step" [S]).

    Raises BenchError for a pool that is not finite; Unsupported for a denoiser that has no use for
    texts, or none for `hypergrad` = "head".
    """
    draws = generator_of(task.seed, "d2c")
    images, labels = begin(task, how.start, draws)
    texts = [part.to(task.device) for part in begin_texts(task, how, labels)]
    extras = dict(zip([TEXT], texts, strict=False))
    here = Problem(task, how, draws, labels, RealImages(task, draws), extras)

    guide: Any = here.fresh()
    first = images
    pool = [part.detach().clone().requires_grad_() for part in (guide.encode(images), *texts)]
    guide = here.informed(guide, pool)
    grid, score = here.scores(guide)
    times = here.chosen(grid, score, guide.schedule.timesteps)

    shown = [here.pair(k, times, guide, pool) for k in range(min(SHOWN, len(task.classes)))]
    here.asked.zero_()  # that was a look
    seed = int(torch.randint(2**62, (1,), generator=draws))
    real = sketches(guide, shown, None, extras, seed)
    looks = sorted({*torch.linspace(0, how.outer, LOOKS).long().tolist()})
    far: list[Tensor] = []
    seen = [sketches(guide, shown, pool[0].detach(), extras, seed)]
    for done, value in enumerate(here.learning(guide, times, pool), 1):
        far.append(value.cpu())
        if done in looks:
            seen.append(sketches(guide, shown, pool[0].detach(), extras, seed))
        task.progress(done, how.outer)

    there, path = plane(real, torch.stack(seen))
    with torch.no_grad():
        images = guide.decode(pool[0]).cpu()
        pool = [pool[0], *centred(pool[1:], labels)]
    return CondensedSet(
        images,
        F.one_hot(labels.cpu(), len(task.classes)).float(),
        extras={name: text.detach().cpu() for name, text in told(pool).items()},
        notes={
            "times.grid": grid,
            "times.score": score,
            "times.chosen": times,
            "loss": torch.stack(far),
            "gradients.step": torch.tensor(looks),
            "gradients.real": there,
            "gradients.pool": path,
            **moved(images, first.cpu(), here.asked.cpu()),
        },
    )


@dataclass(frozen=True, eq=False)
class Problem:
    """The bilevel problem of a task: what its losses are made of, draw by draw."""

    task: Task
    how: Bilevel
    draws: Generator
    labels: Tensor  # of the pool [N]
    real: RealImages
    extras: Mapping[str, Tensor]  # the texts of the classes, before any is learnt
    waiting: list[tuple[int, int]] = field(default_factory=list)  # pairs of class and time
    asked: Tensor = field(init=False)  # int64 [N]: how many draws of each image there have been

    def __post_init__(self) -> None:
        object.__setattr__(self, "asked", torch.zeros(len(self.labels), dtype=torch.int64))

    def fresh(self) -> Denoiser:
        """A denoiser with new weights, which takes texts if the pool has any."""
        rows = rows_of(self.extras)
        if self.how.embeddings:
            rows[EMBEDDING] = rows[TEXT]
        found: Denoiser = self.task.denoiser(rows)
        return found.to(self.task.device).eval()

    def informed(self, fresh: Denoiser, pool: Pool) -> Denoiser:
        """A denoiser that knows the real data, a little: a fresh one, trained, or a teacher."""
        if not self.how.scorer:
            self.train(fresh, self.task.train, self.how.warmup, told(pool[:2]))
            return fresh
        scorer: Any = self.task.scorer
        _check_alike(scorer, fresh, self.how)
        return cast(Denoiser, scorer)

    def learning(self, guide: Denoiser, times: Tensor, pool: Pool) -> Iterator[Tensor]:
        """The steps of the pool, in place: the objective before each."""
        how, extras = self.how, told(pool if self.how.denoisers == "pool" else pool[:2])
        trainings = max(1, how.age // how.steps)  # of each denoiser
        denoisers = [guide] * how.averaged
        began = [part.detach().clone() for part in pool]
        adam = torch.optim.Adam(pool, how.lr, betas=BETAS)
        for step in range(how.outer):
            if step % how.kept == 0:
                for k in range(how.averaged):  # of several ages, once the first are old
                    age = step // how.kept + k * trainings // how.averaged
                    if step == 0 or age % trainings == 0:
                        denoisers[k] = self.fresh()
                    self.train(denoisers[k], self.shown(guide, pool), how.steps, extras)
            values, parts = zip(*(self.gradient(d, times, pool) for d in denoisers), strict=True)
            value = torch.stack(values).mean()
            found = [torch.stack(part).mean(0) for part in zip(*parts, strict=True)]
            self.move(adam, pool, found, began, how.lr * (1 - step / how.outer))
            if guide.shape == self.task.shape:  # pixels; latents of a network have no range
                pool[0].data.clamp_(-1, 1)
            _check_finite(value, pool, step + 1, how)
            yield value

    def gradient(
        self, denoiser: Denoiser, times: Tensor, pool: Pool
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The outer objective by one denoiser, and its gradient in each part of the pool."""
        with sdpa_kernel(SDPBackend.MATH):  # the fused attention has no second derivative
            weights, respond = self.response(denoiser, times, pool)
            terms = self.outer(denoiser, times, pool, total=respond is not None)
            return hypergradient(terms, weights, pool, respond)

    def train(
        self, denoiser: Denoiser, split: Split, steps: int, extras: Mapping[str, Tensor]
    ) -> None:
        """Some plain steps on images of a split, at all times, with texts of a pool."""
        recipe = DiffusionRecipe(
            steps=steps,
            batch=self.how.batch,
            lr=self.how.lr_network,
            ema=0.0,
            dropout=0.0,
            timesteps=denoiser.schedule.timesteps,
        )
        fit(
            denoiser,
            Examples(split, torch.arange(len(split.labels)), split.labels),
            recipe,
            seed=int(torch.randint(2**62, (1,), generator=self.draws)),
            extras={name: text.detach() for name, text in extras.items()},
            device=self.task.device,
        )

    def shown(self, denoiser: Denoiser, pool: Pool) -> Split:
        """What the denoisers that are asked are trained on: the pool, or all real images."""
        if self.how.denoisers == "real":
            return self.task.train
        with torch.no_grad():
            return TensorSplit(denoiser.decode(pool[0]).cpu(), self.labels.cpu())

    def scores(self, guide: Denoiser) -> tuple[Tensor, Tensor]:
        """Times [G], and how much each is worth [G]: within a class, as gradients are matched."""
        grid = timesteps.evenly(SCORED, guide.schedule.timesteps)
        if self.how.score == "uniform":
            return grid, torch.ones(SCORED)
        found, classes = [], torch.randperm(len(self.task.classes), generator=self.draws)
        for label in classes[:CLASSES].tolist():
            with torch.no_grad():
                x = guide.encode(self.real.draw(label, IMAGES))
            labels = torch.full((len(x),), label, device=x.device)
            spreads = [
                timesteps.spread(guide, x, labels, time, DRAWS, self.draws, self.extras)
                for time in grid.tolist()
            ]
            found.append([getattr(one, self.how.score)() for one in spreads])
        return grid, torch.tensor(found).mean(0)

    def chosen(self, grid: Tensor, score: Tensor, last: int) -> Tensor:
        """The few times, out of 0..`last` - 1, that are matched."""
        count = self.how.timesteps
        if self.how.score == "uniform" or self.how.choose == "systematic":
            return timesteps.systematic(score, count, last)
        return timesteps.best(grid, score, count, self.how.spacing * last / count)

    def response(
        self, denoiser: Denoiser, times: Tensor, pool: Pool
    ) -> tuple[Weights, Respond | None]:
        """The weights of a denoiser that was trained on the pool, and how they follow it."""
        how, weights = self.how, dict(denoiser.named_parameters())
        if how.hypergrad == "gm":
            return weights, None
        items = self.items(torch.arange(len(self.labels)), how.batch // 2)
        bank = self.bank(items, times, pool[0])
        inner = denoising(denoiser, self.labels, bank, bf16=how.bf16)
        if how.hypergrad == "head":
            layer = last_layer(denoiser, pool[0].detach(), told(pool[:2]))
            if not isinstance(layer, nn.Linear):
                raise Unsupported("hypergrad = 'head' needs a denoiser that ends in a linear layer")
            return solved(head(denoiser, layer, self.labels, bank, how.damping), weights, pool)
        if how.hypergrad == "cg":
            return implicit(inner, weights, pool, how.damping, how.iterations)
        steepest = largest_curvature(inner, weights, pool)
        lr = min(how.lr_inner, 1 / max(steepest, 1e-12))
        return unrolled(inner, weights, pool, how.inner, lr)

    def outer(
        self, denoiser: Denoiser, times: Tensor, pool: Pool, *, total: bool
    ) -> Iterator[Loss]:
        """The terms of the outer objective, with draws of their own.

        Of "match", `pairs` of a class and a time; of "loss" one, on as many real images of all
        classes. Nothing is summed over other times than the chosen ones.
        """
        how = self.how
        if how.objective == "loss":
            x, labels = self.some_real(how.pairs * how.real_batch // 2, denoiser)
            yield denoising(
                denoiser, labels, self.bank(torch.arange(len(x)), times, x), x, bf16=how.bf16
            )
            return
        layer = last_layer(denoiser, pool[0].detach(), told(pool[:2]))
        for _ in range(how.pairs):
            if not self.waiting:
                classes = len(self.task.classes)
                self.waiting.extend(rounds(classes, times, self.draws, even=how.stratified))
            label, time = self.waiting.pop()
            yield matched(
                denoiser,
                self.pair(label, torch.tensor([time]), denoiser, pool),
                layer,
                kind=how.distance,
                distribution=how.distribution,
                extras=self.extras,
                total=total,
                bf16=how.bf16,
            )

    def pair(self, label: int, times: Tensor, denoiser: Denoiser, pool: Pool) -> Pair:
        """Real images of a class, and items of the pool as many times as it takes, alike noised."""
        with torch.no_grad():
            x = denoiser.encode(self.real.draw(label, self.how.real_batch))
        x = x[: 2 * (len(x) // 2)] if len(x) > 1 else x.repeat(2, 1, 1, 1)
        own = (self.labels == label).nonzero().squeeze(1).cpu()
        items = self.items(own, (self.how.pool_batch or len(x)) // 2)
        return Pair(label, x, self.bank(items, times, pool[0]))

    def items(self, own: Tensor, count: int) -> Tensor:
        """`count` of `own` images of the pool, in a random order; those least asked, if even.

        Each as often as any other, or once more.
        """
        order = own[torch.randperm(len(own), generator=self.draws)]
        if self.how.stratified:
            order = order[self.asked[order].argsort(stable=True)]
        items = order[torch.arange(count) % len(order)]
        self.asked.index_add_(0, items, torch.ones_like(items))
        return items

    def bank(self, items: Tensor, times: Tensor, like: Tensor) -> Bank:
        return Bank.drawn(items, times, like, self.draws, stratified=self.how.stratified)

    def some_real(self, count: int, denoiser: Denoiser) -> tuple[Tensor, Tensor]:
        """x [n, *shape] of real images of all classes, and their labels [n]."""
        train = self.task.train
        picked = torch.randperm(len(train.labels), generator=self.draws)[:count]
        (images,) = loading.read(train, [(picked, None)])
        with torch.no_grad():
            x = denoiser.encode(images.to(self.task.device))
        return x, train.labels[picked].to(x.device)

    def move(self, adam: torch.optim.Adam, pool: Pool, found: Pool, began: Pool, lr: float) -> None:
        """A step of the pool along `found`, of the rows that it asks about, and back by `pull`."""
        (smooth,) = torch.autograd.grad(self.how.variation * variation(pool[0]), pool[0])
        rest = (smooth, *map(torch.zeros_like, pool[1:]))
        for part, gradient, more in zip(pool, found, rest, strict=True):
            part.grad = direction(gradient, more)
        before = [part.detach().clone() for part in pool]
        for group in adam.param_groups:
            group["lr"] = lr
        adam.step()
        with torch.no_grad():
            for part, was, start in zip(pool, before, began, strict=True):
                asked = part.grad.flatten(1).any(1)  # type: ignore[union-attr]
                rows = asked.view(-1, *[1] * (part.ndim - 1))
                part.copy_(torch.where(rows, pulled(part, start, lr * self.how.pull), was))


def _check_alike(scorer: Denoiser, fresh: Denoiser, how: Bilevel) -> None:
    """The times of one are to be those of the other."""
    theirs, ours = scorer.schedule, fresh.schedule
    if (theirs.noise, theirs.timesteps) != (ours.noise, ours.timesteps):
        raise BenchError(
            f"{how.name}: scorer '{how.scorer}' knows {theirs.timesteps} points in time of "
            f"'{theirs.noise}' noise; expected {ours.timesteps} of '{ours.noise}', as the "
            "denoisers that are matched have; set them on the teacher"
        )


def _check_finite(value: Tensor, pool: Pool, step: int, how: Bilevel) -> None:
    if not value.isfinite() or not all(part.isfinite().all() for part in pool):
        raise BenchError(
            f"{how.name} diverged: its objective is {value.item():g} at step {step} of {how.outer} "
            f"(hypergrad {how.hypergrad}, lr {how.lr:g}, lr_inner {how.lr_inner:g}, damping "
            f"{how.damping:g}); expected finite values; lower lr or lr_inner, or raise damping"
        )
