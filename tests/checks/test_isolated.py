"""Each component is checked in a process of its own, and `bench check` tells what came of it."""

import importlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.checks import checks_for, run_checks
from bench.checks.isolated import check_isolated
from bench.contract.limits import Limits
from bench.contract.registry import Entry, Registry
from bench.training import toy

sys.path.insert(0, str(Path(__file__).parent))  # so that a forked process finds them, too
misbehaving = importlib.import_module("misbehaving")

ROOT = Path(__file__).parents[2]
NAMES = Registry(())  # nothing is installed that one could name


def entries(*components):
    return [Entry("method", c.name, c, "here", "0") for c in components]


def status(verdicts):
    return {v.status for v in verdicts}


@pytest.mark.slow
def test_verdicts_are_those_of_this_process_in_the_order_of_the_components() -> None:
    fine = misbehaving.Fine()
    other = misbehaving.Talks()
    found = list(check_isolated(entries(fine, other), NAMES, jobs=2))
    assert [entry.name for entry, _ in found] == ["fine", "talks"]
    here = run_checks(checks_for("method", fine))
    assert [v for v in found[0][1] if "names only" not in v.check] == here


def test_a_crash_costs_nobody_else() -> None:
    crashes, fine = misbehaving.Crashes(), misbehaving.Fine()
    (_, (crash,)), (_, verdicts) = check_isolated(entries(crashes, fine), NAMES, jobs=1)
    assert crash.check == "method 'crashes' lives through its checks"
    assert (crash.status, crash.detail) == ("failed", "the process died of SIGABRT")
    assert status(verdicts) == {"passed"}


@pytest.mark.slow
def test_a_component_that_never_comes_back_fails_at_the_time_limit() -> None:
    chosen = entries(misbehaving.Hangs())
    ((_, (hang,)),) = check_isolated(chosen, NAMES, jobs=1, limits=Limits(seconds=4))
    assert (hang.status, hang.detail) == ("failed", "exceeded its time limit of 4 s")


@pytest.mark.slow
def test_names_are_looked_up_among_what_is_installed() -> None:
    ((_, verdicts),) = check_isolated(entries(misbehaving.NamesNobody()), NAMES, jobs=1)
    details = {v.check: v.detail for v in verdicts if v.status == "failed"}
    told = details["method 'names-nobody' names only what is installed"]
    assert "there is no teacher 'nobody-at-all'" in told


@pytest.mark.slow
def test_a_component_that_cannot_be_sent_fails_alone() -> None:
    @dataclass(frozen=True)
    class Hidden(toy.ToyMeans):
        """Nobody can import it."""

        name: str = "hidden"

    chosen = entries(Hidden(), misbehaving.Fine())
    found = {e.name: v for e, v in check_isolated(chosen, NAMES, jobs=1)}
    assert "cannot be sent to a process" in found["hidden"][0].detail
    assert status(found["fine"]) == {"passed"}


def test_nothing_to_check_gives_nothing() -> None:
    assert list(check_isolated([], NAMES, jobs=2)) == []


# ---- the command

PLUGIN = """
from dataclasses import dataclass
import misbehaving
from bench import hookimpl

@dataclass
class Thawed:
    name: str = "thawed"
    def condense(self, task): ...

@hookimpl
def bench_methods():
    return [misbehaving.Fine(), misbehaving.Crashes(), misbehaving.Talks(), Thawed()]
"""

BENCH = """
import sys
from bench.cli import main
try:
    main()
finally:
    assert "torch" not in sys.modules
"""


@pytest.fixture
def check(tmp_path):
    """`check("a", "b")`: `bench check a b` with a plugin that has one broken component."""
    (tmp_path / "halfbroken.py").write_text(PLUGIN)
    about = tmp_path / "halfbroken-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: halfbroken\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[bench]\nhalfbroken = halfbroken\n")
    path = os.pathsep.join(map(str, (ROOT, Path(__file__).parent, tmp_path)))

    def run(*names):
        return subprocess.run(
            [sys.executable, "-c", BENCH, "check", *names],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": path, "COLUMNS": "200"},
        )

    return run


@pytest.mark.slow
def test_a_component_that_keeps_the_contract_ends_well_without_torch_and_its_words(check) -> None:
    ended = check("talks", "--jobs", "1")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("method talks (halfbroken 1.0)\n  passed  method 'talks' is")
    assert ended.stdout.endswith("every check passed\n")
    assert "words" not in ended.stdout


@pytest.mark.slow
def test_a_crash_is_one_failed_line(check) -> None:
    ended = check("crashes", "fine")
    assert ended.returncode == 1
    assert "  failed  method 'crashes' lives through its checks: the process died" in ended.stdout
    assert "  passed  method 'fine' beats chance" in ended.stdout
    assert ended.stdout.endswith("\n1 failed\n")
    assert ended.stderr == ""


def test_a_broken_component_is_told_with_its_reason(check) -> None:
    ended = check("thawed")
    assert ended.returncode == 1
    assert ended.stdout.startswith("broken: halfbroken 1.0: method 'thawed' of halfbroken: ")
    assert "is not a frozen dataclass" in ended.stdout
    assert "there is no component" not in ended.stdout + ended.stderr


def test_an_unknown_component_is_bad_input_with_a_suggestion(check) -> None:
    ended = check("crushes")
    assert ended.returncode == 2
    assert "bench: there is no component 'crushes'; did you mean 'crashes'?" in ended.stderr
    assert ended.stderr.count("\n") == 1
