"""A metric of a cell."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from bench.contract.data import as_float
from bench.contract.kinds import fact
from bench.contract.task import Trial
from bench.stages.io import Progress, Result, condensed_of, network_of, source_of
from bench.stages.source import described, finished
from bench.stages.stage import Work
from bench.store.store import Store
from bench.training import gates


def run(work: Work, store: Store, progress: Progress) -> Result:
    metric = work.parts["metric"]
    trials = [_trial(work, store, f"{n}.") for n in range(work.parts["siblings"])]
    value = metric.measure(_trial(work, store, ""), *trials)
    return {}, {"value": gates.check_score(value, fact("metric", metric, "bounds"))}


def _trial(work: Work, store: Store, prefix: str) -> Trial:
    source, above = source_of(work, store), work.above
    facts = described(source.facts)
    steps = {"student": work.parts.get("step", 0)}
    made: dict[str, Callable[[], nn.Module]] = {
        role: partial(
            network_of, above[prefix + role], store, facts, work.device, steps.get(role, 0)
        )
        for role in ("student", "teacher")
        if prefix + role in above
    }
    if "features" in above:
        made["features"] = partial(network_of, above["features"], store, facts, work.device)
    results: dict[str, Any] = {}
    if prefix + "probe" in above:
        one = above[prefix + "probe"]
        probed = finished(store, one.stage, one.key)
        results = {**store.read(probed), "norm": probed.value.get("norm", "")}
        results["labels"] = source.split("test").labels[results["index"]]
        if "samples" in results:
            results["samples"] = as_float(results["samples"])
    one = above[prefix + "set"]
    cost = finished(store, one.stage, one.key).value
    condensed = condensed_of(work, store, prefix + "set")
    return Trial(source.data, condensed, cost=cost, device=work.device, networks=made, **results)
