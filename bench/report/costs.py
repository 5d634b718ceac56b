"""What the results of a board have cost, in passes: images forward and back through a network."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from bench.records.result import Result
from bench.report.markdown import table
from bench.report.numbers import Board

MISSING = "–"


def section(board: Board, records: Sequence[Result]) -> list[str]:
    """Two tables for each data set: what sets and students cost, and what attacks do."""
    counted = [r for r in records if r.passes]
    lines = []
    for dataset in board.datasets:
        of_dataset = [record for record in counted if record.dataset == dataset]
        if of_dataset:
            lines += [f"### {dataset}", "", *_sets(board, of_dataset), ""]
            lines += [*_attacks(board, of_dataset), ""]
    if not lines:
        return []
    explained = (
        "Images that went forward through a network / whose gradients came back, as means over "
        "the seeds; hardware has no say in it. The teacher is trained once for all that use it."
    )
    return ["## Cost, in passes", "", explained, "", *lines]


def _sets(board: Board, records: Sequence[Result]) -> list[str]:
    """Rows of methods: teacher, condensation, and students by network and labels."""
    students = list(dict.fromkeys((r.architecture, r.labels) for r in records))
    scored = any("scorer" in r.passes for r in records)
    header = ["IPC", "Method", "Teacher", *(["Scorer"] if scored else []), "Condensation"]
    header += [
        f"Student {architecture}" + (f", {labels} labels" if board.attacks else "")
        for architecture, labels in students
    ]
    rows = []
    order = [
        *((i, m) for i in board.ipc for m in (*board.methods, *board.controls)),
        *((0, m) for m in board.ceiling),
    ]
    for ipc, method in order:
        group = [r for r in records if (r.ipc, r.method) == (ipc, method)]
        group = [r for r in group if not r.step]  # a checkpoint is part of its training
        if not group:
            continue
        trained = [
            _mean([r for r in group if (r.architecture, r.labels) == one], "student")
            for one in students
        ]
        rows.append(
            [
                *(str(ipc or "full set"), method, _mean(group, "teacher")),
                *([_mean(group, "scorer")] if scored else []),
                *(_mean(group, "set"), *trained),
            ]
        )
    return table(header, rows)


def _attacks(board: Board, records: Sequence[Result]) -> list[str]:
    """Rows of attacks or samplers: passes for each image that they were asked for."""
    what = "Attack" if board.attacks else "Sampler"
    header = ["", what, "Forward an image", "Backward an image"]
    rows = []
    for name in (*board.attacks, *board.samplers):
        group = [r for r in records if name in (r.attack, r.sampler)]
        group = [r for r in group if "student" in r.passes]
        images = sum(r.images for r in group)
        if images:
            total = _sum(group, "probe")
            rows.append(["", name, *(f"{total[way] / images:,.1f}" for way in total)])
    return table(header, rows)


def _mean(records: Iterable[Result], role: str) -> str:
    """Forward and backward of one stage, each stage counted once."""
    stages = {r.content[role]: r for r in records if role in r.passes}
    if not stages:
        return MISSING
    total = _sum(stages.values(), role)
    return " / ".join(f"{count / len(stages):,.0f}" for count in total.values())


def _sum(records: Iterable[Result], role: str) -> dict[str, int]:
    total: dict[str, int] = defaultdict(int)
    for record in records:
        total["forward"] += record.passes[role].forward
        total["backward"] += record.passes[role].backward
    return total
