"""How hard images are for a denoiser that knows the real data: the score that D2C selects by."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any

import torch
from torch import Tensor

from bench import Task
from bench.training.diffusion import losses
from bench.training.loading import batches

BATCH = 250  # images scored together


def difficulty(task: Task, times: int, noises: int) -> Tensor:
    """The denoising losses [T, times * noises] of all training images under `task.scorer`.

    The score of an image is its mean (arXiv 2507.05914, Algorithm 2; its Eq. 7 has the wrong
    sign). Times are evenly spaced; the list of (time, noise) is one for all images, since
    with noise of their own their ranks would be ranks of the noise.
    """
    scorer: Any = task.scorer
    steps = scorer.schedule.timesteps
    generator = torch.Generator().manual_seed(task.seed)
    draws = [
        (int((k + 0.5) * steps / times), torch.randn(1, *scorer.shape, generator=generator))
        for k in range(times)
        for _ in range(noises)
    ]
    labels, found = task.train.labels, []
    index = torch.arange(len(labels))
    with torch.no_grad(), closing(batches(task.train, index, BATCH)) as read:
        for rows, images in zip(torch.split(index, BATCH), read, strict=True):
            x, asked = scorer.encode(images.to(task.device)), labels[rows].to(task.device)
            scores = []
            for time, noise in draws:
                when = torch.full((len(x),), time, device=task.device)
                alike = noise.to(x).expand_as(x)
                scores.append(losses(scorer, x, asked, when, alike, {}).cpu())
            found.append(torch.stack(scores, 1))
            task.progress(int(rows[-1]) + 1, len(labels))
    return torch.cat(found)


def reliability(losses: Tensor, groups: Sequence[Tensor]) -> float:
    """Spearman's correlation of scores by every other of the draws [T, R] and by the rest.

    Ranks are those within each group of images (index [n] each: a class), as images are chosen.
    1: they are a property of the images; 0: of the draws, or there is one draw.
    """
    if losses.shape[1] < 2:
        return 0.0
    one, other = (_ranks(losses[:, k::2].double().mean(1), groups) for k in (0, 1))
    return float(torch.cosine_similarity(one, other, dim=0))


def _ranks(scores: Tensor, groups: Sequence[Tensor]) -> Tensor:
    """Ranks [T] within the groups, each less its mean; equal scores share one."""
    from scipy.stats import rankdata

    ranks = [torch.from_numpy(rankdata(scores[group].numpy())) for group in groups]
    return torch.cat([of_group - of_group.mean() for of_group in ranks])
