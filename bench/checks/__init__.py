"""The contract of components, as a list of checks: for `bench check`, and for a plugin's tests.

    @pytest.mark.parametrize("check", checks_for("method", MyMethod()), ids=str)
    def test_contract(check):
        check.run()

Every check works on toy data and toy networks, on the CPU and in seconds; the class variable
`quick` of a component sets the fields that would make it slow. The claims of each kind are in a
module of its own; they import torch, this module does not.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from bench.checks.check import Check, Claims, Skipped
from bench.contract.errors import BenchError, Missing, Unsupported, require, said, sentence
from bench.contract.fields import about, replace, suggest
from bench.contract.kinds import KINDS, fact
from bench.contract.registry import Registry, registry_of

__all__ = ["Check", "Skipped", "Verdict", "checks_for", "run_checks"]

CLAIMS = {kind: f"bench.checks.{kind}s" for kind in KINDS}  # the modules with `claims`


@dataclass(frozen=True)
class Verdict:
    """How a check went, and why, in a sentence."""

    check: str
    status: Literal["passed", "failed", "skipped"]
    detail: str


def checks_for(kind: str, component: Any, registry: Registry | None = None) -> tuple[Check, ...]:
    """The contract of a component: checks that share one run of its verb.

    With a `registry`, names of other components in its fields are looked up too. Nothing runs
    yet. Raises BenchError for an unknown kind.
    """
    if kind not in CLAIMS:
        raise BenchError(f"there is no kind '{kind}'{suggest(kind, KINDS)}")
    claims: Claims = {"is well formed": lambda: check_form(kind, component)}
    try:
        check_form(kind, component)
    except BenchError:  # the first check says so; the others would make no sense
        pass
    else:
        if registry is not None:
            claims["names only what is installed"] = lambda: check_names(kind, component, registry)
        claims |= importlib.import_module(CLAIMS[kind]).claims(_quick(kind, component))
    name = getattr(component, "name", component)
    return tuple(Check(f"{kind} '{name}' {claim}", _run(test)) for claim, test in claims.items())


def run_checks(checks: Iterable[Check]) -> list[Verdict]:
    """Run them all. Whatever a component raises is a failure, told in a sentence.

    Skipped is what does not apply, or needs files that are not here (`Missing`). Where one fault
    keeps several checks from being made, the first fails and the rest are skipped.
    """
    verdicts: list[Verdict] = []
    seen: list[tuple[BaseException, str]] = []  # what was raised, and by which check first
    for check in checks:
        try:
            verdicts.append(Verdict(check.name, "passed", check.run()))
        except (Unsupported, Missing) as reason:
            told = any(v.detail == said(reason) for v in verdicts)
            verdicts.append(Verdict(check.name, "skipped", "as above" if told else said(reason)))
        except (Exception, SystemExit) as error:
            first = next((name for other, name in seen if other is error), None)
            if first:
                why = f'not checked, for "{first}" failed'
                verdicts.append(Verdict(check.name, "skipped", why))
            else:
                seen.append((error, check.name))
                verdicts.append(Verdict(check.name, "failed", sentence(error)))
    return verdicts


def check_form(kind: str, component: Any) -> None:
    """A frozen dataclass of plain fields, with a verb, a docstring, and a `quick` that fits it."""
    registry_of({kind: [component]})
    cls = type(component)
    require(
        not about(component).startswith(f"{cls.__name__}("),  # what @dataclass writes
        f"{cls.__name__} has no docstring; expected one: its first line is the footnote in tables",
    )
    _quick(kind, component)


def check_names(kind: str, component: Any, registry: Registry) -> None:
    """The teachers and the sibling cells that it names are components of the registry."""
    for role in ("teacher", "scorer") if kind == "method" else ():
        if name := fact(kind, component, role):
            registry.get("teacher", name)
    for need in fact(kind, component, "needs") if kind == "metric" else ():
        for axis, name in need.items():
            if axis in KINDS:
                registry.get(axis, name)


def _quick(kind: str, component: Any) -> Any:
    cls = type(component).__name__
    return replace(kind, component, fact(kind, component, "quick"), f"{cls}.quick")


def _run(test: Callable[[], str | None]) -> Callable[[], str]:
    def run() -> str:
        import torch

        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as a stage has, so that bytes can be compared
        try:
            return test() or ""
        except Unsupported as reason:
            raise Skipped(str(reason)) from None
        finally:
            torch.set_num_threads(threads)

    return run
