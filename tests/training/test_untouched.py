"""What a verb must leave alone of a network is noticed where it did not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from bench.contract.errors import BenchError
from bench.training.untouched import check_untouched, fingerprint

IMAGES = torch.rand(4, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def network() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.BatchNorm1d(3)).eval()


def weight(model: nn.Sequential) -> nn.Parameter:
    found = model[1].weight
    assert isinstance(found, nn.Parameter)
    return found


def with_gradients(model: nn.Sequential) -> None:
    model(IMAGES).sum().backward()


def nudge(model: nn.Sequential) -> None:
    with torch.no_grad():
        weight(model)[0, 0] += 1e-6


@pytest.mark.parametrize(
    ("touch", "said"),
    [
        (lambda model: model.train(), "its train or eval mode"),
        (lambda model: model[2].train(), "its train or eval mode"),
        (lambda model: weight(model).requires_grad_(False), "its requires_grad"),
        (with_gradients, "its gradients"),
        (nudge, "its weights or buffers"),
        (lambda model: model[2].running_mean.add_(1), "its weights or buffers"),
    ],
    ids=["mode", "mode of a part", "requires_grad", "gradients", "weights", "buffers"],
)
def test_a_model_that_was_touched_is_noticed(touch: Callable[[Any], Any], said: str) -> None:
    model = network()
    before = fingerprint(model)
    touch(model)
    with pytest.raises(BenchError, match=f"the attack changed the model: {said}"):
        check_untouched(before, model, "the attack")


def test_a_model_that_was_asked_only_passes() -> None:
    model = network()
    before = fingerprint(model)
    images = IMAGES.clone().requires_grad_()
    torch.autograd.grad(model(images).sum(), images)
    check_untouched(before, model, "the attack")
