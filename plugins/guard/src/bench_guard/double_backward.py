"""Networks whose gradient in the images is cheap to differentiate once more, in the weights.

torch differentiates a gradient step by step, and does more than is asked: eval-mode BatchNorm goes
over whole maps again and again, GroupNorm is taken apart into some fifty products, the weights of a
convolution get theirs from a convolution with kernels as large as the maps, ReLU and pooling get
zeros for a curvature that they do not have, and in the end the images get a gradient that is not
read. Here these layers are written out, and a BatchNorm is folded into the convolution before it
where a Sequential has the two. The numbers are the network's, but for rounding; other layers are
as ever.

This module imports torch: import it inside functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from bench_guard.group_norm import group_norm

Layer = Callable[[Tensor], Tensor]
Gradients = tuple[Tensor | None, ...]


@contextmanager
def cheap_double_backward(network: nn.Module) -> Iterator[None]:
    """Inside the block, a gradient of `network` is one in the images that it is called with.

    Afterwards, what was found can be differentiated in anything but the images. The network is
    in eval mode, with gradients switched on; it is called in another way, and left as it was.
    """
    block = _Block()
    hook = network.register_forward_pre_hook(lambda _, inputs: block.images.extend(inputs))
    sequences = [
        module
        for module in network.modules()
        if type(module) is nn.Sequential and "forward" not in vars(module)
    ]
    try:
        for sequence in sequences:
            sequence.forward = _in_turn(list(sequence))  # type: ignore[method-assign]
        with _Rewritten(block):
            yield
    finally:
        block.open = False
        hook.remove()
        for sequence in sequences:
            vars(sequence).pop("forward", None)


@dataclass
class _Block:
    """Whether it is still open, and the images that went in."""

    open: bool = True
    images: list[Tensor] = field(default_factory=list)

    def made(self, maps: Tensor) -> bool:
        """Do the maps come from the images alone, by no weights?"""
        nodes: list[Any] = [get_gradient_edge(maps).node] if maps.requires_grad else []
        seen = set(nodes)  # a residual network has more paths than could be walked
        while nodes:
            node = nodes.pop()
            if hasattr(node, "variable") and not any(node.variable is x for x in self.images):
                return False
            fresh = {parent for parent, _ in node.next_functions if parent is not None} - seen
            seen |= fresh
            nodes += fresh
        return True


class _Rewritten(TorchFunctionMode):
    """Functions of torch, each by another of the same values."""

    def __init__(self, block: _Block) -> None:
        super().__init__()
        self.block = block

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in NOTED:
            return NOTED[func](self.block, *args, **kwargs)
        return REWRITTEN.get(func, func)(*args, **kwargs)


# ---- BatchNorm: a factor and a summand for each channel


def _in_turn(layers: list[nn.Module]) -> Layer:
    """What a Sequential does, with each BatchNorm in the convolution before it."""
    calls: list[Layer] = list(layers[:1])
    for before, layer in pairwise(layers):
        if _folds(before, layer):
            calls[-1] = _folded(before, layer)
        else:
            calls.append(layer)

    def forward(input: Tensor) -> Tensor:
        for call in calls:
            input = call(input)
        return input

    return forward


HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def _folds(conv: nn.Module, norm: nn.Module) -> bool:
    """A subclass may compute something else, and a hook may look at what lies between."""
    return (
        type(conv) is nn.Conv2d
        and type(norm) is nn.BatchNorm2d
        and norm.running_mean is not None
        and conv.padding_mode == "zeros"
        and not any(getattr(module, hooks) for module in (conv, norm) for hooks in HOOKS)
    )


def _folded(conv: Any, norm: Any) -> Layer:
    scale, shift = _affine(norm.running_mean, norm.running_var, norm.weight, norm.bias, norm.eps)
    weight = conv.weight * scale.view(-1, 1, 1, 1)
    bias = shift if conv.bias is None else conv.bias * scale + shift
    how = conv.stride, conv.padding, conv.dilation, conv.groups
    return lambda input: F.conv2d(input, weight, bias, *how)


def _affine(
    mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    scale = (var + eps).rsqrt()
    scale = scale if weight is None else weight * scale
    return scale, -mean * scale if bias is None else bias - mean * scale


def _norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if training or running_mean is None or running_var is None:
        return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    shape = -1, *[1] * (input.ndim - 2)
    scale, shift = _affine(running_mean, running_var, weight, bias, eps)
    return torch.addcmul(shift.view(shape), input, scale.view(shape))


# ---- ReLU and average pooling: linear in the slope that comes back, and in nothing else


class _ReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, inplace: bool) -> Tensor:
        result = input.clamp_min_(0) if inplace else input.clamp_min(0)
        if inplace:
            ctx.mark_dirty(result)
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Gradients:
        (result,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(slope, result.detach(), 0), None


def _relu(input: Tensor, inplace: bool = False) -> Any:
    return _ReLU.apply(input, inplace)


class _Average(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, *how: Any) -> Tensor:
        ctx.save_for_backward(input)
        ctx.how = how
        return F.avg_pool2d(input, *how)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Gradients:
        (input,) = ctx.saved_tensors
        back = torch.ops.aten.avg_pool2d_backward(slope, input.detach(), *ctx.how)
        return back, *[None] * len(ctx.how)


def _average(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    how = kernel_size, stride or kernel_size, padding, ceil_mode, count_include_pad
    return _Average.apply(input, *how, divisor_override)


REWRITTEN: dict[Any, Any] = {F.batch_norm: _norm, F.relu: _relu, F.avg_pool2d: _average}


# ---- convolutions


def _convolution(
    block: _Block,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    if input.ndim != 4 or isinstance(padding, str):
        return F.conv2d(input, weight, bias, stride, padding, dilation, groups)
    how = [(v, v) if isinstance(v, int) else (v[0], v[-1]) for v in (stride, padding, dilation)]
    return _Convolution.apply(input, weight, bias, how, groups, block)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        how: list[tuple[int, int]],
        groups: int,
        block: _Block,
    ) -> Tensor:
        ctx.save_for_backward(input, weight)
        ctx.how, ctx.groups, ctx.block = how, groups, block
        ctx.biases = None if bias is None else [len(bias)]
        ctx.wanted = not block.made(input), *ctx.needs_input_grad[1:3]
        stride, padding, dilation = how
        return F.conv2d(input, weight, bias, stride, padding, dilation, groups)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Gradients:
        input, weight = ctx.saved_tensors
        if ctx.block.open:
            # a transposed convolution is differentiated by plain ones
            stride, padding, dilation = ctx.how
            sizes = zip(input.shape[2:], slope.shape[2:], weight.shape[2:], *ctx.how, strict=True)
            left = [n - (m - 1) * s + 2 * p - d * (k - 1) - 1 for n, m, k, s, p, d in sizes]
            back = F.conv_transpose2d(
                slope, weight, None, stride, padding, left, ctx.groups, dilation
            )
            return back, None, None, None, None, None
        found = torch.ops.aten.convolution_backward(
            *(slope, input, weight, ctx.biases, *ctx.how, False, (0, 0), ctx.groups), ctx.wanted
        )
        return *found, None, None, None


NOTED: dict[Any, Any] = {F.conv2d: _convolution, F.group_norm: group_norm}
