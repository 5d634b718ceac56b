"""Is a line of a records file sound? If not, one sentence says what is wrong with it."""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import msgspec

from bench.contract.errors import BenchError
from bench.contract.fields import shown, suggest
from bench.records import record as types
from bench.records.levels import Notes
from bench.records.record import Level, ProbeRecord, Record

Typed = TypeVar("Typed")
DEEPEST = 20  # of lists and tables in each other, in a setting
WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "object": "a JSON object",
    "array": "a list",
    "list": "a list",
}
TOO_DEEP = "nested too deeply; expected one JSON object a line"
NO_BASE64 = ("Invalid base64 encoded string", "packed bits in base64")
OUT_OF_RANGE = ("Number out of range", "a number that 64 bits can hold")


def decoded(decoder: msgspec.json.Decoder[Typed], line: bytes, kind: Any) -> Typed:
    """What a line says, typed. Raises BenchError, as a sentence without a place.

    `kind` is the decoder's type: the structs that the line may be.
    """
    try:
        return decoder.decode(line)
    except msgspec.ValidationError as error:
        raise BenchError(_sentence(str(error), _raw(line), kind)) from None
    except RecursionError:
        raise BenchError(TOO_DEEP) from None
    except ValueError as error:  # msgspec's DecodeError is one
        raise BenchError(f"{error}; expected one JSON object a line") from None


def checked(value: Any, kind: Any) -> Any:
    """A record as it would be read once it is written. Raises BenchError where it would not."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise BenchError(_sentence(str(error), value, kind)) from None


def sound(record: Record, notes: Notes) -> None:
    """Raise BenchError for what types cannot say of a record whose notes are known."""
    for name in ("about", "scales", "recipe", "versions", "environment"):
        digest = getattr(record, name, "")
        if digest and digest not in notes:
            _wrong(name, digest, "the digest of a note in records/_shared.jsonl")
    if _depth(record.parameters) > DEEPEST:
        raise BenchError(f"parameters hold lists in lists; expected at most {DEEPEST} levels")
    _check_metrics(record, notes[record.scales] if record.scales else {})
    for role in record.passes:
        if role not in record.content:
            _wrong(f"passes.{role}", "there", f"content.{role} beside it")
    if isinstance(record, ProbeRecord):
        _check_probe(record)


def _check_metrics(record: Level, scales: Mapping[str, types.Scale]) -> None:
    for name, value in record.metrics.items():
        if name not in scales:
            _wrong(
                f"metrics.{name}", value, "a scale of this metric in the note that `scales` names"
            )
        if scales[name].rate and not 0 <= value <= 1:
            _wrong(f"metrics.{name}", value, 'a fraction in [0, 1] (its unit is "fraction")')
        if name in record.refused:
            _wrong(f"refused.{name}", record.refused[name], "no figure of a metric that is refused")
    for name, reason in record.refused.items():
        if not reason:
            _wrong(f"refused.{name}", reason, "a reason")


def _check_probe(probe: ProbeRecord) -> None:
    if bool(probe.attack) == bool(probe.sampler):
        _wrong("attack", probe.attack, "either an attack or a sampler")
    if probe.reason:
        for name in ("metrics", "refused", "content", "correct", "images", "passes"):
            if value := getattr(probe, name):
                _wrong(name, value, "nothing measured beside a reason (the cell was declined)")
        return
    if "probe" not in probe.content:
        _wrong("content", probe.content, "the hash of what the probe gave, as content.probe")
    if not probe.images:
        _wrong("images", probe.images, "1 or more")
    if probe.norm and probe.eps is None:
        _wrong("eps", probe.eps, 'a radius of 0 or more (null only where norm is "")')
    if probe.correct:
        _check_bits(probe.correct, probe.images)


def _check_bits(packed: bytes, n: int) -> None:
    if len(packed) != (n + 7) // 8:
        raise BenchError(
            f"correct: packed bits fill {len(packed)} bytes; expected {(n + 7) // 8} bytes for {n} "
            "images"
        )
    if n % 8 and packed[-1] & (0xFF >> n % 8):
        raise BenchError(
            f"correct: packed bits go on after image {n}; expected zeros in the last byte"
        )


def _depth(value: Any) -> int:
    inside = value.values() if isinstance(value, dict) else value
    if not isinstance(value, dict | list):
        return 0
    return 1 + max(map(_depth, inside), default=0)


def _wrong(name: str, value: Any, expected: str) -> None:
    raise BenchError(f"{name} is {shown(value)}; expected {expected}")


# ---- msgspec's messages, as sentences


def _raw(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return {}
    except RecursionError:
        raise BenchError(TOO_DEEP) from None


def _sentence(message: str, raw: Any, kind: Any) -> str:
    """A message of msgspec as "field is value; expected ...", with the value in `raw`."""
    said, _, place = message.partition(" - at `")
    place = place.rstrip("`").removeprefix("key` in `")
    path, value = _found(raw, place, message, kind)
    if field := re.search(r"(?:unknown|missing required) field `(.*)`", said):
        at = f"{path}: " if path else ""
        if "unknown" in said:
            return f"{at}unknown field {field[1]!r}{suggest(field[1], _fields(kind, raw))}"
        return f"{at}no field {field[1]!r}; expected one"
    if not path:
        return f"{WORDS.get(type(raw).__name__, type(raw).__name__)}; expected a JSON object"
    if said.startswith(("Invalid enum value", "Invalid value")):
        choices = _choices(path.split(".")[-1])
        return f"{path} is {shown(value)}; expected {' or '.join(map(repr, choices))}"
    expected = re.sub(r"Expected |, got .*", "", said)
    expected = expected.replace(*OUT_OF_RANGE).replace(*NO_BASE64)
    expected = re.sub(r"`(\w+)( \| null)?`", lambda m: WORDS.get(m[1], m[1]), expected)
    expected = expected.replace(">=", "of at least").replace("<=", "of at most")
    return f"{path} is {shown(value)}; expected {expected}"


def _found(raw: Any, place: str, message: str, kind: Any) -> tuple[str, Any]:
    """The path of what a message complains of, with the keys that it leaves out, and the value."""
    names: list[str] = []
    value = raw
    for part in re.findall(r"\.(\w+)|(\[\.\.\.\]|\[\d+\])", place):
        step = part[0] or part[1]
        if isinstance(value, dict):
            if step == "[...]":
                step = next((k for k in value if _fails(raw, names, k, message, kind)), "")
            value = value.get(step)
            names.append(step)
    return ".".join(names), value


def _fails(raw: Any, names: list[str], key: str, message: str, kind: Any) -> bool:
    """Is the message that of one key of the object at `names`, whose other keys are left out?"""

    def only(value: Any, path: list[str]) -> Any:
        return {**value, path[0]: only(value[path[0]], path[1:])} if path else {key: value[key]}

    try:
        msgspec.convert(only(raw, names), kind)
    except msgspec.ValidationError as error:  # 1e999 is infinite here, and more than any bound
        return str(error) == message or message.startswith(OUT_OF_RANGE[0])
    return False


def _fields(kind: Any, raw: Any) -> list[str]:
    level = raw.get("level") if isinstance(raw, dict) else None
    return [
        name
        for one in typing.get_args(kind) or (kind,)
        if one.__struct_config__.tag in (level, None)
        for name in one.__struct_fields__
    ]


def _choices(name: str) -> tuple[Any, ...]:
    """What a field of this name may be."""
    if name == "level":
        return ("set", "student", "probe")
    for one in (types.SetRecord, types.ProbeRecord, types.Note, types.Scale):
        hint = typing.get_type_hints(one).get(name)
        if typing.get_origin(hint) is Literal:
            return typing.get_args(hint)
    return ()
