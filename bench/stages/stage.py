"""A stage: a frozen dataclass whose fields are its inputs, with one verb, `run`.

A field is a stage above, a component or a plain value. The key of a stage hashes them: a stage by
the content that it has left, a component by its identity, anything else as it is. That content is
known only when the stages above have finished; `id`, made of the inputs alone, is known at once,
and says which stages are the same.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from bench.board.networks import EVALUATOR_SEED
from bench.contract.code import Code
from bench.contract.keys import digest, parameters, platform, seed_of

if TYPE_CHECKING:
    from torch import Tensor

    from bench.stages.io import Desk

STAGES = (
    *("load", "squeeze", "survey", "condense", "train"),
    *("attack", "probe", "sample", "measure", "grade"),
)
"""The kinds, in the order in which people are told of them."""

PLAIN = (str, int, float, type(None))  # a field that is JSON already
OUTSIDE: Mapping[str, Any] = {"key": False}  # metadata of a field that is in no key

Result = tuple["dict[str, dict[str, Tensor]]", dict[str, Any]]  # tensors by file name, JSON value
Identity = Callable[[Any], Any]  # of a component


@dataclass(frozen=True, eq=False)
class Dataset:
    """A loaded data set, as the plan needs it: `facts` is the value of its load stage."""

    name: str
    component: Any
    load: str  # the key of its load stage
    facts: Mapping[str, Any]
    evaluate: str = "test"

    @cached_property
    def identity(self) -> dict[str, str]:
        """Law 11: the content, the ordered class names, and what networks are built from."""
        return {
            "data": self.facts["digest"],
            "classes": digest(self.facts["classes"]),
            "facts": digest([self.facts[name] for name in ("shape", "mean", "std", "flip")]),
        }


@dataclass(frozen=True)
class Above:
    """A finished stage, as one below it finds it in the store; with its network, if it has one."""

    kind: str
    key: str
    architecture: Any = None


Upstream = Any  # a `Stage`; in a worker, what it has left (`Above`)


@dataclass(frozen=True, eq=False)
class Stage(ABC):
    """A node of the plan."""

    kind: ClassVar[str]  # is in the seed: another word would draw other numbers

    dataset: Dataset
    number: int  # a seed of the board
    id: str = field(default="", kw_only=True, metadata=OUTSIDE)  # the plan fills it in

    @abstractmethod
    def run(self, desk: Desk) -> Result:
        """Do it, in a worker: the fields are those of `sent`."""

    @property
    @abstractmethod
    def words(self) -> str:
        """What it is, for people, without data set and seed."""

    @property
    def title(self) -> str:
        """What it is, for people."""
        seed = f", seed {self.number}" if self.number != EVALUATOR_SEED else ""
        return f"{self.words}, {self.dataset.name}{seed}"

    @property
    def seed_network(self) -> str:
        """The name of the network that the seed is drawn for (law 6), that of the stage or of its
        student; "": for none."""
        holder = getattr(self, "student", None) or self
        network = getattr(holder, "architecture", None)
        return network.name if network else ""

    @property
    def seed(self) -> int:
        return seed_of(self.kind, self.dataset.name, self.seed_network, self.number)

    @cached_property
    def above(self) -> dict[str, Stage]:
        """The stages above, by the fields that hold them: "set", "cell.student", "parts.0"."""
        found: dict[str, Stage] = {}
        _gather(found, self.inputs)
        return found

    @property
    def components(self) -> list[Any]:
        """The components that a process needs to run it, also those of networks above."""
        parts = [self.dataset.component]
        _each(self.inputs, parts.append)
        parts += [getattr(one, "architecture", None) for one in self.above.values()]
        return [one for one in parts if hasattr(one, "name") and not isinstance(one, Stage)]

    @property
    def effort(self) -> int:
        """Images times steps, as far as the harness knows: likely in proportion to the time."""
        return 1

    @property
    def inputs(self) -> dict[str, Any]:
        """The fields of the kind: all but those that every stage has."""
        return {name: getattr(self, name) for name in _own(type(self))}

    def spec(self, named: Identity) -> dict[str, Any]:
        """JSON of all inputs; `named` names what is no JSON: a stage, a component."""
        own = _own(type(self)).items()
        plain = {k: _each(getattr(self, k), named) for k, hashed in own if hashed}
        return {**self.dataset.identity, "seed": self.seed, **plain}

    def hashed(
        self, identity: Identity, contents: Mapping[str, str | None], device: str
    ) -> dict[str, Any]:
        """What the key is made of, given the content hashes of the stages above, by their id."""

        def named(part: Any) -> Any:
            if not isinstance(part, Stage):
                return identity(part)
            # a state says what a network has learned, not what it computes with that
            network = getattr(part, "architecture", None)
            return [contents[part.id], identity(network) if network else None]

        return {**platform(device), "stage": self.kind, "spec": self.spec(named)}

    def key(self, identity: Identity, contents: Mapping[str, str], device: str) -> str:
        """The key in the store."""
        return digest(self.hashed(identity, contents, device))

    def sent(self, keys: Mapping[str, str]) -> Stage:
        """The stage as a worker gets it: with those above as they lie in the store, by `keys`."""

        def left(part: Any) -> Any:
            if not isinstance(part, Stage):
                return part
            return Above(part.kind, keys[part.id], getattr(part, "architecture", None))

        return dataclasses.replace(
            self, **{k: _each(v, left, tuples=True) for k, v in self.inputs.items()}
        )


@dataclass(frozen=True)
class Work:
    """One stage, with all that a worker process needs to run it."""

    stage: Stage  # as `Stage.sent`
    key: str
    store: str
    folder: str = ""  # $BENCH_DATA: a server of workers keeps the one that it was started with
    inputs: Mapping[str, Any] = field(default_factory=dict)  # for people
    code: Code = field(default_factory=Code)  # what the key says of the code that runs
    provides: tuple[str, ...] = ()  # distributions of its components
    last_call: float = math.inf  # of `time.monotonic`: a checkpoint is kept then


@cache
def _own(kind: type[Stage]) -> dict[str, bool]:
    """The fields of a kind of stage, beside those that all have, and whether its key holds them."""
    common = {f.name for f in fields(Stage)}
    return {f.name: f.metadata.get("key", True) for f in fields(kind) if f.name not in common}


def _gather(found: dict[str, Stage], parts: Any, prefix: str = "") -> None:
    """Add to `found` the stages in `parts`."""
    if isinstance(parts, PLAIN):
        return
    if isinstance(parts, tuple):
        parts = dict(enumerate(parts))
    if isinstance(parts, dict):
        for name, part in parts.items():
            _gather(found, part, f"{prefix}.{name}" if prefix else name)
    elif isinstance(parts, Stage):
        found[prefix] = parts


def _each(part: Any, named: Callable[[Any], Any], *, tuples: bool = False) -> Any:
    """A field with each stage and each component in it replaced by what `named` makes of it.

    A tuple becomes a list, as in JSON, unless `tuples` are to stay.
    """
    if isinstance(part, PLAIN):
        return part
    if isinstance(part, dict):
        return {name: _each(one, named, tuples=tuples) for name, one in part.items()}
    if isinstance(part, tuple):
        made = [_each(one, named, tuples=tuples) for one in part]
        return tuple(made) if tuples else made
    return named(part)


def identity_of(component: Any, identity: Identity) -> Any:
    """Of a component its identity, of a recipe its fields."""
    return identity(component) if hasattr(component, "name") else parameters(component)
