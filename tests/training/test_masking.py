import pytest
import torch
from torch import Tensor, nn

from bench.training import masking
from bench.training.masking import Ball
from bench.training.passes import counting

BALL = Ball("linf", 0.05)


class Sums(nn.Module):
    """The brightness of an image against 0.5, as two logits."""

    def forward(self, images: Tensor) -> Tensor:
        mean = images.flatten(1).mean(1, keepdim=True) - 0.5
        return torch.cat([mean, -mean], 1)


def grey(*values: float) -> tuple[Tensor, Tensor]:
    """Images of 2 x 2 pixels, and labels that are right."""
    images = torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 1, 2, 2).contiguous()
    return images, (images[:, 0, 0, 0] < 0.5).long()


def further(images: Tensor, adversarial: Tensor, labels: Tensor) -> tuple[float, int, int]:
    network = Sums()
    with counting(network) as passes:
        share = masking.fell_further(
            *(network, adversarial, images, labels, BALL), torch.Generator().manual_seed(0)
        )
    return share, passes.forward, passes.backward


def test_images_that_an_attack_has_felled_are_not_looked_at_further() -> None:
    images, labels = grey(*[0.51] * 6, *[0.6] * 2)
    near = images.clone()
    near[:6] -= 0.02
    share, forward, backward = further(images, near, labels)
    assert share == 0
    assert backward == 2 * masking.STEPS  # the two that stand, and cannot fall
    assert forward == 8 + 2 * 2 * masking.STEPS
    assert further(*2 * [images[:6].repeat(2, 1, 1, 1) - 0.02], labels[:6].repeat(2))[0] == 0


def test_the_share_that_falls_to_more_steps_is_of_all_images() -> None:
    images, labels = grey(*[0.51] * 6, *[0.6] * 2)
    share, _, backward = further(images, images, labels)
    assert share == pytest.approx(6 / 8)
    assert 2 * masking.STEPS + 6 <= backward < 8 * masking.STEPS


def test_of_a_linear_network_a_step_does_what_the_slope_says_at_one_slope_a_point() -> None:
    images, labels = grey(*[0.4, 0.45, 0.6, 0.7] * 2)
    network = Sums().double()
    with counting(network) as passes:
        ratio = masking.slope_ratio(
            *(network, images, images, labels, BALL), torch.Generator().manual_seed(0)
        )
    assert ratio == pytest.approx(1, rel=1e-3)
    assert passes.backward == 3 * 8  # at the images, near by, and where the attack ended
