"""What D2C attaches to a set: vectors of the class names, and features of the images.

A student may be told the first and be held against the second; a student on a classification
board needs neither.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench import BenchError, Missing, Task, Unsupported
from bench.training.loading import batches

BATCH = 250
TEXT, FEATURES = "class.text", "image.features"
EMBEDDING = "image.text"  # what an image is told beyond the text of its class


def hashed_text(classes: Sequence[str], tokens: int, size: int) -> Tensor:
    """A vector for each word of "a photo of a ..." [K, tokens, size], zeros after the last.

    Character n-grams of a word, hashed into `size` dimensions, of length one: related names share
    some, and no file is needed. It stands where the paper has T5.
    """
    from sklearn.feature_extraction.text import HashingVectorizer

    hashing = HashingVectorizer(analyzer="char_wb", ngram_range=(2, 4), n_features=size)
    table = torch.zeros(len(classes), tokens, size)
    for k, name in enumerate(classes):
        words = f"a photo of a {name}".replace("/", " ").split()[-tokens:]
        table[k, : len(words)] = torch.from_numpy(hashing.transform(words).toarray()).float()
    return table


def text_of_file(name: str, classes: int, sha256: str) -> Tensor:
    """The vectors [K, L, d] that a safetensors file below $BENCH_DATA has under "class.text".

    Raises Missing without the file, and BenchError for other bytes than those of `sha256`, or
    another shape.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(os.environ.get("BENCH_DATA") or "data").expanduser() / name
    if not path.is_file():
        raise Missing(
            f"{path.absolute()} is not here; expected a safetensors file with {TEXT!r} "
            f"[{classes}, L, d], vectors of a text encoder for the classes in their order; make "
            "one (plugins/d2c/README.md), or set text = 'hashed'"
        )
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256.lower():
        raise BenchError(
            f"{path} has the SHA-256 {found}; expected {sha256 or 'it in the field sha256'}; if "
            f'this is the file that you mean, set sha256 = "{found}"'
        )
    try:
        table = load_file(path).get(TEXT)
    except SafetensorError as error:
        raise BenchError(f"{path} is no safetensors file ({error}); expected one") from None
    if table is None or table.ndim != 3 or len(table) != classes:
        shape = "nothing" if table is None else list(table.shape)
        raise BenchError(f"{path} has {shape} under {TEXT!r}; expected [{classes}, L, d]")
    return table.float()


def features(task: Task, index: Tensor, grid: int) -> Tensor:
    """Maps [N, d, grid, grid] of what `task.teacher` sees of training images at `index` [N].

    The last spatial map of the network with sides of `grid` or more (of a vision transformer, its
    patch tokens), averaged down to it. A map has sides: mirror it where its image is mirrored.
    Raises Unsupported for a network without such a map.
    """
    with torch.no_grad(), closing(batches(task.train, index, BATCH)) as read:
        return torch.cat([feature_map(task.teacher, i.to(task.device), grid).cpu() for i in read])


def feature_map(network: nn.Module, images: Tensor, grid: int) -> Tensor:
    """The map [B, d, grid, grid] of images [B, C, H, W]; see `features`."""
    seen: list[Tensor] = []
    tokens: list[bool] = []  # in a transformer, what has four dimensions is no map

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        if not isinstance(output, Tensor):
            return
        if output.ndim == 3 and not tokens:
            tokens.append(True)
            seen.clear()
        found = _as_map(output) if output.ndim == (3 if tokens else 4) else None
        if found is not None and min(found.shape[2:]) >= grid:
            seen[:] = [found]

    leaves = [m for m in network.modules() if not list(m.children())]
    handles = [leaf.register_forward_hook(keep) for leaf in leaves]
    try:
        network(images)
    finally:
        for handle in handles:
            handle.remove()
    if not seen:
        raise Unsupported(f"the teacher has no feature map of {grid}x{grid} or more")
    return F.adaptive_avg_pool2d(seen[0], grid)


def _as_map(output: Tensor) -> Tensor | None:
    """[B, d, h, w]; or the patch tokens of [B, extra + h * h, d], without those before them.

    None for what has its channels last, or no sides.
    """
    if output.ndim == 4:
        _, a, b, c = output.shape
        return None if a == b != c else output
    side = int(output.shape[1] ** 0.5)
    patches = output[:, -side * side :].mT
    return patches.reshape(*patches.shape[:2], side, side) if side > 1 else None
