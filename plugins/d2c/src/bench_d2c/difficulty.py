"""How hard images are for a denoiser that knows the real data: the score that D2C selects by."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import torch
from torch import Tensor

from bench import Task
from bench.diffusion import losses
from bench.loading import batches

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


def reliability(scores: Tensor) -> float:
    """Spearman's correlation of the scores by one half of the draws [T, R] and by the other.

    How far ranks are a property of the images; 0 where there is one draw.
    """
    from scipy.stats import spearmanr

    if scores.shape[1] < 2:
        return 0.0
    halves = (scores[:, k::2].double().mean(1).numpy() for k in (0, 1))
    return float(spearmanr(*halves).statistic)
