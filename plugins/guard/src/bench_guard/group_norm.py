"""GroupNorm, whose gradient in the images has its derivative in closed form.

With a channel a group that is instance norm. torch takes it apart into some fifty products. This
module imports torch: import it inside functions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Gradients = tuple[Tensor | None, ...]


def group_norm(
    block: Any,
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Any:
    """F.group_norm in a block of `cheap_double_backward`."""
    if not input.numel() or not input.is_contiguous():
        return F.group_norm(input, num_groups, weight, bias, eps)
    sizes = len(input), input.shape[1], input[0, 0].numel(), num_groups
    return _GroupNorm.apply(input, weight, bias, sizes, eps, block)


class _GroupNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        sizes: tuple[int, int, int, int],
        eps: float,
        block: Any,
    ) -> Any:
        result, mean, rstd = torch.ops.aten.native_group_norm(input, weight, bias, *sizes, eps)
        ctx.save_for_backward(input, weight, mean, rstd)
        ctx.sizes, ctx.eps, ctx.block = sizes, eps, block
        ctx.wanted = not block.made(input), *ctx.needs_input_grad[1:3]
        return result

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Gradients:
        input, weight, mean, rstd = ctx.saved_tensors
        if not ctx.block.open and not torch.is_grad_enabled():
            found = torch.ops.aten.native_group_norm_backward(
                *(slope.contiguous(), input, mean, rstd, weight, *ctx.sizes), ctx.wanted
            )
            return *found, None, None, None
        scale = None if weight is None else weight.view(-1, *[1] * (input.ndim - 2))
        scaled = slope if scale is None else slope * scale
        back = _Centred.apply(scaled, input, mean, rstd, ctx.sizes, ctx.eps)
        if ctx.block.open:
            return back, None, None, None, None, None
        rest = [0, *range(2, input.ndim)]
        normed = F.group_norm(input, ctx.sizes[-1], eps=ctx.eps)
        found = back, (slope * normed).sum(rest), slope.sum(rest)
        kept = [g if wanted else None for g, wanted in zip(found, ctx.wanted, strict=True)]
        return *kept, None, None, None


class _Centred(torch.autograd.Function):
    """r (g - mean(g) - x mean(g x)) of slopes g, x the normed input and r its factor, by group.

    It is symmetric in its slope: what comes back to that is the same of what comes. With A the
    function, M the size of a group and v what comes back, the input gets
    -r (mean(g x) A(v) + mean(v x) A(g) + x sum(v A(g)) / M).
    """

    @staticmethod
    def forward(
        ctx: Any,
        slope: Tensor,
        input: Tensor,
        mean: Tensor,
        rstd: Tensor,
        sizes: tuple[int, int, int, int],
        eps: float,
    ) -> Any:
        (found, *_) = torch.ops.aten.native_group_norm_backward(
            *(slope.contiguous(), input, mean, rstd, None, *sizes), (True, False, False)
        )
        ctx.save_for_backward(slope, input, mean, rstd, found)
        ctx.sizes, ctx.eps = sizes, eps
        return found

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Gradients:
        first, input, mean, rstd, found = ctx.saved_tensors
        along = _Centred.apply(slope, input, mean, rstd, ctx.sizes, ctx.eps)
        if not ctx.needs_input_grad[1]:
            return along, *[None] * 5
        count = ctx.sizes[0] * ctx.sizes[3]
        x, g, v, a, b = (t.reshape(count, -1) for t in (input, first, slope, found, along))
        if torch.is_grad_enabled():  # then the two depend on the input
            var, mean = torch.var_mean(x, 1, correction=0)
            rstd = (var + ctx.eps).rsqrt()
        mean, rstd = mean.view(count, 1), rstd.view(count, 1)

        def product(t: Tensor) -> Tensor:
            """mean(t x), x the normed input."""
            found: Tensor = rstd * ((t * x).mean(1, keepdim=True) - mean * t.mean(1, keepdim=True))
            return found

        bend = -(rstd**2) * (v * a).mean(1, keepdim=True)
        back = torch.addcmul(-bend * mean, x, bend)
        back = torch.addcmul(back, b, -rstd * product(g))
        back = torch.addcmul(back, a, -rstd * product(v))
        return along, back.view_as(input), *[None] * 4
