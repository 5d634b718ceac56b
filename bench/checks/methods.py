"""The contract of a method: what `condense` returns, and what it leaves alone."""

from __future__ import annotations

from typing import Any

import torch

from bench import networks, stages, toy
from bench.checks import cases, guards
from bench.checks.again import check_same, elsewhere
from bench.checks.check import Claims, on_each, once, require
from bench.checks.guards import Watched, watch
from bench.recipe import Recipe
from bench.types import BenchError, CondensedSet, Data, digest_of_tensors

STUDENT = Recipe(steps=100, batch=32, lr=0.1)
REGIMES = ("soft", "hard", "teacher")


def claims(method: Any) -> Claims:
    made = once(lambda: run(method))
    return {
        "returns a legal set: budget, range, labels, every class": lambda: _sizes(made()),
        **guards.claims(made),
        "makes the same bytes of the same seed in another process": lambda: check_same(
            digests(made()), elsewhere(outcome, method)
        ),
        "survives the store": lambda: [check_stored(w.result) for w in made()] and None,
        "beats chance": lambda: check_trains_a_student(method, made()),
    }


def run(method: Any) -> list[Watched]:
    """`condense` as its stage calls it (with the gates on what it returns), on each toy data set."""

    def on(case: tuple[toy.ToyData, int]) -> Watched:
        dataset, ipc = case
        task = cases.task(method, dataset, 0 if getattr(method, "ceiling", False) else ipc)
        return watch(
            dataset.name,
            lambda: stages.condense(method, task),
            seed=task.seed,
            tensors=cases.inputs(task.train),
        )

    return on_each(cases.CASES, on)


def outcome(method: Any) -> dict[str, str]:
    return digests(run(method))


def digests(made: list[Watched]) -> dict[str, str]:
    """A digest of each condensed set, by case."""
    found = {}
    for watched in made:
        parts = sorted(stages.set_to_tensors(watched.result).items())
        found[watched.case] = digest_of_tensors(*(tensor for _, tensor in parts))
    return found


def check_stored(condensed: CondensedSet) -> None:
    """Raise BenchError unless a set comes back from the store as it went in."""
    tensors = stages.set_to_tensors(condensed)
    back = stages.set_to_tensors(stages.set_from_tensors(cases.stored(tensors)))
    for name, tensor in tensors.items():
        same = name in back and back[name].dtype == tensor.dtype
        require(
            same and torch.equal(back[name], tensor),
            f"`{name}` of the set came back from the store changed; expected plain tensors",
        )


def check_trains_a_student(method: Any, made: list[Watched]) -> str:
    """Raise BenchError unless a student beats chance in one of the regimes that a board may have."""
    by_name = {dataset.name: dataset for dataset, _ in cases.CASES}
    return "; ".join(_student(method, by_name[w.case], w.result) for w in made)


def _student(method: Any, dataset: toy.ToyData, condensed: CondensedSet) -> str:
    data = dataset.load()
    regimes = [r for r in REGIMES if r != "teacher" or getattr(method, "teacher", "")]
    for regime in regimes:
        student = stages.train(
            cases.network(toy.ToyConvNet(), data),
            condensed,
            data.train,
            STUDENT,
            regime=regime,
            seed=cases.SEED,
            flip=data.flip,
            teacher=cases.trained(dataset) if regime == "teacher" else None,
        )
        try:
            return cases.check_beats_chance(_correct(student, data), len(data.classes))
        except BenchError as error:
            fault = error
    raise BenchError(f"on {dataset.name}, with labels {', '.join(regimes)}: {fault}")


def _correct(student: torch.nn.Module, data: Data) -> torch.Tensor:
    labels = data.test.labels
    logits = networks.predict(student, data.test, torch.arange(len(labels)))
    return logits.argmax(1) == labels


def _sizes(made: list[Watched]) -> str:
    return "; ".join(f"{len(w.result)} images of {w.case}" for w in made)
