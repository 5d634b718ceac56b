from dataclasses import asdict, replace

import pytest
import torch

from bench import BenchError, Task
from bench.checks import checks_for
from bench.training.networks import build, predict
from bench_standard.architectures.convnet import ConvNet
from bench_standard.datasets.digits import Digits
from bench_standard.teachers import STANDARD_CIFAR, STANDARD_FASHION, STANDARD_IMAGENET, Standard


@pytest.fixture(scope="module")
def digits():
    return Digits().load()


def task(data, seed=0, progress=None):
    def backbone():
        torch.manual_seed(0)  # always: what the seed of the task changes is the training
        return build(ConvNet(width=16, depth=2), data.shape, 10, data.mean, data.std)

    return Task(
        **{f: getattr(data, f) for f in ("train", "classes", "shape", "mean", "std", "flip")},
        ipc=0,
        seed=seed,
        networks={"backbone": backbone},
        progress=progress or (lambda done, total: None),
    )


def test_a_standard_teacher_learns_the_digits(digits):
    steps = []
    network = Standard(epochs=10).squeeze(task(digits, progress=lambda *now: steps.append(now)))
    logits = predict(network, digits.test, torch.arange(len(digits.test)))
    assert (logits.argmax(1) == digits.test.labels).double().mean() > 0.93
    assert not network.training
    done, total = steps[-1]
    assert done == total == 10 * 19  # 1,198 images in batches of 64


def test_the_same_seed_gives_the_same_teacher_and_another_seed_another(digits):
    quick = replace(Standard(), **Standard.quick)
    weights = [
        torch.cat([p.detach().flatten() for p in quick.squeeze(task(digits, seed)).parameters()])
        for seed in (0, 0, 1)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_setting_that_no_recipe_knows_is_refused(digits):
    with pytest.raises(BenchError, match="optimizer is 'lion'"):
        Standard(optimizer="lion").squeeze(task(digits))


RECIPES = [STANDARD_CIFAR, STANDARD_FASHION, STANDARD_IMAGENET]


@pytest.mark.parametrize("check", [c for t in RECIPES for c in checks_for("teacher", t)], ids=str)
def test_contract_of_the_published_recipes(check):
    check.run()


def test_the_default_recipe_stays_what_the_records_were_made_with():
    recipe = asdict(Standard())
    assert {key: recipe[key] for key in RECORDED} == RECORDED
    assert not any(recipe[key] for key in set(recipe) - {*RECORDED, "name"})


RECORDED = {
    "epochs": 30,
    "batch": 64,
    "optimizer": "sgd",
    "lr": 0.05,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "schedule": "cosine",
}


def test_resized_crops_reach_the_training(digits):
    plain, cropped = (
        torch.cat([p.detach().flatten() for p in teacher.squeeze(task(digits)).parameters()])
        for teacher in (Standard(epochs=1), Standard(epochs=1, resized_crop=(0.5, 1.0)))
    )
    assert not torch.equal(plain, cropped)


@pytest.mark.parametrize("fields", [{"epochs": 0}, {"lr": -1.0}, {"resized_crop": (0.5,)}])
def test_a_recipe_that_makes_no_sense_is_refused_when_it_is_named(fields):
    with pytest.raises(BenchError, match=next(iter(fields))):
        Standard(**fields)
