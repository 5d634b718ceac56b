"""Results of a method and of a baseline that it is compared with, for tests of reports."""

from __future__ import annotations

from typing import Any

from support import as_result

from bench.board.matrix import parse as board_from
from bench.records.result import Result
from bench.report.numbers import Board, board_of

MATRIX: dict[str, Any] = {
    "title": "digits",
    "datasets": ["digits"],
    "methods": ["made", "made-otherwise"],
    "controls": ["dice", "dice-otherwise"],
    "ceiling": "all",
    "ipc": [1, 10],
    "labels": ["teacher", "hard"],
    "backbone": "small",
    "architectures": ["small"],
    "attacks": ["plain", "strong"],
    "metrics": ["right", "distance"],
    "seeds": [0, 1],
}


def a_board(**changes: Any) -> Board:
    return board_of(board_from({**MATRIX, **changes}))


def measured(method: str, *right: float, labels: str = "hard", **changes: Any) -> list[Result]:
    """Results of seeds 0, 1, ... whose images are those of their method, but for `made_of`."""
    made_of = changes.pop("made_of", method)
    network = {"teacher": f"net of {changes.pop('teacher', 'one')}"} if labels != "hard" else {}
    scales = {"right": {"better": "higher", "unit": "fraction"}, "distance": {"better": "lower"}}
    named = {"dataset": "digits", "method": method, "ipc": 1, "labels": labels, "attack": "plain"}
    return [
        as_result(
            {**named, "architecture": "small", "seed": seed, "images": 100, "images_hash": "all"}
            | {"metrics": {"right": one}, "scales": scales}
            | {"content": {"set": f"{made_of} {seed}", "student": method, **network}}
            | changes
        )
        for seed, one in enumerate(right)
    ]


GUARDED: dict[str, Any] = {"labels": "teacher", "teacher": "two", "about": {"teacher": "Another."}}
"""Labels of another teacher than that of the board."""
