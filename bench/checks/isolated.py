"""The checks of many components, in processes that a component may crash, block or fill up.

What one component does to its process is its own failure; the others are checked all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from bench.checks import CLAIMS, Verdict, checks_for, run_checks
from bench.contract.limits import Limits
from bench.contract.registry import Entry, Registry
from bench.engine.executor import Done, Failed, Job, Slot
from bench.engine.local import Local

LIMITS = Limits(seconds=300, memory_gb=8)  # of one component


def check_isolated(
    entries: Sequence[Entry], names: Registry, jobs: int, limits: Limits = LIMITS
) -> Iterator[tuple[Entry, list[Verdict]]]:
    """The verdicts on each component, in the order of `entries`, as they become known.

    A component that its process does not survive has one verdict, "failed", with the reason.
    Up to `jobs` components are checked at a time; `names` are what they may name
    (`Registry.names`).
    """
    modules = ("torch._dynamo", *CLAIMS.values())  # the first: an optimizer wants it
    work = [
        Job(str(n), _check, (e.kind, e.component, names), modules=modules)
        for n, e in enumerate(entries)
    ]
    # Each worker starts a helper that loads torch (`again`), so there are no more than needed.
    bundles = [work[first::jobs] for first in range(min(jobs, len(work)))]
    found: dict[str, list[Verdict]] = {}
    with Local([Slot()] * jobs, limits) as workers:
        for bundle in bundles:
            workers.start(bundle)
        for number, entry in enumerate(entries):
            while str(number) not in found:
                for event in workers.events():
                    if isinstance(event, Done):
                        found[event.id] = [Verdict(**told) for told in event.value]
                    elif isinstance(event, Failed):
                        found[event.id] = [_lost(entries[int(event.id)], event.reason)]
            yield entry, found[str(number)]


def _check(
    kind: str,
    component: Any,
    names: Registry,
    *,
    device: str,
    progress: Callable[[int, int], None],
) -> list[dict[str, Any]]:
    return [asdict(v) for v in run_checks(checks_for(kind, component, names))]


def _lost(entry: Entry, reason: str) -> Verdict:
    return Verdict(f"{entry.kind} '{entry.name}' lives through its checks", "failed", reason)
