"""The largest curvature of the loss around each image, and how the gradient lies to it.

Curvature here is the Hessian of an image's cross-entropy in its own pixels, [D, D] with
D = C x H x W. It is never built: Lanczos needs its products with vectors alone, which are one more
backward pass, for all images of a batch at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bench import BenchError, Unsupported

if TYPE_CHECKING:
    from torch import Tensor, nn

Product = Callable[["Tensor"], "Tensor"]  # [B, D] -> [B, D]: each image's matrix times its vector


def top_curvature(
    model: nn.Module, images: Tensor, labels: Tensor, *, steps: int = 16, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Of each image: the largest eigenvalue [B] of the Hessian, |cosine| [B] of its eigenvector.

    `model` takes images [B, C, H, W] (pixels in [0, 1]) to logits, evaluated in eval mode; labels
    are class indices [B]. The eigenvalue is the algebraically largest, lambda_1 of the bound in
    GUARD (Xue et al., 2025), in nats by squared Euclidean pixel distance; both scale with the
    logits of the network. The cosine is that of the angle between eigenvector and gradient, NaN
    where the gradient is 0.

    `steps` products with the Hessian are made, from a start that `seed` draws: from the gradient
    it would come sooner, but before it has converged the cosine would be too large. The eigenvalue
    is never too large. For a network of piecewise linear layers and K classes, K steps are exact:
    its Hessian is of rank K - 1. Raises BenchError where the Hessian is not finite.
    """
    import torch
    from torch.nn import functional as F
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from bench.training.networks import evaluating

    if steps < 1:
        raise BenchError(f"steps is {steps}; expected 1 or more products with the Hessian")
    # fused attention has no second derivative
    with evaluating(model), torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        x = images.detach().clone().requires_grad_()
        # in float32, softmax says exactly 1 of what it is sure of, and the loss would be flat
        loss = F.cross_entropy(model(x).double(), labels, reduction="sum")
        if not loss.requires_grad:
            raise Unsupported("the network keeps no graph to its input")
        slope = _derivative(loss, x, None)

        def product(vectors: Tensor) -> Tensor:
            found = _derivative(slope, x, vectors.view_as(x).to(x.dtype))
            return found.detach().flatten(1).double()

        gradient = slope.detach().flatten(1).double()  # squares of small numbers vanish in float32
        values, vectors = largest_eigenpair(product, gradient, steps, seed)
    cosine = (vectors * gradient).sum(1).abs() / gradient.norm(dim=1)  # 0 / 0 is NaN
    return values.to(x.dtype), cosine.clamp(max=1).to(x.dtype)


def largest_eigenpair(
    product: Product, like: Tensor, steps: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Largest eigenvalues [B] and unit eigenvectors [B, D] of B symmetric matrices.

    Lanczos with full reorthogonalisation (Parlett, 1998), each matrix in a Krylov space of its
    own, of `steps` dimensions or D, if that is less. Where one is exhausted it goes on from fresh
    noise. `like` [B, D] says shape, type (float64 is wanted) and device.
    """
    import torch

    count, size = like.shape
    steps = min(steps, size)
    generator = torch.Generator().manual_seed(seed)
    basis = like.new_zeros(count, steps, size)
    small = like.new_zeros(count, steps, steps)  # the matrices, in the basis

    def noise() -> Tensor:  # the same for all, so that an image does not depend on its batch
        drawn = torch.randn(size, generator=generator, dtype=torch.float64)
        return drawn.to(like).expand(count, size)

    found = noise()
    for k in range(steps):
        basis[:, k] = _orthonormal(found, basis[:, :k], noise())
        found = product(basis[:, k])
        small[:, k, : k + 1] = (basis[:, : k + 1] @ found[:, :, None])[:, :, 0]
    if not bool(small.isfinite().all()):
        raise BenchError(
            "the second derivative of the loss is NaN or infinite; expected a network whose "
            "outputs can be differentiated twice"
        )
    values, vectors = torch.linalg.eigh(small)  # reads the lower triangle
    top = (vectors[:, None, :, -1] @ basis)[:, 0]
    return values[:, -1], top / top.norm(dim=1, keepdim=True)


def _orthonormal(vectors: Tensor, basis: Tensor, other: Tensor) -> Tensor:
    """What of vectors [B, D] the bases [B, k, D] do not span, or of `other` if that is nothing."""
    import torch

    def outside(v: Tensor) -> Tensor:
        for _ in range(2):  # twice is enough (Kahan)
            v = v - ((basis @ v[:, :, None]).mT @ basis)[:, 0]
        return v

    left = outside(vectors)
    rounding = 100 * torch.finfo(vectors.dtype).eps * vectors.norm(dim=1, keepdim=True)
    left = torch.where(left.norm(dim=1, keepdim=True) > rounding, left, outside(other))
    unit: Tensor = left / left.norm(dim=1, keepdim=True)
    return unit


def _derivative(of: Tensor, x: Tensor, vectors: Tensor | None) -> Tensor:
    """Gradient in x, of a loss or (times `vectors`) of a gradient; 0 of what x has no part in."""
    import torch

    if not of.requires_grad:  # the gradient of a loss that is linear in x
        return torch.zeros_like(x)
    first = vectors is None
    try:
        (found,) = torch.autograd.grad(
            of, x, vectors, create_graph=first, retain_graph=True, materialize_grads=True
        )
    except RuntimeError as error:
        if "is not implemented" not in str(error):
            raise
        raise Unsupported(f"the network has no second derivative: {error}") from None
    result: Tensor = found
    return result
