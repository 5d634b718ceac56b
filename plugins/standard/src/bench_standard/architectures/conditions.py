"""What a denoiser is told beside the image, and the head through which its features are seen.

Imported when a network is built: it needs torch.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench import Unsupported

TEXT, EMBEDDING, FEATURES = "class.text", "image.text", "image.features"
DIMENSIONS = {TEXT: 2, EMBEDDING: 2, FEATURES: 3}  # of a row: [L, d] token vectors, [d, g, g] a map


def check(name: str, rows: Mapping[str, tuple[int, ...]]) -> None:
    """Raise Unsupported for an attachment that the denoiser `name` has no use for."""
    for key, row in rows.items():
        if len(row) != DIMENSIONS.get(key):
            raise Unsupported(
                f"{name} has no use for the attachment {key!r} with rows {list(row)}; "
                f"it takes {TEXT!r} with rows [L, d], {EMBEDDING!r} with the same rows, and "
                f"{FEATURES!r} with rows [d, g, g]"
            )
    if EMBEDDING in rows and rows[EMBEDDING] != rows.get(TEXT):
        raise Unsupported(
            f"{name} adds the attachment {EMBEDDING!r} to {TEXT!r}; their rows are "
            f"{list(rows[EMBEDDING])} and {list(rows.get(TEXT, ()))}, expected the same"
        )


class Conditions(nn.Module):
    """The class of each image as a vector [B, width], to be added to that of the time.

    A learnt embedding of each class and of "no class"; where the set attaches the tokens of a
    text to each class, plus the DC-Embedding of D2C (arXiv 2507.05914): the tokens pooled by one
    linear map, and a residual MLP. "No class" has tokens of zeros. Embedding and text are dropped
    together: one null, which is the one that guidance asks for. Tokens of an image's own, where
    the set attaches them and training gives them ("image.text" [B, L, d]), are added to those of
    its class.
    """

    def __init__(self, classes: int, width: int, rows: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__()
        self.classes = classes
        self.label = nn.Embedding(classes + 1, width)
        nn.init.normal_(self.label.weight, std=0.02)
        self.pool: nn.Conv1d | None = None
        if TEXT in rows:
            length, size = rows[TEXT]
            self.pool = nn.Conv1d(size, width, length)
            nn.init.normal_(self.pool.weight, std=0.02)
            self.mix = nn.Sequential(
                nn.LayerNorm(width, elementwise_affine=False),
                nn.Linear(width, width),
                nn.SiLU(),
                nn.Linear(width, width),
            )

    def forward(self, labels: Tensor, extras: Mapping[str, Tensor]) -> Tensor:
        vector: Tensor = self.label(labels)
        if self.pool is None:
            return vector
        tokens = extras[TEXT][labels.clamp(max=self.classes - 1)].to(vector)  # [B, L, d]
        if EMBEDDING in extras:
            tokens = tokens + extras[EMBEDDING].to(vector)
        tokens = tokens * (labels < self.classes).view(-1, 1, 1)
        pooled: Tensor = self.pool(tokens.mT).squeeze(2)
        mixed: Tensor = self.mix(pooled)
        return vector + pooled + mixed


class Projection(nn.Module):
    """Hidden tokens [B, h * w, width] as a map [B, d, g, g], like those that a set attaches.

    An MLP of three layers on each token (REPA, Yu et al., 2025), then means over the parts of the
    grid that make a cell of the map: adaptive average pooling, as two matrix products, for torch
    has no deterministic backward of the pooling on a GPU.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, width: int, grid: tuple[int, int], row: tuple[int, ...]) -> None:
        super().__init__()
        self.grid = grid
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width),
            nn.SiLU(),
            nn.Linear(2 * width, 2 * width),
            nn.SiLU(),
            nn.Linear(2 * width, row[0]),
        )
        for name, cells, wanted in zip(("rows", "columns"), grid, row[1:], strict=True):
            means = F.adaptive_avg_pool1d(torch.eye(cells)[None], wanted)[0]  # [cells, wanted]
            self.register_buffer(name, means, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        maps = self.mlp(tokens).unflatten(1, self.grid)  # [B, h, w, d]
        return torch.einsum("bhwd,hi,wj->bdij", maps, self.rows, self.columns)
