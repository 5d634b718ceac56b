"""Images of a split, batch by batch: from memory as they are, from disk by threads, ahead of use.

Whoever walks over a split that may not fit in memory (a trainer, a prediction, the features of a
coreset) walks like this; what is waiting is bounded, whatever the size of the split.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice, tee

import torch
from torch import Tensor

from bench.contract.data import Split, Subset, TensorSplit, as_float

Request = tuple[Tensor, Tensor | None]  # index [B] and boxes [B, 4], as `Split.images` has them
READERS = min(8, os.cpu_count() or 1)  # threads that decode; decoders release the GIL
PIECE = 32  # images that a thread is asked for at once


def probed_images(test: Split, data_digest: str, images: int) -> Tensor:
    """Which test images are attacked: a prefix of one permutation of the split, by its digest."""
    generator = torch.Generator().manual_seed(int(data_digest[:12], 16))
    order = torch.randperm(len(test.labels), generator=generator)
    return order[:images] if images else order


@dataclass(frozen=True, eq=False)
class Views:
    """A split on disk whose whole images lie in memory: pixels uint8 [T, C, H, W].

    Crops are cut from the original files, which `files` opens when the first is asked for.
    """

    pixels: Tensor
    labels: Tensor
    files: Callable[[], Split]

    def __len__(self) -> int:
        return len(self.labels)

    def images(self, index: Tensor, boxes: Tensor | None = None) -> Tensor:
        if boxes is None:
            return as_float(self.pixels[index])
        return self.files().images(index, boxes)


def batches(split: Split, index: Tensor, size: int) -> Generator[Tensor, None, None]:
    """The images of `split` at `index` [N], in order: [B, C, H, W] with B = `size`, the last less.

    Close it (`contextlib.closing`) if you may stop before its end.
    """
    return read(split, ((part, None) for part in torch.split(index, size)))


def loaded(
    split: Split,
    index: Tensor,
    order: Iterable[Tensor],
    device: str,
    boxes: Callable[[int], Tensor] | None,
    start: int,
) -> Generator[tuple[Tensor, Tensor], None, None]:
    """Batches (rows [B], images [B, C, H, W] on the device) from step `start` on, alike of any
    split.

    `order` are the rows of `index` that each step asks for; `boxes` draws the crops of so many. A
    split in memory goes to the device once. Any other is read by threads, ahead of use.
    """
    index = index.cpu()
    while isinstance(split, Subset):
        index, split = split.index[index], split.of
    if isinstance(split, Views) and not boxes:
        split = TensorSplit(split.pixels, split.labels)
    if isinstance(split, TensorSplit):
        split = TensorSplit(split.pixels[index].to(device), split.labels[index])
        index = torch.arange(len(index))
    answered, asked = tee(order)
    requests = ((index[rows], boxes(len(rows)) if boxes else None) for rows in asked)
    # boxes of the steps before `start` are drawn, too
    with closing(read(split, islice(requests, start, None))) as images:
        for rows, batch in zip(islice(answered, start, None), images, strict=True):
            yield rows, batch.to(device)


def read(split: Split, requests: Iterable[Request]) -> Generator[Tensor, None, None]:
    """The images [B, C, H, W] of each request in turn, the same from any split."""
    memory: Split = split
    while isinstance(memory, Subset):
        memory = memory.of
    if isinstance(memory, TensorSplit):
        for index, boxes in requests:
            yield split.images(index, boxes)
        return

    with ThreadPoolExecutor(READERS) as threads:
        waiting: deque[tuple[Future[Tensor], bool]] = deque()
        pieces: list[Tensor] = []  # of the batch that comes next
        for index, boxes in requests:
            nothing_to_decode = isinstance(memory, Views) and boxes is None
            parts = torch.split(index, len(index) if nothing_to_decode else PIECE)
            cuts = torch.split(boxes, PIECE) if boxes is not None else [None] * len(parts)
            for number, (part, cut) in enumerate(zip(parts, cuts, strict=True), 1):
                waiting.append((threads.submit(split.images, part, cut), number == len(parts)))
            while len(waiting) > 2 * READERS:
                piece, last = waiting.popleft()
                pieces.append(piece.result())
                if last:
                    yield torch.cat(pieces)
                    pieces = []
        for piece, last in waiting:
            pieces.append(piece.result())
            if last:
                yield torch.cat(pieces)
                pieces = []
