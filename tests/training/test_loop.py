from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.contract.data import TensorSplit
from bench.training import denoiser, toy
from bench.training.classifier import Examples, fit
from bench.training.diffusion import Denoiser, Schedule
from bench.training.loop import Training, descend, learning_rate, optimizer_of
from bench.training.networks import state
from bench.training.recipe import DiffusionRecipe, Recipe

K, N = 3, 20
RECIPE = Recipe(
    steps=10, batch=8, lr=0.1, crop=1, flip=True, cutmix=1.0, mixup=0.5, resized_crop=(0.5, 1.0)
)


class Killed(Exception):
    pass


class Memory:
    """A checkpoint after every step, whose process dies after `last` of them."""

    def __init__(self, last: int) -> None:
        self.last, self.kept, self.times = last, dict[str, Tensor](), 0

    def load(self) -> Mapping[str, Tensor]:
        return self.kept

    def save(self, state: Callable[[], Mapping[str, Tensor]]) -> None:
        self.times += 1
        if self.times > self.last:
            raise Killed
        self.kept = {name: one.clone() for name, one in state().items()}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.3), nn.Flatten(), nn.Linear(4 * 36, K)
    )


def examples() -> Examples:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.rand(N, 1, 8, 8, generator=generator)
    labels = torch.arange(N) % K
    return Examples(TensorSplit(pixels, labels), torch.arange(N), labels)


def trained(recipe: Recipe, checkpoint: Any, **options: Any) -> dict[str, Tensor]:
    student = network()
    found = fit(
        student, examples(), recipe, classes=K, seed=5, flip=True, checkpoint=checkpoint, **options
    )
    return state(found)


def noisy(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return (images + 0.1 * torch.rand(images.shape)).clamp(0, 1)


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize(
    "recipe",
    [
        RECIPE,
        replace(RECIPE, optimizer="adamw"),
        replace(RECIPE, channels_last=True),
        replace(RECIPE, schedule="step", restart=True, nesterov=False),
        replace(RECIPE, ema=0.9, shuffle=2),
    ],
    ids=["sgd", "adamw", "channels-last", "restarted", "averaged"],
)
@pytest.mark.parametrize("last", [1, 5, 8])
def test_a_training_that_was_killed_ends_with_the_bytes_of_one_that_was_not(
    recipe: Recipe, last: int
) -> None:
    whole = trained(recipe, Memory(99))
    memory = Memory(last)
    with pytest.raises(Killed):
        trained(recipe, memory)
    memory.last = 99

    assert same(trained(recipe, memory), whole)
    assert memory.times == recipe.steps + 1  # none but the step that was lost is taken again


def test_a_hook_that_draws_from_the_global_generator_goes_on_as_well() -> None:
    whole = trained(RECIPE, Memory(99), attack=noisy)
    memory = Memory(4)
    with pytest.raises(Killed):
        trained(RECIPE, memory, attack=noisy)
    memory.last = 99
    assert same(trained(RECIPE, memory, attack=noisy), whole)


def test_a_denoiser_that_was_killed_ends_with_the_same_averages_and_checkpoints() -> None:
    recipe = DiffusionRecipe(steps=8, batch=4, lr=0.01, checkpoints=(2, 6))

    def run(memory: Memory) -> tuple[dict[str, Tensor], dict[int, dict[str, Tensor]]]:
        torch.manual_seed(0)
        built = toy.ToyDenoiser().build((1, 8, 8), K, {})
        schedule = Schedule(recipe.noise, recipe.prediction, recipe.timesteps)
        student = Denoiser(built, (1, 8, 8), K, schedule)
        kept = denoiser.fit(student, examples(), recipe, seed=3, checkpoint=memory)
        return state(student), kept

    whole, at = run(Memory(99))
    memory = Memory(5)
    with pytest.raises(Killed):
        run(memory)
    memory.last = 99
    again, at_again = run(memory)

    assert same(again, whole)
    assert at.keys() == at_again.keys() == {2, 6}
    assert all(same(at[step], at_again[step]) for step in at)


def test_momentum_is_plain_where_the_recipe_says_so() -> None:
    weight = nn.Parameter(torch.ones(1))
    plain = Recipe(nesterov=False)
    assert optimizer_of([weight], Recipe()).defaults["nesterov"] is True
    assert optimizer_of([weight], plain).defaults["nesterov"] is False


def descent(recipe: Recipe, total: int) -> list[float]:
    """A weight on a slope of 1, after every step."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    seen: list[float] = []
    training = Training(model, recipe, total, "cpu")
    batch = torch.zeros(1, dtype=torch.int64), torch.ones(1, 1)
    descend(
        training,
        lambda start: (batch for _ in range(start, total)),
        lambda rows, images: model(images).sum(),
        seed=0,
        after=lambda done: seen.append(model.weight.item()),
    )
    return seen


def test_a_restart_forgets_the_momentum_at_each_milestone() -> None:
    recipe = Recipe(
        steps=4, lr=1.0, momentum=0.5, nesterov=False, weight_decay=0.0, schedule="step", gamma=0.5
    )
    # velocities 1, 1.5 | 1.75, 1.875 at rate 1 | 0.5; with a restart 1, 1.5 | 1, 1.5
    assert descent(recipe, 4) == pytest.approx([-1, -2.5, -3.375, -4.3125])
    assert descent(replace(recipe, restart=True), 4) == pytest.approx([-1, -2.5, -3.0, -3.75])
    assert learning_rate(recipe, 2, 4) == 0.5
