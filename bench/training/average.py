"""The average of weights that a trained network ends with, where its recipe says so."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Average:
    """The exponential moving average of weights over the steps of a training.

    Step n moves it to the weights by 1 - d. d is 0 at n = 0, so that weights that are not
    trained count for nothing; then it is (1 + n) / (10 + n), never above `decay`, as in
    TensorFlow's ExponentialMovingAverage with `num_updates`.
    """

    def __init__(self, parameters: Sequence[Tensor], decay: float) -> None:
        self.means: list[Tensor] = [p.detach().clone() for p in parameters]
        self.decay, self.steps = decay, 0

    @torch.no_grad()
    def step(self, parameters: Sequence[Tensor]) -> None:
        n = self.steps
        share = 1 - (min((1 + n) / (10 + n), self.decay) if n else 0.0)
        for mean, parameter in zip(self.means, parameters, strict=True):
            mean.sub_(share * (mean - parameter))  # not lerp_, which rounds otherwise
        self.steps += 1

    @torch.no_grad()
    def copy_to(self, parameters: Sequence[Tensor]) -> None:
        for mean, parameter in zip(self.means, parameters, strict=True):
            parameter.copy_(mean)
