"""The recipe of a board: what it accepts, and what it says of the rest."""

from __future__ import annotations

import dataclasses
import math

import pytest

from bench.contract.errors import BenchError
from bench.contract.keys import digest, parameters
from bench.training.recipe import DSA_OPERATIONS, DiffusionRecipe, Recipe


def test_the_default_recipe_is_a_recipe() -> None:
    assert Recipe().steps == Recipe().epochs == 0  # the trainer's own default


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"steps": 10, "epochs": 2}, "steps = 10 and epochs = 2; give one"),
        ({"steps": -1}, "recipe.steps is -1; expected 0 or more"),
        ({"epochs": -1}, "recipe.epochs is -1"),
        ({"crop": -1}, "recipe.crop is -1"),
        ({"batch": 1}, "recipe.batch is 1; expected 2 or more"),
        ({"optimizer": "lion"}, "recipe.optimizer is 'lion'; expected 'sgd' or 'adamw'"),
        ({"schedule": "poly"}, "recipe.schedule is 'poly'; expected 'cosine'"),
        ({"lr": 0.0}, "recipe.lr is 0.0; expected more than 0"),
        ({"lr": -0.1}, "recipe.lr is -0.1"),
        ({"lr": math.nan}, "recipe.lr is nan"),
        ({"temperature": 0.0}, "recipe.temperature is 0.0"),
        ({"gamma": 0.0}, "recipe.gamma is 0.0"),
        ({"weight_decay": -1e-4}, "recipe.weight_decay is -0.0001"),
        ({"weight_decay": math.nan}, "recipe.weight_decay is nan"),
        ({"cutmix": -1.0}, "recipe.cutmix is -1.0"),
        ({"mixup": -1.0}, "recipe.mixup is -1.0"),
        ({"clip": -1.0}, "recipe.clip is -1.0"),
        ({"momentum": 1.0}, "recipe.momentum is 1.0"),
        ({"warmup": 1.0}, "recipe.warmup is 1.0; expected in [0, 1)"),
        ({"betas": (0.9,)}, "recipe.betas is (0.9,); expected two numbers"),
        ({"betas": (0.9, 1.0)}, "recipe.betas is (0.9, 1.0); expected two numbers in [0, 1)"),
        ({"milestones": (0.5, 1.5)}, "recipe.milestones holds 1.5; expected fractions"),
        ({"resized_crop": (0.5,)}, "recipe.resized_crop is (0.5,)"),
        ({"resized_crop": (0.9, 0.5)}, "expected two areas with 0 < smallest <= largest <= 1"),
        ({"resized_crop": (0.0, 1.0)}, "recipe.resized_crop is (0.0, 1.0)"),
        ({"resized_crop": ("a", "b")}, "recipe.resized_crop is ('a', 'b')"),
        ({"formation": -1}, "recipe.formation is -1; expected 0 or more"),
        ({"shuffle": -1}, "recipe.shuffle is -1; expected 0 or more"),
        ({"smoothing": 1.0}, "recipe.smoothing is 1.0; expected in [0, 1)"),
        ({"distillation": "l1"}, "recipe.distillation is 'l1'; expected 'kl' or 'mse'"),
        ({"cross_entropy": -0.1}, "recipe.cross_entropy is -0.1; expected 0 or more"),
        ({"ema": 1.0}, "recipe.ema is 1.0; expected in [0, 1)"),
        ({"dsa": "color_blur"}, "recipe.dsa is 'color_blur'; expected operations out of color"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_by_name(fields, words: str) -> None:
    with pytest.raises(BenchError) as caught:
        Recipe(**fields)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"steps": 1},
        {"epochs": 1},
        {"batch": 2},
        {"optimizer": "adamw", "betas": (0.0, 0.95)},
        {"momentum": 0.0},
        {"schedule": "step", "milestones": ()},
        {"resized_crop": (0.08, 1.0)},
        {"resized_crop": (1.0, 1.0)},
        {"dsa": "_".join(DSA_OPERATIONS)},
    ],
    ids=str,
)
def test_the_edges_of_what_makes_sense_are_accepted(fields) -> None:
    recipe = Recipe(**fields)
    assert {k: getattr(recipe, k) for k in fields} == fields


def test_lists_become_tuples_so_that_a_recipe_can_be_a_key() -> None:
    recipe = Recipe(betas=[0.9, 0.99], milestones=[0.5, 0.8], resized_crop=[0.1, 1.0])  # type: ignore[arg-type]
    assert hash(recipe) == hash(
        Recipe(betas=(0.9, 0.99), milestones=(0.5, 0.8), resized_crop=(0.1, 1.0))
    )


def test_a_recipe_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Recipe().lr = 1.0  # type: ignore[misc]


PUBLISHED = {
    "formation": 2,
    "shuffle": 2,
    "smoothing": 0.1,
    "distillation": "mse",
    "cross_entropy": 0.025,
    "ema": 0.99,
}


def test_keys_and_records_from_before_the_published_fields_stand() -> None:
    assert not PUBLISHED.keys() & parameters(Recipe()).keys()
    # as keys had it before there were any of them
    assert digest(parameters(Recipe())) == "44c8acb7a1e7598a"


@pytest.mark.parametrize(("name", "value"), PUBLISHED.items())
def test_a_published_field_that_is_set_makes_another_key(name: str, value: object) -> None:
    given = parameters(dataclasses.replace(Recipe(), **{name: value}))
    assert given == {**parameters(Recipe()), name: value}


# ---- of denoisers


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"steps": 0}, "recipe.steps is 0; expected 1 or more"),
        ({"batch": 0}, "recipe.batch is 0; expected 1 or more"),
        ({"timesteps": 1}, "recipe.timesteps is 1; expected 2 or more"),
        ({"optimizer": "lion"}, "recipe.optimizer is 'lion'; expected 'sgd' or 'adamw'"),
        ({"schedule": "step"}, "recipe.schedule is 'step'; expected 'cosine' or 'constant'"),
        ({"noise": "pink"}, "recipe.noise is 'pink'; expected 'cosine' or 'linear' or 'straight'"),
        ({"prediction": "x"}, "recipe.prediction is 'x'; expected 'noise' or 'image' or 'veloci"),
        ({"lr": 0.0}, "recipe.lr is 0.0; expected more than 0"),
        ({"lr": math.nan}, "recipe.lr is nan"),
        ({"weight_decay": -1.0}, "recipe.weight_decay is -1.0; expected 0 or more"),
        ({"clip": -1.0}, "recipe.clip is -1.0"),
        ({"projection": -0.5}, "recipe.projection is -0.5; expected 0 or more"),
        ({"ema": 1.0}, "recipe.ema is 1.0; expected in [0, 1)"),
        ({"dropout": 1.0}, "recipe.dropout is 1.0; expected in [0, 1)"),
        ({"warmup": 1.0}, "recipe.warmup is 1.0; expected in [0, 1)"),
        ({"momentum": -0.1}, "recipe.momentum is -0.1; expected in [0, 1)"),
        ({"betas": (0.9, 1.0)}, "recipe.betas is (0.9, 1.0); expected two numbers in [0, 1)"),
        ({"checkpoints": (4, 2)}, "recipe.checkpoints is (4, 2); expected steps in rising order"),
        ({"checkpoints": (2, 2)}, "recipe.checkpoints is (2, 2)"),
        ({"checkpoints": (0,)}, "recipe.checkpoints holds 0; expected 1 or more"),
        ({"checkpoints": (True,)}, "recipe.checkpoints holds True; expected a whole number"),
        ({"checkpoints": (2.5,)}, "recipe.checkpoints holds 2.5; expected a whole number"),
        ({"checkpoints": ("a",)}, "recipe.checkpoints holds 'a'; expected a whole number"),
    ],
)
def test_a_recipe_of_denoisers_refuses_what_makes_no_sense_by_name(fields, words: str) -> None:
    with pytest.raises(BenchError) as caught:
        DiffusionRecipe(**fields)
    assert words in str(caught.value)


def test_the_edges_of_a_recipe_of_denoisers_are_accepted_and_it_can_be_a_key() -> None:
    least = {"steps": 1, "batch": 1, "timesteps": 2, "ema": 0.0, "dropout": 0.0, "projection": 0.0}
    recipe = DiffusionRecipe(**least, checkpoints=[1, 2], betas=[0.0, 0.5])  # type: ignore[arg-type]
    assert hash(recipe) == hash(DiffusionRecipe(**least, checkpoints=(1, 2), betas=(0.0, 0.5)))
