"""What a check is, and the few words in which checks are written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar
from unittest import SkipTest

from bench.contract.errors import BenchError, Unsupported

T = TypeVar("T")
C = TypeVar("C")
Claims = dict[str, Callable[[], str | None]]
"""What a component claims by being of its kind, and how that is tested."""


class Skipped(Unsupported, SkipTest):
    """A check that does not apply. pytest and unittest know it as a skip."""


@dataclass(frozen=True)
class Check:
    """One claim about one component, such as "method 'x' beats chance".

    `run()` returns a detail ("" where there is nothing to add). It raises BenchError where the
    claim does not hold, Skipped (an Unsupported) where it does not apply, and whatever else the
    component raises.
    """

    name: str
    run: Callable[[], str]

    def __str__(self) -> str:  # so that pytest takes `ids=str`
        return self.name


@contextmanager
def naming(case: str) -> Iterator[None]:
    """Put the case in front of what is raised inside."""
    try:
        yield
    except BenchError as error:
        raise BenchError(f"on {case}: {error}") from None


def once(make: Callable[[], T]) -> Callable[[], T]:
    """`make`, called on first use only: what it returned or raised comes back every time."""
    kept: list[tuple[T | None, BaseException | None]] = []

    def get() -> T:
        if not kept:
            try:
                kept.append((make(), None))
            except (Exception, SystemExit) as error:
                kept.append((None, error))
        value, fault = kept[0]
        if fault is not None:
            raise fault
        return value  # type: ignore[return-value]

    return get


def on_each(cases: Iterable[C], run: Callable[[C], T]) -> list[T]:
    """`run` on each case that the component takes. Raises Unsupported if it takes none."""
    results, reasons = [], []
    for case in cases:
        try:
            results.append(run(case))
        except Unsupported as reason:
            reasons.append(str(reason))
    if not results:
        raise Unsupported("; ".join(dict.fromkeys(reasons)))
    return results
