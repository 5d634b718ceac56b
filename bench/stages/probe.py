"""The attack of a cell, on a student."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from bench.contract.errors import Unsupported
from bench.stages.io import Progress, Result, network_of, source_of
from bench.stages.probing import NAMES, joined, probe, probed_images
from bench.stages.source import described, finished
from bench.stages.stage import Work
from bench.store.store import Store


def run(work: Work, store: Store, progress: Progress) -> Result:
    """The attack of a cell: all of it, one part of its images, or what its parts have made."""
    source, above = source_of(work, store), work.above
    facts, test = described(source.facts), source.split("test")
    if "part 0" in above:
        stages = [above[f"part {k}"] for k in range(len(above)) if f"part {k}" in above]
        found = [finished(store, one.stage, one.key) for one in stages]
        parts = [(store.read(one), {**one.value}) for one in found]
        parts[0][0].update(store.read(found[0], "pictures"))
        return _kept(*joined(parts, test))
    student, made_on = above["student"], above.get("source", above["student"])
    if "source" in above and made_on.key == student.key:
        raise Unsupported("its source is the student itself: that is no transfer")
    index = probed_images(test, facts["digest"], work.parts["images"])
    number, size = work.parts.get("part", (0, len(index)))
    tensors, value = probe(
        work.parts["attack"],
        network_of(student, store, facts, work.device),
        test,
        index[number * size : (number + 1) * size],
        seed=work.seed,
        part=number,
        source=network_of(made_on, store, facts, work.device) if "source" in above else None,
        device=work.device,
        progress=progress,
    )
    return _kept(tensors, value)


def _kept(tensors: dict[str, Tensor], value: dict[str, Any]) -> Result:
    """Two files: what metrics read, and pictures."""
    pictures = {name: tensor for name, tensor in tensors.items() if name not in NAMES}
    result = {name: tensors[name] for name in NAMES}
    return {"result": result, "pictures": pictures} if pictures else {"result": result}, value
