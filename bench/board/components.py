"""A board's names, resolved: which component stands where, with which fields.

`[define.*]` derives a component, `[[set]]` sets fields for part of the matrix. What a value may
depend on is limited to what lies above the component in the graph of stages: a recipe, for
one, can never depend on the method (law 4).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.board.matrix import NO_BUDGET, Cell, Matrix, Override, recipe_with
from bench.contract.fields import replace, values_of
from bench.contract.kinds import KINDS, fact
from bench.contract.registry import Entry, Registry
from bench.tracks import TRACKS
from bench.training.recipe import DiffusionRecipe, Recipe

DEPENDS_ON = {
    "dataset": {"dataset"},
    "teacher": {"teacher", "dataset", "method", "ipc"},
    "method": {"method", "dataset", "ipc"},
    "architecture": {"architecture", "dataset"},
    "attack": {"attack", "dataset", "architecture"},
    "sampler": {"sampler", "dataset", "architecture"},
    "metric": {"metric", "dataset"},
    "recipe": {"dataset", "ipc", "labels", "architecture"},
}
"""Coordinates that the fields of a component, or of the recipe, may depend on."""


def depends_on(kind: str, component: Any) -> set[str]:
    """`DEPENDS_ON`, and the seed for a method that says `per_seed`."""
    per_seed = kind == "method" and fact("method", component, "per_seed")
    return DEPENDS_ON[kind] | ({"seed"} if per_seed else set())


@dataclass(frozen=True)
class Components:
    """`components.get("method", "x", dataset="y", ipc=10)`: the component with its fields set.

    Made by `resolve`, which has checked every name, field, type and track.
    """

    matrix: Matrix
    registry: Registry
    targets: tuple[tuple[Override, str, str, Any], ...] = ()  # override, kind, field, value
    folder: Path | None = None  # the board's, beside whose matrix.toml files may lie
    _known: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def get(self, kind: str, name: str, **coordinate: Any) -> Any:
        axes = self._axes(kind, name)
        key = (kind, name, *map(coordinate.get, axes))
        if key not in self._known:
            component = self.base(kind, name)
            asked = {axis: coordinate[axis] for axis in axes if axis in coordinate}
            for override, values in self._matching(kind, asked | {kind: name}):
                component = replace(kind, component, values, override.place)
            self._known[key] = component
        return self._known[key]

    def _axes(self, kind: str, name: str) -> tuple[str, ...]:
        """The coordinates that its fields may depend on, beside its name."""
        if ("axes", kind, name) not in self._known:
            axes = depends_on(kind, self.base(kind, name)) - {kind}
            self._known["axes", kind, name] = tuple(sorted(axes))
        found: tuple[str, ...] = self._known["axes", kind, name]
        return found

    def base(self, kind: str, name: str) -> Any:
        """The component of that name before `[[set]]`: defined by the board, or installed."""
        if ("base", kind, name) not in self._known:
            self._known["base", kind, name] = self._derived(kind, name)
        return self._known["base", kind, name]

    def _derived(self, kind: str, name: str) -> Any:
        defined = self.matrix.define.get((kind, name))
        if not defined:
            return self.registry.get(kind, name).component
        where = f"[define.{name}]"
        installed = self.base(kind, defined["base"])
        fields = defined["fields"]
        if "source" in defined and "early_stop" in values_of(installed):
            fields = {"early_stop": False, **fields}  # what just fools the source fools no other
        return dataclasses.replace(replace(kind, installed, fields, where), name=name)

    def entry(self, kind: str, name: str) -> Entry:
        """Who provides the component of that name, or the one that it is derived from."""
        return self.registry.get(kind, [*self.matrix.origins(kind, name)][-1])

    def source(self, attack: str) -> Mapping[str, str]:
        """The method and the network of the student on which an attack makes its images."""
        found: Mapping[str, str] = self.matrix.define.get(("attack", attack), {}).get("source", {})
        return found

    def recipe(self, **coordinate: Any) -> Recipe | DiffusionRecipe:
        coordinate = {k: v for k, v in coordinate.items() if k in DEPENDS_ON["recipe"]}
        key = ("recipe", *sorted(coordinate.items()))
        if key not in self._known:
            values, kind = dict(self.matrix.recipe), TRACKS[self.matrix.track].recipe
            for override, changes in self._matching("recipe", coordinate):
                values = recipe_with(kind, values, changes, override.place)
            self._known[key] = kind(**values)
        found: Recipe | DiffusionRecipe = self._known[key]
        return found

    def provided(self, components: Iterable[Any]) -> tuple[str, ...]:
        """The distributions that provide the classes of some components, sorted.

        The class of a survey, which is no component, is its package's.
        """
        tops = {_top(cls): entry for cls, entry in self._entries.items()}
        classes = {type(one) for one in components}
        found = (self._entries.get(cls) or tops.get(_top(cls)) for cls in classes)
        return tuple(sorted({entry.distribution for entry in found if entry}))

    def preload(self, components: Iterable[Any]) -> tuple[str, ...]:
        """The modules of some components, and those that they ask to find loaded."""
        wanted: list[str] = []
        for one in components:
            wanted.append(type(one).__module__)
            if entry := self._entries.get(type(one)):  # none for a survey
                wanted += fact(entry.kind, one, "preload")
        return tuple(dict.fromkeys(wanted))

    @cached_property
    def _entries(self) -> dict[type, Entry]:
        return {type(entry.component): entry for entry in self.registry.entries}

    def differs(self, kind: str, component: Any) -> dict[str, Any]:
        """Fields that differ from those of the installed component it comes from.

        Those that say where files lie are left out: what they hold is told by a digest.
        """
        origin = self.entry(kind, component.name).component
        roots = fact(kind, component, "roots") if "roots" in KINDS[kind].facts else ()
        return {
            f.name: getattr(component, f.name)
            for f in dataclasses.fields(component)
            if f.name not in ("name", *roots)
            and getattr(component, f.name) != getattr(origin, f.name)
        }

    def _matching(
        self, kind: str, coordinate: Mapping[str, Any]
    ) -> list[tuple[Override, dict[str, Any]]]:
        found = []
        for override in self.matrix.overrides:  # the later one wins
            if all(coordinate.get(k) in chosen for k, chosen in override.where.items()):
                values = {f: v for o, k, f, v in self.targets if o is override and k == kind}
                if values:
                    found.append((override, values))
        return found


def configured(components: Components) -> tuple[Entry, ...]:
    """Every component of a board with the fields that the board sets: an entry a setting."""
    matrix = components.matrix
    names = {kind: dict.fromkeys(own) for kind, own in named(matrix)}
    axes: dict[str, Iterable[Any]] = {
        "dataset": matrix.datasets,
        "method": names["method"],
        "ipc": (*matrix.ipc, NO_BUDGET),
        "architecture": names["architecture"],
    }
    found: dict[tuple[str, str, Any], Entry] = {}
    teachers = [matrix.teacher]
    for kind in KINDS:  # those with roles come before the teachers that they name
        own = names[kind] if kind != "teacher" else ()
        _configure(components, kind, own, axes, found)
    for kind, _, component in list(found):
        roles = [r for r in ("teacher", "scorer", "features") if r in KINDS[kind].facts]
        teachers += [fact(kind, component, role) for role in roles]
    _configure(components, "teacher", dict.fromkeys(filter(None, teachers)), axes, found)
    return tuple(found.values())


def _configure(
    components: Components,
    kind: str,
    names: Iterable[str],
    axes: Mapping[str, Iterable[Any]],
    found: dict[tuple[str, str, Any], Entry],
) -> None:
    """Add the settings of some components at all coordinates that they may depend on."""
    depends = [axis for axis in axes if axis in DEPENDS_ON[kind] - {kind}]
    for name in names:
        entry = components.entry(kind, name)
        for values in itertools.product(*(axes[axis] for axis in depends)):
            component = components.get(kind, name, **dict(zip(depends, values, strict=True)))
            made = dataclasses.replace(entry, name=name, component=component)
            found.setdefault((kind, name, component), made)


def downloads(components: Components, cells: Iterable[Cell]) -> dict[Any, Callable[[], None]]:
    """What can fetch its own files, of all that some cells need: `download` by component.

    It is an optional second verb of data sets, teachers, methods and metrics.
    """
    matrix = components.matrix
    found: list[tuple[str, Any]] = []  # kind and component
    places = dict.fromkeys((c.dataset, c.method, c.ipc, c.seed) for c in cells)
    for dataset, name, ipc, seed in places:
        method = components.get("method", name, dataset=dataset, ipc=ipc, seed=seed)
        roles = [fact("method", method, role) for role in ("teacher", "scorer")]
        roles += [labeller(matrix, method, labels) for labels in matrix.labels]
        teachers = [
            components.get("teacher", teacher, dataset=dataset, method=name, ipc=ipc)
            for teacher in filter(None, roles)
        ]
        for metric in matrix.metrics:
            measure = components.get("metric", metric, dataset=dataset)
            found += [("metric", measure)]
            if teacher := fact("metric", measure, "features"):
                where = {"dataset": dataset, "method": "", "ipc": NO_BUDGET}
                teachers.append(components.get("teacher", teacher, **where))
        found += [("dataset", components.get("dataset", dataset, dataset=dataset))]
        found += [("method", method), *(("teacher", teacher) for teacher in teachers)]
    return {c: fetch for kind, c in found if (fetch := fact(kind, c, "download"))}


def labeller(matrix: Matrix, method: Any, labels: str) -> str:
    """The teacher that labels what students are trained on, or "".

    With labels = "teacher" it labels every view; with "soft" the real images of a selection, which
    have no distributions of their own as the images of methods have.
    """
    if labels == "teacher":
        return fact("method", method, "teacher") or matrix.teacher
    return matrix.teacher if labels == "soft" and fact("method", method, "selects") else ""


def named(matrix: Matrix) -> list[tuple[str, tuple[str, ...]]]:
    return [
        ("dataset", matrix.datasets),
        ("method", matrix.all_methods),
        (
            "architecture",
            (*matrix.architectures, *filter(None, (matrix.backbone, matrix.denoiser))),
        ),
        ("attack", matrix.attacks),
        ("sampler", matrix.samplers),
        ("metric", matrix.metrics),
        ("teacher", tuple(filter(None, (matrix.teacher,)))),
    ]


def _top(cls: type) -> str:
    """The top-level package of a class."""
    return cls.__module__.split(".")[0]
