"""The contract of a teacher: `squeeze` returns its task's network, trained."""

from __future__ import annotations

from typing import Any

import torch

from bench.checks import fixtures, side_effects
from bench.checks.check import Claims, naming, on_each, once
from bench.checks.determinism import check_same, elsewhere
from bench.checks.side_effects import Watched, watch
from bench.contract.data import Data, digest_of_tensors
from bench.contract.errors import require
from bench.contract.kinds import fact
from bench.stages.squeeze import squeeze
from bench.training import networks, toy
from bench.training.diffusion import Denoiser, losses
from bench.training.toy_generation import ToyDenoiser


def claims(teacher: Any) -> Claims:
    made = once(lambda: run(teacher))
    return {
        "returns its task's network, with finite weights": lambda: f"{len(made())} data sets",
        **side_effects.claims(made),
        "makes the same bytes of the same seed in another process": lambda: check_same(
            digests(made()), elsewhere(run, teacher, digests)
        ),
        "survives the store": lambda: check_same(
            digests(made()),
            {w.case: _digest(fixtures.stored(networks.state(w.result))) for w in made()},
        ),
        "has learnt something": lambda: check_learns(teacher, made()),
    }


def run(teacher: Any) -> list[Watched]:
    """`squeeze` as its stage calls it, on each toy data set: the network."""

    def on(case: tuple[toy.ToyData, int]) -> Watched:
        dataset, _ = case
        task = fixtures.task(teacher, dataset, 0)
        return watch(
            dataset.name,
            lambda: squeeze(teacher, task),
            seed=task.seed,
            tensors=fixtures.inputs(task.train),
        )

    return on_each(fixtures.CASES, on)


def digests(made: list[Watched]) -> dict[str, str]:
    """A digest of each network's state, by case."""
    return {w.case: _digest(networks.state(w.result)) for w in made}


def _digest(state: dict[str, torch.Tensor]) -> str:
    return digest_of_tensors(*(state[name] for name in sorted(state)))


def check_learns(teacher: Any, made: list[Watched]) -> str:
    """Raise BenchError unless each network has learnt something that it did not know."""
    generation = fact("teacher", teacher, "track") == "generation"
    check = _denoises if generation else fixtures.check_beats_chance
    details = []
    for watched in made:
        with naming(watched.case):
            details.append(check(watched.result, fixtures.DATASETS[watched.case].load()))
    return "; ".join(details)


def _denoises(trained: Denoiser, data: Data) -> str:
    """The denoising loss on test images, trained and not."""
    fresh: Any = fixtures.network(ToyDenoiser(), data).eval()
    fresh.schedule = trained.schedule
    before, after = _loss(fresh, data), _loss(trained, data)
    require(
        after < before,
        f"the denoising loss is {after:.3f}, of an untrained network "
        f"{before:.3f}; expected less; if `quick` does too little, let it do more",
    )
    return f"denoising loss {after:.3f}, untrained {before:.3f}"


def _loss(denoiser: Denoiser, data: Data) -> float:
    generator = torch.Generator().manual_seed(fixtures.SEED)
    labels = data.test.labels
    x = denoiser.encode(data.test.images(torch.arange(len(labels))))
    time = torch.randint(denoiser.schedule.timesteps, (len(labels),), generator=generator)
    noise = torch.randn(x.shape, generator=generator)
    with torch.no_grad():
        return losses(denoiser, x, labels, time, noise, {}).mean().item()
