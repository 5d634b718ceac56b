"""How an outer loss changes with what an inner training was done on.

The inner training of weights w on a pool S makes w(S); the outer loss is F(w(S), S), so that

    dF/dS = dF/dS at constant w  +  (dw/dS)^T dF/dw.

Each function here makes one w(S) and, with it, a `Respond`: the product (dw/dS)^T v for any v.
`weights` are tensors by name, the pool is a sequence of leaf tensors, and losses are functions of
the two that draw nothing: whoever wants random times and noise freezes them first, or the Hessian
of the inner loss is another one each time that it is asked.

This module imports torch: components import it inside their verbs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]
Pool = Sequence[Tensor]
Loss = Callable[[Weights, Pool], Tensor]
Parts = tuple[Tensor, ...]
Respond = Callable[[Weights], Parts]  # a tensor for each weight, by name -> one for each of pool


def hypergradient(
    terms: Iterable[Loss], weights: Weights, pool: Pool, respond: Respond | None
) -> tuple[Tensor, Parts]:
    """The outer loss, which is the sum of `terms`, and its gradient in each tensor of the pool.

    Each term is gone back through on its own, so that one graph lives at a time. Without `respond`
    the weights count as constant: gradient matching as it has been since DC (Zhao et al., 2021).
    """
    weights = leaves(weights)
    inputs = (*pool, *(weights.values() if respond else ()))
    far, found = inputs[0].new_zeros(()), [torch.zeros_like(i) for i in inputs]
    for term in terms:
        value = term(weights, pool)
        far = far + value.detach()
        parts = torch.autograd.grad(value, inputs, materialize_grads=True)
        found = [so_far + part for so_far, part in zip(found, parts, strict=True)]
    direct, aim = tuple(found[: len(pool)]), found[len(pool) :]
    if respond is None:
        return far, direct
    moved = respond(dict(zip(weights, aim, strict=True)))
    return far, tuple(a + b for a, b in zip(direct, moved, strict=True))


def unrolled(
    inner: Loss, weights: Weights, pool: Pool, steps: int, lr: float
) -> tuple[Weights, Respond]:
    """`steps` of gradient descent from `weights`, and back through each of them (truncated BPTT).

    Exact if the descent is no longer than that; memory grows with `steps`.
    """
    reached: Weights = leaves(weights)
    for _ in range(steps):
        found = _gradients(inner(reached, pool), reached, differentiable=True)
        reached = {k: w - lr * g for (k, w), g in zip(reached.items(), found, strict=True)}

    def respond(aim: Weights) -> Parts:
        return _pulled(list(reached.values()), pool, list(aim.values()))

    return reached, respond


def implicit(
    inner: Loss, weights: Weights, pool: Pool, damping: float, iterations: int
) -> tuple[Weights, Respond]:
    """Weights that count as trained, and how they would follow: the implicit function theorem.

    The response is -(d2G/dS dw) (H + damping)^-1 v, with the Hessian H of the inner loss G asked
    for products with vectors alone, by conjugate gradients. A damping of 1 / (lr steps) stands
    for a descent of so many steps that has not converged: both filter the curvatures alike.
    """
    weights = leaves(weights)
    values = list(weights.values())

    def respond(aim: Weights) -> Parts:
        found = _gradients(inner(weights, pool), weights, differentiable=True)

        def curved(vector: Tensor) -> Tensor:
            return _flat(_pulled(found, values, _like(vector, values))) + damping * vector

        solution = conjugate_gradients(curved, _flat(list(aim.values())), iterations)
        return tuple(-part for part in _pulled(found, pool, _like(solution, values)))

    return weights, respond


def solved(
    head: Callable[[Weights, Pool], Weights], weights: Weights, pool: Pool
) -> tuple[Weights, Respond]:
    """Weights of which `head` gives some in closed form, out of the others and the pool.

    The others count as constant: the response is exact for those that are solved for.
    """
    new = head({k: w.detach() for k, w in weights.items()}, pool)

    def respond(aim: Weights) -> Parts:
        return _pulled(list(new.values()), pool, [aim[name] for name in new])

    return {**weights, **new}, respond


def ridge(features: Tensor, targets: Tensor, start: Tensor, penalty: float) -> Tensor:
    """The linear map [p, q] from features [n, p] to targets [n, q], pulled to `start` [p, q].

    It minimises the mean square of what is left plus `penalty` times the squares of its change.
    """
    gram = features.T @ features / len(features)
    gram = gram + penalty * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    left = features.T @ (targets - features @ start) / len(features)
    change: Tensor = torch.linalg.solve(gram, left)
    return start + change


def conjugate_gradients(
    matrix: Callable[[Tensor], Tensor], aim: Tensor, iterations: int, tolerance: float = 1e-10
) -> Tensor:
    """x [D] with matrix(x) = aim, for a symmetric matrix (Hestenes and Stiefel, 1952).

    It stops at a direction of negative curvature, and gives the best it has had, by what is left
    of `aim`: nothing at all, where every step has led away.
    """
    best = x = torch.zeros_like(aim)
    direction = residual = aim
    size = least = residual @ residual
    enough = tolerance**2 * size
    for _ in range(iterations):
        if size <= enough:
            break
        product = matrix(direction)
        curvature = direction @ product
        if curvature <= 0:
            break
        step = size / curvature
        x, residual = x + step * direction, residual - step * product
        before, size = size, residual @ residual
        if size < least:
            best, least = x, size
        direction = residual + size / before * direction
    return best


def largest_curvature(inner: Loss, weights: Weights, pool: Pool, iterations: int = 5) -> float:
    """About the largest eigenvalue of the inner loss's Hessian: descent needs lr below 2 / it.

    Power iteration from the gradient, which needs no draw and lies where the curvature is.
    """
    weights = leaves(weights)
    values = list(weights.values())
    found = _gradients(inner(weights, pool), weights, differentiable=True)
    vector = _flat(found).detach()
    for _ in range(iterations):
        unit = vector / vector.norm().clamp_min(1e-30)
        vector = _flat(_pulled(found, values, _like(unit, values)))
    return float(vector.norm())


def leaves(weights: Weights) -> dict[str, Tensor]:
    """The same weights, without a past and asking for gradients."""
    return {name: weight.detach().requires_grad_() for name, weight in weights.items()}


def _gradients(loss: Tensor, weights: Weights, *, differentiable: bool = False) -> Parts:
    return torch.autograd.grad(
        loss, tuple(weights.values()), create_graph=differentiable, materialize_grads=True
    )


def _pulled(found: Sequence[Tensor], at: Sequence[Tensor], vector: Sequence[Tensor]) -> Parts:
    """The gradient of <found, vector> in each of `at`; the graph of `found` is kept."""
    pairs = [(f, v) for f, v in zip(found, vector, strict=True) if f.requires_grad]
    outputs, weights = zip(*pairs, strict=True)
    return torch.autograd.grad(
        outputs, tuple(at), weights, retain_graph=True, materialize_grads=True
    )


def _flat(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.flatten() for part in parts])


def _like(vector: Tensor, parts: Sequence[Tensor]) -> list[Tensor]:
    pieces = torch.split(vector, [part.numel() for part in parts])
    return [piece.view_as(part) for piece, part in zip(pieces, parts, strict=True)]
