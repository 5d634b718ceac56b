from contextlib import closing
from dataclasses import dataclass, field
from threading import get_ident

import pytest
import torch
from torch import Tensor

from bench.contract.data import Subset, TensorSplit
from bench.training.loading import PIECE, READERS, batches, read

PIXELS = torch.rand(3 * PIECE + 5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.zeros(len(PIXELS), dtype=torch.int64)
MEMORY = TensorSplit(PIXELS, LABELS)


@dataclass(frozen=True)
class Disk:
    """A split that is not a TensorSplit, and notes who asked for how many images."""

    labels: Tensor = LABELS
    asked: list[int] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)
    faulty: int = -1

    def images(self, index: Tensor, boxes: Tensor | None = None) -> Tensor:
        self.asked.append(len(index))
        self.threads.add(get_ident())
        if self.faulty in index:
            raise ValueError("this file is broken")
        return MEMORY.images(index, boxes)


@pytest.mark.parametrize("size", [1, 7, PIECE, PIECE + 1, 2 * PIECE, 1000])
def test_batches_come_in_order_whatever_the_split(size):
    index = torch.randperm(len(PIXELS), generator=torch.Generator().manual_seed(1))
    for split in (MEMORY, Disk(), Subset(Disk(), torch.arange(len(PIXELS)))):
        found = list(batches(split, index, size))
        assert [len(b) for b in found[:-1]] == [size] * (len(found) - 1)
        assert torch.equal(torch.cat(found), PIXELS[index])


def test_boxes_go_with_their_images():
    generator = torch.Generator().manual_seed(2)
    corner = torch.rand(len(PIXELS), 2, generator=generator) / 2
    boxes = torch.cat([corner, corner + 0.4], 1)
    requests = [(torch.arange(60), boxes[:60]), (torch.arange(60, 90), None)]
    one, two = (list(read(split, requests)) for split in (MEMORY, Disk()))
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(one, two, strict=True))


def test_threads_read_pieces_of_a_batch():
    disk = Disk()
    list(batches(disk, torch.arange(len(PIXELS)), 1000))
    assert max(disk.asked) == PIECE
    assert get_ident() not in disk.threads


def test_no_more_is_read_than_what_comes_next():
    disk = Disk(labels=torch.zeros(10_000))
    index = torch.zeros(10_000, dtype=torch.int64)
    with closing(batches(disk, index, PIECE)) as images:
        next(images)
    assert len(disk.asked) <= 2 * READERS + 2


def test_what_a_split_raises_reaches_the_reader():
    with pytest.raises(ValueError, match="this file is broken"):
        list(batches(Disk(faulty=50), torch.arange(len(PIXELS)), 16))
