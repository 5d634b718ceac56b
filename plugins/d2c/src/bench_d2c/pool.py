"""What is learnt: images of each class and the texts of the classes, and where they begin.

Texts belong to classes, not to images: at sampling only the class of an image is known.
This module imports torch: components import it inside their verbs.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from bench import BenchError, Task
from bench_matching.matching import RealImages

CANDIDATES = 2000  # real images of a class that k-means looks at


def begin(task: Task, start: str, generator: Generator) -> tuple[Tensor, Tensor]:
    """Real images [N, C, H, W] of each class and their labels [N], class after class.

    "random" images, or those nearest to the k-means of a class in pixels ("kmeans"). A class of
    fewer images than `task.ipc` begins with all of them. Raises BenchError for one without any.
    """
    real = RealImages(task, generator)
    parts = []
    for label in range(len(task.classes)):
        images = real.draw(label, CANDIDATES if start == "kmeans" else task.ipc)
        if not len(images):
            raise BenchError(
                f"class '{task.classes[label]}' has no training images; expected 1 or more"
            )
        if start == "kmeans":
            images = images[nearest_to_means(images.flatten(1), task.ipc)]
        parts.append(images)
    counts = torch.tensor([len(part) for part in parts])
    return torch.cat(parts), torch.arange(len(parts)).repeat_interleave(counts).to(task.device)


def nearest_to_means(points: Tensor, count: int) -> Tensor:
    """Positions, each once, of those of `points` [n, D] that are nearest to `count` k-means."""
    import warnings

    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    count = min(count, len(points))
    known = points.double().cpu()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # equal points: then means are equal
        means = KMeans(count, n_init=1, random_state=0).fit(known.numpy()).cluster_centers_
    far = torch.cdist(torch.from_numpy(means), known)  # [count, n]
    chosen: list[int] = []
    for row in far:
        row[chosen] = torch.inf
        chosen.append(int(row.argmin()))
    return torch.tensor(chosen)


def variation(images: Tensor) -> Tensor:
    """Total variation of images [N, C, H, W]: the sum of the steps between neighbours."""
    return images.diff(dim=2).abs().sum() + images.diff(dim=3).abs().sum()


def direction(gradient: Tensor, regulariser: Tensor) -> Tensor:
    """A gradient [N, ...] with a root mean square of one, and that of a regulariser.

    Rows of zeros, which the objective did not ask for, count for nothing and are not regularised.
    """
    asked = gradient.flatten(1).any(1)
    size = gradient[asked].square().mean().sqrt() if bool(asked.any()) else gradient.new_ones(())
    rows = asked.view(-1, *[1] * (gradient.ndim - 1))
    return torch.where(rows, gradient / size.clamp_min(1e-30) + regulariser, 0.0)


def pulled(part: Tensor, start: Tensor, much: float) -> Tensor:
    """`part` nearer to where it began, each entry by `much`: the proximal step of an L1 distance.

    What no gradient pushes the same way again and again stays as it was. A black background would
    turn grey otherwise: chance moves it, and the range of pixels lets it move one way only.
    """
    away = part - start
    return start + away.sign() * (away.abs() - much).clamp_min(0)
