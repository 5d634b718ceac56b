"""Distances between the features of samples and of real images, and the inception-style score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from bench import BenchError, Trial, Unsupported
from bench_standard.generative.extractors import (
    CLASSIFIER,
    check_eye,
    fetcher,
    look,
    samples_and_real,
)


@dataclass(frozen=True)
class Frechet:
    """Frechet distance of Gaussians fitted to features of samples and of test images.

    FID (Heusel et al., 2017) is this with Inception's features, and no other is called so. Raises
    Unsupported below `least` images a dimension of the features, where the bias of the estimate
    drowns the distance.
    """

    name: str = "fd"
    features: str = "standard"  # the teacher of the classifier that looks
    eye: str = CLASSIFIER
    side: int = 64  # to which EfficientNet-Lite0's images are resized
    least: int = 20  # images a dimension; 0: any
    quick: ClassVar[dict[str, Any]] = {"least": 0}
    of: ClassVar[str] = "probe"
    track: ClassVar[str] = "generation"
    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float | None, float | None]] = (None, None)
    unit: ClassVar[str] = ""
    preload: ClassVar[tuple[str, ...]] = ("torch_fidelity.metric_fid",)
    download = property(fetcher)

    def __post_init__(self) -> None:
        check_eye(self.name, self.eye, self.features, self.side)

    def measure(self, trial: Trial) -> float:
        from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

        (generated, _), (real, _) = samples_and_real(trial, self.eye, self.side)
        count, size = real.shape
        if count < self.least * size:
            raise Unsupported(
                f"{size:,} feature dimensions want {self.least * size:,} images; "
                f"{count:,} were drawn"
            )
        one, two = (fid_features_to_statistics(f.double()) for f in (generated, real))
        (distance,) = fid_statistics_to_metric(one, two, verbose=False).values()
        return float(distance)


@dataclass(frozen=True)
class Kernel:
    """Kernel distance of features, mean over subsets: unbiased MMD^2 with a cubic kernel.

    KID (Binkowski et al., 2018) is this with Inception's features. Each sample has the class of
    the test image beside it, so the two are drawn into a subset together and never compared with
    each other (the U-statistic of Gretton et al., 2012, Lemma 6): with subsets of either drawn
    apart, samples of the right classes would be nearer than none. Raises Unsupported for fewer
    images than a subset has.
    """

    name: str = "kd"
    features: str = "standard"  # the teacher of the classifier that looks
    eye: str = CLASSIFIER
    side: int = 64  # to which EfficientNet-Lite0's images are resized
    subsets: int = 50
    size: int = 500  # images of a subset
    quick: ClassVar[dict[str, Any]] = {"subsets": 4, "size": 50}
    of: ClassVar[str] = "probe"
    track: ClassVar[str] = "generation"
    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float | None, float | None]] = (None, None)  # unbiased: below 0, too
    unit: ClassVar[str] = ""
    tolerance: ClassVar[tuple[float, float]] = (0.01, 0.1)  # near 0 a share of it says nothing
    preload: ClassVar[tuple[str, ...]] = ("torch_fidelity.metric_kid",)
    download = property(fetcher)

    def __post_init__(self) -> None:
        _check_subsets(self)

    def measure(self, trial: Trial) -> float:
        return kernel_distance(self, trial)[0]


@dataclass(frozen=True)
class KernelSpread:
    """Standard deviation of the kernel distance over its subsets: how far `kd` may be off.

    The subsets overlap, so it is that of one subset, and more than that of their mean.
    """

    name: str = "kd-sd"
    features: str = "standard"
    eye: str = CLASSIFIER
    side: int = 64
    subsets: int = 50
    size: int = 500
    quick: ClassVar[dict[str, Any]] = {"subsets": 4, "size": 50}
    of: ClassVar[str] = "probe"
    track: ClassVar[str] = "generation"
    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float | None, float | None]] = (0.0, None)
    unit: ClassVar[str] = ""
    ranked: ClassVar[bool] = False  # no claim about the samples
    preload: ClassVar[tuple[str, ...]] = ("torch_fidelity.metric_kid",)
    download = property(fetcher)

    def __post_init__(self) -> None:
        _check_subsets(self)

    def measure(self, trial: Trial) -> float:
        return kernel_distance(self, trial)[1]


@dataclass(frozen=True)
class Score:
    """Inception-style score of a classifier's view: sure of each sample, and of all classes.

    exp E KL(p(y|x) || p(y)) (Salimans et al., 2016); IS with Inception's logits alone. It sees no
    real image: at most as many as there are classes, for samples of all of them.
    """

    name: str = "score"
    features: str = "standard"  # the teacher of the classifier that looks
    eye: str = CLASSIFIER
    side: int = 64
    splits: int = 1
    of: ClassVar[str] = "probe"
    track: ClassVar[str] = "generation"
    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float | None, float | None]] = (1.0 - 1e-6, None)
    unit: ClassVar[str] = ""
    preload: ClassVar[tuple[str, ...]] = ("torch_fidelity.metric_isc",)
    download = property(fetcher)

    def __post_init__(self) -> None:
        check_eye(self.name, self.eye, self.features, self.side)
        if self.splits < 1:
            raise BenchError(f"{self.name}: splits is {self.splits}; expected 1 or more")

    def measure(self, trial: Trial) -> float:
        from torch_fidelity.metric_isc import isc_features_to_metric

        assert trial.samples is not None
        _, logits = look(trial, trial.samples, self.eye, self.side)
        found = isc_features_to_metric(logits, splits=self.splits, shuffle=True)
        return float(found["inception_score_mean"])


@dataclass(frozen=True)
class SampleAccuracy:
    """Fraction of the samples that the board's classifier gives the label they were asked for."""

    name: str = "sample-accuracy"
    features: str = "standard"  # the teacher of the classifier
    of: ClassVar[str] = "probe"
    track: ClassVar[str] = "generation"
    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    unit: ClassVar[str] = "fraction"

    def measure(self, trial: Trial) -> float:
        assert trial.samples is not None
        assert trial.labels is not None
        _, logits = look(trial, trial.samples, CLASSIFIER)
        return float((logits.argmax(1) == trial.labels).double().mean())


def kernel_distance(metric: Kernel | KernelSpread, trial: Trial) -> tuple[float, float]:
    """Mean and standard deviation over the subsets."""
    import numpy as np
    from torch_fidelity.metric_kid import kernel_poly, mmd2

    (generated, _), (real, _) = samples_and_real(trial, metric.eye, metric.side)
    if len(real) < metric.size:
        raise Unsupported(f"a subset has {metric.size:,} images; {len(real):,} were drawn")
    one, two = generated.double().numpy(), real.double().numpy()
    draws, found = np.random.default_rng(0), []
    for _ in range(metric.subsets):
        pairs = draws.choice(len(two), metric.size, replace=False)
        x, y = one[pairs], two[pairs]
        kernels = (kernel_poly(x, x), kernel_poly(x, y), kernel_poly(y, y))
        found.append(mmd2(*kernels, mmd_est="u-statistic"))
    return float(np.mean(found)), float(np.std(found))


def _check_subsets(metric: Kernel | KernelSpread) -> None:
    check_eye(metric.name, metric.eye, metric.features, metric.side)
    for name, least in (("subsets", 1), ("size", 2)):
        if getattr(metric, name) < least:
            raise BenchError(
                f"{metric.name}: {name} is {getattr(metric, name)}; expected {least} or more"
            )
