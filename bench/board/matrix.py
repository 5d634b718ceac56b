"""A board's `matrix.toml`: the axes, the recipe, the limits, and what differs where.

Reading a board knows no plugins and loads none: the tables are made from it. Which components
the names stand for is the business of `bench.board.components`.
"""

from __future__ import annotations

import dataclasses
import itertools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.contract.errors import BenchError
from bench.contract.fields import as_type_of, expect, suggest, values_of
from bench.contract.kinds import KINDS, NAME
from bench.contract.limits import Limits
from bench.records.record import REGIMES
from bench.tracks import CLASSIFICATION, GENERATION, TRACKS
from bench.training.recipe import DiffusionRecipe, Recipe

EVALUATE = ("test", "validation")
FULL = 0  # the ipc of a ceiling: it has no budget


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

    images: int = 0


@dataclass(frozen=True)
class Override:
    """One `[[set]]`: `values` (by "", "recipe" or a kind) for the cells that `where` selects."""

    where: Mapping[str, tuple[Any, ...]]
    values: Mapping[str, Mapping[str, Any]]
    place: str  # "[[set]] number 2", for messages


@dataclass(frozen=True)
class Matrix:
    """What a board asks for. Raises nothing: `read` and `parse` do."""

    title: str
    track: str
    datasets: tuple[str, ...]
    methods: tuple[str, ...]
    controls: tuple[str, ...]
    ceiling: tuple[str, ...]
    ipc: tuple[int, ...]
    labels: tuple[str, ...]
    architectures: tuple[str, ...]
    attacks: tuple[str, ...]
    samplers: tuple[str, ...]
    metrics: tuple[str, ...]
    seeds: tuple[int, ...]
    backbone: str  # the network of teachers
    denoiser: str  # the network of scorers
    teacher: str  # labels the views for methods that name no teacher
    evaluate: str
    recipe: Mapping[str, Any]
    probe: Probe
    limits: Limits
    define: Mapping[tuple[str, str], Mapping[str, Any]]  # (kind, name): base name and fields
    overrides: tuple[Override, ...]

    def cells(self) -> tuple[Cell, ...]:
        """Every cell, in the order of the axes; a ceiling stands once for all IPCs."""
        sets = [
            *itertools.product((*self.methods, *self.controls), self.ipc),
            *((name, FULL) for name in self.ceiling),
        ]
        probes = [
            *((attack, "", 0) for attack in self.attacks),
            *(("", sampler, step) for sampler in self.samplers for step in (*self.checkpoints, 0)),
        ]
        return tuple(
            Cell(dataset, method, ipc, labels, architecture, attack, seed, sampler, step)
            for dataset in self.datasets
            for method, ipc in sets
            for labels in self.labels
            for architecture in self.architectures
            for attack, sampler, step in probes
            for seed in self.seeds
        )

    @property
    def checkpoints(self) -> tuple[int, ...]:
        """Steps of the training after which students are sampled from, beside its end."""
        return tuple(self.recipe.get("checkpoints", ()))


def read(folder: Path) -> Matrix:
    """The board in a folder. Raises BenchError, with the file's name, for whatever is wrong."""
    path = folder / "matrix.toml"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        raise BenchError(
            f"cannot read {path}: {said}; a board is a folder with a matrix.toml"
        ) from None
    try:
        return parse(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise BenchError(f"{path}: not TOML: {error}") from None
    except BenchError as error:
        raise BenchError(f"{path}: {error}") from None


def parse(document: Mapping[str, Any]) -> Matrix:
    """A board from a TOML document. Raises BenchError for what is wrong with it as such."""
    _known(document, _FIELDS, "matrix.toml")
    track = _choice(document, "track", tuple(TRACKS), default=CLASSIFICATION.name)
    methods, controls = _names(document, "methods"), _names(document, "controls")
    ceiling = _names(document, "ceiling")
    if not (methods or controls or ceiling):
        raise BenchError(
            "no methods, controls or ceiling; name at least one, as in methods = [...]"
        )
    _unique([*methods, *controls, *ceiling], "methods, controls and ceiling")
    facts = TRACKS[track]
    if wrong := document.get(facts.other_probes):
        raise BenchError(
            f"{facts.other_probes} = {wrong!r} on a {track} board; expected {facts.probes}"
        )
    matrix = Matrix(
        title=_text(document, "title", required=True),
        track=track,
        datasets=_names(document, "datasets", required=True),
        methods=methods,
        controls=controls,
        ceiling=ceiling,
        ipc=_numbers(document, "ipc", least=1, required=bool(methods or controls)),
        labels=_choices(document, "labels", REGIMES, default=("hard",)),
        architectures=_names(document, "architectures", required=True),
        attacks=_names(document, "attacks", required=facts.probes == "attacks"),
        samplers=_names(document, "samplers", required=facts.probes == "samplers"),
        metrics=_names(document, "metrics", required=True),
        seeds=_numbers(document, "seeds", least=0, default=(0,)),
        backbone=_text(document, "backbone"),
        denoiser=_text(document, "denoiser"),
        teacher=_text(document, "teacher"),
        evaluate=_choice(document, "evaluate", EVALUATE, default="test"),
        recipe=_recipe(_table(document, "recipe"), track),
        probe=_fields_of(Probe(), _table(document, "probe"), "[probe]"),
        limits=_fields_of(Limits(), _table(document, "limits"), "[limits]"),
        define=_definitions(_table(document, "define")),
        overrides=_overrides(document.get("set", []), track),
    )
    expect(matrix.probe.images >= 0, "[probe] images", matrix.probe.images, "0 (all) or more")
    for name in ("seconds", "memory_gb"):
        if getattr(matrix.limits, name) <= 0:
            raise BenchError(f"[limits] {name} is {getattr(matrix.limits, name)}; must be above 0")
    if "labels" in document and not facts.labels:
        raise BenchError(
            f"labels are {list(matrix.labels)} on a generation board; expected none given: a "
            "denoiser is told a class"
        )
    if "teacher" in matrix.labels and not matrix.backbone:
        raise BenchError('labels "teacher" need a backbone; add backbone = "<architecture>"')
    return matrix


_FIELDS = {f.name: f for f in dataclasses.fields(Matrix) if f.name != "overrides"} | {"set": None}


def _known(table: Mapping[str, Any], known: Mapping[str, Any], where: str) -> None:
    for key in table:
        if key not in known:
            raise BenchError(f"{where} has an unknown key '{key}'{suggest(key, known)}")


def _text(document: Mapping[str, Any], key: str, *, required: bool = False) -> str:
    value = document.get(key, "")
    if not isinstance(value, str) or (required and not value.strip()):
        raise BenchError(f'{key} is {value!r}; expected a text, as in {key} = "..."')
    return value


def _table(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = document.get(key, {})
    if not isinstance(value, Mapping):
        raise BenchError(f"{key} is {value!r}; expected a table, as in [{key}]")
    return value


def _choice(document: Mapping[str, Any], key: str, choices: tuple[str, ...], default: str) -> str:
    value = document.get(key, default)
    if value not in choices:
        raise BenchError(f"{key} is {value!r}{suggest(str(value), choices)}")
    return str(value)


def _list(document: Mapping[str, Any], key: str, required: bool) -> list[Any]:
    value = document.get(key, [])
    value = [value] if isinstance(value, str) and key == "ceiling" else value
    expect(isinstance(value, list), key, value, f"a list, as in {key} = [{value!r}]")
    if not value and (required or key in document):
        raise BenchError(f"{key} is empty or not given; expected at least one entry")
    _unique(value, key)
    return value


def _unique(values: list[Any], what: str) -> None:
    for value in values:
        if values.count(value) > 1:
            raise BenchError(f"{what}: {value!r} stands there twice; name it once")


def _names(document: Mapping[str, Any], key: str, *, required: bool = False) -> tuple[str, ...]:
    values = _list(document, key, required)
    for value in values:
        if not isinstance(value, str) or not value:
            raise BenchError(f'{key} holds {value!r}; expected names, as in {key} = ["..."]')
    return tuple(values)


def _choices(
    document: Mapping[str, Any], key: str, choices: tuple[str, ...], default: tuple[str, ...]
) -> tuple[str, ...]:
    for value in (values := _list(document, key, required=False)):
        if value not in choices:
            raise BenchError(f"{key} holds {value!r}{suggest(str(value), choices)}")
    return tuple(values) or default


def _numbers(
    document: Mapping[str, Any],
    key: str,
    *,
    least: int,
    required: bool = False,
    default: tuple[int, ...] = (),
) -> tuple[int, ...]:
    for value in (values := _list(document, key, required)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise BenchError(f"{key} holds {value!r}; expected whole numbers of {least} or more")
    return tuple(values) or default


def _recipe(table: Mapping[str, Any], track: str) -> Mapping[str, Any]:
    kind = TRACKS[track].recipe
    _known(table, {f.name: f for f in dataclasses.fields(kind)}, "[recipe]")
    return recipe_with(kind, {}, table, "[recipe]")


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
    default = kind()
    for key, value in values.items():
        base[key] = as_type_of(getattr(default, key), value, f"{where}: {key}")
    kind(**base)
    return base


def _fields_of(default: Any, table: Mapping[str, Any], where: str) -> Any:
    known = values_of(default)
    _known(table, known, where)
    values = {k: as_type_of(known[k], v, f"{where} {k}") for k, v in table.items()}
    return dataclasses.replace(default, **values)


def _definitions(table: Mapping[str, Any]) -> dict[tuple[str, str], Mapping[str, Any]]:
    found: dict[tuple[str, str], Mapping[str, Any]] = {}
    for name, body in table.items():
        where = f"[define.{name}]"
        if not NAME.fullmatch(name):  # names of methods are names of files
            raise BenchError(f"{where}: a name must be lower-case letters, digits, '-', '+' or '.'")
        kinds = [k for k in KINDS if isinstance(body, Mapping) and k in body]
        if not kinds:
            raise BenchError(f'{where} does not say what it derives; add e.g. attack = "..."')
        # a method has a field `teacher`, so the two may stand side by side
        kind = "method" if "method" in kinds else kinds[0]
        expect(isinstance(body[kind], str), f"{where} {kind}", body[kind], f"the name of a {kind}")
        source = {"source": _source(body, kind, where)} if "source" in body else {}
        fields = {k: v for k, v in body.items() if k not in (kind, *source)}
        found[(kind, name)] = {"base": body[kind], "fields": fields, **source}
    return found


def _source(body: Mapping[str, Any], kind: str, where: str) -> dict[str, str]:
    """On which other student of the board an attack makes its images."""
    source = body["source"]
    example = 'source = { method = "full", architecture = "convnet" }'
    if kind != "attack":
        raise BenchError(f"{where}: a {kind} has no source; only an attack has one")
    if not isinstance(source, Mapping) or not all(isinstance(v, str) for v in source.values()):
        raise BenchError(f"{where}: source is {source!r}; expected a table, as in {example}")
    _known(source, dict.fromkeys(("method", "architecture")), f"{where} source")
    if not source:
        raise BenchError(f"{where}: source is empty; name a method or a network, as in {example}")
    return dict(source)


def _overrides(tables: Any, track: str) -> tuple[Override, ...]:
    if not isinstance(tables, list) or not all(isinstance(t, Mapping) for t in tables):
        raise BenchError(f"set is {tables!r}; expected tables, as in [[set]]")
    found = []
    for number, table in enumerate(tables, 1):
        place = f"[[set]] number {number}"
        where = table.get("where")
        if not isinstance(where, Mapping) or not where:
            raise BenchError(f'{place} has no where; expected e.g. where = {{ method = "..." }}')
        axes = [name for name in TRACKS[track].coordinate if name != "step"]
        _known(where, dict.fromkeys((*axes, "teacher", "metric")), f"{place} where")
        chosen = {k: tuple(v) if isinstance(v, list) else (v,) for k, v in where.items()}
        for key, wanted in chosen.items():
            if not wanted:
                raise BenchError(f"{place}: where {key} = [] selects no cell; name what it selects")
        values: dict[str, dict[str, Any]] = {}
        for key, value in table.items():
            if key == "where":
                continue
            if isinstance(value, Mapping):
                _known({key: value}, dict.fromkeys((*KINDS, "recipe")), place)
                values.setdefault(key, {}).update(value)
            else:
                values.setdefault("", {})[key] = value
        if not any(values.values()):
            raise BenchError(f"{place} sets nothing; add a field, as in lam = 3.0")
        found.append(Override(chosen, values, place))
    return tuple(found)
