"""Cells are handed on as soon as they are complete, so that a run that is killed has published."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from itertools import chain, islice

from bench.engine.outcome import Outcome
from bench.stages.plan import Plan

EVERY = 10.0  # seconds between two publications, at least
SHARE = 20  # times as long as the last one took, at least: publishing stays cheap


class Publication:
    """A watch of a run. `publish` gets the part of the plan whose cells are newly complete."""

    def __init__(self, plan: Plan, publish: Callable[[Plan, Outcome], None]) -> None:
        self.plan, self.publish = plan, publish
        self.cells: dict[str, list[int]] = defaultdict(list)  # by stage: those that wait for it
        self.waits: Counter[int] = Counter()  # by cell: for how many stages
        for number, planned in enumerate(plan.cells):
            for stage in (planned.probe, *planned.measures.values()):
                self.cells[stage.id].append(number)
                self.waits[number] += 1
        self.complete: list[int] = []  # and not published
        self.seen = (0, 0)  # stages that have finished, that have failed
        self.next = time.monotonic() + EVERY

    def __call__(self, outcome: Outcome) -> None:
        """Publish, if it is time to."""
        now = time.monotonic()
        if now < self.next:
            return
        finished, failed = self.seen
        self.seen = len(outcome.finished), len(outcome.failed)
        ended = chain(
            islice(outcome.finished, finished, None), islice(outcome.failed, failed, None)
        )
        for number in chain.from_iterable(self.cells.get(id, ()) for id in ended):
            self.waits[number] -= 1
            if not self.waits[number]:
                self.complete.append(number)
        if self.complete:
            cells = tuple(self.plan.cells[number] for number in sorted(self.complete))
            self.complete.clear()
            self.publish(replace(self.plan, cells=cells, lost=0), outcome)
        done = time.monotonic()
        self.next = done + max(EVERY, SHARE * (done - now))
