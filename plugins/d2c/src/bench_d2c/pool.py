"""What is learnt: images of each class and the texts of the classes, and where they begin.

Texts belong to classes: at sampling only the class of an image is known. An embedding of an image
is what it is told beyond the text of its class.
This module imports torch: components import it inside their verbs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from bench import BenchError, Task
from bench_d2c.attach import hashed_text, text_of_file
from bench_d2c.settings import Bilevel
from bench_matching.matching import RealImages

TOKENS, SIZE = 8, 32  # of the hashed text of a class
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


def begin_texts(task: Task, how: Bilevel, labels: Tensor) -> list[Tensor]:
    """The texts of the classes [K, L, d], and embeddings [N, L, d] of the images beside them.

    None, one or both. Embeddings begin at zero: an image is told its class.
    """
    if not how.text:
        return []
    count = len(task.classes)
    texts = (
        text_of_file(how.vectors, count, how.sha256)
        if how.vectors
        else hashed_text(task.classes, TOKENS, SIZE)
    )
    return [texts, *([texts.new_zeros(len(labels), *texts.shape[1:])] if how.embeddings else [])]


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


def rounds(
    classes: int, times: Tensor, generator: Generator, *, even: bool
) -> list[tuple[int, int]]:
    """Each of `classes` at each of `times`, once, in a random order.

    If `even`, each class comes before any comes again, and each time about as often as any other.
    """
    if not even:
        every = torch.cartesian_prod(torch.arange(classes), times)
        order = torch.randperm(len(every), generator=generator)
        return [(label, time) for label, time in every[order].tolist()]
    shift = torch.randperm(classes, generator=generator).tolist()
    return [
        (label, int(times[(shift[label] + turn) % len(times)]))
        for turn in torch.randperm(len(times), generator=generator).tolist()
        for label in torch.randperm(classes, generator=generator).tolist()
    ]


def centred(texts: Sequence[Tensor], labels: Tensor) -> list[Tensor]:
    """The same texts, with embeddings of images, if any, that are zero in the mean of a class.

    What an image is told, the sum of its own and its class's, stays.
    """
    if len(texts) < 2:
        return list(texts)
    of_class, of_image = texts
    count = torch.bincount(labels, minlength=len(of_class)).clamp_min(1).view(-1, 1, 1)
    means = torch.zeros_like(of_class).index_add_(0, labels, of_image) / count
    return [of_class + means, of_image - means[labels]]


def moved(images: Tensor, first: Tensor, asked: Tensor) -> dict[str, Tensor]:
    """How far images [N, C, H, W] in [0, 1] are from the `first` ones, for notes.

    "moved.mean": the mean absolute change; "moved.share": the share of pixels that have changed by
    more than 0.01; "moved.untouched": the share of images of which no pixel has by more than
    0.0001; "moved.asked" [N]: draws of each image that any step asked about.
    """
    away = (images - first).abs()
    return {
        "moved.mean": away.mean(),
        "moved.share": (away > 0.01).float().mean(),
        "moved.untouched": (away.flatten(1).amax(1) <= 1e-4).float().mean(),
        "moved.asked": asked.clone(),
    }
