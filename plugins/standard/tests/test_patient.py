from dataclasses import replace

import pytest
import torch

from bench import BenchError
from bench.checks import checks_for, fixtures
from bench.training import networks, toy
from bench_standard.patient import Patient, parts

SHORT = Patient(epochs=1, rounds=4, patience=1, held_out=0.25)


@pytest.mark.parametrize("check", checks_for("teacher", Patient()), ids=str)
def test_the_contract_holds(check):
    check.run()


def task(**changes):
    return replace(fixtures.task(SHORT, toy.GRAY, 0), **changes)


def weights(network):
    return torch.cat([one.flatten().float() for one in networks.state(network).values()])


@pytest.fixture
def scripted(monkeypatch):
    """Rounds that only count, and answers with the share of right ones that is given."""
    calls = []

    def script(*shares):
        def fit(network, examples, recipe, **given):
            calls.append((examples.index, given["seed"]))
            for parameter in network.parameters():
                parameter.data.fill_(len(calls))
            return network

        def predict(network, split, index, **given):
            right = round(shares[len(calls) - 1] * len(index))
            said = split.labels[index].clone()
            said[right:] = (said[right:] + 1) % 8
            return torch.eye(8)[said]

        monkeypatch.setattr("bench.training.classifier.fit", fit)
        monkeypatch.setattr("bench.training.networks.predict", predict)
        return calls

    return script


@pytest.mark.parametrize(
    ("shares", "patience", "rounds", "best"),
    [
        ([0.5, 0.6, 0.6, 0.9], 1, 3, 2),  # as good is no improvement
        ([0.5, 0.6, 0.4, 0.9], 2, 4, 4),
        ([0.0, 0.0, 0.0, 0.0], 2, 3, 1),  # the first is kept, whatever it can
        ([0.1, 0.2, 0.3, 0.4], 1, 4, 4),  # no more rounds than given
    ],
)
def test_it_ends_when_rounds_bring_nothing_and_keeps_the_best(
    scripted, shares, patience, rounds, best
):
    calls = scripted(*shares)
    made = replace(SHORT, patience=patience).squeeze(task())
    assert len(calls) == rounds
    assert {float(p.detach().min()) for p in made.parameters()} == {float(best)}
    assert not made.training


def test_no_image_that_is_held_out_is_trained_on_and_rounds_have_seeds_of_their_own(scripted):
    calls = scripted(0.1, 0.2, 0.3, 0.4)
    given = task()
    SHORT.squeeze(given)
    trained, tried = parts(given.train.labels, 8, 0.25, given.seed)
    assert all(torch.equal(index, trained) for index, _ in calls)
    assert len({seed for _, seed in calls}) == 4
    assert not {*trained.tolist()} & {*tried.tolist()}


def test_a_share_of_each_class_is_held_out_and_both_sides_have_each_class():
    labels = torch.tensor([0] * 20 + [1] * 2 + [2] * 7)
    trained, tried = parts(labels, 3, 0.1, seed=3)
    assert torch.cat([trained, tried]).sort().values.tolist() == [*range(29)]
    assert labels[tried].bincount().tolist() == [2, 1, 1]
    with pytest.raises(BenchError, match="class 1 has 1 training images; expected two or more"):
        parts(torch.tensor([0, 0, 1]), 2, 0.1, seed=0)


def test_a_training_that_was_killed_ends_with_the_weights_of_one_that_was_not():
    class Killed(Exception):
        pass

    class Memory:
        def __init__(self, last):
            self.last, self.kept = last, {}

        def load(self):
            return self.kept

        def save(self, state):
            if not self.last:
                raise Killed
            self.last -= 1
            self.kept = {name: one.clone() for name, one in state().items()}

    patient = replace(SHORT, patience=4)
    memory = Memory(2)
    with pytest.raises(Killed):
        patient.squeeze(task(checkpoint=memory))
    memory.last = 99
    assert torch.equal(
        weights(patient.squeeze(task(checkpoint=memory))), weights(patient.squeeze(task()))
    )


@pytest.mark.parametrize(
    "fields", [{"epochs": 0}, {"patience": 0}, {"rounds": 0}, {"held_out": 1.0}, {"lr": -1.0}]
)
def test_a_setting_that_makes_no_sense_is_refused(fields):
    with pytest.raises(BenchError, match=rf"{next(iter(fields))} is"):
        Patient(**fields)
