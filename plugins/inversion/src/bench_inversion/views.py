"""The random view of a step: one crop, mirror image and shift, shared by a group of images.

A crop resized to full size, a mirror image and a shift each take rows to rows and columns to
columns, linearly. So a view is two small matrices, multiplied onto the images: cheap, and its
gradient is deterministic on every device.

This module imports torch: components import it inside their verbs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from bench.training import augment


@dataclass(frozen=True, eq=False)
class Views:
    """Crops, then mirror images of them, then shifts: one in each of V rows.

    boxes     [V, 4] left, top, right, bottom; fractions of the image
    mirrored  [V] bool
    shifts    [V, 2] pixels down and to the right; what leaves comes in on the other side
    """

    boxes: Tensor
    mirrored: Tensor
    shifts: Tensor

    def of(self, images: Tensor) -> Tensor:
        """Images [B, C, H, W] in V groups of equal size, one after another: a view for each."""
        left, top, right, bottom = self.boxes.double()[..., None].unbind(1)  # [V, 1] each
        (_, channels, height, width), groups = images.shape, len(self.boxes)
        down, across = self.shifts[..., None].unbind(1)
        rows = _axis(height, top, bottom, torch.zeros_like(self.mirrored), down)
        columns = _axis(width, left, right, self.mirrored, across)
        seen = images.reshape(groups, -1, width) @ columns.mT.to(images.device)
        seen = rows[:, None].to(images.device) @ seen.view(groups, -1, height, width)
        return seen.view(-1, channels, height, width)

    def step(self, number: int) -> Views:
        """Of the views of several groups (`beside`), those of one step."""
        return Views(self.boxes[number], self.mirrored[number], self.shifts[number])


def draw(smallest: Tensor, largest: float, roll: int, flip: bool, generator: Generator) -> Views:
    """One view for each of `smallest` [V]: its area lies between that and `largest`.

    The aspect is in [3/4, 4/3], shifts are of up to `roll` pixels.
    """
    count = len(smallest)
    areas = (smallest, largest)
    boxes = augment.resized_crop(count, areas, generator)  # type: ignore[arg-type]  # a row each
    mirrored = (torch.rand(count, generator=generator) < 0.5) & flip
    return Views(boxes, mirrored, torch.randint(roll + 1, (count, 2), generator=generator))


def beside(groups: Sequence[Views]) -> Views:
    """The views of G groups over V steps, for `step`: [V, G, ...]."""
    return Views(
        torch.stack([views.boxes for views in groups], 1),
        torch.stack([views.mirrored for views in groups], 1),
        torch.stack([views.shifts for views in groups], 1),
    )


def _axis(size: int, start: Tensor, stop: Tensor, mirrored: Tensor, shift: Tensor) -> Tensor:
    """Matrices [V, size, size] that take an axis to its views, by linear interpolation.

    `start`, `stop` (fractions) and `shift` are [V, 1], `mirrored` is [V].
    """
    place = (torch.arange(size) - shift) % size
    place = torch.where(mirrored[:, None], size - 1 - place, place)
    source = (start + (stop - start) * (place + 0.5) / size) * size - 0.5  # [V, size]
    source = source.clamp(0, size - 1)
    # the weight of a pixel falls linearly, to 0 at the next
    return (1 - (source[..., None] - torch.arange(size)).abs()).clamp_min(0).float()
