"""The kinds of stages, by the names that users give them."""

from __future__ import annotations

from collections.abc import Iterable

from bench.contract.errors import BenchError
from bench.contract.fields import suggest
from bench.contract.typed import unique
from bench.stages.attack import Attack, Probe
from bench.stages.condense import Condense
from bench.stages.grade import Grade
from bench.stages.load import Load
from bench.stages.measure import Measure
from bench.stages.sample import Sample
from bench.stages.squeeze import Squeeze
from bench.stages.survey import Survey
from bench.stages.train import Train

KINDS = tuple(
    stage.kind
    for stage in (Load, Squeeze, Grade, Survey, Condense, Train, Sample, Attack, Probe, Measure)
)
"""In the order in which a row goes through them."""


def kinds_of(names: Iterable[str], where: str) -> frozenset[str]:
    """The kinds that are named. Raises BenchError for one that is unknown or comes twice."""
    given = tuple(names)
    for name in given:
        if name not in KINDS:
            hint = suggest(name, KINDS) or f"; expected some of {', '.join(KINDS)}"
            raise BenchError(f"{where}: there are no stages {name!r}{hint}")
    unique(given, where)
    return frozenset(given)
