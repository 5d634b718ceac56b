"""What is wrong with a component as such is said before it does anything."""

from __future__ import annotations

from dataclasses import dataclass, make_dataclass
from typing import Any, ClassVar

import pytest

from bench.contract.component import check_facts, check_verb
from bench.contract.errors import BenchError
from bench.contract.kinds import KINDS
from bench.training import toy


def saying(**facts: Any) -> Any:
    """A component that says these facts, as class variables."""
    return make_dataclass("Saying", [("name", str, "saying")], namespace=facts, frozen=True)()


# ---- facts

FAULTS = [
    ("metric", "of", "samples", "its class variable `of` is 'samples'; expected one of ('set',"),
    ("metric", "ranked", 1, "its class variable `ranked` is 1; expected True or False"),
    ("metric", "higher_is_better", "no", "`higher_is_better` is 'no'; expected True or False"),
    ("metric", "bounds", [0, 1], "`bounds` is [0, 1]; expected (lowest, highest), None where open"),
    ("metric", "unit", 1, "`unit` is 1; expected a string: "),
    ("metric", "tolerance", 0.1, "`tolerance` is 0.1; expected (absolute, relative), as in (0.01,"),
    ("metric", "tolerance", (0.1, -1.0), "`tolerance` is (0.1, -1.0); expected (absolute, relati"),
    ("metric", "tolerance", (0.1, float("inf")), "expected (absolute, relative)"),
    ("metric", "needs", {"method": "x"}, 'expected a tuple of coordinates, as in ({"method": '),
    ("metric", "features", 512, "its field `features` is 512; expected the name of a teacher"),
    ("method", "ceiling", "yes", "its class variable `ceiling` is 'yes'; expected True or False"),
    ("method", "teacher", ("a", "b"), "its field `teacher` is ('a', 'b'); expected the name of a"),
    ("method", "track", "video", "its track is 'video'; expected 'classification' or 'gener"),
    ("teacher", "track", "", "its track is ''; expected 'classification' or 'generation'"),
    (
        "method",
        "survey",
        "scores",
        "its class variable `survey` is 'scores'; expected a frozen",
    ),
    ("teacher", "download", "url", "its verb `download` is 'url'; expected a method"),
    ("attack", "search", "white-box", "its class variable `search` is 'white-box'; expected one"),
    ("attack", "block", True, "its class variable `block` is True; expected images a stage, or 0"),
    ("attack", "eps", "8/255", "its field `eps` is '8/255'; expected a number"),
    ("attack", "eps", True, "its field `eps` is True; expected a number"),
    (
        "dataset",
        "preload",
        "PIL",
        "its class variable `preload` is 'PIL'; expected a tuple of names",
    ),
    ("sampler", "quick", 3, "its class variable `quick` is 3; expected a dict of fields"),
]


@pytest.mark.parametrize(("kind", "name", "value", "said"), FAULTS)
def test_a_fact_that_its_kind_does_not_take_is_refused(
    kind: str, name: str, value: Any, said: str
) -> None:
    with pytest.raises(BenchError) as caught:
        check_facts(kind, saying(**{name: value}))
    assert said in str(caught.value)


@dataclass(frozen=True)
class Asks:
    """A survey that wants two networks."""

    name: str = "asks"
    scorer: str = "diffusion"
    fresh_networks: ClassVar[bool] = True

    def survey(self, task: Any) -> Any: ...


def test_a_survey_asks_for_no_network_that_its_method_does_not_say() -> None:
    alike = {"survey": Asks(), "scorer": "diffusion", "fresh_networks": True}
    check_facts("method", saying(**alike))
    with pytest.raises(BenchError, match="survey asks for scorer = 'diffusion', and the method"):
        check_facts("method", saying(**alike | {"scorer": "other"}))
    with pytest.raises(BenchError, match="asks for fresh_networks = True, and the method"):
        check_facts("method", saying(**alike | {"fresh_networks": False}))


@pytest.mark.parametrize("kind", KINDS)
def test_toy_components_say_what_their_kind_takes(kind: str) -> None:
    for component in toy.COMPONENTS[kind]:
        check_facts(kind, component)


@pytest.mark.parametrize(
    ("kind", "wrong", "right"),
    [
        ("metric", "higher_is_beter", "higher_is_better"),
        ("metric", "bound", "bounds"),
        ("architecture", "trak", "track"),
        ("method", "fresh_network", "fresh_networks"),
        ("attack", "exact_on_liner", "exact_on_linear"),
        ("dataset", "preloads", "preload"),
    ],
)
def test_a_class_variable_that_looks_like_a_fact_is_refused(
    kind: str, wrong: str, right: str
) -> None:
    with pytest.raises(BenchError) as caught:
        check_facts(kind, saying(**{wrong: True}))
    assert str(caught.value) == f"its class variable `{wrong}` is unknown; did you mean '{right}'?"


@dataclass(frozen=True)
class Inherited(toy.ToyAccuracy):
    """A slip beside a fact that is inherited."""

    name: str = "inherited"
    trak: ClassVar[str] = "generation"


def test_a_slip_is_seen_where_the_fact_itself_is_inherited() -> None:
    with pytest.raises(BenchError, match="did you mean 'track'"):
        check_facts("metric", Inherited())


@dataclass(frozen=True)
class Own:
    """Names of its own: a field, a method, a property, and what is private."""

    name: str = "own"
    trak: int = 0
    title: ClassVar[str] = "data"
    classes: ClassVar[int] = 10
    _bounds: ClassVar[int] = 3

    def bound(self) -> None: ...

    @property
    def need(self) -> int:
        return 1


@pytest.mark.parametrize("kind", KINDS)
def test_names_of_a_component_s_own_are_left_alone(kind: str) -> None:
    check_facts(kind, Own())


# ---- verbs


@dataclass(frozen=True)
class Old:
    """A sampler and a denoiser as they were written before they were given rows of extras."""

    name: str = "old"
    track: ClassVar[str] = "generation"

    def sample(self, model: Any, labels: Any, shape: Any, generator: Any) -> Any: ...

    def build(self, shape: Any, classes: int) -> Any: ...


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (
            "sampler",
            r"sample\(model, labels, shape, generator\); expected sample\(model, labels, extras",
        ),
        ("architecture", r"build\(shape, classes\); expected build\(shape, classes, extras\)"),
    ],
)
def test_a_verb_that_does_not_take_what_it_is_given_is_refused(kind: str, said: str) -> None:
    with pytest.raises(BenchError, match=said):
        check_verb(kind, Old())


@dataclass(frozen=True)
class Gap:
    """A metric beside as many siblings as it says."""

    name: str = "gap"
    needs: ClassVar = ({"attack": "clean"},)

    def measure(self, trial: Any, clean: Any) -> float: ...


@dataclass(frozen=True)
class Alone(Gap):
    """One that is given a sibling more than it takes."""

    def measure(self, trial: Any) -> float: ...  # type: ignore[override]


def test_a_metric_takes_the_siblings_that_it_needs() -> None:
    check_verb("metric", Gap())
    with pytest.raises(BenchError, match=r"expected measure\(trial, \*siblings\)"):
        check_verb("metric", Alone())
