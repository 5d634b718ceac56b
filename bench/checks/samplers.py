"""The contract of a sampler: images from a denoiser, by the generator that it is given."""

from __future__ import annotations

from typing import Any

import torch

from bench.checks import fixtures, side_effects
from bench.checks.check import Claims, naming, on_each, once
from bench.checks.determinism import check_same, elsewhere
from bench.checks.side_effects import Watched, watch
from bench.contract.data import digest_of_tensors
from bench.contract.errors import require
from bench.training import gates, toy
from bench.training.diffusion import NOISES, Schedule
from bench.training.toy_generation import ToyDenoiser

COUNTS = (5, 1)


def claims(sampler: Any) -> Claims:
    made = once(lambda: run(sampler))
    return {
        "returns a finite x for every label, a batch of one too": lambda: check_samples(made()),
        "draws from its generator: another seed, another x": lambda: check_drawn(sampler, made()),
        **side_effects.claims(made),
        "makes the same bytes of the same seed in another process": lambda: check_same(
            digests(made()), elsewhere(run, sampler, digests)
        ),
    }


def run(sampler: Any) -> list[Watched]:
    """`sample` from a toy denoiser, for some labels and for a single one."""

    return on_each(COUNTS, lambda count: _sampled(sampler, count, fixtures.SEED))


def _sampled(sampler: Any, count: int, seed: int) -> Watched:
    """On the first noise path that it can walk: some know one alone."""
    data = toy.GRAY.load()
    labels = torch.arange(count) % len(data.classes)
    denoiser = fixtures.network(ToyDenoiser(), data).eval()

    def on(noise: str) -> Watched:
        generator = torch.Generator().manual_seed(seed)
        said = "velocity" if noise == "straight" else "noise"
        denoiser.schedule = Schedule(noise, said)  # type: ignore[assignment]
        return watch(
            f"{count} label{'s' * (count > 1)}, {noise} noise",
            lambda: sampler.sample(denoiser, labels, {}, data.shape, generator),
            tensors={"labels": labels},
            models={"model": denoiser},
        )

    return on_each(NOISES, on)[0]


def digests(made: list[Watched]) -> dict[str, str]:
    return {w.case: digest_of_tensors(w.result) for w in made}


def check_samples(made: list[Watched]) -> None:
    """Float32 [P, *shape] in the space of the denoiser, one for each label."""
    for watched, count in zip(made, COUNTS, strict=False):
        with naming(watched.case):
            gates.check_samples(watched.result, count, toy.GRAY.shape)


def check_drawn(sampler: Any, made: list[Watched]) -> None:
    """Raise BenchError where another seed of the generator gives the same samples."""
    other = _sampled(sampler, COUNTS[0], fixtures.SEED + 1)
    require(
        not torch.equal(made[0].result, other.result),
        "two seeds of its generator give the same samples; expected all noise to come from there",
    )
