"""When a run must end, as in a job of a cluster: what it begins by then, and when it stops."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.engine.prices import Prices, profile
from bench.stages.stage import Stage

SPARE = 60.0  # seconds before the end in which records are written; a tenth of a short run
SAVING = 20.0  # seconds before those in which stages keep a checkpoint; a third of a shorter SPARE
SLACK = 1.2  # times its price that a stage may take: machines are shared
PATIENCE = 300.0  # seconds that a run with a deadline waits while others do all that there is


@dataclass(frozen=True)
class Deadline:
    """Seconds of `time.monotonic`, which all processes of a machine share and nobody sets.

    `until` it runs stages; at the `last_call` those that can keep a checkpoint, so that another
    run goes on from there. Without a deadline a run has all the time there is.
    """

    until: float = math.inf
    last_call: float = math.inf
    prices: Prices = field(default_factory=Prices)  # what stages have taken

    @property
    def limited(self) -> bool:
        return math.isfinite(self.until)

    @property
    def left(self) -> float:
        """Seconds in which stages may run."""
        return self.until - time.monotonic()

    @property
    def patience(self) -> float:
        """Seconds to wait for other runs, where there is nothing else to do."""
        return PATIENCE if self.limited else math.inf

    def learn(self, stage: Stage, seconds: float) -> None:
        """What a stage has taken."""
        if self.limited:
            self.prices.learn(profile(stage), seconds)

    def fits(self, stage: Stage) -> bool:
        """Whether a stage should end in time. One whose price is a guess is tried."""
        if not self.limited:
            return True
        price = self.prices.of(profile(stage))
        return price is None or price.guess or SLACK * price.seconds <= self.left


def seconds_given(minutes: float, environment: Mapping[str, str], now: float) -> float:
    """Seconds that a run has from `now` (of `time.time`): of `--minutes` (0: not said), and of the
    SLURM job that it is in; infinite where neither says.

    The clock of a node may be minutes off that of the controller, which sets both ends of a job:
    no more is taken than the length of the job.
    """
    given = [60 * minutes] if minutes else []
    try:
        end = float(environment["SLURM_JOB_END_TIME"])
        given.append(end - now)
        given.append(end - float(environment["SLURM_JOB_START_TIME"]))
    except (KeyError, ValueError):  # not in a job, or in one of an older SLURM, which says neither
        pass
    return max(0.0, min(given, default=math.inf))


def deadline(seconds: float, prices: Prices) -> Deadline:
    """The deadline of a run that has so many seconds, some of them to write records in."""
    if math.isinf(seconds):
        return Deadline()
    spare = min(SPARE, seconds / 10)
    until = time.monotonic() + seconds - spare
    return Deadline(until, until - min(SAVING, spare / 3), prices)


def too_long(stages: Sequence[Stage]) -> str:
    """What is left for want of time, in words; "" for no stage."""
    if not stages:
        return ""
    more = f" and {len(stages) - 1} more stages take" if stages[1:] else " takes"
    return f"'{stages[0].title}'{more} longer than the time that is left; give it more"
