"""A board's names, resolved: which component stands where, with which fields.

`[define.*]` derives a component, `[[set]]` sets fields for part of the matrix. What a value may
depend on is limited to what lies above the component in the graph of stages: a recipe, for
one, can never depend on the method (law 4).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from bench.board.matrix import FULL, Cell, Matrix, Override, recipe_with
from bench.contract.fields import replace, values_of
from bench.contract.kinds import fact
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


@dataclass(frozen=True)
class Components:
    """`components.get("method", "x", dataset="y", ipc=10)`: the component with its fields set.

    Made by `resolve`, which has checked every name, field, type and track.
    """

    matrix: Matrix
    registry: Registry
    targets: tuple[tuple[Override, str, str, Any], ...] = ()  # override, kind, field, value
    _known: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def get(self, kind: str, name: str, **coordinate: Any) -> Any:
        coordinate = {k: v for k, v in coordinate.items() if k in DEPENDS_ON[kind]}
        coordinate[kind] = name
        key = (kind, *sorted(coordinate.items()))
        if key not in self._known:
            component = self.base(kind, name)
            for override, values in self._matching(kind, coordinate):
                component = replace(kind, component, values, override.place)
            self._known[key] = component
        return self._known[key]

    def base(self, kind: str, name: str) -> Any:
        """The component of that name before `[[set]]`: defined by the board, or installed."""
        defined = self.matrix.define.get((kind, name))
        if not defined:
            return self.registry.get(kind, name).component
        where = f"[define.{name}]"
        installed = self.registry.get(kind, defined["base"]).component
        fields = defined["fields"]
        if "source" in defined and "early_stop" in values_of(installed):
            fields = {"early_stop": False, **fields}  # what just fools the source moves nobody else
        return dataclasses.replace(replace(kind, installed, fields, where), name=name)

    def entry(self, kind: str, name: str) -> Entry:
        """Who provides the component of that name, or the one that it is derived from."""
        defined = self.matrix.define.get((kind, name))
        return self.registry.get(kind, defined["base"] if defined else name)

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
        """The distributions that provide the classes of some components, sorted."""
        return tuple(sorted({self._providers[type(one)] for one in components}))

    def preload(self, distributions: Collection[str]) -> tuple[str, ...]:
        """The modules of the board's components that some distributions provide, and those that
        they ask to find loaded."""
        bases = [(kind, self.base(kind, n)) for kind, names in named(self.matrix) for n in names]
        chosen = [(kind, b) for kind, b in bases if self._providers[type(b)] in distributions]
        wanted = [type(base).__module__ for _, base in chosen]
        wanted += [module for kind, base in chosen for module in fact(kind, base, "preload")]
        return tuple(dict.fromkeys(wanted))

    @cached_property
    def _providers(self) -> dict[type, str]:
        return {type(entry.component): entry.distribution for entry in self.registry.entries}

    def differs(self, kind: str, component: Any) -> dict[str, Any]:
        """Fields that differ from those of the installed component it comes from."""
        origin = self.entry(kind, component.name).component
        return {
            f.name: getattr(component, f.name)
            for f in dataclasses.fields(component)
            if f.name != "name" and getattr(component, f.name) != getattr(origin, f.name)
        }

    def _matching(
        self, kind: str, coordinate: Mapping[str, Any]
    ) -> list[tuple[Override, dict[str, Any]]]:
        found = []
        for override in self.matrix.overrides:
            if all(coordinate.get(k) in chosen for k, chosen in override.where.items()):
                values = {f: v for o, k, f, v in self.targets if o is override and k == kind}
                if values:
                    found.append((override, values))
        return found


def downloads(components: Components, cells: Iterable[Cell]) -> dict[Any, Callable[[], None]]:
    """What can fetch its own files, of all that some cells need: `download` by component.

    It is an optional second verb of data sets, teachers and methods.
    """
    matrix = components.matrix
    found: list[tuple[str, Any]] = []  # kind and component
    for dataset, name, ipc in dict.fromkeys((c.dataset, c.method, c.ipc) for c in cells):
        method = components.get("method", name, dataset=dataset, ipc=ipc)
        roles = [fact("method", method, role) for role in ("teacher", "scorer")]
        if "teacher" in matrix.labels:
            roles.append(labeller(matrix, method))
        teachers = [
            components.get("teacher", teacher, dataset=dataset, method=name, ipc=ipc)
            for teacher in filter(None, roles)
        ]
        for metric in matrix.metrics:
            looks = components.get("metric", metric, dataset=dataset)
            if teacher := fact("metric", looks, "features"):
                where = {"dataset": dataset, "method": "", "ipc": FULL}
                teachers.append(components.get("teacher", teacher, **where))
        found += [("dataset", components.get("dataset", dataset, dataset=dataset))]
        found += [("method", method), *(("teacher", teacher) for teacher in teachers)]
    return {c: fetch for kind, c in found if (fetch := fact(kind, c, "download"))}


def labeller(matrix: Matrix, method: Any) -> str:
    """Who labels the views for a method when labels = "teacher"."""
    return fact("method", method, "teacher") or matrix.teacher


def named(matrix: Matrix) -> list[tuple[str, tuple[str, ...]]]:
    return [
        ("dataset", matrix.datasets),
        ("method", (*matrix.methods, *matrix.controls, *matrix.ceiling)),
        (
            "architecture",
            (*matrix.architectures, *filter(None, (matrix.backbone, matrix.denoiser))),
        ),
        ("attack", matrix.attacks),
        ("sampler", matrix.samplers),
        ("metric", matrix.metrics),
        ("teacher", tuple(filter(None, (matrix.teacher,)))),
    ]
