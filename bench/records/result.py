"""A result: all that is known of one cell, as tables look at it; from and to records of levels."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from functools import cache, reduce
from operator import and_, attrgetter
from typing import Any

import numpy as np
from msgspec import Struct, structs
from numpy.typing import NDArray

from bench.contract.keys import PROTOCOL
from bench.records.record import NOTHING, Bits, Moved, Part, Passes, Scale

COORDINATES = {
    "classification": ("dataset", "method", "ipc", "labels", "architecture", "attack", "seed"),
    "generation": (
        *("dataset", "method", "ipc", "labels", "architecture", "sampler", "step", "seed"),
    ),
}
"""The fields that say which cell a result is of, by track; no two results share all of them."""

_COORDINATE = {track: attrgetter(*names) for track, names in COORDINATES.items()}
DECIMALS = 6  # of rates
DIGITS = 9  # significant ones, of other figures


class Result(Struct, frozen=True, kw_only=True, gc=False):
    """One evaluated cell: the facts of its set, its student and its probe; see `record`.

    With a `reason`, the cell was declined, and nothing was measured.
    """

    dataset: str
    method: str
    ipc: int
    labels: str
    architecture: str
    seed: int
    attack: str = ""
    sampler: str = ""
    step: int = 0
    evaluate: str = "test"
    reason: str = ""
    protocol: int = PROTOCOL
    parameters: dict[str, dict[str, Any]] = {}
    about: dict[str, str] = {}
    recipe: dict[str, Any] = {}
    versions: dict[str, str] = {}
    environment: dict[str, Any] = {}
    code: dict[str, str] = {}
    data: dict[str, str] = {}
    metrics: dict[str, float] = {}
    scales: dict[str, Scale] = {}
    refused: dict[str, str] = {}
    content: dict[str, str] = {}
    passes: dict[str, Passes] = {}
    seconds: dict[str, float] = {}
    peak_mb: float = 0.0
    size: int = 0
    bytes: dict[str, int] = {}
    pictured: bool = False
    images: int = 0
    images_hash: str = ""
    correct: Bits = b""
    norm: str = ""
    eps: float | None = None
    perturbation: dict[str, Moved] = {}
    attack_search: str = ""
    attack_family: str = ""
    no_gradient: float = 0.0
    not_finite: float = NOTHING
    slope: float | None = None
    fell_further: float = NOTHING
    parts: tuple[Part, ...] = ()
    sampled: tuple[int, ...] = ()
    flags: tuple[str, ...] = ()  # what `relations` find; never written

    @property
    def ok(self) -> bool:
        return not self.reason

    @property
    def status(self) -> str:
        return "unsupported" if self.reason else "ok"

    @property
    def track(self) -> str:
        """ "classification", or "generation" where the student was sampled from."""
        return "generation" if self.sampler else "classification"

    @property
    def coordinate(self) -> tuple[str | int, ...]:
        """Which cell this is: the values of `COORDINATES`."""
        found: tuple[str | int, ...] = _COORDINATE[self.track](self)
        return found

    @property
    def column(self) -> str:
        """Its column in the tables: its attack, or its sampler and the step of training."""
        return self.attack or at_step(self.sampler, self.step)

    @property
    def share(self) -> float:
        """The share of its images that were right, of a result with `correct`."""
        return int.from_bytes(self.correct, "big").bit_count() / self.images

    @property
    def words(self) -> str:
        pairs = zip(COORDINATES[self.track], self.coordinate, strict=True)
        return "record of " + " ".join(f"{name}={value}" for name, value in pairs)


def at_step(sampler: str, step: int) -> str:
    """A sampler, at a checkpoint of the training (0: at its end)."""
    return f"{sampler} @ {step:,}" if step else sampler


def merge(old: Iterable[Result], new: Iterable[Result]) -> list[Result]:
    """`old` with the cells of `new` replaced or added, sorted; no cell of either vanishes."""
    cells = {result.coordinate: result for result in (*old, *new)}
    return sorted(cells.values(), key=order)


def with_earlier_figures(
    old: Iterable[Result], new: Iterable[Result], metrics: Iterable[str]
) -> list[Result]:
    """New results, with what metrics that failed now have given earlier, on the same content.

    `metrics` are those of the board: one that it no longer asks for is let go.
    """
    asked = {*metrics}
    known = {result.coordinate: result for result in old}
    found = []
    for result in new:
        before = known.get(result.coordinate)
        if before and result.content and result.content == before.content:
            names = asked & {*before.metrics, *before.refused}
            names -= {*result.metrics, *result.refused}
            blocks = {}
            for block in ("metrics", "scales", "refused"):
                earlier = {k: v for k, v in getattr(before, block).items() if k in names}
                blocks[block] = getattr(result, block) | earlier
            result = structs.replace(result, **blocks)
        found.append(result)
    return found


def rounded(result: Result) -> Result:
    """A result as it is written: its figures rounded, what was set left exactly as it is."""
    rates = {name for name, scale in result.scales.items() if scale.rate}
    figures = {
        name: _rounded(value, DECIMALS) if name in rates else significant(value)
        for name, value in result.metrics.items()
    }
    return structs.replace(
        result,
        metrics=figures,
        seconds={kind: _rounded(value, 3) for kind, value in result.seconds.items()},
        peak_mb=_rounded(result.peak_mb, 1),
        no_gradient=_rounded(result.no_gradient, DECIMALS),
        not_finite=_rounded(result.not_finite, DECIMALS) or NOTHING,
        slope=None if result.slope is None else significant(result.slope),
        fell_further=_rounded(result.fell_further, DECIMALS) or NOTHING,
        perturbation={
            norm: Moved(mean=_rounded(moved.mean, DECIMALS), max=_rounded(moved.max, DECIMALS))
            for norm, moved in result.perturbation.items()
        },
    )


def _rounded(value: float, decimals: int) -> float:
    return round(value, decimals) + 0.0  # + 0.0: no "-0.0"


def significant(value: float) -> float:
    """A figure with `DIGITS` significant digits."""
    return float(f"{value:.{DIGITS}g}") + 0.0 if math.isfinite(value) else value


@cache
def _natural(text: str) -> tuple[tuple[str, int, str], ...]:
    """Sort key that puts "x-9" before "x-10"."""
    parts = re.findall(r"(\D*)(\d*)", text, re.ASCII)
    return tuple((letters, int(digits[:99] or -1), digits) for letters, digits in parts)


def order(result: Result) -> tuple[Any, ...]:
    return tuple(
        _natural(value) if isinstance(value, str) else value for value in result.coordinate
    )


STANDARD_ERRORS = 4  # how far two measurements of one rate may lie from each other


def by_chance(a: float, b: float, images: int) -> float:
    """How far two rates of so many images may lie from each other and still be the same rate."""
    middle = min(max((a + b) / 2, 1 / images), 1 - 1 / images)
    return STANDARD_ERRORS * math.sqrt(2 * middle * (1 - middle) / images)


def pack(bits: NDArray[np.bool_]) -> Bits:
    """Which of P images were right (bool [P])."""
    return np.packbits(np.asarray(bits, dtype=bool)).tobytes()


def unpack(rows: Sequence[Bits], n: int) -> NDArray[np.uint8]:
    """The bits that `pack` made rows of, `n` in each: 0 or 1, [S, n]."""
    packed = np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), -1)
    return np.unpackbits(packed, axis=1, count=n)


def both_of(*rows: Bits) -> Bits:
    """Of bits that `pack` made rows of, as many in each: those that are set in all."""
    numbers = (int.from_bytes(one, "big") for one in rows)
    return reduce(and_, numbers).to_bytes(len(rows[0]), "big")
