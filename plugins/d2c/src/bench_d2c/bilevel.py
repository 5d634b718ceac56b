"""D2C as a bilevel problem: images and class texts learnt through the training on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from bench import CondensedSet, Task
from bench_d2c.settings import Bilevel


@dataclass(frozen=True)
class D2C(Bilevel):
    """Images and class texts learnt through the training of denoisers on them: D2C, bilevel.

    The inner problem trains denoisers on the pool. The outer one asks, at `timesteps` points in
    time alone, that their gradients on the pool are those on real images ("match"), or that their
    loss on real images is low ("loss"); and that mean features of each class are those of real
    images. The gradient goes through the training: "unroll" its last `inner` steps, "cg" by the
    implicit function theorem, "head" by a closed form of the last layer; or the weights count as
    constant ("gm"). Texts are by class: at sampling no more is known; with `embeddings` each image
    is told something of its own beside it, zero in the mean of its class. This is how the method
    is told of; the paper of that name (arXiv 2507.05914) learns no pool, it is `d2c-select`.
    """

    name: str = "d2c"
    quick: ClassVar[dict[str, Any]] = {
        "outer": 4,
        "pairs": 4,
        "warmup": 5,
        "steps": 3,
        "text": False,
    }
    fresh_denoisers: ClassVar[bool] = True

    def condense(self, task: Task) -> CondensedSet:
        from bench_d2c.learning import learn

        return learn(task, self)


STEADY = D2C(  # gradients that agree with each other: docs/d2c.md says what each field brings
    "d2c-steady",
    hypergrad="gm",
    stratified=True,
    pairs=10,
    real_batch=64,
    pool_batch=32,
    score="uniform",
    warmup=20,
    kept=3,
    steps=20,
)
