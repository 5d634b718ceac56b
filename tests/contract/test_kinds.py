"""The table of kinds is what the harness reads, and what CONTRIBUTING shows."""

from __future__ import annotations

import ast
import inspect
import json
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

import bench
from bench.contract import hookspecs
from bench.contract.errors import BenchError
from bench.contract.kinds import KINDS, Fact, check_facts, fact, says
from bench.training import toy

CONTRIBUTING = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
FACTS = [(kind, name) for kind, row in KINDS.items() for name in row.facts]


@dataclass(frozen=True)
class Silent:
    """A component that says nothing of itself."""

    name: str = "silent"


def saying(**facts: Any) -> Any:
    """A component that says these facts, as class variables."""
    return make_dataclass("Saying", [("name", str, "saying")], namespace=facts, frozen=True)()


# ---- reading


@pytest.mark.parametrize(("kind", "name"), FACTS)
def test_silence_means_the_default_of_the_table(kind: str, name: str) -> None:
    assert fact(kind, Silent(), name) == KINDS[kind].facts[name].default
    assert fact(kind, saying(**{name: None}), name) == KINDS[kind].facts[name].default


@pytest.mark.parametrize(
    ("kind", "track"),
    [
        ("architecture", "classification"),
        ("teacher", "classification"),
        ("metric", ""),
        ("method", ""),
    ],
)
def test_the_track_of_a_silent_component_is_that_of_its_kind(kind: str, track: str) -> None:
    assert fact(kind, Silent(), "track") == track


def test_what_a_component_says_is_read_as_it_says_it() -> None:
    assert fact("metric", saying(ranked=False), "ranked") is False
    assert fact("attack", toy.ToyStep(eps=0.0), "eps") == 0.0
    assert fact("method", toy.ToyMeans(teacher="mine"), "teacher") == "mine"
    assert says(saying(ranked=False), "ranked")
    assert not says(saying(ranked=None), "ranked")


def test_a_fact_of_another_kind_cannot_be_asked_for() -> None:
    with pytest.raises(KeyError):
        fact("attack", saying(needs=()), "needs")


@pytest.mark.parametrize(("kind", "name"), FACTS)
def test_every_default_is_one_that_the_fact_takes(kind: str, name: str) -> None:
    one = KINDS[kind].facts[name]
    assert one.default is None or one.fits(one.default)


def test_the_harness_reads_facts_through_the_table_alone() -> None:
    names = {name for _, name in FACTS}
    found = [
        f"{path.name}:{node.lineno}"
        for path in sorted(Path(bench.__file__).parent.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if node.func.id in ("getattr", "hasattr") and isinstance(node.args[1], ast.Constant)
        if node.args[1].value in names
    ]
    assert found == []


# ---- faults

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


# ---- the documentation


def test_the_hook_of_every_kind_tells_of_its_verb_and_facts() -> None:
    common = inspect.getdoc(hookspecs) or ""
    for kind, row in KINDS.items():
        prose = inspect.getdoc(getattr(hookspecs, f"bench_{kind}s")) or ""
        assert f"`{row.verb}({row.given})" in prose
        untold = [name for name in row.facts if f"`{name}" not in common + prose]
        assert not untold, f"bench_{kind}s does not tell of {untold}"


def kinds_table() -> str:
    lines = ["| kind | hook | verb | gives |", "|---|---|---|---|"]
    for kind, row in KINDS.items():
        lines.append(f"| {kind} | `bench_{kind}s` | `{row.verb}({row.given})` | {row.gives} |")
    return "\n".join(lines)


def facts_table() -> str:
    """A row for each fact; one for all kinds that have the same."""
    rows: list[tuple[str, Fact, list[str]]] = []
    for kind, row in KINDS.items():
        for name, one in row.facts.items():
            known = [kinds for n, other, kinds in rows if (n, other) == (name, one)]
            if known:
                known[0].append(kind)
            else:
                rows.append((name, one, [kind]))
    lines = ["| of | fact | default | what it says |", "|---|---|---|---|"]
    for name, one, kinds in rows:
        of = "all" if len(kinds) == len(KINDS) else ", ".join(kinds)
        shown = {"field": f"`{name}` (field)", "verb": f"`{name}()`"}.get(one.by, f"`{name}`")
        lines.append(f"| {of} | {shown} | {default(one)} | {one.meaning}{choices(one)} |")
    return "\n".join(lines)


def default(one: Fact) -> str:
    if one.by == "verb":
        return "none"
    return "must be said" if one.must else code(one.default)


def choices(one: Fact) -> str:
    return f": {', '.join(map(code, one.takes))}" if isinstance(one.takes, tuple) else ""


def code(value: Any) -> str:
    return f"`{json.dumps(value) if isinstance(value, str) else repr(value)}`"


@pytest.mark.parametrize("table", [kinds_table, facts_table])
def test_contributing_shows_the_table_of_the_code(table: Any) -> None:
    assert table() in CONTRIBUTING, f"CONTRIBUTING.md lacks this table:\n\n{table()}"
