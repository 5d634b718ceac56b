"""What samples cover and what they copy: precision, recall, density, coverage, memorisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bench import BenchError, Selection, Trial, Unsupported, as_float
from bench_standard.generative.extractors import (
    CLASSIFIER,
    check_eye,
    fetcher,
    look,
    samples_and_real,
)

if TYPE_CHECKING:
    from torch import Tensor

KINDS = ("precision", "recall", "density", "coverage")
CHUNK = 1000  # rows of a matrix of distances made at once
RIM = 1e-9  # two distances this near to each other, as a share of either, are one


@dataclass(frozen=True)
class Neighbours:
    """Precision, recall (Kynkäänniemi et al., 2019) or coverage (Naeem et al., 2020) of samples.

    A ball around an image ends at its k-th neighbour of its own side. precision is the share of
    samples within a real image's ball, recall that of real images within a sample's (k = 3);
    density is how many real balls a sample lies in, over k, and coverage the share of real balls
    with a sample (k = 5). Of two halves of the real images none is 1: see the row of the floor.
    Raises Unsupported for k images or fewer.
    """

    name: str = "precision"
    kind: str = "precision"
    features: str = "standard"  # the teacher of the classifier that looks
    eye: str = CLASSIFIER
    side: int = 64
    k: int = 3
    of: ClassVar[str] = "probe"
    track: ClassVar[str] = "generation"
    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float | None, float | None]] = (0.0, 1.0)
    unit: ClassVar[str] = "fraction"
    download = property(fetcher)

    def __post_init__(self) -> None:
        check_eye(self.name, self.eye, self.features, self.side)
        if self.kind not in KINDS:
            raise BenchError(f"{self.name}: kind is {self.kind!r}; expected {' or '.join(KINDS)}")
        if self.k < 1:
            raise BenchError(f"{self.name}: k is {self.k}; expected 1 or more")

    def measure(self, trial: Trial) -> float:
        (generated, _), (actual, _) = samples_and_real(trial, self.eye, self.side)
        return neighbours(self.kind, generated.double(), actual.double(), self.k)


@dataclass(frozen=True)
class Density(Neighbours):
    """How many balls of real images a sample lies in, over k (Naeem et al., 2020); 1 or so."""

    name: str = "density"
    kind: str = "density"
    k: int = 5
    bounds: ClassVar[tuple[float | None, float | None]] = (0.0, None)
    unit: ClassVar[str] = ""


@dataclass(frozen=True)
class Memorisation:
    """Share of samples that lie nearer to a condensed image than to a held-out real one.

    The held-out images are of the test split, as many of each class as the set has, drawn `draws`
    times: the share is the mean over the draws. One half says that condensed images are no nearer
    than any others, 1 that samples are copies, and less that they are like neither: no row is the
    best. Where a class has more condensed images than held-out ones, as many of them are drawn, too
    (so for the full set): then a copy is seen with the chance that its image is drawn.
    """

    name: str = "memorisation"
    features: str = "standard"  # the teacher of the classifier that looks
    space: str = "features"  # where distances are taken: "features" | "pixels"
    draws: int = 8  # of held-out images
    of: ClassVar[str] = "probe"
    track: ClassVar[str] = "generation"
    higher_is_better: ClassVar[bool] = False
    ranked: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    unit: ClassVar[str] = "fraction"

    def __post_init__(self) -> None:
        if self.space not in ("features", "pixels"):
            raise BenchError(f"{self.name}: space is {self.space!r}; expected features or pixels")
        if bool(self.features) != (self.space == "features"):
            raise BenchError(
                f"{self.name}: features is {self.features!r} and space {self.space!r}; expected a "
                "teacher's name in the space of features, and none in that of pixels"
            )
        if self.draws < 1:
            raise BenchError(f"{self.name}: draws is {self.draws}; expected 1 or more")

    def measure(self, trial: Trial) -> float:
        import torch

        from bench.training.loading import batches

        def placed(images: Tensor) -> Tensor:  # [P, C, H, W] -> [P, d]
            if self.space == "pixels":
                return images.flatten(1).double()
            return look(trial, images, CLASSIFIER)[0].double()

        assert trial.samples is not None
        samples, own = placed(trial.samples), placed(condensed(trial))
        pairs = drawn_alike(trial, self.draws)
        used = torch.cat([rows for _, rows in pairs])
        shown, places = torch.unique(used, return_inverse=True)  # looked at once
        images = placed(torch.cat(list(batches(trial.data.test, shown, CHUNK))))
        shares = []
        for (of_set, _), rows in zip(pairs, places.view(self.draws, -1), strict=True):
            near, far = nearest(samples, own[of_set]), nearest(samples, images[rows])
            alike = torch.isclose(near, far, rtol=RIM, atol=1e-6)
            shares.append((0.5 * alike.double() + (~alike & (near < far)).double()).mean())
        return float(torch.stack(shares).mean())


def condensed(trial: Trial) -> Tensor:
    """The images of the set [N, C, H, W]."""
    import torch

    from bench.training.loading import batches

    images = trial.condensed.images
    if isinstance(images, Selection):
        return torch.cat(list(batches(trial.data.train, images.indices, CHUNK)))
    return as_float(images)


def drawn_alike(trial: Trial, draws: int) -> list[tuple[Tensor, Tensor]]:
    """Images of the set and of the test split, both [n], as many of each class: drawn so often."""
    import torch

    sides = trial.condensed.classes, trial.data.test.labels
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 0)]
    members = [
        [(side == k).nonzero().squeeze(1) for side in sides] for k in range(len(trial.data.classes))
    ]

    def drawn() -> tuple[Tensor, Tensor]:
        found: tuple[list[Tensor], list[Tensor]] = [], []
        for both in members:
            count = min(map(len, both))
            for kept, rows, generator in zip(found, both, generators, strict=True):
                kept.append(rows[torch.randperm(len(rows), generator=generator)[:count]])
        return torch.cat(found[0]), torch.cat(found[1])

    return [drawn() for _ in range(draws)]


def neighbours(kind: str, generated: Tensor, actual: Tensor, k: int) -> float:
    """One of `KINDS`, of features [P, d] of samples and [P, d] of real images."""
    if min(len(generated), len(actual)) <= k:
        raise Unsupported(f"{k} neighbours of each want more than {len(actual)} images")
    if kind == "recall":
        return float(_inside(actual, generated, radii(generated, k)).any(1).double().mean())
    inside = _inside(generated, actual, radii(actual, k))  # [samples, real]
    if kind == "precision":
        return float(inside.any(1).double().mean())
    if kind == "density":
        return float(inside.sum()) / (k * len(generated))
    return float(inside.any(0).double().mean())


def radii(points: Tensor, k: int) -> Tensor:
    """The distance [P] of each point to its k-th neighbour among the others."""
    import torch

    rows = torch.split(points, CHUNK)
    return torch.cat([_distances(row, points).kthvalue(k + 1, dim=1).values for row in rows])


def nearest(points: Tensor, others: Tensor) -> Tensor:
    """The distance [P] of each point to the nearest of `others`."""
    import torch

    return torch.cat([_distances(row, others).amin(1) for row in torch.split(points, CHUNK)])


def _inside(points: Tensor, centres: Tensor, radius: Tensor) -> Tensor:
    """Which points [P] lie within which balls [Q] (bool [P, Q])."""
    import torch

    radius = radius * (1 + RIM)  # its k-th neighbour is in a ball, whatever its last bits say
    rows = torch.split(points, CHUNK)
    return torch.cat([_distances(row, centres) <= radius for row in rows])


def _distances(some: Tensor, others: Tensor) -> Tensor:
    """Euclidean [B, Q], by a matrix product: in float64, what it rounds off is no matter."""
    import torch

    found: Tensor = torch.cdist(some, others, compute_mode="use_mm_for_euclid_dist")
    return found
