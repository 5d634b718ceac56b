"""A board's `matrix.toml`: the axes, the recipe, the limits, and what differs where.

Reading a board knows no plugins and loads none: the tables are made from it. Which components
the names stand for is the business of `bench.board.components`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from bench.board import networks
from bench.board.networks import BoardNetwork
from bench.contract.errors import BenchError
from bench.contract.fields import expect, shown, suggest
from bench.contract.kinds import KINDS, LONGEST_NAME, NAME, Regime
from bench.contract.limits import Limits
from bench.contract.typed import Count, Text, Whole, fault, known, toml, unique
from bench.contract.typed import read as typed
from bench.tracks import CLASSIFICATION, GENERATION, TRACKS
from bench.training.recipe import DiffusionRecipe, Recipe

NO_BUDGET = 0  # the ipc of a ceiling

Name = Annotated[str, Meta(min_length=1, description="names that are not empty")]
Names = Annotated[tuple[Name, ...], Meta(min_length=1)]
Partial = Annotated[bool | tuple[Name, ...], Meta(description="true, or a list of data sets")]


@dataclass(frozen=True, order=True)
class Cell:
    """One coordinate of the matrix."""

    dataset: str
    method: str
    ipc: int  # images per class; 0 for a ceiling
    labels: str  # "hard" | "soft" | "teacher"
    architecture: str
    attack: str  # "" on the generation track
    seed: int
    sampler: str = ""  # of the generation track, as is
    step: int = 0  # the checkpoint that is sampled from; 0: the end of the training

    @property
    def coordinate(self) -> tuple[str | int, ...]:
        """That of the result of the cell."""
        names = (GENERATION if self.sampler else CLASSIFICATION).coordinate
        return tuple(getattr(self, name) for name in names)


@dataclass(frozen=True)
class Probe:
    """Which test images are attacked: a prefix of one permutation of the split; 0: all.

    On the generation track: to how many the samples are compared, one for the label of each.
    """

    images: Whole = 0


@dataclass(frozen=True)
class Override:
    """One `[[set]]`: `values` (by "", "recipe" or a kind) for the cells that `where` selects."""

    where: Mapping[str, tuple[Any, ...]]
    values: Mapping[str, Mapping[str, Any]]
    place: str  # "[[set]] number 2", for messages


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """What a board asks for: the fields are the keys of its `matrix.toml`, with their bounds.

    Raises nothing: `read` and `parse` do.
    """

    title: Text
    datasets: Names
    architectures: Names
    metrics: Names
    track: str = CLASSIFICATION.name
    methods: Names = ()
    controls: Names = ()
    ceiling: Names = ()
    baseline: str = ""  # the one of them that others are compared with
    starts: Mapping[Name, Name] = field(default_factory=dict)  # recovered row -> its start
    ipc: Annotated[tuple[Count, ...], Meta(min_length=1)] = ()
    labels: Annotated[tuple[Regime, ...], Meta(min_length=1)] = ("hard",)
    attacks: Names = ()
    samplers: Names = ()
    seeds: Annotated[tuple[Whole, ...], Meta(min_length=1)] = (0,)
    backbone: str = ""  # the network of teachers
    denoiser: str = ""  # the network of scorers
    teacher: str = ""  # labels the views for methods that name no teacher
    twin: str = ""  # the board beside this one that judges the same sets on the other track
    question: str = ""  # what the board asks, for readers of the index
    scale: str = ""  # what is smaller here than in print
    evaluate: Literal["test", "validation"] = "test"
    frozen: str = ""  # why it is run no more
    partial: Partial = False  # data sets that may have other counts than those in print
    recipe: Mapping[str, Any] = field(default_factory=dict)
    probe: Probe = field(default_factory=Probe)
    limits: Limits = field(default_factory=Limits)
    define: Mapping[tuple[str, str], Mapping[str, Any]] = field(
        default_factory=dict
    )  # (kind, name): base name and fields
    overrides: tuple[Override, ...] = ()
    networks: tuple[BoardNetwork, ...] = ()

    def cells(self) -> tuple[Cell, ...]:
        """Every cell, in the order of the axes; a ceiling stands once for all IPCs."""
        probes = [
            *((attack, "", 0) for attack in self.attacks),
            *(("", sampler, step) for sampler in self.samplers for step in (*self.checkpoints, 0)),
        ]
        return tuple(
            Cell(dataset, method, ipc, labels, architecture, attack, seed, sampler, step)
            for dataset in self.datasets
            for method, ipc in self.sets
            for labels in self.labels
            for architecture in self.architectures
            for attack, sampler, step in probes
            for seed in self.seeds
        )

    @property
    def sets(self) -> tuple[tuple[str, int], ...]:
        """(method, ipc) of the condensed sets: the only place where budgets meet methods."""
        return (
            *itertools.product((*self.methods, *self.controls), self.ipc),
            *((name, NO_BUDGET) for name in self.ceiling),
        )

    @property
    def all_methods(self) -> tuple[str, ...]:
        """The methods in their three roles."""
        return (*self.methods, *self.controls, *self.ceiling)

    @property
    def checkpoints(self) -> tuple[int, ...]:
        """Steps of the training after which students are sampled from, beside its end."""
        return tuple(self.recipe.get("checkpoints", ()))

    def origins(self, kind: str, name: str) -> Iterator[str]:
        """A name, and those that `[define]` derives it from."""
        yield name
        while found := self.define.get((kind, name)):
            name = found["base"]
            yield name

    def may_be_partial(self, dataset: str) -> bool:
        """May a data set have other counts than those that are published of it?"""
        return self.partial if isinstance(self.partial, bool) else dataset in self.partial


def read(folder: Path) -> Matrix:
    """The board in a folder. Raises BenchError, with the file's name, for whatever is wrong."""
    path = folder / "matrix.toml"
    document = toml(path, "a board is a folder with a matrix.toml")
    try:
        return parse(document, networks.read(folder))
    except BenchError as error:
        raise BenchError(f"{path}: {error}") from None


def parse(document: Mapping[str, Any], carried: tuple[BoardNetwork, ...] = ()) -> Matrix:
    """A board from a TOML document, and the networks that it carries.

    Raises BenchError for what is wrong with the document as such.
    """
    given = {
        k: v for k, v in document.items() if k not in ("set", "overrides", "networks", "define")
    }
    known(
        document, {*Matrix.__dataclass_fields__, "set"} - {"overrides", "networks"}, "matrix.toml"
    )
    facts = TRACKS[_track(given)]
    if isinstance(given.get("ceiling"), str):
        given["ceiling"] = [given["ceiling"]]
    if not {"methods", "controls", "ceiling"} & given.keys():
        raise BenchError(
            "no methods, controls or ceiling; name at least one, as in methods = [...]"
        )
    if wrong := given.get(facts.other_probes):
        raise BenchError(
            f"{facts.other_probes} = {shown(wrong)} on a {facts.name} board; expected "
            f"{facts.probes}"
        )
    asked = [facts.probes, *(("ipc",) if {"methods", "controls"} & given.keys() else ())]
    for key in asked:
        if key not in given:
            raise BenchError(f"{key} is missing; expected a list, as in {key} = [...]")
    values = typed(Matrix, given)
    for key, value in values.items():
        if isinstance(value, tuple):
            unique(value, key)
    sets = [name for key in ("methods", "controls", "ceiling") for name in values.get(key, ())]
    unique(sets, "methods, controls and ceiling")
    _check_compared(values)
    twin = values.get("twin", "")
    expect(Path(twin).name == twin, "twin", twin, "the name of a folder beside that of the board")
    partial = values.get("partial", False)
    for name in () if isinstance(partial, bool) else partial:
        if name not in values["datasets"]:
            raise BenchError(
                f"partial names {name!r}, which is no data set of this board"
                f"{suggest(name, values['datasets'])}"
            )
    matrix = Matrix(
        **values | {"recipe": recipe_with(facts.recipe, {}, values.get("recipe", {}), "recipe")},
        define=_definitions(document.get("define", {})),
        overrides=_overrides(document.get("set", []), facts.name),
        networks=carried,
    )
    if "labels" in given and not facts.labels:
        raise BenchError(
            f"labels are {list(matrix.labels)} on a generation board; expected none given: a "
            "denoiser is told a class"
        )
    if "teacher" in matrix.labels and not matrix.backbone:
        raise BenchError('labels "teacher" need a backbone; add backbone = "<architecture>"')
    return matrix


def _check_compared(values: Mapping[str, Any]) -> None:
    """Raise BenchError for a baseline or a start that has no row at each budget."""
    compared = (*values.get("controls", ()), *values.get("methods", ()))
    starts = values.get("starts", {})
    named = [("baseline", values.get("baseline", "") or compared[0])] if compared else []
    named += [("starts", name) for pair in starts.items() for name in pair]
    for key, name in named:
        if name not in compared:
            hint = suggest(name, compared)
            raise BenchError(f"{key} {name!r} is none of the board's controls and methods{hint}")
    if own := [name for name, start in starts.items() if name == start]:
        raise BenchError(f"starts names {own[0]!r} as its own start; expected another row")


def _track(given: Mapping[str, Any]) -> str:
    said = fault(given.get("track", CLASSIFICATION.name), Literal[tuple(TRACKS)], "track")
    if said:
        raise BenchError(said)
    return str(given.get("track", CLASSIFICATION.name))


def recipe_with(
    kind: type[Recipe] | type[DiffusionRecipe],
    recipe: Mapping[str, Any],
    values: Mapping[str, Any],
    where: str,
) -> dict[str, Any]:
    """Recipe fields, with `values` over them; checked. A new `steps` takes `epochs` away."""
    base = dict(recipe)
    for one, other in (("steps", "epochs"), ("epochs", "steps")):
        if one in values and other not in values:
            base.pop(other, None)
    base |= typed(kind, values, where)
    kind(**base)
    return base


def _definitions(table: Any) -> dict[tuple[str, str], Mapping[str, Any]]:
    expect(isinstance(table, Mapping), "define", table, "a table, as in [define.NAME]")
    found: dict[tuple[str, str], Mapping[str, Any]] = {}
    for name, body in table.items():
        where = f"[define.{name}]"
        # names of methods are names of files
        if not NAME.fullmatch(name) or len(name) > LONGEST_NAME:
            raise BenchError(
                f"[define.{name[:100]}]: a name must be lower-case letters, digits, '-', '+' or "
                f"'.', at most {LONGEST_NAME}"
            )
        kinds = [k for k in KINDS if isinstance(body, Mapping) and k in body]
        if not kinds:
            keys = body if isinstance(body, Mapping) else ()
            [*near] = itertools.chain.from_iterable(
                get_close_matches(key, KINDS, n=1) for key in keys
            )
            kind = near[0] if near else "attack"
            raise BenchError(f'{where} does not say what it derives; add e.g. {kind} = "..."')
        # a method has a field `teacher`, so the two may stand side by side
        kind = "method" if "method" in kinds else kinds[0]
        expect(isinstance(body[kind], str), f"{where} {kind}", body[kind], f"the name of a {kind}")
        source = {"source": _source(body, kind, where)} if "source" in body else {}
        fields = {k: v for k, v in body.items() if k not in (kind, *source)}
        found[(kind, name)] = {"base": body[kind], "fields": fields, **source}
    for kind, name in found:
        above, base = {name}, found[kind, name]["base"]
        while (kind, base) in found and base not in above:
            above.add(base)
            base = found[kind, base]["base"]
        if base in above:
            raise BenchError(f"[define.{name}] is derived from itself; name an installed {kind}")
    return found


def _source(body: Mapping[str, Any], kind: str, where: str) -> dict[str, str]:
    """On which other student of the board an attack makes its images."""
    source = body["source"]
    example = 'source = { method = "full", architecture = "convnet" }'
    if kind != "attack":
        raise BenchError(f"{where}: a {kind} has no source; only an attack has one")
    if not isinstance(source, Mapping) or not all(isinstance(v, str) for v in source.values()):
        raise BenchError(f"{where}: source is {shown(source)}; expected a table, as in {example}")
    known(source, ("method", "architecture"), f"{where} source")
    if not source:
        raise BenchError(f"{where}: source is empty; name a method or a network, as in {example}")
    return dict(source)


def _overrides(tables: Any, track: str) -> tuple[Override, ...]:
    if not isinstance(tables, list) or not all(isinstance(t, Mapping) for t in tables):
        raise BenchError(f"set is {shown(tables)}; expected tables, as in [[set]]")
    found = []
    for number, table in enumerate(tables, 1):
        place = f"[[set]] number {number}"
        where = table.get("where")
        if not isinstance(where, Mapping) or not where:
            raise BenchError(f'{place} has no where; expected e.g. where = {{ method = "..." }}')
        axes = [name for name in TRACKS[track].coordinate if name != "step"]
        known(where, (*axes, "teacher", "metric", "base"), f"{place} where")
        chosen = {k: tuple(v) if isinstance(v, list) else (v,) for k, v in where.items()}
        for key, wanted in chosen.items():
            if not wanted:
                raise BenchError(f"{place}: where {key} = [] selects no cell; name what it selects")
        values: dict[str, dict[str, Any]] = {}
        for key, value in table.items():
            if key == "where":
                continue
            if isinstance(value, Mapping):
                known((key,), (*KINDS, "recipe"), place)
                values.setdefault(key, {}).update(value)
            else:
                values.setdefault("", {})[key] = value
        if not any(values.values()):
            raise BenchError(f"{place} sets nothing; add a field, as in lam = 3.0")
        found.append(Override(chosen, values, place))
    return tuple(found)
