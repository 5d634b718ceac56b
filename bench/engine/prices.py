"""How long a stage should take, by stages that have run.

One of the same kind, components, network and data set, with the same fields and as much to do, has
its price. Any other price is a guess: by what is nearest, in proportion to images times steps.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any

from bench.contract.keys import digest, parameters
from bench.records.result import Result
from bench.stages.stage import Stage
from bench.store.store import Finished

REPEATS = ("steps", "epochs", "iterations", "restarts")
"""Fields of a component that say how often it looks at an image."""


THEIRS = ("squeeze", "survey", "condense")
"""Stages whose work is what their component does: those of another one say nothing of it."""


@dataclass(frozen=True)
class Profile:
    """What the time of a stage depends on. What is "" or 0 is not known."""

    kind: str
    what: str = ""  # components and labels, without data set and network
    dataset: str = ""
    network: str = ""
    effort: int = 0  # values of pixels times steps
    fields: str = ""  # digests of the components' fields: boards may give one name to two networks

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def relatives(self) -> list[tuple[str, ...]]:
        """What it has in common with others, the nearest first."""
        kind, what, data, network = self.kind, self.what, self.dataset, self.network
        near = ((what, data, network), (what, "", network), ("", data, network))
        far = ((what, data, ""), (what, "", ""), ("", "", network), ("", data, ""), ("", "", ""))
        return [(kind, *some) for some in (*near, *far)]


@dataclass(frozen=True)
class Price:
    """Seconds of one slot; a guess where no like stage has run."""

    seconds: float
    guess: bool = False


@dataclass
class Prices:
    """What stages have cost. It learns while a run goes on."""

    exact: dict[Profile, list[float]] = field(default_factory=lambda: defaultdict(list))
    near: dict[tuple[str, ...], list[tuple[float, int]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    _known: dict[Profile, Price | None] = field(default_factory=dict)

    def learn(self, profile: Profile, seconds: float) -> None:
        self._known.clear()
        if profile.effort:
            self.exact[profile].append(seconds)
        for place in dict.fromkeys(profile.relatives):
            if place[1] or not (profile.what and profile.kind in THEIRS):
                self.near[place].append((seconds, profile.effort))

    def of(self, profile: Profile) -> Price | None:
        """The price of a stage; None if none of its kind has run."""
        if profile not in self._known:
            self._known[profile] = self._found(profile)
        return self._known[profile]

    def _found(self, profile: Profile) -> Price | None:
        if same := self.exact.get(profile):
            return Price(statistics.median(same))
        for place in profile.relatives:
            if known := self.near.get(place):
                rates = [seconds / effort for seconds, effort in known if effort]
                scaled = statistics.median(rates) * profile.effort if rates else 0.0
                return Price(scaled or statistics.median(s for s, _ in known), guess=True)
        return None


def profile(stage: Stage) -> Profile:
    """What the price of a stage depends on, as far as the plan knows it."""
    inputs = stage.inputs
    plain = [inputs[k] for k in ("ipc", "labels") if isinstance(inputs.get(k), (str, int))]
    parts = [c for c in inputs.values() if hasattr(c, "name") and not isinstance(c, Stage)]
    names = [c.name for c in parts if c is not inputs.get("architecture")]
    often = math.prod(map(_repeats, parts))
    joined = ["joined"] if inputs.get("parts") else []
    return Profile(
        "read" if inputs.get("sha256") else stage.kind,  # what the board carries is not trained
        " ".join(map(str, [*names, *plain, *joined])),
        stage.dataset.name,
        stage.seed_network,
        stage.effort * often * math.prod(stage.dataset.facts.get("shape", ())),
        " ".join(dict.fromkeys(map(_fields, filter(None, stage.components[1:])))),
    )


@cache
def _fields(component: Any) -> str:
    return digest(parameters(component))[:8]


@cache
def _repeats(component: Any) -> int:
    """How often a component looks at an image, by its fields."""
    found = [v for k, v in parameters(component).items() if k in REPEATS]
    return math.prod(int(v) for v in found if isinstance(v, int | float) and v >= 1)


def learned(finished: Iterable[Finished], records: Iterable[Result] = ()) -> Prices:
    """Prices by what a store has, and by the costs that records of a board tell."""
    prices = Prices()
    for found in finished:
        if not found.unsupported:
            prices.learn(_profile_of(found), found.cost.get("seconds", 0.0))
    for record in records:
        for kind, seconds in record.seconds.items():
            prices.learn(Profile(kind, "", record.dataset, record.architecture), seconds)
    return prices


def _profile_of(found: Finished) -> Profile:
    """The profile that a stage has left, or its kind: older versions left none."""
    told = found.inputs.get("profile") if isinstance(found.inputs, Mapping) else None
    try:
        return Profile(**told) if isinstance(told, Mapping) else Profile(found.stage)
    except TypeError:
        return Profile(found.stage)
