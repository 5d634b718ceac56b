"""RDED: crops of real images that a teacher recognises, stitched; nothing is optimised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench import BenchError, CondensedSet, Task

if TYPE_CHECKING:
    from torch import Generator, Tensor

BATCH = 256  # crops cut at once


@dataclass(frozen=True)
class RDED:
    """The crops that the teacher knows best, one of an image, stitched (Sun et al., CVPR 2024).

    Of each class `pool` images are drawn, and of each image `crops` square crops. A crop is as
    large as a tile, 1 / `factor` of the image along each side, and is scored as published: by the
    teacher's cross-entropy ("realism") on it, in the middle of an image of the mean colour. Of
    each image the best crop stays ("diversity"), of these the best `ipc` x `factor`^2, and of the
    best `ipc` each goes to an image of its own. A class of fewer images than tiles gives second
    best crops, and so on. The labels are the teacher's on the stitched images; as published it
    labels every view of them (labels = "teacher").
    """

    name: str = "rded"
    teacher: str = "standard"
    factor: int = 2  # tiles along each side; as published 1 on CIFAR, 2 on larger images
    crops: int = 5  # candidates of an image
    pool: int = 300  # images of a class that give candidates
    scale: tuple[float, ...] = (0.08, 1.0)  # area of a crop
    temperature: float = 1.0  # of the labels
    quick: ClassVar[dict[str, Any]] = {"pool": 20}

    def __post_init__(self) -> None:
        for field in ("factor", "crops", "pool"):
            if (value := getattr(self, field)) < 1:
                raise BenchError(f"{self.name}: {field} is {value}; expected 1 or more")
        if not self.temperature > 0:
            found = f"temperature is {self.temperature}"
            raise BenchError(f"{self.name}: {found}; expected more than 0")
        if not (len(self.scale) == 2 and 0 < self.scale[0] <= self.scale[1] <= 1):
            expected = "two areas with 0 < smallest <= largest <= 1"
            raise BenchError(f"{self.name}: scale is {self.scale}; expected {expected}")

    def condense(self, task: Task) -> CondensedSet:
        import torch

        from bench_inversion.labels import owners, soft_labels

        if any(side % self.factor for side in task.shape[1:]):
            raise BenchError(
                f"{self.name}: factor is {self.factor} and images are {task.shape[1]} x "
                f"{task.shape[2]} pixels; expected a factor that divides both sides"
            )
        generator = torch.Generator().manual_seed(task.seed)
        made = []
        for label in range(len(task.classes)):
            tiles = self._tiles(task, label, generator)
            made.append(stitched(tiles, self.factor))
            task.progress(label + 1, len(task.classes))
        images = (torch.cat(made) * 255).round().to(torch.uint8)
        labels = soft_labels(task, images, self.temperature)
        return CondensedSet(images, labels, classes=owners(task, len(images)))

    def _tiles(self, task: Task, label: int, generator: Generator) -> Tensor:
        """The chosen crops of a class [ipc x factor^2, C, h, w], the best first."""
        import torch

        from bench.training import augment

        members = (task.train.labels == label).nonzero().squeeze(1)
        if not len(members):
            raise BenchError(f"class {task.classes[label]!r} has no training images to crop")
        members = members[torch.randperm(len(members), generator=generator)[: self.pool]]
        wanted = task.ipc * self.factor**2
        crops = max(self.crops, -(-wanted // len(members)))
        # candidate c of image i is row i x crops + c
        count, scale = len(members) * crops, (self.scale[0], self.scale[1])
        boxes = augment.resized_crop(count, scale, generator, ratio=(1.0, 1.0))
        size = task.shape[1] // self.factor, task.shape[2] // self.factor
        candidates = cut(task, members.repeat_interleave(crops), boxes, size)
        loss = realism(task, candidates, label)
        return candidates[best(loss.view(-1, crops), wanted)]


def best(loss: Tensor, count: int) -> Tensor:
    """Positions [count] of the crops with the lowest of `loss` [n, crops], row after row.

    The best crop of each of the n images first, ordered by loss; then the second best, and so on.
    """
    import torch

    crops = loss.shape[1]
    order = loss.argsort(dim=1, stable=True)  # of an image, the best first
    flat = order + crops * torch.arange(len(loss))[:, None]
    ranked = loss.gather(1, order)
    turns = [flat[ranked[:, turn].argsort(stable=True), turn] for turn in range(crops)]
    return torch.cat(turns)[:count]


def realism(task: Task, crops: Tensor, label: int) -> Tensor:
    """The teacher's cross-entropy [M] with a class, of crops [M, C, h, w] amid its mean colour."""
    import torch
    from torch.nn import functional as F

    from bench import TensorSplit
    from bench.training.networks import predict

    _, height, width = task.shape
    top, left = (height - crops.shape[2]) // 2, (width - crops.shape[3]) // 2
    canvas = torch.tensor(task.mean).view(-1, 1, 1).expand(task.shape).repeat(len(crops), 1, 1, 1)
    canvas[:, :, top : top + crops.shape[2], left : left + crops.shape[3]] = crops
    labels = torch.full((len(crops),), label)
    index = torch.arange(len(crops))
    logits = predict(task.teacher, TensorSplit(canvas, labels), index, device=task.device)
    return F.cross_entropy(logits.double(), labels, reduction="none")


def stitched(tiles: Tensor, factor: int) -> Tensor:
    """Images [N, C, H, W] of tiles [N x factor^2, C, h, w]: tile t is of image t % N.

    The tiles of an image stand in it row by row.
    """
    _, channels, height, width = tiles.shape
    grid = tiles.view(factor, factor, -1, channels, height, width)
    return grid.permute(2, 3, 0, 4, 1, 5).reshape(-1, channels, factor * height, factor * width)


def cut(task: Task, index: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Crops [M, C, *size] of training images; what is cut at full size is averaged to a tile."""
    import torch
    from torch.nn import functional as F

    parts = []
    for rows in torch.split(torch.arange(len(index)), BATCH):
        images = task.train.images(index[rows], boxes[rows])
        parts.append(F.adaptive_avg_pool2d(images, size))
    return torch.cat(parts)


# CIFAR: a crop is an image of its own.
WHOLE = RDED("rded-whole", factor=1)
