"""What the results of a board have cost, in passes: images forward and back through a network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.records.result import Result
from bench.report.model import (
    Cell,
    Column,
    Form,
    Name,
    Paragraph,
    Passes,
    Section,
    Table,
    Value,
    budget,
)
from bench.report.numbers import Board

MADE = ("teacher", "scorer", "survey", "set")
"""The stages, by role, that a set is made by: the first three are there once for many sets."""


def sections(board: Board, records: Iterable[Result]) -> tuple[Section, ...]:
    """Two tables for each data set: what sets and students cost, and what attacks do."""
    counted = [r for r in records if r.passes]
    parts = []
    for dataset in board.datasets:
        of_dataset = [record for record in counted if record.dataset == dataset]
        if of_dataset:
            tables = (_sets(board, of_dataset), _attacks(board, of_dataset))
            parts.append(Section(dataset, tables))
    explained = (
        "Images that went forward through a network / whose gradients came back, as means over "
        "the seeds; hardware has no say in it. The teacher is trained once for all that use it."
    )
    if any("survey" in record.passes for record in counted):
        explained += " A survey of the data is made once for all sets whose methods ask alike."
    said = Paragraph((explained,))
    return (Section("Cost, in passes", (said, *parts)),) if parts else ()


def _sets(board: Board, records: Sequence[Result]) -> Table:
    """Rows of methods: teacher, condensation, and students by network and labels."""
    students = list(dict.fromkeys((r.architecture, r.labels) for r in records))
    asked = {"Scorer": "scorer", "Survey": "survey"}
    asked = {head: r for head, r in asked.items() if any(r in one.passes for one in records)}
    roles = {"Teacher": "teacher", **asked, "Condensation": "set"}
    names = [
        f"Student {architecture}" + (f", {labels} labels" if board.attacks else "")
        for architecture, labels in students
    ]
    rows: list[tuple[Cell, ...]] = []
    for ipc, method in board.rows:
        # a checkpoint is part of its training
        group = [r for r in records if (r.ipc, r.method) == (ipc, method) and not r.step]
        if not group:
            continue
        trained = (
            mean([r for r in group if (r.architecture, r.labels) == one], "student")
            for one in students
        )
        made = (mean(group, role) for role in roles.values())
        spent = (one or Value() for one in (*made, *trained))
        rows.append((budget(ipc), Name(method), *spent))
    keys = (Column("IPC", key=True), Column("Method", key=True, left=True))
    return Table((*keys, *map(Column, (*roles, *names))), tuple(rows))


def _attacks(board: Board, records: Sequence[Result]) -> Table:
    """Rows of attacks or samplers: passes for each image that they were asked for."""
    what = "Attack" if board.attacks else "Sampler"
    heads = (
        *(Column("", key=True), Column(what, key=True, left=True)),
        *(Column("Forward an image"), Column("Backward an image")),
    )
    rows: list[tuple[Cell, ...]] = []
    for name in (*board.attacks, *board.samplers):
        group = [r for r in records if name in (r.attack, r.sampler) and "student" in r.passes]
        images = sum(r.images for r in group)
        if images:
            an_image = (Value(n / images, form=Form(",.1f")) for n in _sum(group, "probe"))
            rows.append((Name(""), Name(name), *an_image))
    return Table(heads, tuple(rows))


def mean(records: Iterable[Result], role: str) -> Passes | None:
    """Forward and backward of one stage, each stage counted once; None where it has none."""
    stages = {r.content[role]: r for r in records if role in r.passes}
    if not stages:
        return None
    forward, backward = _sum(stages.values(), role)
    return Passes(forward / len(stages), backward / len(stages))


def _sum(records: Iterable[Result], role: str) -> tuple[int, int]:
    """Forward and backward."""
    passes = [record.passes[role] for record in records]
    return sum(one.forward for one in passes), sum(one.backward for one in passes)
