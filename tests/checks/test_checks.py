import dataclasses
import unittest
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from bench.checks import Check, Skipped, checks_for, run_checks
from bench.contract.errors import BenchError, Unsupported
from bench.contract.kinds import KINDS
from bench.contract.registry import registry_of
from bench.contract.task import CondensedSet, Task
from bench.training import toy

REGISTRY = registry_of(toy.COMPONENTS)
CHECKS = [
    check
    for entry in REGISTRY.entries
    for check in checks_for(entry.kind, entry.component, REGISTRY)
]


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_every_toy_component_keeps_the_contract(check: Check) -> None:
    assert isinstance(check.run(), str)


def test_every_kind_has_a_contract() -> None:
    for kind in KINDS:
        assert len(checks_for(kind, toy.COMPONENTS[kind][0])) >= 5


def test_the_names_of_checks_are_distinct_and_in_a_fixed_order() -> None:
    again = [c.name for e in REGISTRY.entries for c in checks_for(e.kind, e.component, REGISTRY)]
    assert [str(check) for check in CHECKS] == again
    assert len(set(again)) == len(again)
    assert again[0] == "dataset 'toy-data' is well formed"


def test_an_unknown_kind_is_refused_with_a_suggestion() -> None:
    with pytest.raises(BenchError, match=r"no kind 'metod'; did you mean 'method'"):
        checks_for("metod", toy.ToyMeans())


@dataclass(frozen=True)
class Declines:
    """Declines everything."""

    name: str = "declines"

    def condense(self, task: Task) -> CondensedSet:
        raise Unsupported("needs colour")


def test_pytest_takes_a_declined_check_for_a_skip() -> None:
    beats = next(c for c in checks_for("method", Declines()) if "beats chance" in c.name)
    with pytest.raises(Skipped, match=r"^needs colour$") as raised:
        beats.run()
    assert isinstance(raised.value, unittest.SkipTest)
    assert isinstance(raised.value, Unsupported)


def test_a_component_that_declines_everything_is_skipped_and_not_failed() -> None:
    verdicts = run_checks(checks_for("method", Declines()))
    assert [v.status for v in verdicts] == ["passed"] + ["skipped"] * (len(verdicts) - 1)
    assert [v.detail for v in verdicts[1:]] == ["needs colour"] + ["as above"] * (len(verdicts) - 2)


@dataclass(frozen=True)
class OnlyColor:
    """Takes images in colour, and no others."""

    name: str = "only-color"

    def condense(self, task: Task) -> CondensedSet:
        if task.shape[0] == 1:
            raise Unsupported("needs colour")
        return toy.ToyMeans().condense(task)


def test_a_component_that_declines_a_case_is_checked_on_the_others() -> None:
    verdicts = run_checks(checks_for("method", OnlyColor()))
    assert {v.status for v in verdicts} == {"passed"}
    assert verdicts[1].detail == "10 images of toy-color"


@dataclass(frozen=True)
class Raises:
    """Has a bug."""

    name: str = "raises"

    def condense(self, task: Task) -> CondensedSet:
        return {}["nothing"]


def test_one_fault_is_one_failure_told_in_a_sentence() -> None:
    verdicts = run_checks(checks_for("method", Raises()))
    failed = [v for v in verdicts if v.status == "failed"]
    assert [v.check for v in failed] == [
        "method 'raises' returns a legal set: budget, range, labels, every class"
    ]
    assert failed[0].detail.startswith("KeyError: 'nothing' (")
    assert "test_checks.py, line " in failed[0].detail
    skipped = [v for v in verdicts if v.status == "skipped"]
    assert len(skipped) == len(verdicts) - 2
    assert all("for \"method 'raises' returns a legal set" in v.detail for v in skipped)


def test_a_check_says_the_same_every_time_it_is_run() -> None:
    check = checks_for("method", Raises())[1]
    for _ in range(2):
        with pytest.raises(KeyError):
            check.run()


@dataclass(frozen=True)
class Exits:
    """Ends the process."""

    name: str = "exits"

    def condense(self, task: Task) -> CondensedSet:
        raise SystemExit("enough")


def test_a_component_that_exits_does_not_end_the_kit() -> None:
    verdicts = run_checks(checks_for("method", Exits()))
    assert verdicts[1].detail.startswith("SystemExit: enough")
    assert [v.status for v in verdicts].count("failed") == 1


@dataclass
class Thawed:
    """Not frozen."""

    name: str = "thawed"

    def condense(self, task: Task) -> None: ...


@dataclass(frozen=True)
class Undocumented(toy.ToyMeans):
    name: str = "undocumented"


@dataclass(frozen=True)
class WrongQuick(toy.ToyMeans):
    """Its quick names a field that it does not have."""

    name: str = "wrong-quick"
    quick: ClassVar = {"teachr": ""}


@pytest.mark.parametrize(
    ("component", "words"),
    [
        (Thawed(), "not a frozen dataclass"),
        (toy.ToyMeans, "is a class; expected an instance"),
        (Undocumented(), "no docstring"),
        (WrongQuick(), "WrongQuick.quick: method 'wrong-quick' has no field 'teachr'; did you"),
        (toy.ToyMeans("Big Name"), "must be lower-case"),
        (toy.ToyStep(), "no method `condense`"),
    ],
)
def test_a_malformed_component_fails_alone_and_is_asked_nothing_else(component, words) -> None:
    (only,) = run_checks(checks_for("method", component))
    assert only.status == "failed"
    assert words in only.detail


@dataclass(frozen=True)
class Slow(toy.ToyMeans):
    """Works only when it is quick."""

    name: str = "slow"
    steps: int = 10**9
    quick: ClassVar = {"steps": 1}

    def condense(self, task: Task) -> CondensedSet:
        assert self.steps == 1
        return super().condense(task)


def test_checks_use_the_quick_fields_here_and_in_the_other_process() -> None:
    assert {v.status for v in run_checks(checks_for("method", Slow()))} == {"passed"}


def test_names_are_looked_up_where_there_is_a_registry() -> None:
    soft = dataclasses.replace(toy.ToyMeans(), teacher="toy-techer")
    verdicts = run_checks(checks_for("method", soft, REGISTRY)[:2])
    assert verdicts[1].status == "failed"
    assert "no teacher 'toy-techer'; did you mean 'toy-teacher'" in verdicts[1].detail


@dataclass(frozen=True)
class Compares(toy.ToyAccuracy):
    """The gain over a method that is not there."""

    name: str = "compares"
    needs: ClassVar = ({"method": "toy-meens", "ipc": 1},)

    def measure(self, trial, sibling) -> float:
        return super().measure(trial)


def test_siblings_are_looked_up_where_there_is_a_registry() -> None:
    verdicts = run_checks(checks_for("metric", Compares(), REGISTRY)[:2])
    assert "no method 'toy-meens'; did you mean 'toy-means'" in verdicts[1].detail


def test_checks_run_in_one_thread_and_put_the_number_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        seen = checks_for("method", CountsThreads())[1].run()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == "8 images of toy-data; 10 images of toy-color"


@dataclass(frozen=True)
class CountsThreads(toy.ToyMeans):
    """One image a class, if there is one thread."""

    name: str = "counts-threads"

    def condense(self, task: Task) -> CondensedSet:
        return super().condense(dataclasses.replace(task, ipc=torch.get_num_threads()))
