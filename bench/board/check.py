"""The check of a whole board before any work: every name, field, type and track."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

from bench.board.components import DEPENDS_ON, Components, depends_on, labeller, named
from bench.board.matrix import NO_BUDGET, Matrix, Override
from bench.contract.errors import BenchError
from bench.contract.fields import suggest
from bench.contract.kinds import KINDS, fact, says
from bench.contract.registry import Registry
from bench.tracks import TRACKS


def resolve(matrix: Matrix, registry: Registry, folder: Path | None = None) -> Components:
    """Check every name, field, type and track of a board, before any work; `folder` is its own.

    Raises BenchError at the first fault.
    """
    plain = Components(matrix, registry, folder=folder)
    for kind, name in matrix.define:
        if name in registry.of(kind):
            raise BenchError(
                f"[define.{name}] takes the name of an installed {kind}; choose another name"
            )
        plain.base(kind, name)
    _check_names(plain)
    overrides = tuple(_ungrouped(plain, override) for override in matrix.overrides)
    matrix = dataclasses.replace(matrix, overrides=overrides)
    plain = Components(matrix, registry)
    targets = tuple(t for override in matrix.overrides for t in _targets(plain, override))
    components = Components(matrix, registry, targets, folder)
    _check_every_field(components)
    return components


def _check_names(components: Components) -> None:
    matrix = components.matrix
    for kind, names in named(matrix):
        for name in names:
            components.base(kind, name)
    for kind, names in (("architecture", matrix.architectures), ("metric", matrix.metrics)):
        for name in names:
            base = components.base(kind, name)
            track = fact(kind, base, "track")
            if track not in ("", matrix.track):
                if kind == "architecture" and not says(base, "track"):
                    raise BenchError(
                        f"architecture '{name}' does not say that it is a denoiser; add "
                        'track: ClassVar[str] = "generation" to it, or name another'
                    )
                raise BenchError(
                    f"{kind} '{name}' belongs to the {track} track, and this board is on the "
                    f"{matrix.track} track{_fitting(components, kind, matrix.track)}"
                )
    for name in matrix.ceiling:
        if not fact("method", components.base("method", name), "ceiling"):
            raise BenchError(
                f"ceiling '{name}' is a method with a budget; list it under methods or controls"
            )
    for name in (*matrix.methods, *matrix.controls):
        if fact("method", components.base("method", name), "ceiling"):
            raise BenchError(f"method '{name}' has no budget; list it as ceiling = \"{name}\"")
    for name in (*matrix.methods, *matrix.controls, *matrix.ceiling):
        judged = fact("method", components.base("method", name), "samples")
        if judged and matrix.track != "generation":
            raise BenchError(
                f"method '{name}' gives images in the place of samples; it has a place on boards "
                "of the generation track alone"
            )
    for role, wanted in (("backbone", "classification"), ("denoiser", "generation")):
        name = getattr(matrix, role)
        base = components.base("architecture", name) if name else None
        if base and fact("architecture", base, "track") != wanted:
            hint = _fitting(components, "architecture", wanted)
            raise BenchError(f"{role} '{name}' is no {wanted} network{hint}")
    for attack in matrix.attacks:
        _check_source(components, attack)
    for name in matrix.metrics:
        _check_siblings(components, name)


def _fitting(components: Components, kind: str, track: str) -> str:
    """ "; expected one of: ...": what is installed for a track."""
    entries = components.registry.of(kind).values()
    fitting = [e.name for e in entries if fact(kind, e.component, "track") in (track, "")]
    return suggest("", fitting)


def _check_source(components: Components, attack: str) -> None:
    matrix = components.matrix
    methods = (*matrix.methods, *matrix.controls, *matrix.ceiling)
    axes = {"method": methods, "architecture": matrix.architectures}
    source = components.source(attack)
    if source and fact("attack", components.base("attack", attack), "early_stop"):
        raise BenchError(
            f"[define.{attack}] is made on another student, and stops at what just fools that one; "
            "expected an attack that goes on to the end (a gradient attack with early_stop = false)"
        )
    for key, value in source.items():
        if value not in axes[key]:
            raise BenchError(
                f"[define.{attack}] source {key} '{value}' is not on this board"
                f"{suggest(value, axes[key])}"
            )


def _check_features(components: Components, metric: str, dataset: str) -> None:
    """The network that a metric looks at images with: one of the board's backbone."""
    base = components.base("metric", metric)
    teacher = fact("metric", components.get("metric", metric, dataset=dataset), "features")
    if not teacher:
        if fact("metric", base, "features"):
            raise BenchError(
                f"metric '{metric}': features is set to ''; expected the name of a teacher"
            )
        return
    if not components.matrix.backbone:
        raise BenchError(
            f"metric '{metric}' looks at images with a network of teacher '{teacher}'; add "
            'backbone = "<architecture>" to the board'
        )
    if fact("teacher", components.base("teacher", teacher), "track") == "generation":
        raise BenchError(
            f"metric '{metric}': teacher '{teacher}' belongs to the generation track; expected "
            "one that trains a classifier"
        )
    components.get("teacher", teacher, dataset=dataset, method="", ipc=NO_BUDGET)


def _check_siblings(components: Components, metric: str) -> None:
    matrix = components.matrix
    axes = {
        "dataset": matrix.datasets,
        "method": (*matrix.methods, *matrix.controls, *matrix.ceiling),
        "ipc": matrix.ipc,
        "labels": matrix.labels,
        "architecture": matrix.architectures,
        "attack": matrix.attacks,
        "sampler": matrix.samplers,
        "seed": matrix.seeds,
    }
    for need in fact("metric", components.base("metric", metric), "needs"):
        for key, value in need.items():
            if value not in axes.get(key, ()):
                raise BenchError(
                    f"metric '{metric}' compares with {key} '{value}', which is not on this board"
                )


def _targets(components: Components, override: Override) -> list[tuple[Override, str, str, Any]]:
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
        matrix = components.matrix
        everyone = (*matrix.methods, *matrix.controls, *matrix.ceiling)
        methods = override.where.get("method", everyone)
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


def _ungrouped(components: Components, override: Override) -> Override:
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


def _axes(components: Components) -> list[tuple[str, tuple[str, ...]]]:
    """Names on the board, by kind: with those of teachers that components ask for."""
    kinds = [(kind, names) for kind, names in named(components.matrix) if kind != "teacher"]
    return [*kinds, ("teacher", tuple(sorted(_teachers(components))))]


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
    fields = {f.name for k in kinds for n in override.where[k] for f in _fields(components, k, n)}
    hint = suggest(name, fields - {"name"})
    raise BenchError(f"{override.place}: nothing that where names has a field '{name}'{hint}")


def _fields(components: Components, kind: str, name: str) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(components.base(kind, name))


def _recipe_fields(matrix: Matrix) -> set[str]:
    """What `[[set]]` may change: the checkpoints are an axis of the board, the same for all."""
    return {f.name for f in dataclasses.fields(TRACKS[matrix.track].recipe)} - {"checkpoints"}


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
                known = ", ".join(map(str, axes[key])) or "nothing"
                raise BenchError(
                    f"{override.place}: where {key} = {value!r} selects no cell; this board "
                    f"has {known}"
                )


def _teachers(components: Components) -> set[str]:
    matrix = components.matrix
    methods = (*matrix.methods, *matrix.controls, *matrix.ceiling)
    bases = [components.base("method", m) for m in methods]
    named = {fact("method", b, role) for b in bases for role in ("teacher", "scorer")}
    named |= {fact("metric", components.base("metric", m), "features") for m in matrix.metrics}
    roles = ("teacher", "scorer", "features")
    tables = [o.values.get(k, {}) for o in matrix.overrides for k in ("", "method", "metric")]
    set_later = {str(t[role]) for t in tables for role in roles if role in t}
    return {*named, *set_later, matrix.teacher} - {""}


def _check_every_field(components: Components) -> None:
    """Set every override once, so that a wrong type or value shows before any work."""
    matrix = components.matrix
    per_seed = {n for n, _ in matrix.sets if _is_per_seed(components, n)}
    for dataset, (name, ipc) in itertools.product(matrix.datasets, matrix.sets):
        for seed in matrix.seeds if name in per_seed else ():
            components.get("method", name, dataset=dataset, ipc=ipc, seed=seed)
        method = components.get("method", name, dataset=dataset, ipc=ipc)
        if fact("method", method, "fresh_networks") and not matrix.backbone:
            raise BenchError(
                f"method '{name}' trains networks of its own; add backbone = \"<architecture>\" to "
                "the board"
            )
        if fact("method", method, "fresh_denoisers") and not matrix.denoiser:
            raise BenchError(
                f"method '{name}' trains denoisers of its own; add denoiser = \"<architecture>\" "
                "to the board"
            )
        scorer = fact("method", method, "scorer")
        names = {fact("method", method, "teacher"), scorer}
        for labels in matrix.labels:
            names.add(_labeller(matrix, method, labels))
        for teacher in sorted(names - {""}):
            _check_teacher(components, name, teacher, scorer=teacher == scorer)
            components.get("teacher", teacher, dataset=dataset, method=name, ipc=ipc)
    for dataset in matrix.datasets:
        for metric in matrix.metrics:
            _check_features(components, metric, dataset)
        for kind, names_of_kind in named(matrix):
            for n in names_of_kind:
                if kind not in ("method", "teacher"):
                    for a in matrix.architectures:
                        components.get(kind, n, **{"dataset": dataset, "architecture": a, kind: n})
        for ipc in (*matrix.ipc, NO_BUDGET):
            for labels in matrix.labels:
                for a in matrix.architectures:
                    where = {"dataset": dataset, "ipc": ipc, "labels": labels, "architecture": a}
                    recipe = components.recipe(**where)
                    if any(step >= recipe.steps for step in matrix.checkpoints):
                        raise BenchError(
                            f"[recipe] checkpoints = {list(matrix.checkpoints)}: the training of "
                            f"ipc {ipc or 'all'} ends at step {recipe.steps}, which is always "
                            "sampled from; expected smaller numbers"
                        )


def _is_per_seed(components: Components, method: str) -> bool:
    return bool(fact("method", components.base("method", method), "per_seed"))


def _labeller(matrix: Matrix, method: Any, labels: str) -> str:
    """Who labels for a method. Raises BenchError where the regime asks for one and there is none.

    With soft labels that would give real images less than methods have: one-hot labels.
    """
    found = labeller(matrix, method, labels)
    asks = labels == "teacher" or (labels == "soft" and fact("method", method, "selects"))
    if asks and not found:
        why = "names no teacher" if labels == "teacher" else "selects real images with hard labels"
        raise BenchError(
            f'labels "{labels}": method \'{method.name}\' {why}; add teacher = "..." to the '
            "board, which labels for it"
        )
    return found


def _check_teacher(components: Components, method: str, teacher: str, *, scorer: bool) -> None:
    role, wanted = ("denoiser", "generation") if scorer else ("backbone", "classification")
    if not getattr(components.matrix, role):
        raise BenchError(
            f"method '{method}' asks for {'scorer' if scorer else 'teacher'} '{teacher}', which "
            f'needs a network; add {role} = "<architecture>" to the board'
        )
    track = fact("teacher", components.base("teacher", teacher), "track")
    if track != wanted:
        raise BenchError(
            f"method '{method}': teacher '{teacher}' belongs to the {track} track; "
            f"expected one of the {wanted} track"
        )
