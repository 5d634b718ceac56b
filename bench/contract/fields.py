"""The fields of a component: read, set from TOML, and told in one sentence where they are wrong."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Any

from bench.contract.errors import BenchError, said

LONGEST = 200  # characters of a value in a sentence
LISTED = 40  # names in a sentence


def expect(ok: bool, what: str, value: Any, expected: str) -> None:
    """Raise BenchError "what is value; expected ..." unless it is ok."""
    if not ok:
        raise BenchError(f"{what} is {shown(value)}; expected {expected}")


def shown(value: Any) -> str:
    """A value in a sentence: as Python writes it, cut where it is endless."""
    try:
        return said(repr(value), LONGEST)
    except (ValueError, RecursionError):  # an integer of thousands of digits
        return f"a {type(value).__name__} too large to be shown"


def suggest(name: str, known: Iterable[str]) -> str:
    """ "; did you mean 'herding'?", or the list of what there is when nothing is close."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"; did you mean '{close[0]}'?"
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"; expected one of: {', '.join(names[:LISTED])}{more}" if names else ""


def about(component: Any) -> str:
    """The first line of a component's docstring."""
    lines = (type(component).__doc__ or "").strip().splitlines()
    return said(lines[0]) if lines else ""


def replace(kind: str, component: Any, values: Mapping[str, Any], where: str) -> Any:
    """The component with fields set, for `[define.*]` and `[[set]]`.

    Raises BenchError for an unknown field (with a suggestion) or a value of another type than
    the default's; `where` says where the values stand.
    """
    allowed = values_of(component)
    clean = {}
    for key, value in values.items():
        if key not in allowed:
            hint = suggest(key, allowed)
            raise BenchError(f"{where}: {kind} '{component.name}' has no field '{key}'{hint}")
        clean[key] = as_type_of(allowed[key], value, f"{where}: {key}")
    try:
        return dataclasses.replace(component, **clean)
    except Exception as error:
        raise BenchError(f"{where}: {kind} '{component.name}' refuses {clean}: {error}") from None


def values_of(component: Any) -> dict[str, Any]:
    """The fields but the name, and their values: a float where `lam: float = 1` says so."""
    found = {f.name: getattr(component, f.name) for f in dataclasses.fields(component)}
    floats = {f.name for f in dataclasses.fields(component) if f.type in (float, "float")}
    wide = {k: float(v) for k, v in found.items() if k in floats and isinstance(v, int)}
    return {k: v for k, v in (found | wide).items() if k != "name"}


def as_type_of(default: Any, value: Any, where: str) -> Any:
    """`value` in the type of `default`: TOML has lists for tuples, and `1` is a fine float.

    The entries of a list must be like those of the default, if it has any.
    """
    fitting = tuples(value)
    if isinstance(default, tuple) and isinstance(fitting, tuple) and default:
        like = next((d for d in default if isinstance(d, float)), default[0])
        return tuple(as_type_of(like, entry, f"{where}: entry") for entry in value)
    if isinstance(default, bool) is isinstance(value, bool):
        if isinstance(default, float) and isinstance(value, int):
            fitting = _as_float(value)
        if isinstance(fitting, type(default)) and is_plain(fitting):
            return fitting
    like, expected = default, type(default).__name__
    if isinstance(default, tuple):  # in TOML
        like, expected = list(default), "a list"
    if isinstance(value, float) and not math.isfinite(value):
        expected = "a finite number"
    raise BenchError(
        f"{where} is {value!r} ({type(value).__name__}); expected {expected}, like its default "
        f"{like!r}"
    )


def is_plain(value: Any) -> bool:
    """Is it a JSON scalar, or a tuple of them? JSON has no NaN and no infinity.

    Of a subclass (an enum, a float of numpy) JSON would give back something else.
    """
    if type(value) is tuple:
        return all(is_plain(v) for v in value)
    if type(value) is float:
        return math.isfinite(value)
    if type(value) is str:
        return not any("\ud800" <= c <= "\udfff" for c in value)  # which UTF-8 cannot say
    if type(value) is int:
        return abs(value) < 2**63  # those of TOML
    return value is None or type(value) is bool


def tuples(value: Any) -> Any:
    """A value with tuples for its lists, which JSON and TOML have instead."""
    return tuple(map(tuples, value)) if isinstance(value, list | tuple) else value


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf
