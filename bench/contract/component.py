"""What a component is: a frozen dataclass with plain fields and the verb of its kind.

`check_component` says in one sentence what is wrong with one as such, before it has done anything.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import inspect
from collections.abc import Iterator
from typing import Any

from bench.contract.errors import BenchError, said
from bench.contract.fields import expect, is_plain
from bench.contract.kinds import KINDS, LONGEST_NAME, NAME, fact, says
from bench.contract.moved import moved

CLOSE = 0.85  # likeness from which one word is taken for a slip of another
CHANGED = {  # of a verb that was given less before; until 0.2.0
    "attack": ": attacks now draw from the torch.Generator that they are given, and those that "
    "draw nothing ignore it"
}


def check_component(kind: str, component: Any) -> None:
    """Raise BenchError for what is wrong with a component as such."""
    cls, verb = type(component), KINDS[kind].verb
    if isinstance(component, type):
        raise BenchError(
            f"{component.__name__} is a class; expected an instance: {component.__name__}()"
        )
    if not dataclasses.is_dataclass(cls) or not _is_frozen(cls):
        raise BenchError(
            f"{cls.__name__} is not a frozen dataclass; decorate it with @dataclass(frozen=True)"
        )
    _check_fields(component)
    if not callable(getattr(component, verb, None)):
        raise BenchError(f"it has no method `{verb}`, the verb of a {kind}")
    check_facts(kind, component)
    check_said(kind, component)
    check_verb(kind, component)
    if kind == "attack":
        _check_ball(component)
    if not _is_importable(cls):
        raise BenchError(
            f"class {cls.__qualname__} must stand at the top level of an importable module"
        )


def _check_fields(component: Any) -> None:
    """Raise BenchError unless `name` comes first, and each field has a default and plain values."""
    members = dataclasses.fields(component)
    if not members or members[0].name != "name" or not isinstance(component.name, str):
        raise BenchError("its first field must be `name: str`")
    if len(component.name) > LONGEST_NAME:
        raise BenchError(
            f"its name has {len(component.name)} characters; expected at most {LONGEST_NAME}, "
            "since names of files are made of several"
        )
    if not NAME.fullmatch(component.name):
        raise BenchError(
            f"its name {component.name!r} must be lower-case letters, digits, '-', '+' or '.'"
        )
    for member in members:
        if member.default is dataclasses.MISSING:
            raise BenchError(f"its field `{member.name}` has no default")
        value = getattr(component, member.name)
        expect(is_plain(value), f"its field `{member.name}`", value, "a JSON scalar or a tuple")
    try:
        alike = hash(component) == hash(dataclasses.replace(component))
    except Exception as error:
        raise BenchError(f"it cannot be copied and hashed ({raised(error)})") from None
    if not alike or component != dataclasses.replace(component):
        raise BenchError("it does not equal a copy of itself; leave `__eq__` to @dataclass")


def _check_ball(attack: Any) -> None:
    norm, eps = (fact("attack", attack, name) for name in ("norm", "eps"))
    if norm and not says(attack, "eps"):
        raise BenchError(f"it has norm {norm!r} and no field `eps`, the radius of its ball")
    if not norm and eps:
        raise BenchError(f'it has eps = {eps!r} and no `norm`; name the ball, as in norm = "linf"')


def _is_importable(cls: type) -> bool:
    """Can a worker process find the class by its module and name?"""
    try:
        return getattr(importlib.import_module(cls.__module__), cls.__qualname__, None) is cls
    except ImportError:
        return False


def check_facts(kind: str, component: Any) -> None:
    """Raise BenchError for a fact of another type or choice, and for one that looks misspelt."""
    facts = KINDS[kind].facts
    for name, one in facts.items():
        if says(component, name):
            value = getattr(component, name)
            what = "its track" if name == "track" else f"its {one.by} `{name}`"
            expect(one.fits(value), what, value, one.expected)
    for name in _class_variables(component):
        close = difflib.get_close_matches(name, facts, n=1, cutoff=CLOSE)
        if close and name not in facts:
            raise BenchError(f"its class variable `{name}` is unknown; did you mean '{close[0]}'?")
    if kind == "method":
        check_survey(component)


def check_survey(method: Any) -> None:
    """Raise BenchError where a survey asks for a network that its method does not say: nobody would
    plan for it, nor count what it costs."""
    survey = fact("method", method, "survey")
    for name in ("teacher", "scorer", "fresh_networks", "fresh_denoisers") if survey else ():
        asked, said = (fact("method", one, name) for one in (survey, method))
        if asked and asked != said:
            raise BenchError(
                f"its survey asks for {name} = {asked!r}, and the method says {said!r}; expected "
                f"the same; give the method {name} = {asked!r}, or the survey that of the method"
            )


def check_said(kind: str, component: Any) -> None:
    """Raise BenchError for a fact that must be said and is not."""
    for name, one in KINDS[kind].facts.items():
        if one.must and not says(component, name):
            raise BenchError(f"its {one.by} `{name}` is missing; expected {one.expected}")


def check_verb(kind: str, component: Any) -> None:
    """Raise BenchError for a verb that does not take what it is given."""
    row = KINDS[kind]
    given = row.given.split(", ") if row.given else []
    if kind == "architecture" and fact(kind, component, "track") == "generation":
        given.append("extras")
    siblings = fact(kind, component, "needs") if kind == "metric" else ()
    try:
        signature = inspect.signature(getattr(component, row.verb))
    except ValueError:  # it is not written in Python, and does not say
        return
    try:
        signature.bind(*(name for name in given if not name.startswith("*")), *siblings)
    except TypeError:
        names = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
        bare = signature.replace(parameters=names, return_annotation=signature.empty)
        raise BenchError(
            f"its verb is {row.verb}{bare}; expected {row.verb}({', '.join(given)})"
            + CHANGED.get(kind, "")
        ) from None


def _class_variables(component: Any) -> Iterator[str]:
    """The names of plain values of its class: no fields, methods or properties."""
    known = {f.name for f in dataclasses.fields(component)}
    for cls in type(component).__mro__[:-1]:
        for name, value in vars(cls).items():
            plain = not callable(value) and not hasattr(value, "__get__")
            if plain and name not in known and not name.startswith("_"):
                yield name


def _is_frozen(cls: type) -> bool:
    return bool(getattr(cls, "__dataclass_params__").frozen)  # noqa: B009  (typeshed hides it)


def raised(error: BaseException) -> str:
    """What an exception of a plugin says, in a sentence."""
    return moved(error) or ": ".join(filter(None, (type(error).__name__, said(error))))
