import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bench import BenchError, CondensedSet, TensorSplit
from bench.checks import checks_for, fixtures, run_checks
from bench.training import toy
from bench.training.classifier import Examples, fit
from bench.training.recipe import Recipe
from bench_matching.mtt import MTT, distance, flat, trajectories, unflat, walk

QUICK = dataclasses.replace(MTT(), **MTT.quick)


def changed(**fields):
    return dataclasses.replace(QUICK, **fields)


def task(**changes):
    return dataclasses.replace(fixtures.task(MTT(), toy.GRAY, 2), **changes)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(9, 5), nn.Tanh(), nn.Linear(5, 3))


IMAGES = torch.rand(6, 1, 3, 3, generator=torch.Generator().manual_seed(1))
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


def walked(how, images=IMAGES, rate=0.3, net=None):
    net = net or network()
    return walk(
        how, net, flat(net), images, LABELS, torch.as_tensor(rate), torch.Generator(), flip=False
    )


@pytest.mark.slow
def test_the_contract_holds():
    assert [v for v in run_checks(checks_for("method", MTT())) if v.status != "passed"] == []


def test_a_walk_is_plain_sgd_on_the_images():
    net = network()
    sgd = torch.optim.SGD(net.parameters(), 0.3)
    for _ in range(4):
        sgd.zero_grad()
        F.cross_entropy(net(IMAGES), LABELS).backward()
        sgd.step()
    end = walked(changed(steps=4, augment=""))
    torch.testing.assert_close(end, flat(net))


def test_a_walk_in_batches_sees_each_image_as_often():
    seen = []
    net = network()
    net.register_forward_pre_hook(lambda _, inputs: seen.extend(inputs[0].flatten(1).sum(1)))
    walked(changed(steps=6, augment="", batch_student=2), net=net)
    sums = torch.stack(seen).sort()[0]
    torch.testing.assert_close(sums, IMAGES.flatten(1).sum(1).repeat(2).sort()[0])


def test_the_gradient_goes_through_all_steps_in_images_and_in_the_learning_rate():
    how, aim = changed(steps=3, augment=""), flat(network()) + 0.1
    images, rate = IMAGES.double().requires_grad_(), torch.tensor(0.3, dtype=torch.float64)
    rate.requires_grad_()
    net = network().double()

    def far(images, rate):
        end = walk(how, net, flat(net), images, LABELS, rate, torch.Generator(), flip=False)
        return distance(end, flat(net), aim.double())

    assert torch.autograd.gradcheck(far, (images, rate))


def test_the_distance_is_a_share_of_the_way_that_the_expert_went():
    begun, aim = torch.zeros(4), torch.tensor([3.0, 0, 4, 0])
    assert distance(begun, begun, aim) == 1
    assert distance(aim, begun, aim) == 0
    assert distance(torch.tensor([3.0, 0, 0, 0]), begun, aim).item() == pytest.approx(16 / 25)


def test_a_vector_holds_the_parameters_of_a_network():
    net = network()
    named = unflat(net, flat(net))
    assert all(torch.equal(named[name], p) for name, p in net.named_parameters())


def test_experts_are_followed_as_far_as_they_are_trained():
    how = changed(experts=3, start=4, ahead=2)
    paths, student = trajectories(how, task(), {})
    assert [len(path) for path in paths] == [6] * 3  # of the weights before training and 5 epochs
    assert not torch.equal(paths[0][0], paths[1][0])
    assert student.training
    # the last epochs have learnt what the first did not know
    net = fixtures.network(toy.ToyConvNet(), toy.GRAY.load())
    train = toy.GRAY.load().train
    index = torch.arange(len(train.labels))

    def loss(weights):
        logits = torch.func.functional_call(net.train(), unflat(net, weights), train.images(index))
        return F.cross_entropy(logits, train.labels).item()

    assert loss(paths[0][-1]) < loss(paths[0][0])


def test_images_learn_to_lead_a_student_that_they_were_not_matched_on():
    how = changed(experts=4, iterations=60, steps=8, lr=20.0, augment="", init="noise")
    given = task()
    data = toy.GRAY.load()

    def accuracy(made: CondensedSet):
        student = fixtures.network(toy.ToyConvNet(), data, seed=99)
        recipe = Recipe(steps=60, batch=32, lr=0.1)
        classes = made.classes
        split = TensorSplit(made.images, classes)
        fit(
            student, Examples(split, torch.arange(len(classes)), classes), recipe, classes=8, seed=0
        )
        index = torch.arange(len(data.test.labels))
        with torch.no_grad():
            return (student(data.test.images(index)).argmax(1) == data.test.labels).float().mean()

    noise = dataclasses.replace(how, iterations=1, lr=1e-6).condense(given)
    made = how.condense(given)
    assert accuracy(made) > accuracy(noise) + 0.2
    assert made.notes["student_lr"] > 0
    assert made.notes["student_lr"] != how.lr_network


def test_a_rate_that_falls_below_zero_says_what_to_lower():
    with pytest.raises(BenchError, match=r"diverged.*lower lr \(10\) or lr_lr \(1e\+06\)"):
        changed(lr_lr=1e6).condense(task())


class Killed(Exception):
    pass


class Memory:
    """A checkpoint after every step; it kills after `last` of them.

    As that of the store, it counts the networks that were drawn before a kill.
    """

    def __init__(self, last):
        self.last, self.times, self.drawn, self.kept = last, 0, 0, ({}, 0)

    def load(self):
        tensors, self.drawn = self.kept
        return tensors

    def save(self, state):
        self.times += 1
        if self.times > self.last:
            raise Killed
        self.kept = ({name: one.clone() for name, one in state().items()}, self.drawn)

    def network(self):
        self.drawn += 1
        return fixtures.network(toy.ToyConvNet(), toy.GRAY.load(), seed=self.drawn)


@pytest.mark.parametrize("last", [1, 2, 5])
def test_a_set_whose_making_was_killed_has_the_bytes_of_one_that_was_not(last):
    how = changed(iterations=6)

    def made(memory):
        return how.condense(task(networks={"backbone": memory.network}, checkpoint=memory)).images

    whole = made(Memory(99))
    memory = Memory(last)
    with pytest.raises(Killed):
        made(memory)
    memory.last = 99
    assert torch.equal(made(memory), whole)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [("experts", 0, "1 or more"), ("steps", 0, "1 or more"), ("lr_lr", -1.0, "0 or more")],
)
def test_a_field_that_makes_no_sense_is_refused(field, value, expected):
    with pytest.raises(BenchError, match=f"{field} is {value}; expected {expected}"):
        MTT(**{field: value})
