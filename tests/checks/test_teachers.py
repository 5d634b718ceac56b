from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import nn

from bench.checks import checks_for, run_checks
from bench.contract.task import Task
from bench.training import toy
from bench.training.diffusion import Schedule


@dataclass(frozen=True)
class Wrong:
    """A toy teacher with one thing wrong."""

    name: str = "wrong"
    how: str = ""
    track: ClassVar[str] = "classification"

    def squeeze(self, task: Task) -> nn.Module:
        return globals()[self.how](task)


def returns_state(task):
    return toy.ToyTeacher().squeeze(task).state_dict()


def another_network(task):
    return nn.Linear(3, 4)


def diverges(task):
    network = task.network()
    nn.init.constant_(next(network.parameters()), float("nan"))
    return network


def untrained(task):
    network = task.network()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    return network


def unseeded(task):
    network = toy.ToyTeacher().squeeze(task)
    generator = torch.Generator()
    generator.seed()
    with torch.no_grad():
        next(network.parameters()).mul_(1 + 0.01 * torch.rand(1, generator=generator))
    return network


def draws(task):
    torch.manual_seed(task.seed)
    return toy.ToyTeacher().squeeze(task)


def relabels(task):
    network = toy.ToyTeacher().squeeze(task)
    task.train.labels.zero_()
    return network


@pytest.mark.parametrize(
    ("how", "claim", "words"),
    [
        ("returns_state", "returns its task's network", "returned OrderedDict; expected the net"),
        ("another_network", "returns its task's network", "the saved state has no"),
        ("diverges", "returns its task's network", "NaN"),
        ("untrained", "has learnt something", "on toy-data: accuracy 0.12"),
        ("unseeded", "same seed in another process", "two processes with the same seed"),
        ("relabels", "leaves its inputs as found", "task.train.labels"),
    ],
)
def test_a_teacher_with_one_fault_fails_the_check_that_is_for_it(fails, how, claim, words) -> None:
    fails("teacher", Wrong(how=how), claim, words)


def test_seeding_the_whole_process_is_a_fault_only_if_it_shows(verdict) -> None:
    # the same seed that the harness has set: nothing is left behind
    assert verdict("teacher", Wrong(how="draws"), "leaves the process").status == "passed"


@dataclass(frozen=True)
class Denoises:
    """A teacher of the generation track: the class means."""

    name: str = "denoises"
    track: ClassVar[str] = "generation"

    def squeeze(self, task: Task) -> nn.Module:
        network = task.network()
        means = [
            task.train.images((task.train.labels == k).nonzero()[:, 0]).mean(0)
            for k in range(len(task.classes))
        ]
        with torch.no_grad():
            known = 2 * torch.stack(means).flatten(1) - 1
            network.network.images.weight[:-1].copy_(known)
        network.schedule = Schedule(prediction="image")
        return network


def test_a_teacher_of_the_generation_track_is_given_a_denoiser() -> None:
    verdicts = run_checks(checks_for("teacher", Denoises()))
    status = {v.check.removeprefix("teacher 'denoises' "): v.status for v in verdicts}
    assert set(status.values()) == {"passed"}


@dataclass(frozen=True)
class Sleeps:
    """A teacher of the generation track that teaches nothing."""

    name: str = "sleeps"
    track: ClassVar[str] = "generation"

    def squeeze(self, task: Task) -> nn.Module:
        return task.network()


def test_a_denoiser_that_has_learnt_nothing_is_found_out(verdict) -> None:
    found = verdict("teacher", Sleeps(), "has learnt something")
    assert found.status == "failed"
    assert "on toy-data: the denoising loss is" in found.detail
