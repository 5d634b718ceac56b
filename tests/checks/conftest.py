from collections.abc import Callable
from typing import Any

import pytest

from bench.checks import Verdict, checks_for, run_checks


@pytest.fixture
def verdict() -> Callable[[str, Any, str], Verdict]:
    """How the check whose name has these words goes for a component."""

    def of(kind: str, component: Any, words: str) -> Verdict:
        checks = [check for check in checks_for(kind, component) if words in check.name]
        assert len(checks) == 1, f"{len(checks)} checks are named {words!r}"
        return run_checks(checks)[0]

    return of


@pytest.fixture
def fails(verdict: Callable[[str, Any, str], Verdict]) -> Callable[[str, Any, str, str], None]:
    """That a check fails for a component, and says these words."""

    def of(kind: str, component: Any, claim: str, words: str) -> None:
        found = verdict(kind, component, claim)
        assert found.status == "failed", found.detail
        assert words in found.detail

    return of
