"""The settings of the bilevel method; this module is light, so that components can check them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bench import BenchError, later

CHOICES = {
    "hypergrad": ("gm", "unroll", "cg", "head"),
    "objective": ("match", "loss"),
    "distance": ("layerwise", "cosine", "l2"),
    "score": ("ratio", "norm", "uniform"),
    "choose": ("best", "systematic"),
    "start": ("random", "kmeans"),
    "denoisers": ("pool", "real"),
}
SCORED = 20  # points in time, evenly spaced


@dataclass(frozen=True)
class Bilevel:
    """How a pool is learnt (`bench_d2c.learning.learn`).

    Raises BenchError for a value that makes no sense.
    """

    name: str = ""
    objective: str = "match"  # "match" gradients | the "loss" on real images
    hypergrad: str = "cg"  # "gm" | "unroll" | "cg" | "head"
    outer: int = 60  # steps of the pool
    lr: float = 0.02  # of Adam on it; pixels are in [-1, 1]
    start: str = "random"  # real images: "random" | "kmeans", nearest to means of the class
    text: bool = True  # learn a text of each class; needs a denoiser that takes "class.text"
    score: str = "ratio"  # of times: "ratio" of data to noise | "norm" of gradients | "uniform"
    timesteps: int = 6  # points in time that are matched
    choose: str = "best"  # of the scores: the "best" | "systematic" sampling
    spacing: float = 0.5  # of the best: at least this times T / timesteps apart
    distance: str = "cosine"  # of gradients: "cosine" | "layerwise", by rows of weights | "l2"
    distribution: float = 0.1  # weight of the mean features
    pull: float = 0.2  # of the distance to where images and texts began; a gradient is of size 1
    variation: float = 0.0  # of the images' total variation, likewise
    pairs: int = 8  # of a class and a time, matched in an outer step
    real_batch: int = 32  # real images of each pair, and as many of the pool
    batch: int = 64  # images of the inner loss, and of the training before it
    damping: float = 0.5  # of "cg", and of "head" (ridge)
    iterations: int = 8  # of "cg"
    inner: int = 10  # steps that "unroll" goes back through
    lr_inner: float = 0.1  # of those, lowered where the loss is too curved for it
    denoisers: str = "pool"  # what those that are asked were trained on: the "pool" | "real" images
    kept: int = 5  # outer steps that ask a denoiser between two trainings
    steps: int = 40  # of each training
    age: int = 160  # steps after which a fresh denoiser takes its place
    lr_network: float = 1e-3  # of the training
    warmup: int = 150  # steps on real images of the denoiser that times are scored by
    scorer: str = ""  # a teacher to score times by in its place
    stratified: bool = later(False)  # each class, time and image is asked about as often as others
    pool_batch: int = later(0)  # images of the pool in each pair; 0: as many as real ones
    averaged: int = later(1)  # denoisers, of several ages, that each outer step is a mean over
    bf16: bool = later(False)  # autocast of denoisers: for processors that have bf16; never exact
    embeddings: bool = later(False)  # learn an embedding of each image, beside its class's text
    vectors: str = later("")  # a file of texts, below $BENCH_DATA, to begin with; "": hashed ones
    sha256: str = later("")  # of that file; left empty, the error says what it is

    def __post_init__(self) -> None:
        for field, choices in CHOICES.items():
            self._check(field, getattr(self, field) in choices, " or ".join(map(repr, choices)))
        counts = ("outer", "pairs", "iterations", "inner", "kept", "steps", "age", "warmup")
        for field in (*counts, "averaged"):
            self._check(field, getattr(self, field) >= 1, "1 or more")
        for field in ("real_batch", "batch"):
            self._check(field, getattr(self, field) >= 2, "2 or more, for pairs of noise")
        paired = not self.pool_batch or self.pool_batch >= 2
        self._check("pool_batch", paired, "2 or more, for pairs of noise, or 0")
        for field in ("embeddings", "vectors"):
            self._check(field, self.text or not getattr(self, field), "nothing where text is false")
        even = self.choose == "systematic" or self.score == "uniform"
        self._check("timesteps", self.timesteps >= 1, "1 or more")
        few = even or self.timesteps <= SCORED
        self._check("timesteps", few, f"at most {SCORED}, or choose = 'systematic'")
        for field in ("distribution", "variation", "pull"):
            self._check(field, 0 <= getattr(self, field) < math.inf, "0 or more")
        for field in ("lr", "lr_inner", "lr_network", "damping"):
            self._check(field, 0 < getattr(self, field) < math.inf, "more than 0")
        self._check("spacing", 0 <= self.spacing <= 1, "0 to 1")
        if self.objective == "loss" and self.hypergrad == "gm":
            raise BenchError(
                f"{self.name}: objective is 'loss' and hypergrad is 'gm', but at constant weights "
                "the loss on real images does not depend on the pool; expected hypergrad 'unroll', "
                "'cg' or 'head', or objective 'match'"
            )

    def _check(self, field: str, ok: bool, expected: str) -> None:
        if not ok:
            raise BenchError(
                f"{self.name}: {field} is {getattr(self, field)!r}; expected {expected}"
            )
