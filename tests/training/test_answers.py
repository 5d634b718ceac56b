import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from bench import BenchError
from bench.training import answers
from bench.training.answers import check_overheard, overhearing


def convnet() -> nn.Module:
    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(128, 5)),
    )
    network(torch.rand(20, 1, 8, 8))
    return network.eval()


class Turns(torch.autograd.Function):
    """The identity, whose slope points back."""

    @staticmethod
    def forward(ctx: object, images: Tensor) -> Tensor:
        return images.clone()

    @staticmethod
    def backward(ctx: object, slope: Tensor) -> Tensor:  # type: ignore[override]
        return -slope


class Misleads(nn.Module):
    """Says the truth always; in some company its slope points back."""

    def __init__(self, when: Callable[[nn.Module], bool]) -> None:
        super().__init__()
        self.network, self.when = convnet(), when

    def forward(self, images: Tensor) -> Tensor:
        if self.when(self):
            images = Turns.apply(images)
        logits: Tensor = self.network(images)
        return logits


def attack(network: nn.Module, passes: int = 5) -> None:
    frozen = copy.deepcopy(network).requires_grad_(False)
    images = torch.rand(6, 1, 8, 8)
    for _ in range(passes):
        x = images.clone().requires_grad_()
        # what else an attack adds to the gradient is no part of the network's
        loss = frozen(x).square().sum() + 100 * x.square().sum()
        (slope,) = torch.autograd.grad(loss, x)
        images = (images + 0.01 * slope.sign()).clamp(0, 1)


def test_an_honest_network_has_one_slope_for_everybody() -> None:
    network = convnet()
    with overhearing(network, 0) as heard:
        attack(network, passes=30)
    assert heard.passes == 30
    assert 2 < len(heard.answers) < 20
    assert all(answer.slope is not None for answer in heard.answers)
    check_overheard(heard, network)


@pytest.mark.parametrize(
    "when",
    [
        lambda network: not next(network.parameters()).requires_grad,
        lambda network: bool(network._forward_hooks),
    ],
    ids=["frozen", "under hooks"],
)
def test_a_slope_that_is_for_attacks_alone_is_blocked(when: Callable[[nn.Module], bool]) -> None:
    network = Misleads(when)
    with overhearing(network, 0) as heard:
        attack(network)
    with pytest.raises(BenchError, match="another slope for an attack than for anybody else"):
        check_overheard(heard, network)


def test_a_network_that_has_a_slope_for_attacks_alone_is_blocked() -> None:
    class Silent(Misleads):
        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = self.network(images)
            return logits if self._forward_hooks else logits.detach()

    network = Silent(lambda network: False)
    with overhearing(network, 0) as heard:
        attack(network)
    with pytest.raises(BenchError, match="another slope"):
        check_overheard(heard, network)


def test_which_passes_are_asked_again_is_drawn_from_the_seed() -> None:
    network, images = convnet(), torch.rand(200, 3, 1, 8, 8)

    def kept(seed: int) -> list[int]:
        with overhearing(network, seed) as heard, torch.no_grad():
            for batch in images:
                network(batch)
        return [
            next(k for k, batch in enumerate(images) if (batch == answer.images[0]).all(3).any())
            for answer in heard.answers
        ]

    found = [kept(seed) for seed in range(8)]
    assert found[0] == kept(0)
    assert len({*map(tuple, found)}) == 8
    assert all(passes[0] == 0 for passes in found)
    assert all(3 < len(passes) < 30 for passes in found)  # about 2 log 200
    assert len({k for passes in found for k in passes}) > 20


def test_of_a_pass_some_images_are_kept() -> None:
    network = convnet()
    with overhearing(network, 1) as heard, torch.no_grad():
        network(torch.rand(50, 1, 8, 8))
    assert [len(answer.images) for answer in heard.answers] == [answers.KEPT]
