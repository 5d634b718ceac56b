"""Names made of content: canonical JSON, cache keys, seeds.

Law 5: the protocol number, torch's version and the type of device are part of every key.
Law 6: a seed depends on stage, data set, architecture and seed, and on nothing else, so that
seed s of any two methods trains students with the same initial weights and batch order.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import field, fields
from functools import cache
from importlib.metadata import version
from typing import Any

PROTOCOL = 4
"""Raised by one with every change of the harness that can change a measured number."""


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces. Raises ValueError for NaN and infinities."""
    return _ENCODER.encode(value)


def digest(value: Any) -> str:
    """Sixteen hex digits of the SHA-256 of a JSON value."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:16]


@cache
def platform(device: str) -> dict[str, Any]:
    """What every key depends on: protocol, torch, and the type of device ("cuda:1": "cuda")."""
    return {"protocol": PROTOCOL, "torch": version("torch"), "device": device.split(":")[0]}


@cache
def seed_of(stage: str, dataset: str, architecture: str, seed: int) -> int:
    """The 63-bit seed of a stage (law 6)."""
    text = canonical([stage, dataset, architecture, seed])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def later(default: Any) -> Any:
    """A field that a dataclass has got since: where it has its default, no key and no record holds
    it, so that those from before stand."""
    return field(default=default, metadata={"later": True})


def parameters(component: Any) -> dict[str, Any]:
    """The fields of a component, without its name: what makes two variants differ.

    One that came `later` is left out where it has its default.
    """
    values = {f: getattr(component, f.name) for f in fields(component) if f.name != "name"}
    return {
        f.name: plain(value)
        for f, value in values.items()
        if not (f.metadata.get("later") and value == f.default)
    }


def plain(value: Any) -> Any:
    """A field's value as JSON gives it back: tuples become lists."""
    return [plain(v) for v in value] if isinstance(value, tuple) else value
