"""GELU whose second derivative is one product, for gradients of gradients.

torch composes the second derivative of GELU out of a dozen operations, which takes a quarter of
the time of a product with a transformer's Hessian (measured on one thread of an AMD EPYC).
This module imports torch: components import it inside their verbs.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class Twice(TorchFunctionMode):
    """Inside it the exact GELU is that of this module: the same function, the same derivatives,
    other last bits. It can be differentiated twice, not three times.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.gelu and (kwargs or {}).get("approximate", "none") == "none":
            return _Gelu.apply(args[0])
        return func(*args, **(kwargs or {}))


class _Gelu(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return F.gelu(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        slope: Tensor = _Slope.apply(x)
        return gradient * slope


class _Slope(Function):
    """The derivative of GELU, P(x) + x p(x) of the normal distribution, and its own derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        below = (x * math.sqrt(0.5)).erf_().add_(1).mul_(0.5)
        density = x.square().mul_(-0.5).exp_().mul_(1 / math.sqrt(2 * math.pi))
        ctx.save_for_backward((2 - x.square()).mul_(density))
        return below.addcmul_(x, density)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (bend,) = ctx.saved_tensors
        turned: Tensor = gradient * bend
        return turned
