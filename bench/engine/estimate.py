"""What a run would do, and how long that should take."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from bench.engine.scheduler import price_key
from bench.records.result import Result
from bench.stages.plan import Plan
from bench.stages.stage import STAGES, Stage
from bench.store.store import Store


@dataclass(frozen=True)
class Survey:
    """One kind of stage in a plan: how many, how many are cached, what the rest should take."""

    kind: str
    total: int
    cached: int
    seconds: float  # of one process, for those with a price
    unpriced: int  # stages that nothing like has run yet


def survey(
    plan: Plan,
    store: Store,
    key_of: Callable[[Stage, Mapping[str, str]], str],
    records: Iterable[Result] = (),
) -> tuple[Survey, ...]:
    """What `--dry-run` shows; `key_of` is that of the engine.

    Prices are medians: of like stages in the store, else of the kind in the store, else of the kind
    in the board's records.
    """
    like: dict[str, list[float]] = {}
    for finished in store.finished():
        if finished.unsupported:
            continue
        seconds = finished.cost.get("seconds", 0.0)
        for name in (str(finished.inputs.get("price")), finished.stage):
            like.setdefault(name, []).append(seconds)
    published: dict[str, list[float]] = {}
    for record in records:
        for kind, seconds in record.seconds.items():
            published.setdefault(kind, []).append(seconds)

    def price(stage: Stage) -> float | None:
        for known in (like.get(price_key(stage)), like.get(stage.kind), published.get(stage.kind)):
            if known:
                return statistics.median(known)
        return None

    contents: dict[str, str] = {}
    declined = set()
    total, cached, unpriced = Counter[str](), Counter[str](), Counter[str]()
    expected: dict[str, float] = {}
    for stage in plan.stages:
        total[stage.kind] += 1
        if any(s.id in declined for s in stage.above.values()):
            declined.add(stage.id)
            cached[stage.kind] += 1
            continue
        known = all(s.id in contents for s in stage.above.values())
        if known and (found := store.find(stage.kind, key_of(stage, contents))):
            cached[stage.kind] += 1
            contents[stage.id] = found.content
            if found.unsupported:
                declined.add(stage.id)
            continue
        expected_here = price(stage)
        unpriced[stage.kind] += expected_here is None
        expected[stage.kind] = expected.get(stage.kind, 0.0) + (expected_here or 0.0)
    return tuple(
        Survey(kind, total[kind], cached[kind], expected.get(kind, 0.0), unpriced[kind])
        for kind in STAGES
        if total[kind]
    )
