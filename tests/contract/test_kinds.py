"""The table of kinds is what the harness reads, and what CONTRIBUTING shows."""

from __future__ import annotations

import ast
import inspect
import json
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Any

import pytest

import bench
from bench.contract import hookspecs
from bench.contract.kinds import KINDS, Fact, fact, says
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
