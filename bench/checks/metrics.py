"""The contract of a metric: perfect and constant predictions, bounds, and the direction."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch.nn import functional as F

from bench.checks import fixtures, side_effects
from bench.checks.check import Claims, naming, on_each, once
from bench.checks.determinism import check_same, elsewhere
from bench.checks.side_effects import Watched, watch
from bench.contract.errors import Unsupported, require
from bench.contract.kinds import KINDS, fact
from bench.contract.task import Trial
from bench.training import gates, sets, toy

PREDICTIONS = ("perfect", "constant")


def claims(metric: Any) -> Claims:
    made = once(lambda: run(metric))
    return {
        "declares what it looks at, its direction and its bounds": lambda: check_declared(metric),
        "scores perfect and constant predictions inside its bounds": lambda: check_scores(
            metric, made()
        ),
        "ranks perfect predictions above constant ones": lambda: check_order(metric, made()),
        **side_effects.claims(made),
        "makes the same number of the same trial in another process": lambda: check_same(
            numbers(made()), elsewhere(run, metric, numbers)
        ),
    }


def run(metric: Any) -> list[Watched]:
    """`measure` on a trial with perfect and on one with constant predictions."""
    return on_each(PREDICTIONS, lambda predictions: _measured(metric, predictions))


def numbers(made: list[Watched]) -> dict[str, str]:
    return {w.case: repr(w.result) for w in made}


def trial(metric: Any, predictions: str) -> Trial:
    """A toy trial; what lies below the thing that the metric looks at is None, as on a board."""
    dataset, ipc = fixtures.CASES[0]
    data = dataset.load()
    condensed = sets.quantised(toy.ToyMeans().condense(fixtures.task(toy.ToyMeans(), dataset, ipc)))
    networks = {"teacher": lambda: fixtures.trained(dataset)}
    if fact("metric", metric, "features"):
        networks["features"] = networks["teacher"]
    bare = Trial(data, condensed, networks=networks)
    of = fact("metric", metric, "of")
    if of == "set":
        return bare
    # one network, so that what is done to it can be seen
    generation = fact("metric", metric, "track") == "generation"
    student = fixtures.denoiser(dataset) if generation else fixtures.trained(dataset)
    known = replace(bare, networks={**bare.networks, "student": lambda: student})
    if of == "student":
        return known
    labels = data.test.labels
    index = torch.arange(len(labels))
    perfect = predictions == "perfect"
    if generation:
        real = data.test.images(index)
        samples = real if perfect else torch.full_like(real, 0.5)
        return replace(known, labels=labels, index=index, samples=samples)
    said = labels if perfect else torch.zeros_like(labels)
    logits = 10 * F.one_hot(said, len(data.classes)).float()
    return replace(known, labels=labels, index=index, clean_logits=logits, logits=logits.clone())


def _measured(metric: Any, predictions: str) -> Watched:
    one = trial(metric, predictions)
    siblings = [trial(metric, predictions) for _ in fact("metric", metric, "needs")]
    tensors = {
        f"trial.{name}": getattr(one, name)
        for name in ("labels", "index", "clean_logits", "logits", "samples")
        if getattr(one, name) is not None
    }
    models = {} if one.student is None else {"trial.student": one.student}
    return watch(
        f"{predictions} predictions",
        lambda: metric.measure(one, *siblings),
        tensors={**tensors, **fixtures.inputs(one.data.train)},
        models=models,
    )


def check_declared(metric: Any) -> None:
    """The class variables by which a board memoises, renders and ranks."""
    facts = KINDS["metric"].facts
    bounds, needs = (fact("metric", metric, name) for name in ("bounds", "needs"))
    require(
        len(bounds) == 2 and all(b is None or isinstance(b, int | float) for b in bounds),
        f"its `bounds` are {bounds!r}; expected {facts['bounds'].expected}",
    )
    unit = fact("metric", metric, "unit")
    is_rate = unit == "fraction"
    require(
        bounds != (0, 100) and unit not in ("%", "percent"),
        f"its bounds are {bounds} and its unit is {unit!r}; expected a rate as a fraction in "
        '[0, 1], with unit = "fraction"; tables turn it into percent',
    )
    require(
        not is_rate or bounds == (0, 1),
        f"its unit is 'fraction' and its bounds are {bounds}; expected bounds = (0.0, 1.0)",
    )
    require(
        all(isinstance(need, dict) for need in needs),
        f"its `needs` are {needs!r}; expected {facts['needs'].expected}",
    )


def check_scores(metric: Any, made: list[Watched]) -> str:
    """Finite numbers inside the bounds."""
    bounds = fact("metric", metric, "bounds")
    for watched in made:
        with naming(watched.case):
            gates.check_score(watched.result, bounds)
    return ", ".join(f"{w.case} {w.result:.4g}" for w in made)


def check_order(metric: Any, made: list[Watched]) -> None:
    """Perfect predictions are better than constant ones, by the metric's own direction."""
    if fact("metric", metric, "of") != "probe" or len(made) < len(PREDICTIONS):
        raise Unsupported("it does not look at predictions")
    if not fact("metric", metric, "ranked"):
        raise Unsupported("it ranks nobody")
    perfect, constant = (w.result for w in made)
    higher = fact("metric", metric, "higher_is_better")
    better = perfect > constant if higher else perfect < constant
    # a sensitivity, such as the drop under an attack, may call both alike
    require(
        better or perfect == constant,
        f"perfect predictions score {perfect:.6g} and constant ones {constant:.6g}, with "
        f"higher_is_better = {higher}; expected perfect to be the better",
    )
