"""The stages, `squeeze -> condense -> train -> probe`, with `load` before and `measure` after.

Each is a pure function of components, data and a seed, and runs in a process of its own.
`execute` feeds them from the store and writes what they return.
"""

from __future__ import annotations

import hashlib
import os
import platform
import random
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cache, partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import deterministic

from bench import diffusion, gates, networks, sampling, train_diffusion
from bench.condensed_set import bytes_of, from_tensors, to_tensors, weigh
from bench.counting import Passes
from bench.diffusion import COSINE, Denoiser, Schedule
from bench.plan import Above, Work
from bench.probing import NAMES, joined, probe, probed_images
from bench.recipe import DiffusionRecipe, Recipe
from bench.source import Source, described, finished, load
from bench.store import Finished, Store
from bench.train import Examples, fit
from bench.types import (
    BenchError,
    CondensedSet,
    Selection,
    Split,
    Task,
    TensorSplit,
    Trial,
    Unsupported,
    as_float,
)

Progress = Callable[[int, int], None]
Result = tuple[dict[str, dict[str, Tensor]], dict[str, Any]]  # tensors by file name, JSON value


def execute(work: Work, *, progress: Progress) -> Finished:
    """Run one stage and publish what it returns. Raises what the component raises."""
    _deterministic(work.seed)
    if work.folder:
        os.environ["BENCH_DATA"] = work.folder
    store = Store(Path(work.store))
    started = time.monotonic()
    tensors, value = _STAGES[work.kind](work, store, progress)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cost = {
        "seconds": round(time.monotonic() - started, 3),
        "peak_mb": round(peak / (1024**2 if sys.platform == "darwin" else 1024), 1),
    }
    return store.publish(
        work.kind,
        work.key,
        tensors,
        value,
        inputs=work.inputs,
        cost=cost,
        environment=environment(work.device),
    )


def _deterministic(seed: int) -> None:
    """Law 5: same inputs and seed, same bytes."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  (a plugin may still draw from it)
    torch.manual_seed(seed)
    torch.set_default_dtype(torch.float32)  # a bundle shares a process
    torch.set_grad_enabled(True)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # slow
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


@cache
def environment(device: str) -> dict[str, Any]:
    """The machine that a stage ran on, as records keep it."""
    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.split(": ", 1)[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {
        "cpu": cpu,
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu",
        "isa": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(),
        "system": platform.system(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


# ---- load


def _load(work: Work, store: Store, progress: Progress) -> Result:
    data = load(work.parts["dataset"], work.evaluate)
    in_memory = isinstance(data.train, TensorSplit) and isinstance(data.test, TensorSplit)
    tensors = {}
    for name, split in (("train", data.train), ("test", data.test)):
        tensors[name] = {"labels": split.labels}
        if isinstance(split, TensorSplit) and in_memory:
            tensors[name]["pixels"] = split.pixels
    value = {
        "classes": list(data.classes),
        "shape": list(data.shape),
        "mean": list(data.mean),
        "std": list(data.std),
        "flip": data.flip,
        "digest": data.digest,
        "counts": torch.bincount(data.train.labels, minlength=len(data.classes)).tolist(),
        "test": len(data.test.labels),
        "in_memory": in_memory,
        "sources": [[s, os.stat(s).st_size, os.stat(s).st_mtime_ns] for s in data.sources],
    }
    return tensors, value


def _source(work: Work, store: Store) -> Source:
    return Source(store, work.data, work.dataset, work.evaluate)


# ---- squeeze and condense


def _task(work: Work, store: Store, progress: Progress, ipc: int, passes: Passes) -> Task:
    source = _source(work, store)
    facts = described(source.facts)

    def counted(network: nn.Module) -> nn.Module:
        passes.count(network)
        return network

    made: dict[str, Callable[..., nn.Module]] = {
        role: lambda above=above: counted(_network(above, store, facts, work.device))
        for role, above in work.above.items()
    }
    calls = count()
    made |= {
        role: lambda extras=None, fresh=work.parts[role]: counted(
            _built(fresh, facts, work.seed + next(calls), extras=extras).to(work.device)
        )
        for role in ("backbone", "denoiser")
        if role in work.parts
    }
    return Task(
        train=source.split("train"),
        ipc=ipc,
        seed=work.seed,
        device=work.device,
        progress=progress,
        networks=made,
        **{name: fact for name, fact in facts.items() if name != "digest"},
    )


def _built(
    architecture: Any,
    facts: Mapping[str, Any],
    seed: int,
    schedule: Schedule = COSINE,
    extras: Mapping[str, Sequence[int]] | None = None,
) -> nn.Module:
    """A fresh network, whose initial weights depend on the seed alone."""
    shape, classes = facts["shape"], len(facts["classes"])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if getattr(architecture, "track", "") == "generation":
            return diffusion.build(architecture, shape, classes, schedule, extras)
        return networks.build(architecture, shape, classes, facts["mean"], facts["std"])


def _network(
    above: Above, store: Store, facts: Mapping[str, Any], device: str, step: int = 0
) -> nn.Module:
    """A trained network from the store, in eval mode; one of the generation track at `step`."""
    found = finished(store, above.stage, above.key)
    network = _built(above.architecture, facts, 0, **_denoising(found.value))
    networks.load(network, store.read(found, f"step-{step}" if step else "result"))
    return network.to(device).eval()


def _denoising(value: Mapping[str, Any]) -> dict[str, Any]:
    """What a denoiser is to be built with, out of the value of the stage that trained it."""
    if "schedule" not in value:
        return {}
    return {"schedule": Schedule(**value["schedule"]), "extras": value["extras"]}


def squeeze(teacher: Any, task: Task) -> nn.Module:
    """Train a teacher: a network whose state fits `task.network()` and is finite."""
    trained = teacher.squeeze(task)
    if not isinstance(trained, nn.Module):
        raise BenchError(f"squeeze() returned {type(trained).__name__}; expected the network")
    state = networks.state(trained)
    networks.load(task.network(), state)
    _check_finite(state)
    return trained


def _squeeze(work: Work, store: Store, progress: Progress) -> Result:
    passes = Passes()
    trained = squeeze(work.parts["teacher"], _task(work, store, progress, 0, passes))
    state = networks.state(trained)
    value = {"bytes": bytes_of(state), "passes": passes.as_json()}
    if isinstance(trained, Denoiser):
        value |= {"schedule": asdict(trained.schedule), "extras": {}}
    return {"result": state}, value


def _adopt(work: Work, store: Store, progress: Progress) -> Result:
    """A network that a board keeps. Raises BenchError for a file that holds another."""
    from safetensors import SafetensorError
    from safetensors.torch import load as of_bytes

    path, again = work.parts["file"], "get it from the repository again, or delete it"
    blob = Path(path).read_bytes()
    if hashlib.sha256(blob).hexdigest() != work.parts["sha256"]:
        raise BenchError(f"{path} has changed since the run began; run again")
    network = _built(work.parts["architecture"], described(_source(work, store).facts), 0)
    try:
        networks.load(network, of_bytes(blob))
        state = networks.state(network)
        _check_finite(state)
    except (SafetensorError, BenchError) as error:
        raise BenchError(f"{path} is no network of this board ({error}); {again}") from None
    return {"result": state}, {"bytes": bytes_of(state), "passes": Passes().as_json()}


def _check_finite(state: Mapping[str, Tensor]) -> None:
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise BenchError(f"weights {name} are NaN or infinite; did the training diverge?")


def condense(method: Any, task: Task) -> CondensedSet:
    """Run a method, and check what it returns (`gates.check_condensed`)."""
    condensed: CondensedSet = method.condense(task)
    gates.check_condensed(
        condensed,
        shape=task.shape,
        classes=len(task.classes),
        train_size=len(task.train.labels),
        ipc=0 if getattr(method, "ceiling", False) else task.ipc,
    )
    return condensed


def _condense(work: Work, store: Store, progress: Progress) -> Result:
    passes = Passes()
    task = _task(work, store, progress, work.parts["ipc"], passes)
    condensed = condense(work.parts["method"], task)
    tensors = to_tensors(condensed)
    value = {"size": len(condensed), "bytes": weigh(tensors), "passes": passes.as_json()}
    return {"result": tensors}, value


# ---- train


def train(
    network: nn.Module,
    condensed: CondensedSet,
    real: Split,
    recipe: Recipe,
    *,
    regime: str,
    seed: int,
    flip: bool,
    teacher: nn.Module | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> nn.Module:
    """Train a student on a condensed set (`bench.train.fit`); the last student is the student."""
    return fit(
        network,
        _examples(condensed, real),
        recipe,
        classes=condensed.labels.shape[1],
        seed=seed,
        regime=regime,
        teacher=teacher,
        flip=flip,
        device=device,
        progress=progress,
    )


def _examples(condensed: CondensedSet, real: Split) -> Examples:
    images, labels = condensed.images, condensed.labels
    if isinstance(images, Selection):
        return Examples(real, images.indices, labels, condensed.weights)
    split = TensorSplit(images, labels.argmax(1))
    return Examples(split, torch.arange(len(images)), labels, condensed.weights)


def _train(work: Work, store: Store, progress: Progress) -> Result:
    if isinstance(work.parts["recipe"], DiffusionRecipe):
        return _train_denoiser(work, store, progress)
    source = _source(work, store)
    facts, above = described(source.facts), work.above
    student = _built(work.parts["architecture"], facts, work.seed).to(work.device)
    teacher = _network(above["teacher"], store, facts, work.device) if "teacher" in above else None
    passes = Passes()
    for network in filter(None, (student, teacher)):
        passes.count(network)
    train(
        student,
        _condensed(work, store),
        source.split("train"),
        work.parts["recipe"],
        regime=work.parts["labels"],
        seed=work.seed,
        flip=facts["flip"],
        teacher=teacher,
        device=work.device,
        progress=progress,
    )
    state = networks.state(student)
    _check_finite(state)
    return {"result": state}, {"passes": passes.as_json()}


def _train_denoiser(work: Work, store: Store, progress: Progress) -> Result:
    source, condensed, recipe = _source(work, store), _condensed(work, store), work.parts["recipe"]
    schedule = Schedule(recipe.noise, recipe.prediction, recipe.timesteps)
    extras = diffusion.rows_of(condensed.extras)
    student = _built(
        work.parts["architecture"], described(source.facts), work.seed, schedule, extras
    ).to(work.device)
    assert isinstance(student, Denoiser)
    passes = Passes()
    passes.count(student)
    checkpoints = train_diffusion.fit(
        student,
        _examples(condensed, source.split("train")),
        recipe,
        seed=work.seed,
        extras=condensed.extras,
        flip=source.facts["flip"],
        device=work.device,
        progress=progress,
    )
    files = {"result": networks.state(student)}
    files |= {f"step-{step}": state for step, state in checkpoints.items()}
    for state in files.values():
        _check_finite(state)
    value = {"passes": passes.as_json(), "schedule": asdict(schedule), "extras": extras}
    return files, value


def _condensed(work: Work, store: Store, role: str = "set") -> CondensedSet:
    above = work.above[role]
    return from_tensors(store.read(finished(store, above.stage, above.key)))


# ---- probe


def _probe(work: Work, store: Store, progress: Progress) -> Result:
    """The attack of a cell: all of it, one part of its images, or what its parts have made."""
    source, above = _source(work, store), work.above
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
        _network(student, store, facts, work.device),
        test,
        index[number * size : (number + 1) * size],
        seed=work.seed,
        part=number,
        source=_network(made_on, store, facts, work.device) if "source" in above else None,
        device=work.device,
        progress=progress,
    )
    return _kept(tensors, value)


def _kept(tensors: dict[str, Tensor], value: dict[str, Any]) -> Result:
    """Two files: what metrics read, and pictures."""
    pictures = {name: tensor for name, tensor in tensors.items() if name not in NAMES}
    result = {name: tensors[name] for name in NAMES}
    return {"result": result, "pictures": pictures} if pictures else {"result": result}, value


# ---- sample


def _sample(work: Work, store: Store, progress: Progress) -> Result:
    """Samples of a student for the labels of the test images, or images of a set in their place."""
    source, condensed = _source(work, store), _condensed(work, store)
    facts, test = described(source.facts), source.split("test")
    index = probed_images(test, facts["digest"], work.parts["images"])
    if "student" not in work.above:
        examples = _examples(condensed, source.split("train"))
        return sampling.drawn(examples, test, index, seed=work.seed)
    student = _network(work.above["student"], store, facts, work.device, work.parts["step"])
    assert isinstance(student, Denoiser)
    return sampling.sample(
        work.parts["sampler"],
        student,
        test,
        index,
        diffusion.of_classes(condensed.extras),
        shape=facts["shape"],
        seed=work.seed,
        device=work.device,
        progress=progress,
    )


# ---- measure


def _measure(work: Work, store: Store, progress: Progress) -> Result:
    metric = work.parts["metric"]
    trials = [_trial(work, store, f"{n}.") for n in range(work.parts["siblings"])]
    value = metric.measure(_trial(work, store, ""), *trials)
    return {}, {"value": gates.check_score(value, getattr(metric, "bounds", None))}


def _trial(work: Work, store: Store, prefix: str) -> Trial:
    source, above = _source(work, store), work.above
    facts = described(source.facts)
    steps = {"student": work.parts.get("step", 0)}
    made: dict[str, Callable[[], nn.Module]] = {
        role: partial(_network, above[prefix + role], store, facts, work.device, steps.get(role, 0))
        for role in ("student", "teacher")
        if prefix + role in above
    }
    if "features" in above:
        made["features"] = partial(_network, above["features"], store, facts, work.device)
    results: dict[str, Any] = {}
    if prefix + "probe" in above:
        one = above[prefix + "probe"]
        probed = finished(store, one.stage, one.key)
        results = {**store.read(probed), "norm": probed.value.get("norm", "")}
        results["labels"] = source.split("test").labels[results["index"]]
        if "samples" in results:
            results["samples"] = as_float(results["samples"])
    one = above[prefix + "set"]
    cost = finished(store, one.stage, one.key).value
    condensed = _condensed(work, store, prefix + "set")
    return Trial(source.data, condensed, cost=cost, device=work.device, networks=made, **results)


_STAGES: Mapping[str, Callable[[Work, Store, Progress], Result]] = {
    "load": _load,
    "adopt": _adopt,
    "squeeze": _squeeze,
    "condense": _condense,
    "train": _train,
    "attack": _probe,
    "probe": _probe,
    "sample": _sample,
    "measure": _measure,
}
