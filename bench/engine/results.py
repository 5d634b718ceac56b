"""From a board to its records: which cells, and what each record says."""

from __future__ import annotations

import dataclasses
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any, Literal

from bench.board import networks
from bench.board.components import Components
from bench.board.matrix import Cell, Matrix
from bench.contract import keys
from bench.contract.errors import BenchError
from bench.contract.fields import suggest
from bench.contract.kinds import fact
from bench.engine.outcome import Failure, Outcome, Watch, unwatched
from bench.engine.scheduler import Engine
from bench.records.record import Moved, Part, Passes, Scale
from bench.records.result import Result
from bench.stages.measure import Measure
from bench.stages.plan import Plan, Planned
from bench.stages.squeeze import RESULT
from bench.store.store import Finished
from bench.tracks import TRACKS


@dataclass(frozen=True)
class Ran:
    """What a run has given: records, and one failure for each stage that began one.

    `cells_failed` counts those without their data, too.
    """

    records: tuple[Result, ...]
    failures: tuple[Failure, ...]
    cells_failed: int
    interrupted: bool = False
    left: str = ""  # why a run with a deadline has left work
    probes: tuple[tuple[Result, Finished], ...] = ()  # records with pictures, and who keeps them


def chosen_cells(
    matrix: Matrix, methods: Sequence[str] = (), only: Mapping[str, Sequence[str]] | None = None
) -> tuple[Cell, ...]:
    """The cells of a board that `--methods` and `--only` leave. Raises BenchError if none is."""
    limits = dict(only or {})
    if methods:
        limits["method"] = [*limits.get("method", ()), *methods]
    cells = matrix.cells()
    for key, values in limits.items():
        axes = TRACKS[matrix.track].coordinate
        if key not in axes:
            raise BenchError(f"--only {key}: there is no such axis{suggest(key, axes)}")
        known = {str(getattr(cell, key)) for cell in matrix.cells()}
        for value in values:
            if value not in known:
                hint = suggest(value, known)
                raise BenchError(f"{key} '{value}' is not on this board{hint}")
        cells = tuple(cell for cell in cells if str(getattr(cell, key)) in values)
    if not cells:
        raise BenchError("no cell is left; widen --methods or --only")
    return cells


def run(engine: Engine, plan: Plan, watch: Watch = unwatched) -> Ran:
    """Run a plan and make the records of its cells."""
    outcome = engine.execute(plan.stages, watch)
    declined = {
        planned.probe.id: Failure(planned.probe, plan.declined[planned.probe.id], unsupported=True)
        for planned in plan.cells
        if planned.probe.id in plan.declined
    }
    outcome = dataclasses.replace(outcome, failed={**outcome.failed, **declined})
    return records_of(engine.components, plan, outcome)


def records_of(components: Components, plan: Plan, outcome: Outcome) -> Ran:
    """The records of a plan's cells, as far as its stages have finished."""
    made = [record_of(components, planned, outcome) for planned in plan.cells]
    failures = {id(f): f for f in outcome.failed.values() if not f.unsupported}
    failed_cells = [
        planned
        for planned in plan.cells
        if any(
            s.id in outcome.failed and not outcome.failed[s.id].unsupported
            for s in (planned.probe, *planned.measures.values())
        )
    ]
    pictured = [
        (record, outcome.finished[planned.probe.id])
        for record, planned in zip(made, plan.cells, strict=True)
        if record and record.pictured
    ]
    return Ran(
        tuple(r for r in made if r),
        tuple(failures.values()),
        len(failed_cells) + plan.lost,
        outcome.interrupted,
        outcome.left,
        tuple(pictured),
    )


def record_of(components: Components, planned: Planned, outcome: Outcome) -> Result | None:
    """The result of a cell; None if its probe failed, or if it was interrupted.

    Then an earlier record of the cell stays as it is: a failure is not published (law 9). A
    metric that failed is left out, and `with_earlier_figures` looks for its earlier figure.
    """
    failure = outcome.failed.get(planned.probe.id)
    if failure:
        declined = failure.unsupported
        return Result(**described(components, planned), reason=failure.reason) if declined else None
    for stage in (planned.probe, *planned.measures.values()):
        if stage.id not in outcome.finished and stage.id not in outcome.failed:
            return None
    told, found = described(components, planned), _found(components, planned, outcome)
    # what a worker has found counts; a store that an earlier release has filled does not say it
    found["versions"] = told["versions"] | found["versions"]
    return Result(**told | _measured(components, planned, outcome) | found)


def _found(components: Components, planned: Planned, outcome: Outcome) -> dict[str, Any]:
    """What the stages of a cell have given, beside its metrics."""
    cell = planned.cell
    stages = {
        "teacher": planned.teacher,
        "scorer": planned.condensed.scorer,
        "survey": planned.condensed.survey,
        "set": planned.condensed,
        "student": planned.student,
        "probe": planned.probe,
    }
    done = {role: outcome.finished[s.id] for role, s in stages.items() if s}
    probe, dataset = done["probe"].value, planned.condensed.dataset
    environment = {k: v for k, v in done["probe"].environment.items() if k != "versions"}
    versions: dict[str, str] = {}
    for f in done.values():
        versions |= f.environment.get("versions", {})
    parts = [outcome.finished[s.id] for s in getattr(planned.probe, "parts", ())]
    made_on = getattr(planned.probe, "source", None)
    source = {"source": outcome.finished[made_on.id].content} if made_on else {}
    seconds: dict[str, float] = {}
    for f in done.values():
        seconds[f.stage] = seconds.get(f.stage, 0.0) + f.cost.get("seconds", 0.0)
    seconds[planned.probe.kind] += sum(part.cost.get("seconds", 0.0) for part in parts)
    return {
        "images": probe["images"],
        "images_hash": probe["images_hash"],
        **(_attacked(planned.components["attack"], components, probe) if cell.attack else {}),
        "size": done["set"].value["size"],
        "bytes": {
            **done["set"].value["bytes"],
            **(done["student"].value.get("bytes", {}) if "student" in done else {}),
            # training on the set needs the teacher only where it labels the views
            **({"teacher": done["teacher"].value["bytes"]} if cell.labels == "teacher" else {}),
        },
        "passes": {role: _passes(f.value, role, planned) for role, f in done.items()},
        "pictured": dataset.facts["shape"][0] in (1, 3),  # grey or colour
        "seconds": seconds,
        "peak_mb": max(f.cost.get("peak_mb", 0.0) for f in (*done.values(), *parts)),
        "content": {role: f.content for role, f in done.items()} | source,
        "environment": environment,
        "versions": versions,
    }


def _measured(components: Components, planned: Planned, outcome: Outcome) -> dict[str, Any]:
    """What the metrics of a cell have given, on which scales, and why some were declined."""
    metrics, scales, refused = {}, {}, {}
    for name, stage in planned.measures.items():
        found, declined = outcome.finished.get(stage.id), outcome.failed.get(stage.id)
        if found:
            metrics[name] = found.value["value"]
        elif declined and declined.unsupported:
            refused[name] = declined.reason
        else:
            continue
        unit, of, tolerance = (
            fact("metric", stage.metric, name) for name in ("unit", "of", "tolerance")
        )
        scales[name] = Scale(
            better=_better(stage.metric),
            unit=unit,
            of=of,
            tolerance=tolerance,
            **(_looked_with(components, stage, outcome) if found else {}),
        )
    return {"metrics": metrics, "scales": scales, "refused": refused}


def _better(metric: Any) -> Literal["higher", "lower", "neither"]:
    if not fact("metric", metric, "ranked"):
        return "neither"
    return "higher" if fact("metric", metric, "higher_is_better") else "lower"


def _passes(value: Mapping[str, Any], role: str, planned: Planned) -> Passes:
    """What a stage has counted; of a student at a checkpoint, as far as that."""
    passes: dict[str, int] = dict(value["passes"])
    if role == "student" and planned.cell.step and planned.student:
        steps = planned.student.recipe.steps
        passes = {way: n * planned.cell.step // steps for way, n in passes.items()}
    return Passes(**passes)


def _looked_with(components: Components, stage: Measure, outcome: Outcome) -> dict[str, Any]:
    """The eyes of a metric that looks at images with a network; nothing of any other."""
    network = stage.features
    if not network:
        return {}
    return eyes(components, stage, network.sha256 or outcome.finished[network.id].files[RESULT])


def eyes(components: Components, stage: Measure, sha256: str) -> dict[str, Any]:
    """The network that a metric looks at images with, and the version of the code that did.

    Figures of two networks, or of two versions of metric or network, are not comparable.
    """
    assert stage.features
    parts = (stage.metric, stage.features.architecture)
    return {
        "features": f"{components.matrix.backbone}-{sha256[: networks.DIGITS]}",
        "measured_by": keys.digest([components.registry.identity(part) for part in parts]),
    }


def _attacked(attack: Any, components: Components, probe: Mapping[str, Any]) -> dict[str, Any]:
    """What came of an attack, and what `relations` knows it by.

    That is how it searches, its family (one attack at any radius), and what the slope is like.
    """
    identity = components.registry.identity(attack)
    fields = {name: value for name, value in identity["fields"].items() if name != "eps"}
    source = components.source(attack.name)
    flat, right = probe["flat"]
    return {
        "correct": b64decode(probe["correct"]),
        **{name: probe[name] for name in ("norm", "eps")},
        "perturbation": {norm: Moved(**moved) for norm, moved in probe["perturbation"].items()},
        "attack_search": "black-box" if source else str(fact("attack", attack, "search")),
        "attack_family": keys.digest([{**identity, "fields": fields}, source]),
        "no_gradient": flat / right if right else 0.0,
        # a store of an earlier version has none of these
        "not_finite": probe.get("odd", 0) / right if right else 0.0,
        "slope": probe.get("slope"),
        "fell_further": probe.get("fell_further") or 0.0,
        "parts": tuple(Part(name=n, search=s, standing=k) for n, s, k in probe.get("parts", ())),
        "sampled": tuple(probe.get("sampled", ())) if any(probe.get("sampled", ())) else (),
    }


_version = cache(version)


def described(components: Components, planned: Planned) -> dict[str, Any]:
    """What a record says of a cell whatever came of it."""
    cell, registry = planned.cell, components.registry
    base = components.recipe()
    recipe = keys.parameters(planned.student.recipe) if planned.student else {}
    recipe.pop("checkpoints", None)  # an axis of the board
    parameters = {
        kind: {k: keys.plain(v) for k, v in components.differs(_kind(kind), c).items()}
        for kind, c in planned.components.items()
    }
    if cell.attack and (source := components.source(cell.attack)):
        parameters["attack"] = {**parameters["attack"], "source": dict(source)}
    parameters["recipe"] = {k: v for k, v in recipe.items() if keys.plain(getattr(base, k)) != v}
    versions = {name: _version(name) for name in ("condensation-bench", "torch")}
    entries = {
        kind: components.entry(_kind(kind), c.name) for kind, c in planned.components.items()
    }
    for kind, component in planned.components.items():
        entry = entries[kind]
        versions[entry.distribution] = entry.version
        versions |= registry.identity(component)["requires"]
    dataset = planned.condensed.dataset
    return {
        **dict(zip(TRACKS[components.matrix.track].coordinate, cell.coordinate, strict=True)),
        "parameters": {kind: values for kind, values in parameters.items() if values},
        "about": {kind: entry.about for kind, entry in entries.items()},
        "recipe": recipe,
        "versions": versions,
        "code": {kind: registry.identity(c)["code"] for kind, c in planned.components.items()},
        "data": {
            "digest": dataset.facts["digest"],
            "classes": dataset.identity["classes"],
            **({"partial": partial} if (partial := _partial(dataset.facts["partial"])) else {}),
        },
        "evaluate": components.matrix.evaluate,
        "protocol": keys.PROTOCOL,
    }


def _partial(other: Mapping[str, Sequence[Any]]) -> str:
    """What was read of published data, where that is other than what is published."""
    counts = [
        f"{read:,} of {published:,} {split} images"
        for split, (read, published) in other.items()
        if split in ("train", "test")
    ]
    if counts or not other:
        return ", ".join(counts)
    if "classes" in other and isinstance(other["classes"][1], int):
        return "{:,} of {:,} classes".format(*other["classes"])
    if "classes" in other:
        return "other numbers of images by class than are published"
    return f"other pixels or labels (digest {other['digest'][0]}) than are published"


def _kind(role: str) -> str:
    return {"backbone": "architecture", "denoiser": "architecture", "scorer": "teacher"}.get(
        role, role
    )
