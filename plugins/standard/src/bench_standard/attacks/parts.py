"""Attacks of pyautoattack, made to waste less, or mended: what they return stays the same.

This module imports torch and pyautoattack: components import it inside their verbs.
"""

from __future__ import annotations

import logging
import math
from types import FunctionType
from typing import Any

import torch
from pyautoattack import fab_base
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.fab_pt import FABAttack_PT
from pyautoattack.square import SquareAttack
from torch import Tensor, nn

from bench_standard.attacks.search import Standing
from bench_standard.attacks.windows import windowed

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
    """Square, for networks whose logits tie, too, and with less work beside the network's.

    The library takes a margin of 0 for success in its loop and for failure before it; where all
    first squares end in ties, it goes on with no image and raises RuntimeError.
    """

    def margin_and_loss(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """By how much the label leads [B], twice: that is the loss as well."""
        lead = self._lead(self.predict(x), y)
        return lead, lead

    def _lead(self, logits: Tensor, y: Tensor) -> Tensor:
        true = y[:, None]
        lead = logits.gather(1, true).squeeze(1) - logits.scatter(1, true, -torch.inf).amax(1)
        return lead.where(lead != 0, -torch.finfo(lead.dtype).tiny)

    def attack_single_run(self, x: Tensor, y: Tensor) -> tuple[None, Tensor]:
        """In L-infinity: the library's search and draws, which touches a window and no more.

        The images are the library's, bit by bit. It copies those that are in play a dozen times a
        query; here they lie together, and what a square has not improved is put back. Where the
        network's first layers are local, so are the passes.
        """
        if self.norm != "Linf":
            return super().attack_single_run(x, y)  # type: ignore[no-any-return]
        count, channels, height, width = x.shape
        low, high = (x - self.eps).clamp_min(0), (x + self.eps).clamp_max(1)
        stripes = self.eps * self.random_choice([count, channels, 1, width])
        found = (x + stripes).clamp(0, 1)
        lead, _ = self.margin_and_loss(found, y)
        rows = (lead > 0).nonzero().squeeze(1)
        now, low, high, y, lead = (t[rows] for t in (found, low, high, y, lead))
        local = windowed(self.predict, now) if len(rows) else None
        for query in range(self.n_queries):
            if not len(rows):
                break
            side = round(math.sqrt(self.p_selection(query) * height * width))
            side = min(max(side, 1), height, width)
            top, left = (int(self.random_int(0, n - side)) for n in (height, width))
            window = (..., slice(top, top + side), slice(left, left + side))
            step = 2.0 * self.eps * self.random_choice([channels, 1, 1])
            before = now[window].clone()
            now[window] = torch.minimum(torch.maximum(before + step, low[window]), high[window])
            if local:
                reached = self._lead(local(now, (top, top + side, left, left + side)), y)
            else:
                reached, _ = self.margin_and_loss(now, y)
            fell, better = reached <= 0, reached < lead
            now[window] = now[window].where((better | fell).view(-1, 1, 1, 1), before)
            if local:
                local.keep(better | fell)
            lead = reached.where(better, lead)
            if bool(fell.any()):
                found[rows[fell]] = now[fell]
                rows, now, low, high, y, lead = (t[~fell] for t in (rows, now, low, high, y, lead))
                if local:
                    local.drop(fell)
        found[rows] = now
        return None, found
