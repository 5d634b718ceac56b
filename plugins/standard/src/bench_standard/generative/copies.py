"""What stands beside a distance of samples: that of those that are no copies, and of the set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench import BenchError, Trial, Unsupported
from bench_standard.generative.coverage import CHUNK, RIM, condensed, drawn_alike, nearest
from bench_standard.generative.extractors import CLASSIFIER, look, samples_and_real

if TYPE_CHECKING:
    from torch import Tensor

SIDE = 64  # which the board's classifier does not ask for


@dataclass(frozen=True)
class Uncopied:
    """Kernel distance (see `kd`) of the samples that lie no nearer to the set than to other images.

    Those that do, nearer to a condensed image than to any of as many held-out ones, are what
    `memorisation` counts; a student that copies a set that lies well is near by them. The others
    are held against the test images of the same labels, over the same draws of held-out images.
    Where fewer than `least` are left in some draw, they are too few: Unsupported. Each row has
    samples of its own in it, so that none is the best.
    """

    name: str = "kd-uncopied"
    features: str = "standard"  # the teacher of the classifier that looks
    draws: int = 8  # of held-out images
    least: int = 50  # samples that are left
    quick: ClassVar[dict[str, Any]] = {"least": 2}
    of: ClassVar[str] = "probe"
    track: ClassVar[str] = "generation"
    higher_is_better: ClassVar[bool] = False
    ranked: ClassVar[bool] = False
    bounds: ClassVar[tuple[float | None, float | None]] = (None, None)  # unbiased: below 0, too
    unit: ClassVar[str] = ""
    tolerance: ClassVar[tuple[float, float]] = (0.02, 0.2)  # other samples are left elsewhere
    preload: ClassVar[tuple[str, ...]] = ("torch_fidelity.metric_kid",)

    def __post_init__(self) -> None:
        check(self, draws=1, least=2)

    def measure(self, trial: Trial) -> float:
        import torch

        (samples, _), (actual, _) = samples_and_real(trial, CLASSIFIER, SIDE)
        own = look(trial, condensed(trial), CLASSIFIER)[0].double()
        pairs = drawn_alike(trial, self.draws)
        held_out = _seen_of_test(trial, pairs)
        found = []
        for (of_set, _), others in zip(pairs, held_out, strict=True):
            near, far = nearest(samples.double(), own[of_set]), nearest(samples.double(), others)
            kept = (far < near) | torch.isclose(near, far, rtol=RIM, atol=1e-6)
            if (left := int(kept.sum())) < self.least:
                raise Unsupported(
                    f"{left} of {len(kept)} samples are no copies; expected {self.least} or more"
                )
            found.append(distance(samples[kept], actual[kept]))
        return sum(found) / len(found)


@dataclass(frozen=True)
class OfSet:
    """Kernel distance (see `kd`) of the set's own images: how near they lie, whatever they teach.

    They are held against test images, as many of each class, drawn `draws` times. Near 0 are real
    images, however few: it is no figure of a student, and no row is the best by it.
    """

    name: str = "kd-set"
    features: str = "standard"  # the teacher of the classifier that looks
    draws: int = 8  # of test images
    of: ClassVar[str] = "set"
    track: ClassVar[str] = "generation"
    higher_is_better: ClassVar[bool] = False
    ranked: ClassVar[bool] = False
    bounds: ClassVar[tuple[float | None, float | None]] = (None, None)
    unit: ClassVar[str] = ""
    tolerance: ClassVar[tuple[float, float]] = (0.02, 0.2)
    preload: ClassVar[tuple[str, ...]] = ("torch_fidelity.metric_kid",)

    def __post_init__(self) -> None:
        check(self, draws=1)

    def measure(self, trial: Trial) -> float:
        own = look(trial, condensed(trial), CLASSIFIER)[0]
        pairs = drawn_alike(trial, self.draws)
        held_out = _seen_of_test(trial, pairs)
        found = [distance(own[rows], seen) for (rows, _), seen in zip(pairs, held_out, strict=True)]
        return sum(found) / len(found)


def check(metric: Uncopied | OfSet, **least: int) -> None:
    """Raise BenchError for a field that is less than it makes sense."""
    for field, lowest in least.items():
        if (value := getattr(metric, field)) < lowest:
            raise BenchError(f"{metric.name}: {field} is {value}; expected {lowest} or more")


def distance(some: Tensor, others: Tensor) -> float:
    """The unbiased kernel distance of features [n, d], in pairs of one class that never meet."""
    from torch_fidelity.metric_kid import kernel_poly, mmd2

    if len(some) < 2:
        raise Unsupported(f"a kernel distance wants two images or more; there are {len(some)}")
    x, y = some.double().numpy(), others.double().numpy()
    kernels = (kernel_poly(x, x), kernel_poly(x, y), kernel_poly(y, y))
    return float(mmd2(*kernels, mmd_est="u-statistic"))


def _seen_of_test(trial: Trial, pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Features [draws, n, d] of the test images that were drawn; each is looked at once."""
    import torch

    from bench.training.loading import batches

    rows, places = torch.unique(torch.cat([rows for _, rows in pairs]), return_inverse=True)
    images = torch.cat(list(batches(trial.data.test, rows, CHUNK)))
    return look(trial, images, CLASSIFIER)[0].double()[places.view(len(pairs), -1)]
