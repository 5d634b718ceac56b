"""The contract of a method: what `condense` returns, and what it leaves alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from bench.checks import fixtures, side_effects
from bench.checks.check import Claims, on_each, once
from bench.checks.determinism import check_same, elsewhere
from bench.checks.side_effects import Watched, watch
from bench.contract.data import Data, digest_of_tensors
from bench.contract.errors import BenchError, require
from bench.contract.kinds import fact
from bench.contract.task import CondensedSet, Selection
from bench.stages.condense import condense
from bench.stages.train import train
from bench.training import networks, sets, toy
from bench.training.recipe import Recipe

STUDENT = Recipe(steps=100, batch=32, lr=0.1)
TRIED = ("soft", "hard", "teacher")  # regimes of labels, until one teaches the student
CASES = tuple((replace(dataset, level=0.5), ipc) for dataset, ipc in fixtures.CASES)
"""Data whose classes differ in levels as well as in patterns: what crops and mosaics of images keep
is enough to learn from, so that no setting has to be changed for the sake of the check."""


def claims(method: Any) -> Claims:
    made = once(lambda: run(method))
    return {
        "returns a legal set: budget, range, labels, every class": lambda: _sizes(made()),
        **side_effects.claims(made),
        "makes the same bytes of the same seed in another process": lambda: check_same(
            digests(made()), elsewhere(outcome, method)
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


def outcome(method: Any) -> dict[str, str]:
    return digests(run(method))


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
        back = sets.from_tensors(fixtures.stored(tensors))
        for name, before, after in _pairs(watched.result, back):
            require(
                before.dtype == after.dtype and torch.equal(before, after),
                f"on {watched.case}: {name} of the set came back from the store as {after.dtype} "
                f"{list(after.shape)}, changed; expected plain tensors",
            )


def _pairs(one: CondensedSet, two: CondensedSet) -> list[tuple[str, Tensor, Tensor]]:
    a, b = _parts(one), _parts(two)
    return [(name, tensor, b.get(name, torch.empty(0))) for name, tensor in a.items()]


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
        student = train(
            fixtures.network(toy.ToyConvNet(), data),
            condensed,
            data.train,
            STUDENT,
            regime=regime,
            seed=fixtures.SEED,
            flip=data.flip,
            teacher=fixtures.trained(dataset) if regime == "teacher" else None,
        )
        try:
            return fixtures.check_beats_chance(_correct(student, data), len(data.classes))
        except BenchError as error:
            faults.append(f"on {dataset.name}, with {regime} labels: {error}")
    raise BenchError(faults[0])


def _correct(student: nn.Module, data: Data) -> Tensor:
    labels = data.test.labels
    logits = networks.predict(student, data.test, torch.arange(len(labels)))
    return logits.argmax(1) == labels


def _sizes(made: list[Watched]) -> str:
    return "; ".join(f"{len(w.result)} images of {w.case}" for w in made)
