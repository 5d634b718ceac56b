"""The contract of a teacher: `squeeze` returns its task's network, trained."""

from __future__ import annotations

from typing import Any

import torch

from bench import networks, stages, toy
from bench.checks import cases, guards
from bench.checks.again import check_same, elsewhere
from bench.checks.check import Claims, naming, on_each, once
from bench.checks.guards import Watched, watch
from bench.types import Unsupported, digest_of_tensors


def claims(teacher: Any) -> Claims:
    made = once(lambda: run(teacher))
    return {
        "returns its task's network, with finite weights": lambda: f"{len(made())} data sets",
        **guards.claims(made),
        "makes the same bytes of the same seed in another process": lambda: check_same(
            digests(made()), elsewhere(outcome, teacher)
        ),
        "survives the store": lambda: check_same(
            digests(made()), {w.case: _digest(cases.stored(w.result)) for w in made()}
        ),
        "beats chance": lambda: check_learns(teacher, made()),
    }


def run(teacher: Any) -> list[Watched]:
    """`squeeze` as its stage calls it, on each toy data set: the state of the network."""

    def on(case: tuple[toy.ToyData, int]) -> Watched:
        dataset, _ = case
        task = cases.task(teacher, dataset, 0)
        return watch(
            dataset.name,
            lambda: stages.squeeze(teacher, task),
            seed=task.seed,
            tensors=cases.inputs(task.train),
        )

    return on_each(cases.CASES, on)


def outcome(teacher: Any) -> dict[str, str]:
    return digests(run(teacher))


def digests(made: list[Watched]) -> dict[str, str]:
    """A digest of each network's state, by case."""
    return {w.case: _digest(w.result) for w in made}


def _digest(state: dict[str, torch.Tensor]) -> str:
    return digest_of_tensors(*(state[name] for name in sorted(state)))


def check_learns(teacher: Any, made: list[Watched]) -> str:
    """Raise BenchError unless each classifier beats chance on the test split."""
    if getattr(teacher, "track", "") == "generation":
        raise Unsupported("it trains no classifier")
    details = []
    for (dataset, _), watched in ((c, w) for c in cases.CASES for w in made if c[0].name == w.case):
        data = dataset.load()
        network = cases.network(toy.ToyConvNet(), data)
        networks.load(network, watched.result)
        labels = data.test.labels
        logits = networks.predict(network, data.test, torch.arange(len(labels)))
        with naming(dataset.name):
            correct = logits.argmax(1) == labels
            details.append(cases.check_beats_chance(correct, len(data.classes)))
    return "; ".join(details)
