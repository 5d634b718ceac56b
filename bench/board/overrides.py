"""The check of `[[set]]`: which cells an override is for, and whose fields it sets."""

from __future__ import annotations

import dataclasses
from typing import Any

from bench.board.components import DEPENDS_ON, Components, depends_on, named
from bench.board.matrix import NO_BUDGET, Matrix, Override
from bench.contract.errors import BenchError
from bench.contract.fields import suggest, values_of
from bench.contract.kinds import KINDS, fact
from bench.tracks import TRACKS


def targets(components: Components, override: Override) -> list[tuple[Override, str, str, Any]]:
    """Whose fields an override sets: the one component that `where` names and that has them."""
    named = [k for k in KINDS if k in override.where]
    _check_where(components, override)
    found = []
    for kind, values in override.values.items():
        for name, value in values.items():
            owner = kind or _owner(components, override, named, name)
            _check_depends(components, override, owner, name)
            known = _recipe_fields(components.matrix)
            if owner == "recipe" and name not in known:
                hint = suggest(name, known)
                raise BenchError(f"{override.place}: the recipe has no field '{name}'{hint}")
            found.append((override, owner, name, value))
    return found


def _check_depends(components: Components, override: Override, owner: str, name: str) -> None:
    allowed = DEPENDS_ON[owner]
    if owner == "method":  # all that where names, or all of the board
        methods = override.where.get("method", components.matrix.all_methods)
        allowed = set.intersection(*(depends_on(owner, components.base(owner, m)) for m in methods))
    beyond = sorted(set(override.where) - allowed)
    if beyond == ["seed"] and owner == "method":
        raise BenchError(
            f"{override.place}: method field '{name}' cannot depend on seed; expected a "
            "method that says per_seed = True"
        )
    if beyond:
        raise BenchError(
            f"{override.place}: {owner} field '{name}' cannot depend on {beyond[0]}; "
            f"expected where with {', '.join(sorted(allowed))}"
        )


def ungrouped(components: Components, override: Override) -> Override:
    """`where` with a `base` in the words of one without: all that `[define]` derives from it."""
    bases = override.where.get("base")
    if not bases:
        return override
    found: dict[str, list[str]] = {}
    for kind, names in _axes(components):
        for name in dict.fromkeys(names):
            if not {*bases}.isdisjoint(components.matrix.origins(kind, name)):
                found.setdefault(kind, []).append(name)
    said = f"{override.place}: where base = {' or '.join(map(repr, bases))}"
    if not found:
        raise BenchError(f"{said} selects no cell; expected what something here is derived from")
    if len(found) > 1:
        raise BenchError(f"{said} could be of {' or of '.join(found)}; name them by kind")
    [(kind, members)] = found.items()
    if kind in override.where:
        raise BenchError(f"{said} and {kind} name the same axis; expected one of the two")
    where = {k: v for k, v in override.where.items() if k != "base"}
    return dataclasses.replace(override, where={**where, kind: tuple(members)})


def _owner(components: Components, override: Override, kinds: list[str], name: str) -> str:
    having = [
        kind
        for kind in kinds
        if all(hasattr(components.base(kind, n), name) for n in override.where[kind])
    ]
    if set(override.where) <= DEPENDS_ON["recipe"] and name in _recipe_fields(components.matrix):
        having.append("recipe")
    if len(having) == 1:
        return having[0]
    if having:
        raise BenchError(
            f"{override.place}: '{name}' could be a field of {' or of '.join(having)}; "
            f"write {having[0]}.{name} = ..."
        )
    chosen = [components.base(kind, n) for kind in kinds for n in override.where[kind]]
    hint = suggest(name, {field for one in chosen for field in values_of(one)})
    raise BenchError(f"{override.place}: nothing that where names has a field '{name}'{hint}")


def _check_where(components: Components, override: Override) -> None:
    """A where that selects nothing is a slip of the pen."""
    matrix = components.matrix
    axes: dict[str, tuple[Any, ...]] = dict(_axes(components))
    axes |= {
        "ipc": (*matrix.ipc, *((NO_BUDGET,) if matrix.ceiling else ())),
        "labels": matrix.labels,
        "seed": matrix.seeds,
    }
    for key, chosen in override.where.items():
        for value in chosen:
            if value not in axes[key]:
                here = [*map(str, axes[key])]
                known = ", ".join(here) or "nothing"
                known += "; write the number without quotes" if value in here else ""
                raise BenchError(
                    f"{override.place}: where {key} = {value!r} selects no cell; this board "
                    f"has {known}"
                )


def _axes(components: Components) -> list[tuple[str, tuple[str, ...]]]:
    """Names on the board, by kind: with those of teachers that components ask for."""
    kinds = [(kind, names) for kind, names in named(components.matrix) if kind != "teacher"]
    return [*kinds, ("teacher", tuple(sorted(_teachers(components))))]


def _teachers(components: Components) -> set[str]:
    matrix = components.matrix
    bases = [components.base("method", m) for m in matrix.all_methods]
    named = {fact("method", b, role) for b in bases for role in ("teacher", "scorer")}
    named |= {fact("metric", components.base("metric", m), "features") for m in matrix.metrics}
    roles = ("teacher", "scorer", "features")
    tables = [o.values.get(k, {}) for o in matrix.overrides for k in ("", "method", "metric")]
    set_later = {str(t[role]) for t in tables for role in roles if role in t}
    return {*named, *set_later, matrix.teacher} - {""}


def _recipe_fields(matrix: Matrix) -> set[str]:
    """What `[[set]]` may change: the checkpoints are an axis of the board, the same for all."""
    return {f.name for f in dataclasses.fields(TRACKS[matrix.track].recipe)} - {"checkpoints"}
