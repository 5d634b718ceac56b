"""Attacks of pyautoattack, made to waste less, or mended: what they return stays the same.

This module imports torch and pyautoattack: components import it inside their verbs.
"""

from __future__ import annotations

import logging
from types import FunctionType
from typing import Any

import torch
from pyautoattack import fab_base
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.fab_pt import FABAttack_PT
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


NEWTON = 40  # steps at most; five are the rule
EXACT = 1e-7  # of the size of a step, relative


def project(points: Tensor, normals: Tensor, offsets: Tensor) -> Tensor:
    """The smallest steps [B, P] in the maximum norm that lead points [B, P] of [0, 1] onto planes.

    A plane [B] is `normals` x = `offsets`. Where it misses [0, 1], the step is the farthest that
    leads towards it. In a step of size t a point gains sum_i |w_i| min(t, room_i), which is concave
    and piecewise linear in t: Newton's method climbs from below to the t that gains what is
    missing, without the sort of all pixels that pyautoattack makes. The two differ by rounding.
    """
    missing = offsets - (normals * points).sum(1)
    # on the plane, the other side is taken, as by the library
    way = torch.where(missing[:, None] > 0, normals, -normals).sign()
    missing, weights = missing.abs(), normals.abs()
    room = torch.where(way > 0, 1 - points, points) * (way != 0)
    gains = weights * room
    whole = weights.sum(1)
    reached = gains.sum(1) > missing
    size = missing / whole.clamp_min(torch.finfo(whole.dtype).tiny)
    for _ in range(NEWTON):
        full = room < size[:, None]
        rest = whole - (weights * full).sum(1)
        found = torch.where(rest > 0, (missing - (gains * full).sum(1)) / rest, size)
        found = torch.maximum(found, size)
        if not bool(((found > size * (1 + EXACT)) & reached).any()):
            break
        size = found
    size = torch.where(reached, found, torch.inf)
    return way * torch.minimum(size[:, None], room)


class FAB(FABAttack_PT):  # type: ignore[misc]
    """FAB, whose projection in the maximum norm costs a quarter."""

    # the library's code in its own words, but for one of the functions that it calls
    attack_single_run = FunctionType(
        fab_base.FABAttack.attack_single_run.__code__,
        vars(fab_base) | {"projection_linf": project},
        argdefs=fab_base.FABAttack.attack_single_run.__defaults__,
    )


class Square(SquareAttack):  # type: ignore[misc]
    """Square, for networks whose logits tie, too.

    The library takes a margin of 0 for success in its loop and for failure before it; where all
    first squares end in ties, it goes on with no image and raises RuntimeError.
    """

    def margin_and_loss(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        margin, loss = super().margin_and_loss(x, y)
        return margin.where(margin != 0, -torch.finfo(margin.dtype).tiny), loss
