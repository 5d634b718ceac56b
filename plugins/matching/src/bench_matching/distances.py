"""Gradients of a loss in the parameters of a network, and how far two such gradients are apart.

Pure functions of tensors: they know neither images nor classifiers, so that they serve any
network and any loss. This module imports torch: components import it inside their verbs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from bench import BenchError

EPSILON = 1e-6  # beside a product of norms, as in the released code


def gradients(
    loss: Tensor, parameters: Iterable[Tensor], *, differentiable: bool = False
) -> tuple[Tensor, ...]:
    """The gradient of `loss` (a scalar) in each parameter; zeros where the loss has none of it.

    With `differentiable` (the synthetic side) what the loss was computed from can be optimised
    through it; without, the gradients are constants, and the graph of the loss is freed.
    """
    return torch.autograd.grad(
        loss, tuple(parameters), create_graph=differentiable, materialize_grads=True
    )


def distance(found: Sequence[Tensor], aim: Sequence[Tensor], kind: str = "layerwise") -> Tensor:
    """How far the gradients `found` are from `aim`, parameter by parameter: a scalar.

    layerwise  one minus the cosine, summed over the output rows of every parameter of two
               dimensions or more; those of one (biases, norms) are left out (Zhao et al., 2021)
    cosine     one minus the cosine of all of them as one vector
    l2         the squared length of the difference of all of them

    Raises BenchError for another kind.
    """
    if kind == "layerwise":
        rows = [(a.flatten(1), b.flatten(1)) for a, b in zip(found, aim, strict=True) if a.ndim > 1]
        return torch.stack([_apart(a, b).sum() for a, b in rows]).sum()
    one, two = (torch.cat([part.flatten() for part in side]) for side in (found, aim))
    if kind == "cosine":
        return _apart(one, two)
    if kind == "l2":
        return (one - two).square().sum()
    raise BenchError(f"distance is {kind!r}; expected 'layerwise', 'cosine' or 'l2'")


def mean_distance(found: Tensor, aim: Tensor) -> Tensor:
    """Squared distance between the means of features [m, D] and [n, D] (Zhao and Bilen, 2023)."""
    return (found.mean(0) - aim.mean(0)).square().sum()


def _apart(a: Tensor, b: Tensor) -> Tensor:
    """One minus the cosine along the last dimension."""
    norms: Tensor = torch.linalg.vector_norm(a, dim=-1) * torch.linalg.vector_norm(b, dim=-1)
    return 1 - (a * b).sum(-1) / (norms + EPSILON)
