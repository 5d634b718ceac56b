from dataclasses import dataclass

import pytest
import torch

from bench.training import toy


@dataclass(frozen=True)
class Wrong:
    """A sampler with one thing wrong."""

    name: str = "wrong"
    how: str = ""

    def sample(self, model, labels, extras, shape, generator):
        right = toy.ToySampler().sample(model, labels, extras, shape, generator)
        return globals()[self.how](right, model, shape)


def unbounded(right, model, shape):
    return right / 0


def flat(right, model, shape):
    return right.flatten(1)


def one_short(right, model, shape):
    return right[1:]


def deaf(right, model, shape):
    return torch.zeros_like(right)


def draws(right, model, shape):
    return (right + torch.rand(right.shape)) / 2


def unseeded(right, model, shape):
    generator = torch.Generator()
    generator.seed()
    return (right + torch.rand(right.shape, generator=generator)) / 2


def trains(right, model, shape):
    model.train()
    return right


@pytest.mark.parametrize(
    ("how", "claim", "words"),
    [
        ("unbounded", "returns a finite x", "the samples hold NaN or infinity"),
        ("flat", "returns a finite x", "returned float32 [5, 64]; expected float32 [5, 1, 8, 8]"),
        ("one_short", "returns a finite x", "returned float32 [4, 1, 8, 8]; expected float32 [5"),
        ("deaf", "draws from its generator", "two seeds of its generator give the same samples"),
        ("draws", "leaves the process as found", "on 5 labels, cosine noise: it changed torch's"),
        ("trains", "leaves its inputs as found", "train or eval mode"),
        ("unseeded", "same seed in another process", "two processes"),
    ],
)
def test_a_sampler_with_one_fault_fails_the_check_that_is_for_it(fails, how, claim, words) -> None:
    fails("sampler", Wrong(how=how), claim, words)
