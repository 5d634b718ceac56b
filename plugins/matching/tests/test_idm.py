import dataclasses

import pytest
import torch
from torch.nn import functional as F

from bench import BenchError, TensorSplit
from bench.checks import checks_for, fixtures, run_checks
from bench.training import toy
from bench.training.augment import one_tile
from bench.training.classifier import Examples, fit
from bench.training.recipe import Recipe
from bench_matching.idm import IDM, IDM_START, IDM_WHOLE, Learner, Learners, tiles
from bench_matching.matching import RealImages

QUICK = {**IDM.quick, "factor": 2}


def task(method, data=toy.GRAY, **changes):
    return dataclasses.replace(fixtures.task(method, data, 2), **changes)


def quick(**changes):
    return dataclasses.replace(IDM(), **{**QUICK, **changes})


@pytest.mark.slow
@pytest.mark.parametrize("method", [IDM(), IDM_WHOLE, IDM_START], ids=lambda m: m.name)
def test_the_contract_holds(method):
    assert [v for v in run_checks(checks_for("method", method)) if v.status != "passed"] == []


# ---- partition


def test_tiles_are_the_quarters_of_a_sheet_scaled_up():
    sheets = torch.rand(3, 2, 8, 6)
    found = tiles(sheets, 2).view(3, 4, 2, 8, 6)
    quarters = [sheets[..., r : r + 4, c : c + 3] for r in (0, 4) for c in (0, 3)]
    for number, quarter in enumerate(quarters):
        wanted = F.interpolate(quarter, (8, 6), mode="bilinear", align_corners=False)
        torch.testing.assert_close(found[:, number], wanted)


def test_students_by_formation_see_the_tiles_that_were_matched():
    sheet = torch.rand(1, 1, 8, 8)
    matched = list(tiles(sheet, 2))
    seen = one_tile(sheet.expand(40, 1, 8, 8), 2, torch.Generator().manual_seed(0))
    which = {next(i for i, m in enumerate(matched) if torch.allclose(m, one)) for one in seen}
    assert which == {0, 1, 2, 3}


def test_a_sheet_starts_as_small_real_images_of_its_class():
    method = dataclasses.replace(IDM_START, init="real")
    given = task(method)
    images = method.condense(given).images.float() / 255
    real = RealImages(given, torch.Generator())
    for label in (0, 5):
        members = real.draw(label, 10**6)
        small = F.interpolate(members, scale_factor=0.5, mode="bilinear", align_corners=False)
        side = small.shape[2]
        corner = images[2 * label, :, :side, :side]
        assert (small - corner).abs().amax((1, 2, 3)).min() < 0.01


def test_the_set_holds_sheets_and_no_more_than_its_budget():
    made = quick(iterations=2).condense(task(quick()))
    assert made.images.shape == (16, *toy.GRAY.load().shape)
    assert made.images.dtype == torch.uint8
    assert made.labels.tolist() == torch.eye(8).repeat_interleave(2, 0).tolist()


@pytest.mark.parametrize("factor", [5, 7])
def test_a_factor_that_does_not_divide_the_sides_is_refused(factor):
    with pytest.raises(BenchError, match=f"factor is {factor} and images are"):
        quick(factor=factor).condense(task(quick()))


def trained_on(images, labels, recipe):
    data = toy.GRAY.load()
    split = TensorSplit(images, labels.argmax(1))
    student = fit(
        fixtures.network(toy.ToyConvNet(), data),
        Examples(split, torch.arange(len(images)), split.labels),
        recipe,
        classes=8,
        seed=0,
    )
    index = torch.arange(len(data.test.labels))
    with torch.no_grad():
        found = student(data.test.images(index)).argmax(1)
    return (found == data.test.labels).float().mean().item()


def test_students_that_see_tiles_learn_what_those_that_see_sheets_do_not():
    made = quick(iterations=40).condense(task(quick()))
    recipe = Recipe(steps=150, batch=32, lr=0.1)
    sheets = trained_on(made.images, made.labels, recipe)
    tiled = trained_on(made.images, made.labels, dataclasses.replace(recipe, formation=2))
    assert tiled > sheets + 0.1


# ---- the queue


def test_networks_come_in_and_the_oldest_leave():
    method = quick(queue=3, every=2)
    given = task(method)
    learners = Learners(method, given, torch.Generator().manual_seed(0))
    sizes, first = [], learners.networks[0]
    for step in range(6):
        learners.draw(step)
        sizes.append(len(learners.networks))
    assert sizes == [3] * 6
    assert first not in learners.networks


def test_the_first_step_chooses_among_four_networks_as_released():
    method = quick()
    learners = Learners(method, task(method), torch.Generator().manual_seed(0))
    learners.draw(0)
    assert len(learners.networks) == 4


def test_a_learner_learns_from_real_images_and_says_how_well_it_does():
    method = quick()
    learner = Learner(method, task(method, toy.COLOR))
    assert learner.accuracy == 0
    draws = torch.Generator().manual_seed(0)
    learner.train(1, draws)
    early = learner.accuracy
    learner.train(30, draws)
    assert learner.accuracy > early + 0.1


def test_the_cross_entropy_weighs_as_much_as_the_network_is_right():
    method = quick(augment="")
    given = task(method)
    torch.manual_seed(0)
    network = fixtures.network(toy.ToyConvNet(), toy.GRAY.load()).eval()
    images = toy.GRAY.load().train.images(torch.arange(2))

    def loss(accuracy, label=3):
        real = RealImages(given, torch.Generator().manual_seed(0))
        return method.loss(network, accuracy, real, images, label, torch.Generator())

    told = F.cross_entropy(network(tiles(images, 2)), torch.full((8,), 3))
    torch.testing.assert_close(loss(0.4) - loss(0.0), 0.5 * 40 * told, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [("factor", 0, "1 or more"), ("queue", 0, "1 or more"), ("train", -1, "0 or more")],
)
def test_a_field_that_makes_no_sense_is_refused(field, value, expected):
    with pytest.raises(BenchError, match=f"{field} is {value}; expected {expected}"):
        IDM(**{field: value})
