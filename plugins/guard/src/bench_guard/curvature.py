"""How the loss bends around an image, as terms of a loss: differentiable in the weights.

All of them look at each image alone, in eval mode: the network is left in the mode in which it was
found, and its running statistics are not touched. The network must have a second derivative.
Lengths are Euclidean over all pixels of an image, in pixels of [0, 1]; losses are cross-entropy in
nats.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from bench import Unsupported

if TYPE_CHECKING:
    from torch import Tensor, nn


def curvature(model: nn.Module, images: Tensor, labels: Tensor, *, h: float) -> Tensor:
    """R(x) = |grad l(x + z) - grad l(x)| of each image [B], z = h grad l(x) / |grad l(x)|.

    The regulariser of GUARD (Xue et al., 2025) after CURE (Moosavi-Dezfooli et al., 2019):
    about h times the curvature of the loss along its gradient. `model` takes images [B, C, H, W]
    to logits; labels are classes [B] or distributions [B, K]; the step z is a constant to the
    derivative in the weights, and 0 where the gradient is.
    """
    return with_curvature(model, images, labels, h=h)[1]


def loss_difference(model: nn.Module, images: Tensor, labels: Tensor, *, h: float) -> Tensor:
    """|l(x + z) - l(x)| of each image [B], with the z of `curvature`: a term of first order.

    What the released script of GUARD for larger images uses instead: a pass less, none of them
    through a gradient.
    """
    return with_difference(model, images, labels, h=h)[1]


def gradient_norm(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """|grad l(x)| of each image [B], with a derivative in the weights."""
    return with_norm(model, images, labels)[1]


# each beside the losses [B] (float64) that it is a term of: they come from one pass


def with_curvature(
    model: nn.Module, images: Tensor, labels: Tensor, *, h: float
) -> tuple[Tensor, Tensor]:
    import torch

    with _differentiable(model):
        loss, here = _loss_and_gradient(model, images, labels, create_graph=True)
        _, there = _loss_and_gradient(model, images + _step(here, h), labels, create_graph=True)
        return loss, torch.linalg.vector_norm((there - here).flatten(1), dim=1)


def with_difference(
    model: nn.Module, images: Tensor, labels: Tensor, *, h: float
) -> tuple[Tensor, Tensor]:
    with _differentiable(model):
        loss, gradient = _loss_and_gradient(model, images, labels)
        moved = images + _step(gradient, h)
        return loss, (_loss(model, moved, labels) - loss).abs().to(images.dtype)


def with_norm(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    import torch

    with _differentiable(model):
        loss, gradient = _loss_and_gradient(model, images, labels, create_graph=True)
        return loss, torch.linalg.vector_norm(gradient.flatten(1), dim=1)


def same_in_both_modes(network: nn.Module, images: Tensor) -> bool:
    """Does a network do in train mode what it does in eval mode? Tried on images [B, C, H, W], on
    the CPU.

    So if it says the same, draws nothing, and leaves its buffers as they were.
    """
    import torch

    tried = copy.deepcopy(network)
    for hooks in (tried._forward_hooks, tried._forward_pre_hooks):
        hooks.clear()  # who counts passes need not hear of it
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        said, state = tried.eval()(images), torch.get_rng_state()
        same = torch.equal(tried.train()(images), said)
        same &= torch.equal(torch.get_rng_state(), state)
    return same and all(map(torch.equal, tried.buffers(), network.buffers()))


def _loss(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    from torch.nn import functional as F

    logits = model(images)
    # in float32, softmax says exactly 1 of what it is sure of, and the loss would be flat
    target = labels.double() if labels.is_floating_point() else labels
    return F.cross_entropy(logits.double(), target, reduction="none")


def _loss_and_gradient(
    model: nn.Module, images: Tensor, labels: Tensor, create_graph: bool = False
) -> tuple[Tensor, Tensor]:
    """Losses [B] and their gradients in the images; with `create_graph`, differentiable."""
    import torch

    x = images.detach().requires_grad_()
    loss = _loss(model, x, labels)
    if not loss.requires_grad:
        raise Unsupported("the network keeps no graph to its input")
    # the sum: the gradient of an image's own loss, whatever else is in the batch
    (gradient,) = torch.autograd.grad(
        loss.sum(), x, create_graph=create_graph, retain_graph=True, materialize_grads=True
    )
    return loss, gradient


def _step(gradient: Tensor, h: float) -> Tensor:
    """A step of length `h` along each gradient, or none where it is 0; without a graph."""
    import torch
    from torch.nn import functional as F

    flat = gradient.detach().flatten(1)
    # squares of small numbers vanish in float32
    flat = flat / flat.abs().amax(1, keepdim=True).clamp_min(torch.finfo(flat.dtype).tiny)
    return (h * F.normalize(flat)).view_as(gradient)


@contextmanager
def _differentiable(model: nn.Module) -> Iterator[None]:
    """Eval mode, float32, and layers whose gradients in images are cheap to differentiate again."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from bench.training.networks import evaluating
    from bench_guard.double_backward import cheap_double_backward

    if isinstance(model, torch.jit.ScriptModule):
        raise Unsupported("a scripted network cannot be differentiated twice here")
    with ExitStack() as stack:
        stack.enter_context(evaluating(model))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(torch.autocast("cuda", enabled=False))
        stack.enter_context(torch.autocast("cpu", enabled=False))
        stack.enter_context(
            sdpa_kernel(SDPBackend.MATH)
        )  # fused attention has no second derivative
        if "torch._dynamo" in sys.modules:  # only then can a part of the network be compiled
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(cheap_double_backward(model))
        yield
