"""The seven kinds of component: the verb of each, and the facts that it may say of itself.

A fact is a class variable (`of`), a field (`teacher`, which a board may set) or a second verb
(`download`). `fact` alone reads them, so that silence means the same everywhere.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from numbers import Real
from types import MappingProxyType
from typing import Any, Literal, get_args

from bench.contract.errors import BenchError
from bench.contract.fields import expect

NAME = re.compile(r"[a-z0-9][a-z0-9.+-]*")
LONGEST_NAME = 48  # characters; the name of a picture holds three, and a file's may have 255
TRACK_NAMES = ("classification", "generation")
Regime = Literal["hard", "soft", "teacher"]
REGIMES: tuple[str, ...] = get_args(Regime)  # of the labels that students see
NORMS = ("linf", "l2", "")  # balls of attacks; "": none
SEARCHES = ("", "noise", "black-box", "single-step", "iterative", "ensemble")
LOOKS_AT = ("set", "student", "probe")  # samples are a probe of a generator
SURVEY = "survey"  # the verb of what a method asks of the data
CLOSE = 0.85  # likeness from which one word is taken for a slip of another


@dataclass(frozen=True)
class Fact:
    """What a component may say of itself; `default` holds for one that says nothing."""

    default: Any
    takes: type | tuple[Any, ...] | Callable[[Any], bool]  # a type, the choices, or a test
    meaning: str
    words: str = ""  # `takes` in words, where it does not speak for itself
    by: Literal["class variable", "field", "verb"] = "class variable"
    must: bool = False  # `bench check` refuses a component that does not say it

    @property
    def expected(self) -> str:
        """What it takes, in words."""
        return self.words or ("True or False" if self.takes is bool else f"one of {self.takes}")

    def fits(self, value: Any) -> bool:
        if isinstance(self.takes, tuple):
            return value in self.takes
        if isinstance(self.takes, type):  # True is no number
            return isinstance(value, self.takes) and isinstance(value, bool) is (self.takes is bool)
        return self.takes(value)


@dataclass(frozen=True)
class Kind:
    """One row of the table: what the verb is given and gives back, and the facts by name."""

    name: str
    verb: str
    given: str
    gives: str
    facts: Mapping[str, Fact]


def fact(kind: str, component: Any, name: str) -> Any:
    """What a component says, or the default of its kind where it says nothing."""
    default = KINDS[kind].facts[name].default
    return getattr(component, name) if says(component, name) else default


def says(component: Any, name: str) -> bool:
    """Does a component say this of itself? None says nothing."""
    return getattr(component, name, None) is not None


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
    survey = fact("method", method, SURVEY)
    for name in ("teacher", "scorer", "fresh_networks", "fresh_denoisers") if survey else ():
        asked, said = (fact("method", one, name) for one in (survey, method))
        if asked and asked != said:
            raise BenchError(
                f"its survey asks for {name} = {asked!r}, and the method says {said!r}; expected "
                f"the same; give the method {name} = {asked!r}, or the survey that of the method"
            )


def check_perturb(attack: Any) -> None:
    """Raise BenchError for an attack that takes no generator, as attacks did at first."""
    given = KINDS["attack"].given
    try:
        inspect.signature(attack.perturb).bind(*given.split(", "))
    except TypeError:
        raise BenchError(
            f"its verb is perturb{inspect.signature(attack.perturb)}; expected perturb({given}): "
            "attacks now draw from the torch.Generator that they are given, and those that draw "
            "nothing ignore it"
        ) from None


def _class_variables(component: Any) -> Iterator[str]:
    """The names of plain values of its class: no fields, methods or properties."""
    known = {f.name for f in fields(component)}
    for cls in type(component).__mro__[:-1]:
        for name, value in vars(cls).items():
            plain = not callable(value) and not hasattr(value, "__get__")
            if plain and name not in known and not name.startswith("_"):
                yield name


# ---- the table


def _track(default: str, meaning: str) -> Fact:
    choices = TRACK_NAMES if default else ("", *TRACK_NAMES)
    return Fact(default, choices, meaning, " or ".join(map(repr, TRACK_NAMES)))


def _bool(meaning: str, *, default: bool = False, must: bool = False) -> Fact:
    return Fact(default, bool, meaning, must=must)


def _teacher(meaning: str) -> Fact:
    return Fact("", str, meaning, "the name of a teacher", by="field")


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _are_counts(value: Any) -> bool:
    return isinstance(value, tuple) and all(map(_is_count, value))


def _is_published(value: Any) -> bool:
    tests: dict[str, Callable[[Any], bool]] = {
        **dict.fromkeys(("train", "test"), _is_count),
        "classes": lambda one: (_is_count(one) and one > 0) or _are_counts(one),
        "digest": lambda one: isinstance(one, str),
    }
    known = isinstance(value, Mapping) and set(value) <= set(tests)
    return known and all(tests[name](one) for name, one in value.items())


def _are_names(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(name, str) and name for name in value)


def _is_survey(value: Any) -> bool:
    """A component in all but that no board names it: its method says what it is."""
    frozen = getattr(getattr(value, "__dataclass_params__", None), "frozen", False)
    named = frozen and not isinstance(value, type) and [f.name for f in fields(value)][:1]
    return named == ["name"] and callable(getattr(value, SURVEY, None))


def _is_tolerance(value: Any) -> bool:
    """(absolute, relative), both finite and not negative."""
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and all(isinstance(v, int | float) and 0 <= v < float("inf") for v in value)
    )


EITHER = _track("", 'the track that it stands on; "" is either')
DOWNLOAD = Fact(
    None,
    callable,
    "fetches what is missing of its files, with a checksum, for `bench run --download`",
    "a method",
    by="verb",
)
COMMON = {
    "quick": Fact({}, Mapping, "fields that make the checks fast", "a dict of fields"),
    "preload": Fact(
        (),
        _are_names,
        "slow imports of the verb, which workers find loaded",
        'a tuple of names of modules, as ("torchvision.models",)',
    ),
}


def _kind(name: str, verb: str, given: str, gives: str, **facts: Fact) -> Kind:
    return Kind(name, verb, given, gives, MappingProxyType(COMMON | facts))


_ROWS = (
    _kind(
        "dataset",
        "load",
        "",
        "`Data`",
        track=EITHER,
        download=DOWNLOAD,
        published=Fact(
            {},
            _is_published,
            "images of each split as published; others are refused unless the board says "
            "`partial = true`",
            'counts by split, as {"train": 60000, "test": 10000}, and perhaps the "digest" and '
            'as "classes" how many there are, or the training images of each, a tuple',
        ),
        roots=Fact(
            (),
            _are_names,
            "fields that say where its files lie: beside matrix.toml, in the data folder or "
            "absolute; they are in no record",
            "a tuple of fields",
        ),
    ),
    _kind(
        "teacher",
        "squeeze",
        "task",
        "`nn.Module`, its `task.network()` trained",
        track=_track("classification", "the track of the network that it trains"),
        download=DOWNLOAD,
    ),
    _kind(
        "method",
        "condense",
        "task",
        "`CondensedSet`",
        track=EITHER,
        teacher=_teacher("the teacher whose network is `task.teacher`"),
        scorer=_teacher("the teacher whose denoiser is `task.scorer`"),
        fresh_networks=_bool("`task.network()` gives fresh networks of the board's backbone"),
        fresh_denoisers=_bool("`task.denoiser()` gives fresh networks of the board's denoiser"),
        survey=Fact(
            None,
            _is_survey,
            "what `task.surveyed` gives it: asked of the data once for all budgets, and for all "
            "methods that ask alike",
            "a frozen dataclass with a verb `survey(task)`, its first field `name: str`",
        ),
        ceiling=_bool("it is the full training set, which has no budget"),
        per_seed=_bool("its fields may differ between seeds, as of sets that others have made"),
        samples=_bool("images of its set are judged as samples are; no student is trained"),
        selects=_bool(
            "its set is real images with one-hot labels; with soft labels the board's teacher "
            "labels them"
        ),
        from_file=_bool(
            "its set is read from the safetensors file that its fields `path` (absolute) and "
            "`sha256` name, as `bench.evaluate` writes it"
        ),
        float_images=_bool("its images stay float32, 4 bytes a value; others become uint8"),
        download=DOWNLOAD,
    ),
    _kind(
        "architecture",
        "build",
        "shape, classes",
        "`nn.Module` from images to logits, its last `nn.Linear` the classifier; a denoiser is "
        "built with `extras`, too",
        track=_track("classification", "the track of the network that it builds"),
    ),
    _kind(
        "attack",
        "perturb",
        "model, images, labels, generator",
        "`Tensor`, images in [0, 1]",
        track=_track("classification", "the track that it stands on"),
        norm=Fact("", NORMS, 'the ball that it stays in; "" is none', must=True),
        eps=Fact(0.0, Real, "the radius of its ball, in pixels of [0, 1]", "a number", by="field"),
        search=Fact("", SEARCHES, "how it searches; a number that breaks its promise is flagged"),
        block=Fact(
            0,
            _is_count,
            "images of a stage of its own, so that a slow attack goes on where it was killed",
            "images a stage, or 0",
        ),
        early_stop=_bool("an image stays where it first fools the network"),
        exact_on_linear=_bool("it reaches the closed form on a linear model"),
    ),
    _kind(
        "sampler",
        "sample",
        "model, labels, extras, shape, generator",
        "`Tensor` [P, *shape], in the space of x",
        track=_track("generation", "the track that it stands on"),
    ),
    _kind(
        "metric",
        "measure",
        "trial, *siblings",
        "`float`; rates are fractions",
        track=EITHER,
        of=Fact("probe", LOOKS_AT, "what it looks at", must=True),
        higher_is_better=_bool("its direction", default=True, must=True),
        bounds=Fact(
            None,
            tuple,
            "(lowest, highest), None where open",
            "(lowest, highest), None where open",
            must=True,
        ),
        unit=Fact(
            "",
            str,
            'the unit of its value: "fraction" is a rate, which tables show in percent; "nats"; '
            '"" is a plain number',
            'a string: "fraction" for a rate, "nats" or another unit, "" for a plain number',
            must=True,
        ),
        tolerance=Fact(
            None,
            _is_tolerance,
            "(absolute, relative): how far a recomputation on another machine may lie off, "
            "absolute + relative x the value; None: four standard errors of a rate of all images "
            'for unit "fraction", a tenth of the value for others',
            "(absolute, relative), as in (0.01, 0.1)",
        ),
        ranked=_bool("some row is the best by it, unlike by an interval", default=True),
        needs=Fact(
            (),
            tuple,
            'coordinates of sibling cells, as in `({"method": "..."},)`',
            'a tuple of coordinates, as in ({"method": "..."},)',
        ),
        features=_teacher("the teacher whose network is `trial.features`, one for the board"),
        download=DOWNLOAD,
    ),
)
KINDS: Mapping[str, Kind] = MappingProxyType({row.name: row for row in _ROWS})
