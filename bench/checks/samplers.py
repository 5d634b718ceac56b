"""The contract of a sampler: images from a denoiser, by the generator that it is given."""

from __future__ import annotations

from typing import Any

import torch

from bench import gates, toy
from bench.checks import cases, guards
from bench.checks.again import check_same, elsewhere
from bench.checks.check import Claims, on_each, once, require
from bench.checks.guards import Watched, watch
from bench.types import digest_of_tensors

COUNTS = (5, 1)


def claims(sampler: Any) -> Claims:
    made = once(lambda: run(sampler))
    return {
        "returns an image in [0, 1] for every label, a batch of one too": lambda: check_images(
            made()
        ),
        **guards.claims(made),
        "makes the same bytes of the same seed in another process": lambda: check_same(
            {w.case: digest_of_tensors(w.result) for w in made()}, elsewhere(outcome, sampler)
        ),
    }


def run(sampler: Any) -> list[Watched]:
    """`sample` from a toy denoiser, for some labels and for a single one."""

    def on(count: int) -> Watched:
        data = toy.GRAY.load()
        denoiser = cases.network(toy.ToyDenoiser(), data).eval()
        labels = torch.arange(count) % len(data.classes)
        generator = torch.Generator().manual_seed(cases.SEED)
        return watch(
            f"{count} label{'s' * (count > 1)}",
            lambda: sampler.sample(denoiser, labels, {}, data.shape, generator),
            tensors={"labels": labels},
            models={"model": denoiser},
        )

    return on_each(COUNTS, on)


def outcome(sampler: Any) -> dict[str, str]:
    return {w.case: digest_of_tensors(w.result) for w in run(sampler)}


def check_images(made: list[Watched]) -> None:
    """Float32 [P, C, H, W] in [0, 1], one for each label."""
    for watched, count in zip(made, COUNTS, strict=False):
        gates.check_pixels(watched.result, toy.GRAY.shape, f"on {watched.case}: the samples")
        require(
            len(watched.result) == count,
            f"it made {len(watched.result)} samples for {count} labels; expected one for each",
        )
