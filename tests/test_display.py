"""What a run says where there is no terminal: a line now and then, also within a long stage."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import display
from bench.engine.outcome import Step
from bench.engine.prices import Prices, Profile
from bench.engine.results import Ran


class Heard:
    """A listener, the clock that it looks at, and what it prints."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.lines = 1_000.0, list[str]()
        monkeypatch.setattr(display, "_now", lambda: self.now)
        monkeypatch.setattr(display, "profile", lambda stage: stage.profile)
        monkeypatch.setattr(display.console, "print", lambda text, **_: self.lines.append(text))

    def said(self) -> list[str]:
        lines, self.lines = self.lines, []
        return lines


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    return Heard(monkeypatch)


def a_stage(id: str, kind: str = "train") -> Any:
    return SimpleNamespace(id=id, title=f"student {id}", profile=Profile(kind, "", "d", "n", 10))


def test_a_stage_of_more_than_a_minute_tells_its_steps_and_the_time_left(heard: Heard) -> None:
    one = a_stage("a")
    with display.following() as listen:
        listen.expect([one], Prices(), 1)
        listen(Step(one, "started"))
        heard.now += 59
        listen(Step(one, "progress", 29, 100))
        assert heard.said() == []
        heard.now += 1
        listen(Step(one, "progress", 30, 100))
        assert heard.said() == ["student a: 30/100 steps; about 2 min left"]
        heard.now += 59
        listen(Step(one, "progress", 60, 100))
        assert heard.said() == []  # no more than a line a minute
        heard.now += 1
        listen(Step(one, "running"))
        assert heard.said() == ["student a: 60/100 steps; about 80 s left"]


def test_a_long_stage_that_counts_no_steps_is_said_to_run(heard: Heard) -> None:
    one, other = a_stage("a"), a_stage("b")
    with display.following() as listen:
        listen(Step(one, "started"))
        heard.now += 30
        listen(Step(other, "started"))
        heard.now += 90
        listen(Step(one, "running"))
        listen(Step(other, "running"))
    assert heard.said() == [
        "student a: running for 2 min",
        "student b: running for 2 min",
    ]


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
    text = printed(SHOW, str(DEMO), PYTHONIOENCODING="ascii")
    assert re.search(r"\b9\d\.\d \+- \d\.\d", text)


def test_a_command_says_what_an_ascii_terminal_cannot_show(tmp_path: Path) -> None:
    board = tmp_path / "br\xe4tt"
    board.mkdir()
    (board / "matrix.toml").write_bytes((DEMO / "matrix.toml").read_bytes())
    code = "from bench.cli import main; main()"
    said = printed(code, "leaderboard", str(board), PYTHONIOENCODING="ascii")
    assert "br\\xe4tt" in said


def test_a_short_stage_is_told_at_its_end_alone(heard: Heard) -> None:
    one = a_stage("a")
    with display.following() as listen:
        listen.expect([one, a_stage("b")], Prices(), 1)
        listen(Step(one, "started"))
        heard.now += 20
        listen(Step(one, "progress", 30, 100))
        listen(Step(one, "done", seconds=20.0))
    assert heard.said() == ["1/2 stages (1 done); about 20 s left"]


def test_the_time_left_accounts_for_unequal_stages(heard: Heard) -> None:
    """A run whose many short stages end first is not said to be nearly done."""
    short, long = [a_stage(str(n), "probe") for n in range(9)], a_stage("x", "train")
    prices = Prices()
    prices.learn(short[0].profile, 1.0)
    prices.learn(long.profile, 600.0)
    with display.following() as listen:
        listen.expect([*short, long], prices, 2)
        assert listen.left() == (304.5, True)
        for stage in short:
            listen(Step(stage, "started"))
            listen(Step(stage, "done", seconds=1.0))
        assert listen.left() == (300.0, True)
        listen(Step(long, "started"))
        heard.now += 400
        assert listen.left() == (100.0, True)
        heard.now += 9_000  # longer than it should
        assert listen.left() == (0.0, True)


def test_the_time_left_is_learned_from_the_stages_of_the_run(heard: Heard) -> None:
    stages = [a_stage(str(n)) for n in range(3)]
    prices = Prices()
    prices.learn(Profile("train", "", "other", "n", 1), 50.0)
    with display.following() as listen:
        listen.expect(stages, prices, 1)
        assert listen.left() == (1_500.0, False)
        listen(Step(stages[0], "started"))
        heard.now += 12
        listen(Step(stages[0], "done", seconds=2.0))
        assert heard.said() == ["1/3 stages (1 done); about 4 s left"]


def test_stages_that_nobody_expected_are_counted_as_well(heard: Heard) -> None:
    """As those of networks that a board keeps: never more stages have ended than there are."""
    stages = [a_stage(str(n)) for n in range(4)]
    with display.following() as listen:
        listen.expect(stages[:2], Prices(), 1)
        for stage in stages[1:]:
            listen(Step(stage, "started"))
            heard.now += 12
            listen(Step(stage, "done", seconds=2.0))
        (bar,) = listen.progress.tasks
        assert (bar.completed, bar.total) == (3, 3)
    assert [line.split(";")[0] for line in heard.said()] == [
        *("1/2 stages (1 done)", "2/2 stages (2 done)", "3/3 stages (3 done)")
    ]


def test_a_time_that_is_a_guess_says_so(heard: Heard) -> None:
    one, other = a_stage("a"), a_stage("b", "probe")
    with display.following() as listen:
        listen.expect([one, other], Prices(), 1)
        listen(Step(one, "started"))
        heard.now += 12
        listen(Step(one, "done", seconds=2.0))
    assert heard.said() == ["1/2 stages (1 done); about 0 s left (a guess)"]


def test_failures_are_listed_at_the_end_with_their_reason_and_their_log(heard: Heard) -> None:
    loud, quiet = a_stage("a"), a_stage("b")
    with display.following() as listen:
        listen.expect([loud, quiet], Prices(), 1)
        listen(Step(loud, "failed", reason="no weights", log=Path("logs/a.txt")))
        listen(Step(quiet, "failed", reason="passed its time limit of 8 s"))
        listen(Step(quiet, "blocked", reason="no weights"))
    heard.said()
    display.show_failures(listen.failed, Ran((), (), 5))
    assert heard.said() == [
        "2 stages and with them 5 cells failed:",
        "  student a: no weights; log: logs/a.txt",
        "  student b: passed its time limit of 8 s; it printed nothing",
    ]
    display.show_failures([], Ran((), (), 0))
    assert heard.said() == []
