"""What a run would do, and how long that should take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.engine.prices import Prices, profile
from bench.engine.scheduler import Engine
from bench.stages.plan import Plan
from bench.stages.stage import STAGES, Stage


@dataclass(frozen=True)
class Look:
    """What the store has of some stages, before they run."""

    contents: Mapping[str, str]  # of those that are there, by id
    missing: tuple[Stage, ...]  # what would be run


@dataclass(frozen=True)
class Estimate:
    """One kind of stage in a plan: how many, how many are cached, what the rest should take."""

    kind: str
    total: int
    cached: int
    seconds: float  # of one slot, for those with a price
    guesses: int  # prices that are no more than that
    unpriced: int  # stages that nothing like has run yet


def look(engine: Engine, stages: Sequence[Stage]) -> Look:
    """Which stages would be run. None is below one that has declined: it is declined as well."""
    contents: dict[str, str] = {}
    declined: set[str] = set()
    missing: list[Stage] = []
    for stage in stages:
        above = [one.id for one in stage.above.values()]
        if not declined.isdisjoint(above):
            declined.add(stage.id)
            continue
        found = None
        if all(id in contents for id in above):
            found = engine.store.find(stage.kind, engine.key_of(stage, contents))
        if found is None:
            missing.append(stage)
        elif found.unsupported:
            declined.add(stage.id)
        else:
            contents[stage.id] = found.content
    return Look(contents, tuple(missing))


def unread(plan: Plan) -> dict[str, str]:
    """The data sets of a plan that are not here, and by which counts they were planned."""
    found = {stage.dataset.name: stage.dataset.facts for stage in plan.stages}
    return {
        name: f"{sum(facts['counts']):,} training and {facts['test']:,} test images, "
        f"{len(facts['counts']):,} classes"
        for name, facts in found.items()
        if not facts["digest"]
    }


def estimate(
    stages: Sequence[Stage], missing: Sequence[Stage], prices: Prices
) -> tuple[Estimate, ...]:
    """What `--dry-run` shows of each kind of stage."""
    total = Counter(stage.kind for stage in stages)
    todo, guesses, unpriced = Counter[str](), Counter[str](), Counter[str]()
    seconds: dict[str, float] = dict.fromkeys(total, 0.0)
    for stage in missing:
        price = prices.of(profile(stage))
        todo[stage.kind] += 1
        if price is None:
            unpriced[stage.kind] += 1
        else:
            guesses[stage.kind] += price.guess
            seconds[stage.kind] += price.seconds
    return tuple(
        Estimate(
            kind,
            total[kind],
            total[kind] - todo[kind],
            seconds[kind],
            guesses[kind],
            unpriced[kind],
        )
        for kind in STAGES
        if total[kind]
    )
