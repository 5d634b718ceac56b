"""What is heard of a run while it goes on, and what has come of its stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.stages.stage import Stage
from bench.store.store import Finished


@dataclass(frozen=True)
class Step:
    """What a listener hears: a stage has begun, advances, or has ended."""

    stage: Stage
    status: str  # "started" | "running" | "progress", and one of the ends: "done" | "cached" |
    # "failed" | "unsupported" | "blocked"
    done: int = 0
    total: int = 0
    reason: str = ""
    seconds: float = 0.0  # that a stage has taken whose result is there
    log: Path | None = None  # what a stage that failed has printed, if it has


@dataclass(frozen=True)
class Failure:
    """Why a stage has no result. `stage` is where it began; those below share it."""

    stage: Stage
    reason: str  # one sentence
    unsupported: bool


@dataclass(frozen=True)
class Outcome:
    """What became of the stages, by their id, in the order in which they ended."""

    finished: Mapping[str, Finished]
    failed: Mapping[str, Failure]
    interrupted: bool = False  # by Ctrl-C: what is in neither was not run
    left: str = ""  # why a run with a deadline has ended, if it has left work


Listener = Callable[[Step], None]
Watch = Callable[[Outcome], None]  # looks at what has ended so far, several times a second


def silent(step: Step) -> None: ...


def unwatched(outcome: Outcome) -> None: ...
