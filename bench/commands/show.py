"""`bench show NAME`: all that a component says of itself, and where its source lies."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import io
import tokenize
from collections.abc import Iterable
from textwrap import dedent
from typing import Any

from bench.contract.errors import said
from bench.contract.fields import about, values_of
from bench.contract.kinds import KINDS, says
from bench.contract.registry import Entry, Registry
from bench.display import console


def show(registry: Registry, names: Iterable[str]) -> None:
    """Print the components of some names, one after another."""
    for name in names:
        for entry in registry.entries:
            if entry.name == name:
                show_component(entry)


def show_component(entry: Entry) -> None:
    """Where from, what it is, its verb, its fields with types and defaults, its facts."""
    component, row = entry.component, KINDS[entry.kind]
    cls = type(component)
    console.print(f"{entry.kind} {entry.name}: {about(component)}")
    for line in (inspect.getdoc(cls) or "").splitlines()[1:]:
        console.print(f"  {said(line)}" if line.strip() else "")
    console.print(
        f"  from {entry.distribution} {entry.version}, {cls.__module__}:{cls.__qualname__}"
    )
    console.print(f"  source {_place(cls)}")
    console.print(f"  verb {row.verb}({row.given}) -> {row.gives}")
    fields = {f.name: f for f in dataclasses.fields(component)}
    meanings = meanings_of(cls)
    for name, value in values_of(component).items():
        default = fields[name].default
        preset = f" (the class has {default!r})" if value != default else ""
        meaning = f"; {meanings[name]}" if name in meanings else ""
        console.print(f"  field {name}: {_type(fields[name].type)} = {value!r}{preset}{meaning}")
    for name, one in row.facts.items():
        if name not in fields:
            value = getattr(component, name, None)
            told = "yes" if callable(value) else repr(value)
            default = "no" if one.default is None else repr(one.default)
            shown = told if says(component, name) else f"{default} (the default)"
            console.print(f"  {one.by} {name}: {shown}; {one.meaning}")


def meanings_of(cls: type) -> dict[str, str]:
    """What the source says of the fields of a class: the comments behind them.

    Those of its bases count where it does not say another; nothing without a source.
    """
    found: dict[str, str] = {}
    for one in cls.__mro__[-2::-1]:
        try:
            source = dedent(inspect.getsource(one))
            found |= _comments(source)
        except (OSError, TypeError, SyntaxError, tokenize.TokenError):
            continue  # no file, or one that has changed since it was imported
    return found


def _comments(source: str) -> dict[str, str]:
    """Field -> the comment that ends its line, of the class that a source begins with."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    ends = {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}
    body = ast.parse(source).body[0]
    members = body.body if isinstance(body, ast.ClassDef) else []
    return {
        member.target.id: said(ends[member.end_lineno])
        for member in members
        if isinstance(member, ast.AnnAssign)
        and isinstance(member.target, ast.Name)
        and member.end_lineno in ends
    }


def _place(cls: type) -> str:
    try:
        return f"{inspect.getsourcefile(cls)}:{inspect.getsourcelines(cls)[1]}"
    except (OSError, TypeError):
        return "not known: it is no file"


def _type(kind: Any) -> str:
    return kind if isinstance(kind, str) else getattr(kind, "__name__", str(kind))
