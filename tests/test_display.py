"""What a run says where there is no terminal: a line now and then, also within a long stage."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
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


DEMO = Path(__file__).parents[1] / "leaderboards" / "demo"
SHOW = "import sys; from pathlib import Path; from bench.display import show_tables; "
SHOW += "show_tables(Path(sys.argv[1]))"


def printed(code: str, *given: str, **environment: str) -> str:
    """What a program writes to a pipe, were `COLUMNS` not set."""
    elsewhere = {k: v for k, v in os.environ.items() if k != "COLUMNS"} | environment
    command = [sys.executable, "-c", code, *given]
    done = subprocess.run(command, capture_output=True, check=True, env=elsewhere)
    return done.stdout.decode(environment.get("PYTHONIOENCODING", "utf-8"))


def test_a_pipe_gets_tables_that_are_not_folded() -> None:
    lines = printed(SHOW, str(DEMO)).splitlines()
    head = next(line for line in lines if line.startswith("     IPC  Method"))
    assert "robust linf 0.1 [3]" in head
    assert len(head) > 80
    assert lines[0] == "accuracy, in percent (higher is better)"
    assert not any("Components" in line or "Cost" in line for line in lines)


def test_columns_that_the_user_sets_hold_in_a_pipe() -> None:
    text = printed(SHOW, str(DEMO), COLUMNS="80")
    assert max(map(len, text.splitlines())) <= 80


def test_tables_are_shown_where_only_ascii_is() -> None:
    assert "90.8 +- 0.9" in printed(SHOW, str(DEMO), PYTHONIOENCODING="ascii")


def test_a_command_says_what_an_ascii_terminal_cannot_show(tmp_path: Path) -> None:
    board = tmp_path / "br\xe4tt"
    board.mkdir()
    (board / "matrix.toml").write_bytes((DEMO / "matrix.toml").read_bytes())
    code = "from bench.cli import main; main()"
    said = printed(code, "leaderboard", str(board), PYTHONIOENCODING="ascii")
    assert "br\\xe4tt" in said
