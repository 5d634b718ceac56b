"""The contract of a method: what `condense` returns, and what it leaves alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bench.checks import fixtures, side_effects
from bench.checks.check import Claims, on_each, once
from bench.checks.determinism import check_same, elsewhere
from bench.checks.side_effects import Watched, watch
from bench.contract.data import digest_of_tensors
from bench.contract.errors import BenchError, require
from bench.contract.kinds import fact
from bench.contract.task import CondensedSet, Selection
from bench.stages.condense import condense
from bench.stages.io import examples_of
from bench.training import sets, toy
from bench.training.classifier import fit
from bench.training.recipe import Recipe

STUDENT = Recipe(steps=100, batch=32, lr=0.1)
TRIED = ("soft", "hard", "teacher")  # regimes of labels, until one teaches the student
CASES = tuple((replace(dataset, level=0.5), ipc) for dataset, ipc in fixtures.CASES)
"""Data whose classes differ in levels as well as in patterns: what crops and mosaics of images keep
is enough to learn from, so that no setting has to be changed for the sake of the check."""


def claims(method: Any) -> Claims:
    made = once(lambda: run(method))
    return {
        "returns a legal set: budget, range, labels, every class": lambda: "; ".join(
            f"{len(w.result)} images of {w.case}" for w in made()
        ),
        **side_effects.claims(made),
        "makes the same bytes of the same seed in another process": lambda: check_same(
            digests(made()), elsewhere(run, method, digests)
        ),
        "survives the store": lambda: check_stored(made()),
        "beats chance": lambda: check_trains_a_student(method, made()),
    }


def run(method: Any) -> list[Watched]:
    """`condense` as its stage calls it, with the gates on what it returns, on each toy data set."""

    def on(case: tuple[toy.ToyData, int]) -> Watched:
        dataset, ipc = case
        task = fixtures.task(method, dataset, 0 if fact("method", method, "ceiling") else ipc)
        return watch(
            dataset.name,
            lambda: condense(method, task),
            seed=task.seed,
            tensors=fixtures.inputs(task.train),
        )

    return on_each(CASES, on)


def digests(made: list[Watched]) -> dict[str, str]:
    """A digest of each condensed set, by case."""
    found = {}
    for watched in made:
        parts = sorted(sets.to_tensors(watched.result).items())
        found[watched.case] = digest_of_tensors(*(tensor for _, tensor in parts))
    return found


def check_stored(made: list[Watched]) -> None:
    """Raise BenchError unless each set comes back from the store as it went in."""
    for watched in made:
        tensors = sets.to_tensors(watched.result)
        back = _parts(sets.from_tensors(fixtures.stored(tensors)))
        for name, before in _parts(watched.result).items():
            after = back.get(name, torch.empty(0))
            require(
                before.dtype == after.dtype and torch.equal(before, after),
                f"on {watched.case}: {name} of the set came back from the store as {after.dtype} "
                f"{list(after.shape)}, changed; expected plain tensors",
            )


def _parts(condensed: CondensedSet) -> dict[str, Tensor]:
    images = condensed.images
    parts = {"images": images.indices if isinstance(images, Selection) else images}
    parts |= {"labels": condensed.labels, "classes": condensed.classes}
    if condensed.weights is not None:
        parts["weights"] = condensed.weights
    return parts | {f"extra {name!r}": tensor for name, tensor in condensed.extras.items()}


def check_trains_a_student(method: Any, made: list[Watched]) -> str:
    """Raise BenchError unless a student beats chance, in one of the regimes that boards have."""
    by_name = {dataset.name: dataset for dataset, _ in CASES}
    return "; ".join(_student(method, by_name[w.case], w.result) for w in made)


def _student(method: Any, dataset: toy.ToyData, condensed: CondensedSet) -> str:
    data = dataset.load()
    faults: list[str] = []
    regimes = [r for r in TRIED if r != "teacher" or fact("method", method, "teacher")]
    for regime in regimes:
        student = fit(
            fixtures.network(toy.ToyConvNet(), data),
            examples_of(condensed, data.train, regime),
            STUDENT,
            classes=len(data.classes),
            seed=fixtures.SEED,
            regime=regime,
            flip=data.flip,
            teacher=fixtures.trained(dataset) if regime == "teacher" else None,
        )
        try:
            return fixtures.check_beats_chance(student, data)
        except BenchError as error:
            faults.append(f"on {dataset.name}, with {regime} labels: {error}")
    raise BenchError(faults[0])
