"""From a board to its records: which cells, what each record says, and whether it still holds."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from bench import features, keys
from bench.components import Components
from bench.engine import Engine, Failure, Outcome, price_key
from bench.leaderboard import Board
from bench.matrix import Cell, Matrix
from bench.plan import STAGES, Plan, Planned, Stage, key_of
from bench.records import COORDINATES, Record, coordinate, rounded, unpack
from bench.registry import suggest
from bench.store import Finished, Store
from bench.types import BenchError

STANDARD_ERRORS = 4  # how far a rate recomputed on another machine may lie from the committed one


@dataclass(frozen=True)
class Ran:
    """What a run has given: records, and one failure for each stage that began one.

    `cells_failed` counts those without their data, too.
    """

    records: tuple[Record, ...]
    failures: tuple[Failure, ...]
    cells_failed: int
    interrupted: bool = False
    probes: tuple[tuple[Record, Finished], ...] = ()  # records with pictures, and who keeps them


def board_of(matrix: Matrix) -> Board:
    """What the tables need to know of a board."""
    names = {f.name for f in dataclasses.fields(Board)}
    return Board(**{name: getattr(matrix, name) for name in names})


def chosen_cells(
    matrix: Matrix, methods: Sequence[str] = (), only: Mapping[str, Sequence[str]] | None = None
) -> tuple[Cell, ...]:
    """The cells of a board that `--methods` and `--only` leave. Raises BenchError if none is."""
    limits = dict(only or {})
    if methods:
        limits["method"] = [*limits.get("method", ()), *methods]
    cells = matrix.cells()
    for key, values in limits.items():
        axes = COORDINATES[matrix.track]
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


def run(engine: Engine, plan: Plan) -> Ran:
    """Run a plan and make the records of its cells."""
    return records_of(engine.components, plan, engine.execute(plan.stages))


def records_of(components: Components, plan: Plan, outcome: Outcome) -> Ran:
    """The records of a plan's cells, as far as its stages have finished."""
    made = [record_of(components, planned, outcome) for planned in plan.cells]
    failures = {id(f): f for f in outcome.failed.values() if not f.unsupported}
    spoilt = [
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
        if record and record.get("pictured")
    ]
    return Ran(
        tuple(r for r in made if r),
        tuple(failures.values()),
        len(spoilt) + plan.lost,
        outcome.interrupted,
        tuple(pictured),
    )


def record_of(components: Components, planned: Planned, outcome: Outcome) -> Record | None:
    """The record of a cell; None if its probe failed, or if it was interrupted.

    Then an earlier record of the cell stays as it is: a failure is not published (law 9). A
    metric that failed is left out, and `carried` looks for its earlier figure.
    """
    failure = outcome.failed.get(planned.probe.id)
    if failure and not failure.unsupported:
        return None
    for stage in (planned.probe, *planned.measures.values()):
        if stage.id not in outcome.finished and stage.id not in outcome.failed:
            return None
    cell, common = planned.cell, _described(components, planned)
    if failure:
        return {**common, "status": "unsupported", "reason": failure.reason}
    stages = {
        "teacher": planned.teacher,
        "scorer": planned.scorer,
        "set": planned.condensed,
        "student": planned.student,
        "probe": planned.probe,
    }
    done = {role: outcome.finished[s.id] for role, s in stages.items() if s}
    metrics, scales, refused = {}, {}, {}
    for name, stage in planned.measures.items():
        metric = stage.parts["metric"]
        if found := outcome.finished.get(stage.id):
            metrics[name] = found.value["value"]
            scales[name] = {
                "better": "higher" if getattr(metric, "higher_is_better", True) else "lower",
                "rate": tuple(getattr(metric, "bounds", None) or ()) == (0, 1),
                **_looked_with(components, stage, outcome),
            }
        elif (declined := outcome.failed.get(stage.id)) and declined.unsupported:
            refused[name] = declined.reason
    probe, dataset = done["probe"].value, planned.condensed.dataset
    assert dataset is not None
    above = {role: outcome.finished[s.id] for role, s in planned.probe.above.items()}
    parts = [f for role, f in above.items() if role.startswith("part ")]
    source = {"source": above["source"].content} if "source" in above else {}
    seconds: dict[str, float] = {}
    for f in done.values():
        seconds[f.stage] = seconds.get(f.stage, 0.0) + f.cost.get("seconds", 0.0)
    seconds[planned.probe.kind] += sum(part.cost.get("seconds", 0.0) for part in parts)
    return {
        **common,
        "status": "ok",
        "reason": "",
        "metrics": metrics,
        "scales": scales,
        "images": probe["images"],
        "images_hash": probe["images_hash"],
        **(_attacked(planned.components["attack"], components, probe) if cell.attack else {}),
        "size": done["set"].value["size"],
        "bytes": {
            **done["set"].value["bytes"],
            # whoever trains on the set needs the teacher only where it labels the views
            **({"teacher": done["teacher"].value["bytes"]} if cell.labels == "teacher" else {}),
        },
        "passes": {role: _passes(f.value, role, planned) for role, f in done.items()},
        "pictured": dataset.facts["shape"][0] in (1, 3),  # grey or colour
        "cost": {
            "seconds": seconds,
            "peak_mb": max(f.cost.get("peak_mb", 0.0) for f in (*done.values(), *parts)),
        },
        "content": {role: f.content for role, f in done.items()} | source,
        "refused": refused,
        "flags": [],
        "environment": dict(done["probe"].environment),
    }


def _passes(value: Mapping[str, Any], role: str, planned: Planned) -> dict[str, int]:
    """What a stage has counted; of a student at a checkpoint, as far as that."""
    passes: dict[str, int] = dict(value["passes"])
    if role == "student" and planned.cell.step:
        steps = planned.student.parts["recipe"].steps  # type: ignore[union-attr]
        return {way: n * planned.cell.step // steps for way, n in passes.items()}
    return passes


def _looked_with(components: Components, stage: Stage, outcome: Outcome) -> dict[str, str]:
    """The network that a metric looks at images with, and the version of the metric that did.

    Figures of two networks, or of two versions, are not comparable.
    """
    if "features" not in stage.above:
        return {}
    found = outcome.finished[stage.above["features"].id]
    return {
        "features": f"{components.matrix.backbone}-{found.files[features.RESULT][:8]}",
        "measured_by": keys.digest(components.registry.identity(stage.parts["metric"])),
    }


def _attacked(attack: Any, components: Components, probe: Mapping[str, Any]) -> Record:
    """What came of an attack, and what `relations` knows it by.

    That is how it searches, its family (one attack at any radius), and where it saw no slope.
    """
    identity = components.registry.identity(attack)
    fields = {name: value for name, value in identity["fields"].items() if name != "eps"}
    source = components.source(attack.name)
    flat, right = probe["flat"]
    return {
        **{name: probe[name] for name in ("correct", "norm", "eps", "perturbation")},
        "attack_search": "black-box" if source else str(getattr(attack, "search", "")),
        "attack_family": keys.digest([{**identity, "fields": fields}, source]),
        "no_gradient": round(flat / right, 6) if right else 0.0,
    }


def carried(old: Iterable[Record], new: Iterable[Record], metrics: Iterable[str]) -> list[Record]:
    """New records, with the earlier figures of metrics that failed now, on the same results.

    `metrics` are those of the board: one that it no longer asks for is let go.
    """
    asked = {*metrics}
    known = {coordinate(record): record for record in old}
    found = []
    for record in new:
        before = known.get(coordinate(record), {})
        if "content" in record and record["content"] == before.get("content"):
            names = asked & {*before["metrics"]} - {*record["metrics"], *record["refused"]}
            record = {
                **record,
                **{k: {**record[k], **_only(before[k], names)} for k in ("metrics", "scales")},
            }
        found.append(record)
    return found


def _only(values: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: values[name] for name in names if name in values}


def _described(components: Components, planned: Planned) -> Record:
    """What a record says of a cell whatever came of it."""
    cell, registry = planned.cell, components.registry
    base = components.recipe()
    recipe = dataclasses.asdict(planned.student.parts["recipe"]) if planned.student else {}
    recipe.pop("checkpoints", None)  # an axis of the board
    plain = {k: keys.plain(v) for k, v in recipe.items()}
    parameters = {
        kind: {k: keys.plain(v) for k, v in components.differs(_kind(kind), c).items()}
        for kind, c in planned.components.items()
    }
    if cell.attack and (source := components.source(cell.attack)):
        parameters["attack"] = {**parameters["attack"], "source": dict(source)}
    parameters["recipe"] = {k: v for k, v in plain.items() if keys.plain(getattr(base, k)) != v}
    versions = {"condensation-bench": version("condensation-bench"), "torch": version("torch")}
    entries = {
        kind: components.entry(_kind(kind), c.name) for kind, c in planned.components.items()
    }
    for kind, component in planned.components.items():
        entry = entries[kind]
        versions[entry.distribution] = entry.version
        versions |= registry.identity(component)["requires"]
    dataset = planned.condensed.dataset
    assert dataset is not None
    return {
        **dict(zip(COORDINATES[components.matrix.track], cell.coordinate, strict=True)),
        "parameters": {kind: values for kind, values in parameters.items() if values},
        "about": {kind: entry.about for kind, entry in entries.items()},
        "recipe": plain,
        "versions": versions,
        "code": {kind: registry.identity(c)["code"] for kind, c in planned.components.items()},
        "data": {"digest": dataset.facts["digest"], "classes": dataset.identity["classes"]},
        "evaluate": components.matrix.evaluate,
    }


def _kind(role: str) -> str:
    return {"backbone": "architecture", "denoiser": "architecture", "scorer": "teacher"}.get(
        role, role
    )


# ---- what a run would do


@dataclass(frozen=True)
class Survey:
    """One kind of stage in a plan: how many, how many are cached, what the rest should take."""

    kind: str
    total: int
    cached: int
    seconds: float  # of one process, for those with a price
    unpriced: int  # stages that nothing like has run yet


def survey(
    plan: Plan, store: Store, device: str, records: Iterable[Record] = ()
) -> tuple[Survey, ...]:
    """What `--dry-run` shows. Prices are medians: of like stages in the store, else of the kind
    in the store, else of the kind in the board's records."""
    like: dict[str, list[float]] = {}
    for finished in store.finished():
        seconds = finished.cost.get("seconds", 0.0)
        for name in (str(finished.inputs.get("price")), finished.stage):
            like.setdefault(name, []).append(seconds)
    published: dict[str, list[float]] = {}
    for record in records:
        for kind, seconds in record.get("cost", {}).get("seconds", {}).items():
            published.setdefault(kind, []).append(seconds)

    def price(stage: Stage) -> float | None:
        for known in (like.get(price_key(stage)), like.get(stage.kind), published.get(stage.kind)):
            if known:
                return statistics.median(known)
        return None

    contents: dict[str, str] = {}
    total, cached, unpriced = Counter[str](), Counter[str](), Counter[str]()
    expected: dict[str, float] = {}
    for stage in plan.stages:
        total[stage.kind] += 1
        if all(s.id in contents for s in stage.above.values()):
            above = {role: contents[s.id] for role, s in stage.above.items()}
            if found := store.find(stage.kind, key_of(stage, above, device)):
                cached[stage.kind] += 1
                contents[stage.id] = found.content
                continue
        expected_here = price(stage)
        unpriced[stage.kind] += expected_here is None
        expected[stage.kind] = expected.get(stage.kind, 0.0) + (expected_here or 0.0)
    return tuple(
        Survey(kind, total[kind], cached[kind], expected.get(kind, 0.0), unpriced[kind])
        for kind in STAGES
        if total[kind]
    )


# ---- do the committed records still hold?


def sample(cells: Sequence[Cell], count: int, salt: str) -> tuple[Cell, ...]:
    """`count` cells, drawn by a hash of the coordinate and `salt`: nobody can choose them."""
    drawn = sorted(cells, key=lambda cell: keys.digest([salt, *cell.coordinate]))
    return tuple(sorted(drawn[:count], key=cells.index))


ASIDE = {"cost", "environment", "versions"}  # may differ without a result being another
STATED = (
    *("evaluate", "recipe", "parameters", "data", "images_hash", "norm", "eps", "size", "bytes"),
    *("attack_search", "attack_family"),
)
LIKE_SLOPES = 0.05  # how far `no_gradient` may differ elsewhere


def missing(cells: Sequence[Cell], records: Iterable[Record]) -> list[str]:
    """One sentence if some cells of a board have no record: rows may not vanish."""
    known = {coordinate(record) for record in records}
    lost = [cell for cell in cells if cell.coordinate not in known]
    words = " ".join(map(str, lost[0].coordinate)) if lost else ""
    have = "cell has" if len(lost) == 1 else "cells have"
    return [f"{len(lost)} {have} no committed record, as {words}"] if lost else []


def disagreements(committed: Iterable[Record], recomputed: Iterable[Record]) -> list[str]:
    """One sentence for every committed record that a recomputation does not bear out.

    On a machine like the one that a record comes from, all but cost and versions must be equal.
    Elsewhere (other processors round differently, and training amplifies that) what the board
    states must be, a rate must lie within `STANDARD_ERRORS` of the difference of two proportions,
    and any other number within a tenth.
    """
    known = {coordinate(r): r for r in committed}
    found = []
    for new in map(rounded, recomputed):
        words = " ".join(map(str, coordinate(new)))
        old = known.get(coordinate(new))
        if old is None:
            found.append(f"{words}: has no committed record")
        elif old["status"] != new["status"]:
            found.append(f"{words}: is {old['status']}; recomputed, it is {new['status']}")
        elif faults := [*_metrics_differ(old, new), *_facts_differ(old, new)]:
            found.append(f"{words}: {'; '.join(faults[:3])}")
    return found


def _metrics_differ(old: Record, new: Record) -> list[str]:
    found = []
    for name in {**old.get("metrics", {}), **new.get("metrics", {})}:
        a, b = old.get("metrics", {}).get(name), new.get("metrics", {}).get(name)
        if a is None or b is None or abs(a - b) > _allowed(old, new, name) + 1e-6:
            found.append(f"{name} is {_shown(a)}; recomputed, it is {_shown(b)}")
        elif _is_share(new, name) and not _is_share(old, name):
            found.append(f"{name} is {_shown(a)}, which is not the share of its packed bits")
    return found


def _is_share(record: Record, metric: str) -> bool:
    """Does the metric equal the share of the images that are right?"""
    if not record.get("correct"):
        return False
    share = float(unpack(record["correct"], record["images"]).mean())
    return bool(abs(record["metrics"][metric] - share) < 1e-5)


def _facts_differ(old: Record, new: Record) -> list[str]:
    alike = old.get("environment") == new.get("environment")
    old, new = {"evaluate": "test", **old}, {"evaluate": "test", **new}
    names = {*old, *new} - ASIDE - {"metrics"} if alike else {*STATED}
    wrong = {name for name in names if old.get(name) != new.get(name)}
    if abs(old.get("no_gradient", 0.0) - new.get("no_gradient", 0.0)) > LIKE_SLOPES:
        wrong.add("no_gradient")
    return [f"its {name} is not what is recomputed" for name in sorted(wrong)]


def _allowed(old: Record, new: Record, metric: str) -> float:
    if old["environment"] == new["environment"]:
        return 0.0
    a, b = float(old["metrics"][metric]), float(new["metrics"][metric])
    if not old["scales"].get(metric, {}).get("rate"):
        return 0.1 * abs(a)
    count = int(old["images"])
    middle = min(max((a + b) / 2, 1 / count), 1 - 1 / count)
    return STANDARD_ERRORS * math.sqrt(2 * middle * (1 - middle) / count)


def _shown(value: float | None) -> str:
    return "missing" if value is None else f"{value:.6g}"
