"""What the fields of attacks may hold."""

from __future__ import annotations

import math
from typing import Any

from bench import BenchError

BALLS = ("linf", "l2")


def check(attack: Any, **lowest: float) -> None:
    """Raise BenchError for a field below its lowest value, infinite or NaN; or an unknown norm."""
    for field, least in lowest.items():
        value = getattr(attack, field)
        if not least <= value < math.inf:
            raise BenchError(
                f"{attack.name}: {field} is {value}; expected a number of at least {least}; "
                f"set {field} in the board, or leave it at its default"
            )


def check_choice(attack: Any, field: str, choices: tuple[str, ...]) -> None:
    """Raise BenchError for a field that is none of its choices."""
    value = getattr(attack, field)
    if value not in choices:
        raise BenchError(
            f"{attack.name}: {field} is {value!r}; expected one of "
            f"{', '.join(map(repr, choices))}; set {field} in the board"
        )
