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


def wanting(components: Components, plan: Plan, records: Iterable[Result]) -> dict[Cell, str]:
    """What the record of each cell of a plan lacks, in a word or two; "" if it holds."""
    known = {record.coordinate: record for record in records}
    return {
        planned.cell: _fault(
            components,
            planned,
            known.get(planned.cell.coordinate),
            plan.declined.get(planned.probe.id, ""),
        )
        for planned in plan.cells
    }


def _fault(components: Components, planned: Planned, record: Result | None, declined: str) -> str:
    """`declined` says why the plan has no stages for the cell; "" if it has."""
    if not record:
        return "no record"
    said = described(components, planned)
    for name in SAME:
        if digest(_told(name, said[name])) != digest(_told(name, getattr(record, name))):
            return f"another {name}"
    if digest(_settings(said["parameters"])) != digest(_settings(record.parameters)):
        return "other settings"
    if digest(_recipe(planned, said["recipe"], record)) != digest(record.recipe):
        return "another recipe"
    if declined or record.reason.startswith("[probe]"):  # which of them counts images is the plan's
        return "" if record.reason == declined else "another number of images"
    return "" if record.reason else _unseen(components, planned, record)


def _told(name: str, value: Any) -> Any:
    """A data set is what it holds: it is compared by that, and not by the code that reads it."""
    return {k: v for k, v in value.items() if k != "dataset"} if name == "code" else value


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


def _unseen(components: Components, planned: Planned, record: Result) -> str:
    """What a record lacks of what would be measured: images, metrics, or the same eyes."""
    images = components.matrix.probe.images or planned.condensed.dataset.facts["test"]
    if record.images != images:
        return "another number of images"
    for name, stage in planned.measures.items():
        if name not in record.metrics and name not in record.refused:
            return f"no {name}"
        if stage.features and name in record.metrics:
            scale, network = record.scales[name], stage.features.sha256
            seen = eyes(components, stage, network)
            same = not network or scale.features == seen["features"]
            if not same or scale.measured_by != seen["measured_by"]:
                return f"another network that {name} looks with"
    return ""
