"""What a run says where there is no terminal: a line now and then, also within a long stage."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from bench import display
from bench.engine.scheduler import Step


def heard(monkeypatch: pytest.MonkeyPatch, long: float, *steps: tuple[str, int, int]) -> list[str]:
    """What is printed of the steps of one stage, were any moment fit for a line."""
    said: list[str] = []
    monkeypatch.setattr(display, "EVERY", 0.0)
    monkeypatch.setattr(display, "LONG", long)
    monkeypatch.setattr(display.console, "print", lambda text, **_: said.append(text))
    stage: Any = SimpleNamespace(id="s", title="student of noted")
    with display.following() as listen:
        listen.expect(4)
        for status, done, total in steps:
            listen(Step(stage, status, done, total))
    return said


def test_a_long_stage_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = heard(monkeypatch, 0.0, ("started", 0, 0), ("progress", 30, 100))
    assert line.startswith("student of noted: 30/100; about ")
    assert line.endswith(" left")


def test_a_short_stage_is_told_at_its_end_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    said = heard(monkeypatch, 60.0, ("started", 0, 0), ("progress", 30, 100), ("done", 0, 0))
    assert len(said) == 1
    assert said[0].startswith("1/4 stages (1 done)")
