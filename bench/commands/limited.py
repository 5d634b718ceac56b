"""`bench run` with little time: it ends by itself, and says that work is left."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.engine.deadline import Deadline
    from bench.engine.results import Ran
    from bench.engine.scheduler import Engine
    from bench.records.result import Result
    from bench.stages.plan import Plan
    from bench.store.store import Store

LEFT = 75  # the exit code "try again" of sysexits.h


def deadline_of(minutes: float, began: float, store: Store, records: Sequence[Result]) -> Deadline:
    """When a run must end that began at `began`, of `time.monotonic`: `--minutes`, or its job."""
    from bench.engine.deadline import Deadline, deadline, seconds_given
    from bench.engine.prices import learned

    gone = time.monotonic() - began
    seconds = seconds_given(minutes, os.environ, time.time() - gone)
    if math.isinf(seconds):
        return Deadline()
    prices = learned(store.finished(), records)
    return deadline(max(0.0, seconds - gone), prices)


def records_alone(home: Path, engine: Engine, plan: Plan, ran: Ran) -> int:
    """Write the records of a run that has left work, and say so; the exit code.

    Pages are for the run that ends the work: many may end at the same time.
    """
    from bench.display import console
    from bench.engine.walk import FOR_OTHERS
    from bench.records.files import split_valid
    from bench.report.folder import add_results
    from bench.store.locks import waiting

    valid, _ = split_valid(ran.records)
    if valid:
        with waiting(home / "matrix.toml", f"writes to {home}", leases=engine.store.leases):
            add_results(home, valid)
    done = f"{len(valid)} of {len(plan.cells)} cells have records in {home}"
    same = "the same command" if ran.left != FOR_OTHERS else "one without --stages"
    console.print(
        f"work is left: {ran.left}; {done}; run {same} to go on "
        f"(`bench leaderboard {home}` writes pages meanwhile)"
    )
    return LEFT
