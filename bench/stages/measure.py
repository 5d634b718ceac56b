"""A metric of a cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from bench.contract.kinds import fact
from bench.contract.task import Trial
from bench.records.result import at_step
from bench.stages.stage import OUTSIDE, Result, Stage, Upstream

if TYPE_CHECKING:
    from torch import nn

    from bench.stages.io import Desk

Looked = Mapping[str, Upstream]
"""What a metric sees of a cell: its "set", "teacher", "student" and "probe"; None where it does not
look."""


@dataclass(frozen=True, eq=False)
class Measure(Stage):
    """A metric of a cell, beside those of its siblings."""

    kind: ClassVar[str] = "measure"

    metric: Any
    cell: Looked
    siblings: tuple[Looked, ...]
    features: Upstream | None  # the network that it looks with
    step: int  # of the student's training; 0: its end
    network: str = field(metadata=OUTSIDE)  # whose name is in the seed

    @property
    def words(self) -> str:
        cell = self.cell
        looked = cell["probe"] or cell["student"] or cell["set"]
        said = f"{self.metric.name} of {looked.words}"
        return at_step(said, self.step if looked is cell["student"] else 0)

    @property
    def seed_network(self) -> str:
        return self.network

    @property
    def effort(self) -> int:
        looked = self.cell["probe"] or self.cell["set"]
        images: int = looked.images or self.dataset.facts["test"]
        return images

    def run(self, desk: Desk) -> Result:
        from bench.training import gates

        trials = [self._trial(desk, looked) for looked in (self.cell, *self.siblings)]
        value = self.metric.measure(*trials)
        return {}, {"value": gates.check_score(value, fact("metric", self.metric, "bounds"))}

    def _trial(self, desk: Desk, looked: Looked) -> Trial:
        from bench.contract.data import as_float

        source = desk.source(self.dataset)
        steps = {"student": self.step}
        made: dict[str, Callable[[], nn.Module]] = {
            role: partial(desk.network, looked[role], self.dataset, steps.get(role, 0))
            for role in ("student", "teacher")
            if looked[role]
        }
        if self.features:
            made["features"] = partial(desk.network, self.features, self.dataset)
        results: dict[str, Any] = {}
        if looked["probe"]:
            probed = desk.found(looked["probe"])
            results = {**desk.store.read(probed), "norm": probed.value.get("norm", "")}
            results["labels"] = source.split("test").labels[results["index"]]
            if "samples" in results:
                results["samples"] = as_float(results["samples"])
        return Trial(
            source.data,
            desk.condensed(looked["set"]),
            cost=desk.found(looked["set"]).value,
            device=desk.device,
            networks=made,
            **results,
        )
