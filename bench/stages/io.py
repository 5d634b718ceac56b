"""What a running stage finds around it: data, networks and sets of the store, and its device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bench.contract.data import Split, TensorSplit
from bench.contract.kinds import fact
from bench.contract.task import CondensedSet, Selection, Task
from bench.stages.checkpoint import StoredCheckpoint
from bench.stages.source import AT_ONCE, Source, described, finished
from bench.stages.stage import Above, Dataset, Stage
from bench.store.store import Finished, Store
from bench.training import diffusion, networks
from bench.training.classifier import Examples
from bench.training.diffusion import Schedule
from bench.training.loading import batches
from bench.training.loop import seed_torch
from bench.training.passes import Passes
from bench.training.sets import from_tensors

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Desk:
    """Where a stage works: the store, a device, and who hears how far it is."""

    store: Store
    device: str
    progress: Progress
    checkpoint: StoredCheckpoint = field(default_factory=StoredCheckpoint)

    @property
    def passes(self) -> Passes:
        """Of the networks that are counted."""
        return self.checkpoint.passes

    def found(self, above: Above) -> Finished:
        return finished(self.store, above.kind, above.key)

    def condensed(self, above: Above) -> CondensedSet:
        return from_tensors(self.store.read(self.found(above)))

    def source(self, dataset: Dataset) -> Source:
        return Source(self.store, dataset.load, dataset.component, dataset.evaluate)

    def network(self, above: Above, dataset: Dataset, step: int = 0) -> nn.Module:
        """A trained network, in eval mode; one of the generation track as it was at `step`."""
        found = self.found(above)
        options: dict[str, Any] = {}
        if schedule := found.value.get("schedule"):  # a denoiser
            options = {"schedule": Schedule(**schedule), "extras": found.value["extras"]}
        network = built(above.architecture, dataset, 0, **options)
        networks.load(network, self.store.read(found, f"step-{step}" if step else "result"))
        return network.to(self.device).eval()

    def built(self, stage: Stage, architecture: Any, **options: Any) -> nn.Module:
        """A fresh network, whose initial weights depend on the seed of the stage alone."""
        return built(architecture, stage.dataset, stage.seed, **options).to(self.device)

    def task(
        self, stage: Stage, ipc: int, above: Mapping[str, Above | None] | None = None, **fresh: Any
    ) -> Task:
        """What a teacher or a method is given; `fresh` are architectures, by role, or None."""
        made: dict[str, Callable[..., nn.Module]] = {
            role: lambda one=one: self._counted(self.network(one, stage.dataset))
            for role, one in (above or {}).items()
            if one
        }

        def draw(architecture: Any, extras: Any = None) -> nn.Module:
            seed = stage.seed + self.checkpoint.drawn
            self.checkpoint.drawn += 1
            network = built(architecture, stage.dataset, seed, extras=extras)
            return self._counted(network.to(self.device))

        made |= {
            role: partial(draw, architecture)
            for role, architecture in fresh.items()
            if architecture
        }
        facts = described(stage.dataset.facts)
        return Task(
            train=self.source(stage.dataset).split("train"),
            ipc=ipc,
            seed=stage.seed,
            device=self.device,
            progress=self.progress,
            checkpoint=self.checkpoint,
            networks=made,
            **{name: fact for name, fact in facts.items() if name != "digest"},
        )

    def _counted(self, network: nn.Module) -> nn.Module:
        self.passes.count(network)
        return network


def examples_of(condensed: CondensedSet, real: Split, regime: str = "hard") -> Examples:
    """The images of a set: with soft labels on distributions [N, K], else on classes [N].

    Selected images are as a set stores them, too: in the size of the data set, so that crops of
    one set are not sharper than those of another. A selection of all images is the data set.
    """
    images = condensed.images
    labels = condensed.labels if regime == "soft" else condensed.classes
    if isinstance(images, Selection):
        if len(images.indices) == len(real.labels) or isinstance(real, TensorSplit):
            return Examples(real, images.indices, labels, condensed.weights)
        split = TensorSplit(stored(real, images.indices), condensed.classes)
    else:
        split = TensorSplit(images, condensed.classes)
    return Examples(split, torch.arange(len(split)), labels, condensed.weights)


def stored(split: Split, index: Tensor) -> Tensor:
    """Images of a split as a set stores them: uint8 [N, C, H, W], whole and in its size."""
    with closing(batches(split, index, AT_ONCE)) as parts:
        return torch.cat([(part * 255).round().to(torch.uint8) for part in parts])


def built(architecture: Any, dataset: Dataset, seed: int, **options: Any) -> nn.Module:
    """A fresh network; `options` are the schedule and the extras of a denoiser."""
    facts = described(dataset.facts)
    shape, classes = facts["shape"], len(facts["classes"])
    with torch.random.fork_rng([]):
        seed_torch(seed, "cpu")  # where weights are drawn
        if fact("architecture", architecture, "track") == "generation":
            return diffusion.build(architecture, shape, classes, **options)
        return networks.build(architecture, shape, classes, facts["mean"], facts["std"])
