"""The checks of many components, in processes that a component may crash, block or fill up.

What one component does to its process is its own failure; the others are checked all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from bench.checks import CLAIMS, Verdict, checks_for, run_checks
from bench.contract.limits import Limits
from bench.contract.registry import Entry, Registry
from bench.engine.local import Done, Failed, Job, Workers

LIMITS = Limits(seconds=300, memory_gb=8)  # of one component


def check_apart(
    entries: Sequence[Entry], names: Registry, jobs: int, limits: Limits = LIMITS
) -> Iterator[tuple[Entry, list[Verdict]]]:
    """The verdicts on each component, in the order of `entries`, as they become known.

    A component that its process does not survive has one verdict, "failed", with the reason.
    Up to `jobs` components are checked at a time; `names` are what they may name
    (`Registry.names`).
    """
    work = [Job(str(n), _check, (e.kind, e.component, names)) for n, e in enumerate(entries)]
    # Each worker starts a helper that loads torch (`again`), so there are no more than needed.
    bundles = [work[first::jobs] for first in range(min(jobs, len(work)))]
    found: dict[str, list[Verdict]] = {}
    with Workers(jobs, limits, preload=tuple(CLAIMS.values())) as workers:
        for bundle in bundles:
            workers.start(bundle)
        for number, entry in enumerate(entries):
            while str(number) not in found:
                for event in workers.events():
                    if isinstance(event, Done):
                        found[event.id] = event.value
                    elif isinstance(event, Failed):
                        found[event.id] = [_lost(entries[int(event.id)], event.reason)]
            yield entry, found[str(number)]


def _check(
    kind: str, component: Any, names: Registry, *, progress: Callable[[int, int], None]
) -> list[Verdict]:
    return run_checks(checks_for(kind, component, names))


def _lost(entry: Entry, reason: str) -> Verdict:
    return Verdict(f"{entry.kind} '{entry.name}' lives through its checks", "failed", reason)
