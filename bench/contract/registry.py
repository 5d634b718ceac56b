"""Discovery: every installed distribution with an entry point in group "bench".

One broken plugin must not stop the others, so entry points are loaded one at a time, after a
child has tried them (`vetting`), and what is wrong is kept in `Registry.broken` instead of being
raised. `discover()` returns a value; there is no global state.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any

import pluggy

from bench.contract import code, hookspecs, vetting
from bench.contract.component import check_component, raised
from bench.contract.errors import BenchError, said
from bench.contract.fields import about, suggest, values_of
from bench.contract.kinds import KINDS, LONGEST_NAME
from bench.contract.unnoticed import unnoticed


@dataclass(frozen=True)
class Entry:
    """A component, and who provides it."""

    kind: str
    name: str
    component: Any
    distribution: str
    version: str

    @property
    def about(self) -> str:
        """The footnote in tables: the first line of the docstring, and what a preset sets."""
        return about(self.component) + (f" With {self.settings}." if self.settings else "")

    @property
    def settings(self) -> str:
        """The fields that differ from their defaults: "lam = 0.5, steps = 3"."""
        default = {f.name: f.default for f in dataclasses.fields(self.component)}
        return ", ".join(
            f"{name} = {value:.6g}" if isinstance(value, float) else f"{name} = {json.dumps(value)}"
            for name, value in values_of(self.component).items()
            if value != default[name]
        )


@dataclass(frozen=True)
class Broken:
    """What could not be used, why, and which names (as (kind, name)) it takes down with it."""

    distribution: str
    version: str
    reason: str
    names: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Registry:
    """Everything that is installed: `registry.get("method", "random").component`."""

    entries: tuple[Entry, ...]
    broken: tuple[Broken, ...] = ()
    packages: frozenset[str] = frozenset()  # top-level packages of distributions with plugins

    @cached_property
    def _by_kind(self) -> Mapping[str, Mapping[str, Entry]]:
        ordered = sorted(self.entries, key=lambda e: e.name)
        return {k: MappingProxyType({e.name: e for e in ordered if e.kind == k}) for k in KINDS}

    def of(self, kind: str) -> Mapping[str, Entry]:
        """The entries of one kind, by name."""
        return self._by_kind[kind]

    def get(self, kind: str, name: str) -> Entry:
        """The entry of that name. Raises BenchError with a suggestion, or with what is broken."""
        found = self.of(kind).get(name)
        if found:
            return found
        for broken in self.broken:
            if (kind, name) in broken.names:
                raise BenchError(f"{kind} '{name}' cannot be used: {broken.reason}")
        raise BenchError(f"there is no {kind} '{name}'{self.hint(name, self.of(kind))}")

    def hint(self, name: str, known: Iterable[str]) -> str:
        """What to say after a name that nothing has: what is near, or where it may be."""
        found = f"{suggest(name, known)} (`bench plugins` lists what is installed)"
        match sorted({b.distribution for b in self.broken}):
            case []:
                return found
            case [one]:
                which = f"{one} ({'; '.join(b.reason for b in self.broken)})"
            case several:
                which = f"{', '.join(several)} (`bench plugins` says why)"
        return f"{found}; perhaps it is in a plugin that is broken: {which}"

    def identity(self, component: Any) -> dict[str, Any]:
        """See `code.identity`."""
        return code.identity(component, self.packages)

    def code_of(self, components: Iterable[Any]) -> code.Code:
        """See `code.code_of`."""
        return code.code_of((type(c).__module__ for c in components), self.packages)

    @property
    def names(self) -> Registry:
        """The same without components, to look names up in another process."""
        bare = tuple(dataclasses.replace(e, component=None) for e in self.entries)
        return Registry(bare, self.broken)


@dataclass(frozen=True)
class Found:
    """What has been found so far."""

    entries: list[Entry] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)

    def refuse(self, distribution: str, version: str, reason: str, *names: tuple[str, str]) -> None:
        self.broken.append(Broken(distribution, version, said(reason), names))


def discover(points: Iterable[EntryPoint] | None = None, *, again: bool = False) -> Registry:
    """Load every plugin, one by one. `points` defaults to the installed entry points.

    A distribution whose import a child does not survive is left out, and named; `again` tries
    once more those of which that is remembered.
    """
    chosen = entry_points(group="bench") if points is None else points
    found = Found()
    owned = vetting.by_distribution(chosen)
    refused = vetting.refused(owned, again=again)
    with unnoticed():
        for name, own in owned.items():
            version = own[0].dist.version if own[0].dist else "?"
            if name in refused:
                found.refuse(name, version, refused[name])
            for point in own if name not in refused else ():
                load(point, name, version, found)
    entries, clashes = _without_clashes(found.entries)
    packages = frozenset[str]().union(*map(vetting.top_levels, owned.values()))
    return Registry(tuple(entries), tuple(found.broken + clashes), packages)


def registry_of(components: Mapping[str, Iterable[Any]]) -> Registry:
    """A registry of given components, by kind: for tests and for a plugin under development."""
    found = Found()
    for kind, members in components.items():
        for component in members:
            _admit(kind, component, "here", "0", found)
    if found.broken:
        raise BenchError(found.broken[0].reason)
    modules = {type(e.component).__module__.split(".")[0] for e in found.entries}
    return Registry(tuple(found.entries), (), frozenset(modules))


def load(point: EntryPoint, name: str, version: str, found: Found) -> None:
    """Import what an entry point of a distribution names, call its hooks, keep what they give."""
    manager = pluggy.PluginManager("bench")
    manager.add_hookspecs(hookspecs)
    place = f"entry point {point.name} = {point.value} of {name}"
    try:
        plugin = point.load()
        manager.register(plugin, name=point.name)
        manager.check_pending()
    except (Exception, SystemExit) as error:
        found.refuse(name, version, f"{place}: {raised(error)}")
        return
    if not manager.get_hookcallers(plugin):
        reason = f"{place} has no hooks; expected functions with @hookimpl, as bench_methods"
        found.refuse(name, version, reason)
    for kind in KINDS:
        hook = f"bench_{kind}s"
        try:
            for implementation in getattr(manager.hook, hook).get_hookimpls():
                # called directly: pluggy would drop the None of a forgotten `return`
                for component in list(implementation.function()):
                    _admit(kind, component, name, version, found)
        except (Exception, SystemExit) as error:
            found.refuse(name, version, f"{hook}() of {name} raised {raised(error)}")


def _admit(kind: str, component: Any, distribution: str, version: str, found: Found) -> None:
    try:
        check_component(kind, component)
        found.entries.append(Entry(kind, component.name, component, distribution, version))
    except Exception as error:  # properties of a component may raise anything
        name = vars(component).get("name") if hasattr(component, "__dict__") else None
        fault = str(error) if isinstance(error, BenchError) else raised(error)
        if not isinstance(name, str):
            found.refuse(distribution, version, f"a {kind} of {distribution}: {fault}")
            return
        place = f"{kind} {said(name, LONGEST_NAME)!r} of {distribution}"
        found.refuse(distribution, version, f"{place}: {fault}", (kind, name))


def _without_clashes(entries: list[Entry]) -> tuple[list[Entry], list[Broken]]:
    """A name taken twice within a kind is refused: a board could mean either."""
    owners: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        owners.setdefault((entry.kind, entry.name), []).append(entry)
    clashes = []
    for (kind, name), group in owners.items():
        if len(group) > 1:
            both = " and ".join(f"{e.distribution} {e.version}" for e in group)
            reason = f"{kind} '{name}' is provided by {both}; uninstall one, or rename it"
            clashes.append(
                Broken(group[-1].distribution, group[-1].version, reason, ((kind, name),))
            )
    kept = [group[0] for group in owners.values() if len(group) == 1]
    return kept, clashes
