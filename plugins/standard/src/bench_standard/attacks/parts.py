"""Attacks of pyautoattack, made to waste less, or mended: what they return stays the same.

This module imports torch and pyautoattack: components import it inside their verbs.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.square import SquareAttack
from torch import Tensor, nn

from bench_standard.attacks.search import Standing

LOG = logging.getLogger(__name__)  # where the library tells of gradients that are zero
LOG.addHandler(logging.NullHandler())


class _Stopping:
    """APGD goes on with images that fool the network already; here they stop."""

    model: nn.Module
    eot_iter: int

    def attack_single_run(self, x: Tensor, y: Tensor, x_init: Tensor | None = None) -> Any:
        network = self.model
        if self.eot_iter == 1:  # else the network draws, and one wrong answer of many is no end
            self.model = Standing(network, x, y)
        try:
            return super().attack_single_run(x, y, x_init)  # type: ignore[misc]
        finally:
            self.model = network


class APGD(_Stopping, APGDAttack):  # type: ignore[misc]
    pass


class TargetedAPGD(_Stopping, APGDAttack_targeted):  # type: ignore[misc]
    pass


class Square(SquareAttack):  # type: ignore[misc]
    """Square, for networks whose logits tie, too.

    The library takes a margin of 0 for success in its loop and for failure before it; where all
    first squares end in ties, it goes on with no image and raises RuntimeError.
    """

    def margin_and_loss(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        margin, loss = super().margin_and_loss(x, y)
        return margin.where(margin != 0, -torch.finfo(margin.dtype).tiny), loss
