"""Random views of a batch [B, C, H, W] in [0, 1]: no loop over images, differentiable in them.

Every draw comes from the generator that is given, a CPU generator whatever the device, so that a
run on a GPU sees the same crops. Images are never changed in place.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from bench.contract.errors import BenchError


def shift_crop(images: Tensor, by: int, generator: Generator) -> Tensor:
    """Shift each image by up to `by` pixels along each axis; zeros come in from outside.

    What the field calls "random crop with padding".
    """
    dy, dx = torch.randint(0, 2 * by + 1, (2, len(images)), generator=generator)
    return _shifted(images, by, dy, dx)


def flip(images: Tensor, generator: Generator) -> Tensor:
    """Mirror each image, left to right, with probability one half."""
    return _mirrored(images, torch.rand(len(images), generator=generator) < 0.5)


def one_tile(images: Tensor, by: int, generator: Generator) -> Tensor:
    """Of each image one of its `by` x `by` tiles, scaled up bilinearly, as students of IDC and IDM
    see them (Kim et al., 2022; Zhao et al., 2023).

    Raises BenchError where `by` does not divide both sides.
    """
    count, (height, width) = len(images), images.shape[2:]
    which = torch.randint(by * by, (count,), generator=generator).to(images.device)
    tiles = _tiles(images, by, "formation").flatten(1, 2)  # [B, by * by, C, h, w]
    chosen = tiles[torch.arange(count, device=images.device), which]
    return F.interpolate(chosen, (height, width), mode="bilinear", align_corners=False)


def shuffle_patches(images: Tensor, by: int, generator: Generator) -> Tensor:
    """Cut each image into `by` x `by` tiles, and put their columns, then their rows in a random
    order, as RDED's students see them (Sun et al., 2024).

    Raises BenchError where `by` does not divide both sides.
    """
    tiles, count = _tiles(images, by, "shuffle"), len(images)
    order = torch.rand(2, count, by, generator=generator).argsort(2).to(images.device)
    image = torch.arange(count, device=images.device)[:, None, None]
    moved = tiles[image, order[0, :, :, None], order[1, :, None, :]]
    return moved.permute(0, 3, 1, 4, 2, 5).reshape(images.shape)


def resized_crop(
    count: int,
    scale: tuple[float, float],
    generator: Generator,
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Tensor:
    """Boxes [count, 4] (left, top, right, bottom; fractions of the image) of random crops.

    As in Szegedy et al., 2015 ("Inception" crops): the area uniform in `scale`, the aspect (of
    fractions, so relative to the image's own) log-uniform in `ratio`. Of the aspects only those
    with which a box of that area fits into the image are drawn, so nothing is tried twice.
    """
    u = torch.rand(4, count, generator=generator, dtype=torch.float64)
    area = scale[0] + (scale[1] - scale[0]) * u[0]
    low = area.clamp_min(ratio[0]).log()  # width <= 1 and height <= 1: area <= aspect <= 1 / area
    high = area.reciprocal().clamp_max(ratio[1]).log()
    aspect = (low + (high - low) * u[1]).exp()
    width, height = (area * aspect).sqrt().clamp_max(1), (area / aspect).sqrt().clamp_max(1)
    left, top = (1 - width) * u[2], (1 - height) * u[3]
    return torch.stack([left, top, left + width, top + height], 1).float().clamp(0, 1)


def mixup(images: Tensor, alpha: float, generator: Generator) -> tuple[Tensor, Tensor, float]:
    """Mix each image with another of the batch (Zhang et al., 2018): (mixed, permutation, lam).

    Image i is `lam * images[i] + (1 - lam) * images[permutation[i]]`; its label is to be mixed
    alike. One `lam`, from Beta(alpha, alpha), for the whole batch.
    """
    permutation = torch.randperm(len(images), generator=generator)
    lam = _beta(alpha, generator)
    other = images[permutation.to(images.device)]
    return (lam * images + (1 - lam) * other).clamp(0, 1), permutation, lam


def cutmix(images: Tensor, alpha: float, generator: Generator) -> tuple[Tensor, Tensor, float]:
    """Paste a box of another image into each (Yun et al., 2019): (mixed, permutation, lam).

    One box for the whole batch, of area 1 - lam before it is cut off at the border; the `lam`
    that comes back is the fraction of pixels that image i keeps, with the border counted.
    """
    height, width = images.shape[2:]
    permutation = torch.randperm(len(images), generator=generator)
    side = math.sqrt(1 - _beta(alpha, generator))
    y, x = torch.rand(2, generator=generator).tolist()
    top, bottom = _interval(y, side, height)
    left, right = _interval(x, side, width)
    mask = images.new_zeros(height, width, dtype=torch.bool)
    mask[top:bottom, left:right] = True
    mixed = torch.where(mask, images[permutation.to(images.device)], images)
    return mixed, permutation, 1 - (bottom - top) * (right - left) / (height * width)


Units = tuple[Tensor | Sequence[float], Tensor | Sequence[float]]
"""Mean and standard deviation of the pixels of each channel: [C, 1, 1], or C numbers."""


def dsa(
    images: Tensor,
    operations: str,
    generator: Generator,
    *,
    flip: bool,
    units: Units,
    siamese: bool = False,
) -> Tensor:
    """Differentiable Siamese augmentation (Zhao & Bilen, 2021) of images [B, C, H, W] in [0, 1].

    `operations` are names joined by "_", out of color, crop, cutout, flip, scale and rotate. One
    of them is drawn per call (the paper's "one strategy" mode) and applied to the whole batch,
    with strengths of its own for each image. With `siamese`, all images share one draw: two calls
    with generators of one seed then treat two batches of any size alike. "flip" is left out
    unless `flip` says that a mirror image keeps its label.

    As published, normalised pixels are augmented, by `units`: a shift of brightness is in standard
    deviations, and what enters from outside and what is cut out is the mean. So views may leave
    [0, 1]. (In pixels of [0, 1] the same shift is three times as large on Fashion-MNIST, and four
    times on CIFAR-10.)
    """
    names = [name for name in operations.split("_") if name and (flip or name != "flip")]
    if not names:
        return images
    name = names[int(torch.randint(len(names), (1,), generator=generator))]
    count = 1 if siamese else len(images)

    def uniform() -> Tensor:  # [B]
        return torch.rand(count, generator=generator).expand(len(images)).to(images.device)

    mean, std = (
        unit.to(images) if isinstance(unit, Tensor) else images.new_tensor(unit).view(-1, 1, 1)
        for unit in units
    )
    return mean + std * _DSA[name]((images - mean) / std, uniform)


Uniform = Callable[[], Tensor]


def _color(images: Tensor, uniform: Uniform) -> Tensor:
    """Brightness, saturation and contrast, in this order."""
    brightness, saturation, contrast = (uniform().view(-1, 1, 1, 1) for _ in range(3))
    images = images + (brightness - 0.5)
    grey = images.mean(1, keepdim=True)
    images = (images - grey) * (2 * saturation) + grey
    level = images.mean((1, 2, 3), keepdim=True)
    return (images - level) * (contrast + 0.5) + level


def _crop(images: Tensor, uniform: Uniform) -> Tensor:
    by = int(max(images.shape[2:]) / 8 + 0.5)
    dy, dx = (_below(uniform(), 2 * by + 1) for _ in range(2))
    return _shifted(images, by, dy, dx)


def _cutout(images: Tensor, uniform: Uniform) -> Tensor:
    """Put 0 in a rectangle of half the height and width; part of it may lie outside."""
    inside = []
    for size in images.shape[2:]:
        half = int(size / 2 + 0.5)
        start = _below(uniform(), size + 1 - half % 2) - half // 2
        offset = torch.arange(size, device=images.device) - start[:, None]  # [B, size]
        inside.append((offset >= 0) & (offset < half))
    rows, columns = inside
    return images * ~(rows[:, None, :, None] & columns[:, None, None, :])


def _flip(images: Tensor, uniform: Uniform) -> Tensor:
    return _mirrored(images, uniform() < 0.5)


def _scale(images: Tensor, uniform: Uniform) -> Tensor:
    """Height and width each resized by a factor in [1 / 1.2, 1.2], about the centre."""
    zero = torch.zeros(len(images), device=images.device)
    x, y = (1 / 1.2 + (1.2 - 1 / 1.2) * uniform() for _ in range(2))
    return _warped(images, x, zero, zero, y)


def _rotate(images: Tensor, uniform: Uniform) -> Tensor:
    """By up to 15 degrees either way, about the centre."""
    angle = (uniform() - 0.5) * math.radians(30)
    return _warped(images, angle.cos(), -angle.sin(), angle.sin(), angle.cos())


_DSA: dict[str, Callable[[Tensor, Uniform], Tensor]] = {
    "color": _color,
    "crop": _crop,
    "cutout": _cutout,
    "flip": _flip,
    "scale": _scale,
    "rotate": _rotate,
}


def _beta(alpha: float, generator: Generator) -> float:
    """One draw from Beta(alpha, alpha); torch's own sampler takes no generator."""
    seed = int(torch.randint(2**62, (1,), generator=generator))
    return random.Random(seed).betavariate(alpha, alpha)


def _interval(centre: float, side: float, size: int) -> tuple[int, int]:
    """Pixels [start, stop) of a stretch of `side * size` about `centre * size`, cut at the ends."""
    length, middle = int(side * size), int(centre * size)
    return max(middle - length // 2, 0), min(middle - length // 2 + length, size)


def _tiles(images: Tensor, by: int, field: str) -> Tensor:
    """Images [B, C, H, W] as tiles [B, by, by, C, H / by, W / by]."""
    count, channels, height, width = images.shape
    if height % by or width % by:
        raise BenchError(
            f"recipe.{field} is {by} and images are {height} x {width} pixels; expected a number "
            "that divides both sides"
        )
    tiles = images.reshape(count, channels, by, height // by, by, width // by)
    return tiles.permute(0, 2, 4, 1, 3, 5)


def _below(uniform: Tensor, count: int) -> Tensor:
    """Integers in [0, count) from numbers in [0, 1)."""
    return (uniform * count).long().clamp_max(count - 1)  # float32 may round up to `count`


def _shifted(images: Tensor, by: int, dy: Tensor, dx: Tensor) -> Tensor:
    """The window of each zero-padded image that starts at (dy, dx), both [B] in [0, 2 by].

    Written with `gather`, whose gradient takes the memory of the images; that of a view of all
    windows takes it for each of them.
    """
    height, width = images.shape[2:]
    padded = F.pad(images, (by,) * 4)
    rows = dy[:, None].to(images.device) + torch.arange(height, device=images.device)  # [B, H]
    columns = dx[:, None].to(images.device) + torch.arange(width, device=images.device)  # [B, W]
    index = (rows[:, :, None] * padded.shape[3] + columns[:, None]).flatten(1)
    index = index[:, None].expand(-1, images.shape[1], -1)  # [B, C, H W]
    return padded.flatten(2).gather(2, index).view(images.shape)


def _mirrored(images: Tensor, which: Tensor) -> Tensor:
    return torch.where(which.to(images.device)[:, None, None, None], images.flip(3), images)


def _warped(images: Tensor, xx: Tensor, xy: Tensor, yx: Tensor, yy: Tensor) -> Tensor:
    """Affine map about the centre, bilinear, 0 outside.

    The four numbers of each image [B] take an output coordinate in [-1, 1] to its source. Written
    with `gather`, because the gradient of `grid_sample` is not deterministic on a GPU.
    """
    _, channels, height, width = images.shape
    v = ((torch.arange(height, device=images.device) * 2 + 1) / height - 1)[:, None]
    u = (torch.arange(width, device=images.device) * 2 + 1) / width - 1
    xx, xy, yx, yy = (number[:, None, None] for number in (xx, xy, yx, yy))
    # Coordinates in the image padded by one pixel, in which everything outside is border.
    x = (((xx * u + xy * v + 1) * width + 1) / 2).clamp(0, width + 1)  # [B, H, W]
    y = (((yx * u + yy * v + 1) * height + 1) / 2).clamp(0, height + 1)
    left, top = x.floor().clamp_max(width), y.floor().clamp_max(height)
    dx, dy = (x - left)[:, None], (y - top)[:, None]  # [B, 1, H, W]
    padded = F.pad(images, (1, 1, 1, 1)).flatten(2)
    corner = (top * (width + 2) + left).long()

    def pixels(step: int) -> Tensor:
        index = (corner + step).flatten(1)[:, None].expand(-1, channels, -1)
        return padded.gather(2, index).view(images.shape)

    upper = pixels(0) * (1 - dx) + pixels(1) * dx
    lower = pixels(width + 2) * (1 - dx) + pixels(width + 3) * dx
    return upper * (1 - dy) + lower * dy
