"""What a user writes, read as the types that it stands for: dataclasses whose fields have bounds.

msgspec checks and converts. What it refuses is said in our words: where it stands, the value, what
was expected, and a near name where a name is unknown.
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from bench.contract.errors import BenchError, require
from bench.contract.fields import shown, suggest

DEEPEST = 20  # tables and lists within each other; a board has six

Text = Annotated[str, msgspec.Meta(pattern=r"\S")]
MOST = 2**53  # JSON's whole numbers, which records hold
Whole = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
Count = Annotated[int, msgspec.Meta(ge=1, le=MOST)]
AtLeast0 = Annotated[float, msgspec.Meta(ge=0)]
Above0 = Annotated[float, msgspec.Meta(gt=0)]
Share = Annotated[float, msgspec.Meta(ge=0, lt=1)]


def toml(path: Path, hint: str) -> dict[str, Any]:
    """The document in a TOML file. Raises BenchError where it is none; `hint` says what to do."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror}; {hint}") from None
    except RecursionError:
        raise BenchError(f"{path}: nested too deeply to be read; {hint}") from None
    except UnicodeDecodeError as error:
        raise BenchError(
            f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8, as TOML must be"
        ) from None
    except ValueError as error:  # not TOML, or an integer of thousands of digits
        raise BenchError(f"{path}: not TOML: {str(error).splitlines()[0]}") from None
    level: list[Any] = [document]
    for _ in range(DEEPEST):
        inner = (v for one in level for v in (one.values() if isinstance(one, dict) else one))
        level = [v for v in inner if isinstance(v, dict | list)]
        if not level:
            return document
    raise BenchError(f"{path}: nested more than {DEEPEST} deep; {hint}")


def read(kind: Any, given: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """The fields of a dataclass that are given, in their types: TOML has lists for tuples.

    Raises BenchError at the first key that is unknown or missing, and at the first value that does
    not fit. `where` is the path of the table, "" for a whole document.
    """
    joint = "." if where.isidentifier() else ": "  # "recipe.lr", "[[set]] number 2: lr"
    said = _fault_of_keys(given, kind, where, f"{where}{joint}" if where else "")
    require(not said, said)
    types = hints(kind)
    return {name: msgspec.convert(value, types[name]) for name, value in given.items()}


def settle(value: Any, where: str) -> None:
    """For `__post_init__`: check the fields of a frozen dataclass, and make tuples of lists."""
    cls: Any = type(value)
    for name, kind in hints(cls).items():
        found = getattr(value, name)
        said = fault(found, kind, f"{where}.{name}")
        require(not said, said)
        if isinstance(found, list):
            object.__setattr__(value, name, tuple(found))


def unique(values: Iterable[Any], what: str) -> None:
    """Raise BenchError for a value that stands there twice."""
    seen = set()
    for value in values:
        if value in seen:
            raise BenchError(f"{what}: {value!r} stands there twice; name it once")
        seen.add(value)


def known(given: Iterable[str], names: Iterable[str], where: str) -> None:
    """Raise BenchError for a key that is none of `names`."""
    said = _unknown(given, {*names}, where)
    require(not said, said)


@cache
def hints(kind: Any) -> dict[str, Any]:
    """The types of a dataclass's fields, with their bounds."""
    found = get_type_hints(kind, include_extras=True)
    return {f.name: found[f.name] for f in dataclasses.fields(kind)}


def fault(value: Any, kind: Any, path: str, verb: str = "is") -> str:
    """What is wrong with a value, as a sentence; "" if nothing is.

    The type is walked along the value, so that the sentence names the innermost part at fault.
    """
    plain, bounds = _parts(kind)
    inner = get_args(plain)
    if dataclasses.is_dataclass(plain) and isinstance(value, Mapping):
        return _fault_of_keys(value, plain, path, f"{path}.")
    spoken = bounds and bounds.description  # for all that is inside, too
    if get_origin(plain) is tuple and isinstance(value, list | tuple) and not spoken:
        each = inner[:1] * len(value) if inner[1:] == (...,) else inner
        for item, of in zip(value, each, strict=False):
            if said := fault(item, of, path, "holds"):
                return said
    if get_origin(plain) is Mapping and isinstance(value, Mapping):
        for key, item in value.items():
            if said := fault(item, inner[1], f"{path}.{key}"):
                return said
    if _fits(value, kind):
        return ""
    said = f"{path} {verb} {shown(value)}"
    if get_origin(plain) is Literal and isinstance(value, str):
        close = suggest(value, inner)
        if close.startswith("; did you mean"):
            return said + close
    return f"{said}; expected {_words(kind, path if verb == 'is' else '', value)}"


def _fault_of_keys(given: Mapping[str, Any], kind: Any, where: str, path: str) -> str:
    types = hints(kind)
    if said := _unknown(given, types, where):
        return said
    for field in dataclasses.fields(kind):
        name = field.name
        if name in given:
            if said := fault(given[name], types[name], f"{path}{name}"):
                return said
        elif field.default is field.default_factory is dataclasses.MISSING:
            return f"{path}{name} is missing; expected {_words(types[name], name)}"
    return ""


def _unknown(given: Iterable[str], names: Iterable[str], where: str) -> str:
    for key in given:
        if key not in names:
            return f"{where or 'matrix.toml'} has an unknown key {key!r}{suggest(key, names)}"
    return ""


def _fits(value: Any, kind: Any) -> bool:
    if kind is Any:
        return True
    try:
        msgspec.convert(value, kind)
    except (msgspec.ValidationError, ValueError, OverflowError):
        return False
    return not isinstance(value, float) or math.isfinite(value)


def _parts(kind: Any) -> tuple[Any, msgspec.Meta | None]:
    """A type without its bounds, and the bounds."""
    if get_origin(kind) is Annotated:
        return kind.__origin__, kind.__metadata__[0]
    return kind, None


def _words(kind: Any, path: str, value: Any = None) -> str:
    """What a type expects instead of a value; with an example where its path is given."""
    plain, bounds = _parts(kind)
    path = path.rpartition(": ")[2]
    if bounds and bounds.description:
        return bounds.description
    origin = get_origin(plain) or plain
    if origin is Literal:
        return " or ".join(map(repr, get_args(plain)))
    numbers = {bool: "true or false", int: "a whole number", float: "a number"}
    if origin in numbers:
        limits = _range(bounds)
        fits = type(value) is origin and not (origin is float and math.isinf(value))
        if fits and value is not None and bounds and bounds.le and value > bounds.le:
            return f"at most {bounds.le}"
        return limits if limits and fits else ", ".join(filter(None, (numbers[origin], limits)))
    if origin is tuple and isinstance(value, list | tuple) and not value:
        return "at least one entry"
    key = path.rpartition(".")[2]
    word, example = ("a table", f"[{path}]")
    if origin is str:
        word, example = "a text", f'{key} = "..."'
    elif origin is tuple:
        word, example = "a list", f"{key} = [...]"
    return f"{word}, as in {example}" if path else word


def _range(bounds: msgspec.Meta | None) -> str:
    if bounds is None:
        return ""
    if bounds.lt is not None:
        return f"in [{bounds.ge}, {bounds.lt})"
    return f"{bounds.ge} or more" if bounds.ge is not None else f"more than {bounds.gt}"
