"""Which cells of a plan have no record that holds: all that `bench run --missing` runs.

A record holds where a run would describe the cell in the same words: protocol, settings, recipe,
code of the components, data, and how many images were looked at; and where it has a figure, or a
reason, for each metric. Machine and versions of libraries are not part of that, and neither is
the store: what is committed is not repeated elsewhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from bench.board.components import Components
from bench.board.matrix import Cell
from bench.contract.keys import digest, plain
from bench.engine.results import described, eyes
from bench.records.result import Result
from bench.stages.plan import Plan, Planned

SAME = ("protocol", "evaluate", "code", "data")


def held(components: Components, plan: Plan, records: Iterable[Result]) -> set[Cell]:
    """The cells of a plan whose records hold."""
    known = {record.coordinate: record for record in records}
    return {
        planned.cell
        for planned in plan.cells
        if (record := known.get(planned.cell.coordinate))
        and _holds(components, planned, record, plan.declined.get(planned.probe.id, ""))
    }


def _holds(components: Components, planned: Planned, record: Result, declined: str) -> bool:
    """`declined` says why the plan has no stages for the cell; "" if it has."""
    said = described(components, planned)
    if any(digest(said[name]) != digest(getattr(record, name)) for name in SAME):
        return False
    if digest(_settings(said["parameters"])) != digest(_settings(record.parameters)):
        return False
    if digest(_recipe(planned, said["recipe"], record)) != digest(record.recipe):
        return False
    if declined or record.reason.startswith("[probe]"):  # which of them counts images is the plan's
        return record.reason == declined
    return bool(record.reason) or _is_whole(components, planned, record)


def _settings(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Without how a recipe differs from the board's: the whole recipe stands in the record."""
    return {kind: values for kind, values in parameters.items() if kind != "recipe"}


def _recipe(planned: Planned, recipe: Mapping[str, Any], record: Result) -> dict[str, Any]:
    """The recipe that would be recorded, as far as a record knows it.

    A field that recipes have got since is left out where it has its default, which changes nothing.
    """
    kind = planned.student.recipe if planned.student else None
    defaults = {f.name: f.default for f in dataclasses.fields(kind)} if kind else {}
    return {
        name: value
        for name, value in recipe.items()
        if name in record.recipe or value != plain(defaults[name])
    }


def _is_whole(components: Components, planned: Planned, record: Result) -> bool:
    """Has a record what would be measured: all metrics, on as many images, with the same eyes?"""
    images = components.matrix.probe.images or planned.condensed.dataset.facts["test"]
    if record.images != images:
        return False
    for name, stage in planned.measures.items():
        if name not in record.metrics and name not in record.refused:
            return False
        if stage.features and name in record.metrics:
            scale, network = record.scales[name], stage.features.sha256
            seen = eyes(components, stage, network)
            if scale.measured_by != seen["measured_by"]:
                return False
            if network and scale.features != seen["features"]:
                return False
    return True
