import os
import signal
import time
from dataclasses import dataclass

import pytest

from bench.checks.determinism import check_same, elsewhere
from bench.contract.errors import BenchError


@dataclass(frozen=True)
class Thing:
    """Something to be sent."""

    name: str = "thing"
    pair: tuple[float, ...] = (0.5, 1.0)
    nested: tuple[tuple[int, ...], ...] = ((1,), (2, 3))
    nothing: None = None


def fields(thing: Thing) -> list:
    assert isinstance(thing.nested[1], tuple)
    return [repr(thing.pair), repr(thing.nested), thing.nothing]


def process(thing: Thing) -> list:
    return [os.getpid(), os.getppid(), hash("a string"), time.time()]


def talks(thing: Thing) -> str:
    print("what is printed is no answer")  # noqa: T201
    return "an answer"


def breaks(thing: Thing) -> None:
    raise ValueError("not this one")


def dies(thing: Thing) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_component_arrives_with_its_fields() -> None:
    thing = Thing(pair=(1.5,))
    assert elsewhere(fields, thing) == ["(1.5,)", "((1,), (2, 3))", None]


def test_every_call_runs_in_a_process_of_its_own_with_another_hash_seed() -> None:
    one, two = elsewhere(process, Thing()), elsewhere(process, Thing())
    assert len({os.getpid(), one[0], two[0]}) == 3
    assert one[1] == two[1]
    assert one[2] == two[2] != hash("a string")


def test_what_a_component_prints_is_no_answer() -> None:
    assert elsewhere(talks, Thing()) == "an answer"


def test_what_is_raised_over_there_is_told_here() -> None:
    with pytest.raises(BenchError, match="another process it failed: ValueError: not this one"):
        elsewhere(breaks, Thing())


def test_a_crash_over_there_is_told_and_the_next_call_works() -> None:
    with pytest.raises(BenchError, match="ended with code -9"):
        elsewhere(dies, Thing())
    assert elsewhere(talks, Thing()) == "an answer"


def test_different_results_are_refused() -> None:
    check_same({"gray": "a"}, {"gray": "a"})
    with pytest.raises(BenchError, match=r"on gray: two processes .* \(a and b\).*expected the"):
        check_same({"gray": "a"}, {"gray": "b"})
    with pytest.raises(BenchError, match=r"\(None and b\)"):
        check_same({}, {"gray": "b"})
