"""The stages, `squeeze -> condense -> train -> probe`, with `load` before and `measure` after.

Each is a pure function of components, data and a seed, and runs in a process of its own.
`execute` feeds them from the store and writes what they return.
"""

from __future__ import annotations

import os
import platform
import random
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import deterministic

from bench import gates, networks
from bench.keys import digest, seed_of
from bench.plan import Above, Work
from bench.recipe import Recipe
from bench.records import pack
from bench.store import Finished, Store
from bench.train import Examples, fit
from bench.types import (
    BenchError,
    CondensedSet,
    Data,
    Selection,
    Split,
    Subset,
    Task,
    TensorSplit,
    Trial,
    as_float,
    digest_of_tensors,
)

BLOCK = 250  # test images perturbed at a time
VALIDATION = 0.2  # share of each class that evaluate = "validation" carves from the training split

Progress = Callable[[int, int], None]
Result = tuple[dict[str, dict[str, Tensor]], dict[str, Any]]  # tensors by file name, JSON value


def execute(work: Work, *, progress: Progress) -> Finished:
    """Run one stage and publish what it returns. Raises what the component raises."""
    _deterministic(work.seed)
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


def load(dataset: Any, evaluate: str = "test") -> Data:
    """A data set; for evaluate = "validation", with a part of its training split as the test."""
    data: Data = dataset.load()
    if evaluate == "validation":
        gates.check_data(data, splits=("train",))  # law 4: the test split stays closed
        return carved(data)
    gates.check_data(data)
    return data


def carved(data: Data) -> Data:
    """The data set without its test split: a fifth of each training class takes its place."""
    generator = torch.Generator().manual_seed(int(data.digest[:12], 16))
    order = torch.randperm(len(data.train.labels), generator=generator)
    held = torch.zeros(len(order), dtype=torch.bool)
    for c in range(len(data.classes)):
        members = order[data.train.labels[order] == c]
        held[members[: max(1, round(len(members) * VALIDATION))]] = True
    return Data(
        train=_part(data.train, torch.nonzero(~held).squeeze(1)),
        test=_part(data.train, torch.nonzero(held).squeeze(1)),
        classes=data.classes,
        shape=data.shape,
        mean=data.mean,
        std=data.std,
        digest=digest([data.digest, "validation", VALIDATION]),
        flip=data.flip,
        sources=data.sources,
    )


def _part(split: Split, index: Tensor) -> Split:
    if isinstance(split, TensorSplit):
        return TensorSplit(split.pixels[index], split.labels[index])
    return Subset(split, index)


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


@dataclass(frozen=True)
class _Source:
    """Where a stage finds its data: kept in the store, or loaded anew if it is not in memory."""

    store: Store
    key: str
    dataset: Any
    evaluate: str

    @property
    def facts(self) -> Mapping[str, Any]:
        return _finished(self.store, "load", self.key).value

    def split(self, name: str) -> Split:
        """A copy: what one metric of a bundle does to it is nothing to the next."""
        split = _split(self, name)
        if isinstance(split, TensorSplit):
            return TensorSplit(split.pixels.clone(), split.labels.clone())
        return split

    @property
    def data(self) -> Data:
        return Data(train=self.split("train"), test=self.split("test"), **_described(self.facts))


@cache
def _split(source: _Source, name: str) -> Split:  # cached: a bundle of metrics asks over and over
    finished = _finished(source.store, "load", source.key)
    if finished.value["in_memory"]:
        return TensorSplit(**source.store.read(finished, name))
    data = load(source.dataset, source.evaluate)
    if data.digest != finished.value["digest"]:
        raise BenchError("the files of the data set have changed since the run began; run again")
    split: Split = getattr(data, name)
    return split


def _described(facts: Mapping[str, Any]) -> dict[str, Any]:
    names = ("classes", "shape", "mean", "std")
    return {n: tuple(facts[n]) for n in names} | {n: facts[n] for n in ("digest", "flip")}


def _finished(store: Store, stage: str, key: str) -> Finished:
    found = store.find(stage, key)
    if found is None:
        raise BenchError(f"{store.folder(stage, key)} is gone; run again to make it anew")
    return found


def _source(work: Work, store: Store) -> _Source:
    return _Source(store, work.data, work.dataset, work.evaluate)


# ---- squeeze and condense


def _task(work: Work, store: Store, progress: Progress, ipc: int) -> Task:
    source = _source(work, store)
    facts = _described(source.facts)
    made: dict[str, Callable[[], nn.Module]] = {
        role: partial(_network, above, store, facts, work.device)
        for role, above in work.above.items()
    }
    if "backbone" in work.parts:
        backbone, calls = work.parts["backbone"], count()
        made["backbone"] = lambda: _built(backbone, facts, work.seed + next(calls)).to(work.device)
    return Task(
        train=source.split("train"),
        ipc=ipc,
        seed=work.seed,
        device=work.device,
        progress=progress,
        networks=made,
        **{name: fact for name, fact in facts.items() if name != "digest"},
    )


def _built(architecture: Any, facts: Mapping[str, Any], seed: int) -> networks.Normalized:
    """A fresh network, whose initial weights depend on the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return networks.build(
            architecture, facts["shape"], len(facts["classes"]), facts["mean"], facts["std"]
        )


def _network(
    above: Above, store: Store, facts: Mapping[str, Any], device: str
) -> networks.Normalized:
    """A trained network from the store, in eval mode."""
    network = _built(above.architecture, facts, 0)
    networks.load(network, store.read(_finished(store, above.stage, above.key)))
    return network.to(device).eval()


def squeeze(teacher: Any, task: Task) -> dict[str, Tensor]:
    """Train a teacher; the state of its network, which must fit `task.network()`."""
    trained = teacher.squeeze(task)
    if not isinstance(trained, nn.Module):
        raise BenchError(f"squeeze() returned {type(trained).__name__}; expected the network")
    state = networks.state(trained)
    networks.load(task.network(), state)
    _check_finite(state)
    return state


def _squeeze(work: Work, store: Store, progress: Progress) -> Result:
    state = squeeze(work.parts["teacher"], _task(work, store, progress, ipc=0))
    return {"result": state}, {"bytes": _bytes(state)}


def _check_finite(state: Mapping[str, Tensor]) -> None:
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise BenchError(f"training diverged: weights {name} are NaN or infinite")


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
    condensed = condense(work.parts["method"], _task(work, store, progress, work.parts["ipc"]))
    tensors = set_to_tensors(condensed)
    return {"result": tensors}, {"size": len(condensed), "bytes": set_bytes(tensors)}


def set_to_tensors(condensed: CondensedSet) -> dict[str, Tensor]:
    """A condensed set as it is stored. One-hot labels take 8 bytes an image."""
    labels = condensed.labels
    stored = {"classes": torch.tensor(labels.shape[1])}
    hard = labels.argmax(1)
    one_hot = torch.nn.functional.one_hot(hard, labels.shape[1]).to(labels.dtype)
    stored["labels"] = hard if torch.equal(one_hot, labels) else labels
    images = condensed.images
    stored["images"] = images.indices if isinstance(images, Selection) else images
    if condensed.weights is not None:
        stored["weights"] = condensed.weights
    stored |= {f"extras.{name}": tensor for name, tensor in condensed.extras.items()}
    return {name: tensor.detach().cpu().contiguous() for name, tensor in stored.items()}


def set_from_tensors(tensors: Mapping[str, Tensor]) -> CondensedSet:
    """The condensed set that `set_to_tensors` has stored."""
    images, labels = tensors["images"], tensors["labels"]
    if labels.ndim == 1:
        labels = torch.nn.functional.one_hot(labels, int(tensors["classes"])).float()
    prefix = "extras."
    return CondensedSet(
        images=Selection(images) if images.ndim == 1 else images,
        labels=labels,
        weights=tensors.get("weights"),
        extras={k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)},
    )


def set_bytes(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Bytes of images (8 for each real one that is selected), labels, weights and extras."""
    extras = {name: t for name, t in tensors.items() if name.startswith("extras.")}
    return {
        "images": _bytes({"": tensors["images"]}),
        "labels": _bytes({"": tensors["labels"]}),
        "weights": _bytes({"": tensors["weights"]} if "weights" in tensors else {}),
        "extras": _bytes(extras),
    }


def _bytes(tensors: Mapping[str, Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors.values())


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
    images, labels = condensed.images, condensed.labels
    if isinstance(images, Selection):
        split, index = real, images.indices
    else:
        split, index = TensorSplit(as_float(images), labels.argmax(1)), torch.arange(len(images))
    return fit(
        network,
        Examples(split, index, labels, condensed.weights),
        recipe,
        classes=labels.shape[1],
        seed=seed,
        regime=regime,
        teacher=teacher,
        flip=flip,
        device=device,
        progress=progress,
    )


def _train(work: Work, store: Store, progress: Progress) -> Result:
    source = _source(work, store)
    facts, above = _described(source.facts), work.above
    student = _built(work.parts["architecture"], facts, work.seed).to(work.device)
    teacher = _network(above["teacher"], store, facts, work.device) if "teacher" in above else None
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
    return {"result": state}, {}


def _condensed(work: Work, store: Store, role: str = "set") -> CondensedSet:
    above = work.above[role]
    return set_from_tensors(store.read(_finished(store, above.stage, above.key)))


# ---- probe


def probed_images(test: Split, data_digest: str, images: int) -> Tensor:
    """Which test images are attacked: a prefix of one permutation of the split, by its digest."""
    generator = torch.Generator().manual_seed(int(data_digest[:12], 16))
    order = torch.randperm(len(test.labels), generator=generator)
    return order[:images] if images else order


def probe(
    attack: Any,
    student: nn.Module,
    test: Split,
    index: Tensor,
    *,
    seed: int,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Result:
    """Attack the test images at `index`, block by block, and look at what the student says.

    Gates: the images stay in [0, 1] and in the attack's ball, and the student is left alone.
    """
    before = gates.fingerprint(student)
    eps, norm = float(getattr(attack, "eps", 0.0)), str(getattr(attack, "norm", ""))
    clean, attacked, sizes = [], [], []
    blocks = torch.split(index, BLOCK)
    for number, block in enumerate(blocks):
        images, labels = test.images(block).to(device), test.labels[block].to(device)
        with torch.no_grad():
            clean.append(student(images).float().cpu())
        torch.manual_seed(seed_of("block", "", "", seed) ^ number)
        adversarial = attack.perturb(student, images.clone(), labels.clone())
        gates.check_pixels(adversarial, tuple(images.shape[1:]), "the adversarial images")
        adversarial = adversarial.detach()
        sizes.append(gates.check_perturbed(adversarial, images, norm, eps))
        with torch.no_grad():
            attacked.append(student(adversarial).float().cpu())
        if progress:
            progress(number + 1, len(blocks))
    gates.check_untouched(before, student, "the attack")
    clean_logits, logits = torch.cat(clean), torch.cat(attacked)
    labels = test.labels[index]
    for one in (clean_logits, logits):
        gates.check_logits(one, len(index), clean_logits.shape[1])
    trial = Trial(
        None,  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
        labels=labels,
        clean_logits=clean_logits,
        logits=logits,
        norm=norm,
    )
    value = {
        "correct": pack(trial.correct.numpy()),
        "images": len(index),
        "images_hash": digest_of_tensors(index, labels),
        "norm": norm,
        "eps": eps,
        "perturbation": _combined(sizes, [len(block) for block in blocks]),
    }
    return {"result": {"logits": logits, "clean_logits": clean_logits, "index": index}}, value


def _combined(sizes: list[dict[str, Any]], counts: list[int]) -> dict[str, Any]:
    """Means and maxima of blocks as those of the whole."""
    return {
        norm: {
            "mean": round(float(np.average([s[norm]["mean"] for s in sizes], weights=counts)), 6),
            "max": max(s[norm]["max"] for s in sizes),
        }
        for norm in sizes[0]
    }


def _probe(work: Work, store: Store, progress: Progress) -> Result:
    source = _source(work, store)
    facts = _described(source.facts)
    test = source.split("test")
    return probe(
        work.parts["attack"],
        _network(work.above["student"], store, facts, work.device),
        test,
        probed_images(test, facts["digest"], work.parts["images"]),
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
    facts = _described(source.facts)
    made: dict[str, Callable[[], nn.Module]] = {
        role: partial(_network, above[prefix + role], store, facts, work.device)
        for role in ("student", "teacher")
        if prefix + role in above
    }
    results: dict[str, Any] = {}
    if prefix + "probe" in above:
        one = above[prefix + "probe"]
        probed = _finished(store, one.stage, one.key)
        results = {**store.read(probed), "norm": probed.value["norm"]}
        results["labels"] = source.split("test").labels[results["index"]]
    one = above[prefix + "set"]
    cost = _finished(store, one.stage, one.key).value
    condensed = _condensed(work, store, prefix + "set")
    return Trial(source.data, condensed, cost=cost, networks=made, **results)


_STAGES: Mapping[str, Callable[[Work, Store, Progress], Result]] = {
    "load": _load,
    "squeeze": _squeeze,
    "condense": _condense,
    "train": _train,
    "probe": _probe,
    "measure": _measure,
}
