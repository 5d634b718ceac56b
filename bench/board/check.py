"""The check of a whole board before any work: every name, field, type and track."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

from bench.board import overrides
from bench.board.components import Components, labeller, named
from bench.board.matrix import NO_BUDGET, Matrix
from bench.contract.component import check_survey
from bench.contract.errors import BenchError
from bench.contract.fields import suggest
from bench.contract.kinds import fact, says
from bench.contract.registry import Registry


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
    selected = tuple(overrides.ungrouped(plain, one) for one in matrix.overrides)
    matrix = dataclasses.replace(matrix, overrides=selected)
    plain = Components(matrix, registry)
    targets = tuple(t for override in matrix.overrides for t in overrides.targets(plain, override))
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
    for name in matrix.all_methods:
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
    axes = {"method": matrix.all_methods, "architecture": matrix.architectures}
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
        "method": matrix.all_methods,
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


def _check_every_field(components: Components) -> None:
    """Set every override once, so that a wrong type or value shows before any work."""
    matrix = components.matrix
    for dataset, (name, ipc) in itertools.product(matrix.datasets, matrix.sets):
        per_seed = fact("method", components.base("method", name), "per_seed")
        for seed in matrix.seeds if per_seed else ():
            components.get("method", name, dataset=dataset, ipc=ipc, seed=seed)
        method = components.get("method", name, dataset=dataset, ipc=ipc)
        try:
            check_survey(method)
        except BenchError as error:
            raise BenchError(f"method '{name}': {error}") from None
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
