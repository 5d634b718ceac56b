"""The loop that trains every network, and what it needs to go on where it was killed.

What is random in a training is drawn from generators of its own, each seeded by `seed` alone, and
from torch's global one. A checkpoint holds their states, so that a training which was interrupted
ends with the bytes of one that was not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from bench.contract.errors import BenchError
from bench.contract.keys import digest
from bench.contract.task import NOT_KEPT, Checkpoint
from bench.training.average import Average
from bench.training.recipe import DiffusionRecipe, Recipe

CHECK_EVERY = 50  # steps between looks at the loss: each one waits for the device

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Training:
    """What changes from step to step: what a checkpoint keeps."""

    network: nn.Module
    recipe: Recipe | DiffusionRecipe
    total: int  # steps
    device: str
    generators: Mapping[str, torch.Generator] = field(default_factory=dict)
    average: Average | None = None
    buffers: tuple[Tensor, ...] = ()  # running statistics, which are averaged with the weights
    snapshots: dict[int, dict[str, Tensor]] = field(default_factory=dict)  # states, by step

    @cached_property
    def parameters(self) -> list[nn.Parameter]:
        return [p for p in self.network.parameters() if p.requires_grad]

    @cached_property
    def optimizer(self) -> torch.optim.Optimizer:
        return optimizer_of(self.parameters, self.recipe)

    def state(self, done: int) -> dict[str, Tensor]:
        """Everything after `done` steps, by names like "optimizer/0/momentum_buffer"."""
        draws = {"cpu": torch.get_rng_state()}
        if torch.device(self.device).type == "cuda":
            draws["cuda"] = torch.cuda.get_rng_state(self.device)
        parts: dict[str, Any] = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict()["state"],
            "average": dict(enumerate(self.average.means if self.average else ())),
            "generators": {name: one.get_state() for name, one in self.generators.items()},
            "snapshots": self.snapshots,
            "draws": draws,
            "done": torch.tensor(done),
        }
        return dict(_flat(parts))

    def resume(self, checkpoint: Checkpoint) -> int:
        """Go back to what a checkpoint holds; the steps that were done then, 0 if it has not."""
        found = _nested(checkpoint.load())
        if not found:
            return 0
        done = int(found["done"])
        self.network.load_state_dict(found["network"])
        state = self.optimizer.state_dict()
        numbered = {int(i): values for i, values in found.get("optimizer", {}).items()}
        self.optimizer.load_state_dict(state | {"state": numbered})
        for parameter, values in self.optimizer.state.items():
            for name, value in values.items():
                if value is not None and value.shape == parameter.shape:
                    # fused optimisers want the memory layout of the parameter
                    values[name] = torch.empty_like(parameter).copy_(value)
        if self.average:
            self.average.steps = done
            for i, mean in enumerate(self.average.means):
                mean.copy_(found["average"][str(i)])
        for name, generator in self.generators.items():
            generator.set_state(found["generators"][name])
        self.snapshots.update(
            {int(step): state for step, state in found.get("snapshots", {}).items()}
        )
        torch.set_rng_state(found["draws"]["cpu"])
        if "cuda" in found["draws"]:
            torch.cuda.set_rng_state(found["draws"]["cuda"], self.device)
        return done


def descend(
    training: Training,
    batches_from: Callable[[int], Generator[tuple[Tensor, Tensor], None, None]],
    loss_of: Callable[[Tensor, Tensor], Tensor],
    *,
    seed: int,
    after: Callable[[int], None] | None = None,
    checkpoint: Checkpoint = NOT_KEPT,
    progress: Progress | None = None,
) -> None:
    """Go down the slope of `loss_of`, a batch (rows, images) a step, from where `checkpoint` is.

    `batches_from` gives the batches from a step on; `after` is called with the number of steps that
    are done. The global random state is left as it was found. Raises BenchError where a loss, or
    at the end a weight, is not finite.
    """
    recipe, total, optimizer = training.recipe, training.total, training.optimizer
    restarts, device = _restarts(recipe, total), training.device
    with torch.random.fork_rng([device] if torch.device(device).type == "cuda" else []):
        seed_torch(seed, device)  # dropout and other draws inside the network
        start = training.resume(checkpoint)
        with closing(batches_from(start)) as batches:
            for done, batch in enumerate(batches, start + 1):
                loss = loss_of(*batch)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                if recipe.clip:
                    nn.utils.clip_grad_norm_(training.parameters, recipe.clip)
                if done - 1 in restarts:
                    optimizer.state.clear()
                lr = learning_rate(recipe, done - 1, total)
                for group in optimizer.param_groups:
                    group["lr"] = lr
                optimizer.step()
                if training.average:
                    training.average.step([*training.parameters, *training.buffers])
                if after:
                    after(done)
                if done % CHECK_EVERY == 0 or done == total:
                    check_finite(loss, training.parameters, done, total, lr)
                if progress and (done % math.ceil(total / 100) == 0 or done == total):
                    progress(done, total)
                checkpoint.save(lambda done=done: training.state(done))  # type: ignore[misc]


def learning_rate(recipe: Recipe | DiffusionRecipe, step: int, total: int) -> float:
    """The learning rate of `step` (0 for the first) out of `total`.

    With a warm-up of w steps, step s < w has lr (s + 1) / w; the cosine then falls from lr
    to 0 over the rest of the run, while the milestones of "step" are fractions of all of it.
    """
    warmup = round(recipe.warmup * total)
    if step < warmup:
        return recipe.lr * (step + 1) / warmup
    if recipe.schedule == "cosine":
        return recipe.lr * (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2
    if isinstance(recipe, Recipe) and recipe.schedule == "step":
        return recipe.lr * recipe.gamma ** sum(step >= round(m * total) for m in recipe.milestones)
    return recipe.lr


def _restarts(recipe: Recipe | DiffusionRecipe, total: int) -> set[int]:
    """The steps before which the optimiser forgets its momentum."""
    if isinstance(recipe, Recipe) and recipe.schedule == "step" and recipe.restart:
        return {round(m * total) for m in recipe.milestones}
    return set()


def optimizer_of(
    parameters: list[nn.Parameter], recipe: Recipe | DiffusionRecipe
) -> torch.optim.Optimizer:
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(
            parameters, recipe.lr, recipe.betas, weight_decay=recipe.weight_decay, fused=True
        )
    nesterov = recipe.nesterov if isinstance(recipe, Recipe) else True
    return torch.optim.SGD(
        parameters,
        recipe.lr,
        recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=nesterov and recipe.momentum > 0,
        fused=True,
    )


def generator_of(seed: int, purpose: str) -> torch.Generator:
    return torch.Generator().manual_seed(int(digest([seed, purpose]), 16) >> 1)


def seed_torch(seed: int, device: str) -> None:
    """As `torch.manual_seed`, which formats a stack for every type of device that is not there."""
    torch.default_generator.manual_seed(seed)
    kind = torch.device(device).type
    if kind != "cpu":
        torch.get_device_module(kind).manual_seed_all(seed)


def seeded(seed: int, device: str) -> torch.Generator:
    """A generator of a block; global ones are seeded, too, for code that draws from them."""
    seed_torch(seed, device)
    return torch.Generator().manual_seed(seed)


def check_finite(
    loss: Tensor, parameters: list[nn.Parameter], done: int, total: int, lr: float
) -> None:
    last = done == total  # the last update can break weights after a loss that was fine
    if not loss.isfinite() or (last and not all(p.isfinite().all() for p in parameters)):
        raise BenchError(
            f"training diverged: the loss is {loss.item():g} by step {done} of {total} "
            f"(learning rate {lr:g}); expected finite losses and weights; "
            "lower recipe.lr, or set recipe.clip or recipe.warmup"
        )


def _flat(parts: Mapping[Any, Any], prefix: str = "") -> Iterable[tuple[str, Tensor]]:
    for name, part in parts.items():
        if isinstance(part, Mapping):
            yield from _flat(part, f"{prefix}{name}/")
        elif part is not None:  # the momentum of a weight that has no gradient
            yield f"{prefix}{name}", part


def _nested(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path, tensor in tensors.items():
        *above, name = path.split("/")
        place = found
        for part in above:
            place = place.setdefault(part, {})
        place[name] = tensor
    return found
