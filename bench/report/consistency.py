"""What the records of a table should share, and how to say where they do not.

A mean over seeds that were trained by two recipes, or a row on other data than its neighbours,
must not pass for what its table says it is.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import attrgetter
from typing import Any

from bench.contract.keys import canonical, digest, parameters
from bench.records.result import Result
from bench.report.model import few
from bench.tracks import CLASSIFICATION, GENERATION

OF_TABLE = (
    "dataset",
    "architecture",
    "backbone",
    "denoiser",
)  # whose settings stand in a table's caption
OF_COLUMN = ("attack", "sampler")  # whose settings differ between the columns that one figure joins
EVALUATOR, MEASURED = "looked at.", "measured by."  # before the name of a metric
TEACHER = "network of "  # before the role of a teacher, its seed and what it is trained as


def typical(shared: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The most common value of each thing that the records of a table share, by name.

    Given what each record has in common with its table (`shared_by`).
    """
    every = [*shared]
    distinct = {id(one): one for one in every}
    texts: Counter[str] = Counter()
    for number, n in Counter(map(id, every)).items():
        texts[canonical(distinct[number])] += n
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for text, n in texts.items():
        for name, value in json.loads(text).items():
            counts[name][canonical(value)] += n
    common = {name: min(c, key=lambda text: (-c[text], text)) for name, c in counts.items()}
    return {name: json.loads(text) for name, text in common.items()}


def recipe_of(usual: Mapping[str, Any]) -> str:
    """Where the recipe of a table differs from the defaults, in the order of its fields."""
    found = {k.removeprefix("recipe."): v for k, v in usual.items() if k.startswith("recipe.")}
    of_classifiers = parameters(CLASSIFICATION.recipe())
    base = parameters(GENERATION.recipe()) if found.keys() - of_classifiers else of_classifiers
    names = [*base, *sorted(found.keys() - base.keys())]
    return _listed({k: found[k] for k in names if k in found and found[k] != base.get(k)})


def unusual(shared: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """What a record does not share with its table, whose `typical` is given, by name."""
    return {name: value for name, value in shared.items() if value != usual[name]}


def inconsistencies(
    metric: str,
    groups: Sequence[Sequence[Result]],
    unusual: Mapping[int, Mapping[str, Any]],
) -> list[str]:
    """How the records behind one figure of a metric differ from each other, or from their table.

    `groups` are those of each attack that the figure joins; `unusual` has what is unusual of each
    record, by its `id`.
    """
    said = set()
    mixed = {name for group in groups for name in _differing(group)}
    joined = [] if mixed or len(groups) < 2 else _differing([*chain(*groups)])
    across = [n for n in joined if not n.startswith(OF_COLUMN)]

    def within(name: str) -> bool:
        return any(f"{other}.".startswith(f"{name}.") for other in mixed)

    if mixed:
        said.add(f"mixed: seeds differ in {few(sorted(mixed))}")
    elif across:
        said.add(f"mixed: attacks differ in {few(across)}")
    apart: dict[str, set[int]] = defaultdict(set)  # seeds by the role of a teacher
    for found in filter(None, (unusual[id(record)] for record in chain(*groups))):
        odd = {k: v for k, v in found.items() if not within(k)}
        recipe = {k.removeprefix("recipe."): v for k, v in odd.items() if k.startswith("recipe.")}
        if recipe:
            said.add(f"another recipe: {_listed(recipe)}")
        if settings := {k: v for k, v in odd.items() if k.startswith(OF_TABLE)}:
            said.add(f"other settings: {_listed(settings)}")
        if any(k.startswith("data.") for k in odd):
            said.add("another version of the data")
        if "images_hash" in odd:
            said.add("other images")
        for name in odd:
            if name.startswith(TEACHER):
                role, seed, _ = name.removeprefix(TEACHER).split(".", 2)
                apart[role].add(int(seed))
        if "protocol" in odd:
            said.add(f"made under protocol {odd['protocol']}, whose figures are not comparable")
        if network := odd.get(f"{EVALUATOR}{metric}"):
            said.add(f"looked at by {network}")
        if f"{MEASURED}{metric}" in odd:
            said.add(f"measured by another version of {metric}")
    for role, seeds in apart.items():
        which = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, sorted(seeds)))}"
        said.add(f"not paired: another {role} of {which} than in other rows")
    return sorted(said)


@dataclass(frozen=True)
class Known:
    """What records have in common with others, each thing read once.

    Those of a board say few things, and where they say the same, `bench.records` gives them the
    same objects. All records have to be there as long as this is.
    """

    shared: dict[Any, dict[str, Any]] = field(default_factory=dict)
    networks: dict[Any, dict[str, str]] = field(default_factory=dict)

    def shared_by(self, record: Result) -> dict[str, Any]:
        """What a record should have in common with all of its table, by name.

        A recipe's fields that `[[set]]` gives to part of a board are left out: they stand on the
        rows.
        """
        place = (*_of_teachers(record), *_of_table(record), *map(id, _notes(record)))
        if place not in self.shared:
            self.shared[place] = _shared_by(record, self.teachers(record))
        return self.shared[place]

    def teachers(self, record: Result) -> dict[str, str]:
        """The networks that have had a part in a record, under what they are trained as.

        On another machine, or by other code, the same training comes to another network.
        """
        place = _of_teachers(record)
        if place not in self.networks:
            self.networks[place] = _teachers(record)
        return self.networks[place]


_of_table = attrgetter("protocol", "images_hash")
_notes = attrgetter("recipe", "code", "scales", "environment")


def _of_teachers(record: Result) -> tuple[Any, ...]:
    """What `_teachers` looks at."""
    networks = (record.content.get("teacher"), record.content.get("scorer"))
    said = (record.data, record.about, record.parameters)
    return (record.seed, record.evaluate, *networks, *map(id, said))


def _shared_by(record: Result, networks: Mapping[str, str]) -> dict[str, Any]:
    given, code = record.parameters, record.code
    own = given.get("recipe", {})
    recipe = {k: v for k, v in record.recipe.items() if k not in own}
    scales, torch = record.scales, str(record.environment.get("torch", ""))
    return {
        **{f"{EVALUATOR}{m}": s.features for m, s in scales.items() if s.features},
        **{f"{MEASURED}{m}": s.measured_by for m, s in scales.items() if s.measured_by},
        **{f"recipe.{name}": value for name, value in recipe.items()},
        **{f"data.{name}": value for name, value in record.data.items()},
        **({"images_hash": record.images_hash} if record.images_hash else {}),
        "protocol": record.protocol,
        **({"torch": torch.partition("+")[0]} if torch else {}),  # without the kind of its build
        **networks,
        **{kind: given.get(kind, {}) for kind in OF_TABLE if kind in given or kind in code},
    }


def _teachers(record: Result) -> dict[str, str]:
    found = {}
    for role in ("teacher", "scorer"):
        if network := record.content.get(role):
            kinds = (role, "backbone", "dataset")
            of = [(record.about.get(k), record.parameters.get(k)) for k in kinds]
            trained = [record.data, of, record.evaluate]
            found[f"{TEACHER}{role}.{record.seed}.{digest(trained)}"] = network
    return found


def _differing(group: Sequence[Result]) -> list[str]:
    """The names of what records disagree in, of all that a figure depends on."""
    parts = [*map(_parts, group)]
    if all(one == parts[0] for one in parts):
        return []
    flat = []
    for recipe, given, data, code, images in parts:
        blocks = {"recipe": recipe, "data": data, **{k: given[k] for k in given if k != "recipe"}}
        values = {f"{kind}.{k}": v for kind, block in blocks.items() for k, v in block.items()}
        values |= {f"{kind}'s code": digest for kind, digest in code.items()}
        flat.append(values | {"images_hash": images})
    names = sorted({name for values in flat for name in values})
    return [n for n in names if any(values.get(n) != flat[0].get(n) for values in flat)]


_parts = attrgetter("recipe", "parameters", "data", "code", "images_hash")


def _listed(values: Mapping[str, Any]) -> str:
    """Fields as "steps = 300, lr = 0.02", and components with all their settings."""
    return ", ".join(f"{name} = {json.dumps(value)}" for name, value in values.items())
