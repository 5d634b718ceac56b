"""Was a network left as it was? Asked around every verb that is given one."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from bench.contract.errors import require

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def fingerprint(model: nn.Module) -> tuple[Any, ...]:
    """What an attack or a metric must leave alone: weights, buffers, modes, gradients, hooks."""
    return (
        tuple(m.training for m in model.modules()),
        tuple(p.requires_grad for p in model.parameters()),
        tuple(p.grad is None for p in model.parameters()),
        tuple(len(getattr(m, hooks)) for m in model.modules() for hooks in HOOKS),
        tuple(t.detach().clone() for t in (*model.parameters(), *model.buffers())),
    )


def check_untouched(before: tuple[Any, ...], model: nn.Module, who: str) -> None:
    """Raise unless `model` is as it was when `fingerprint(model)` gave `before`."""
    *facts, tensors = before
    *facts_now, tensors_now = fingerprint(model)
    names = (
        "train or eval mode",
        "requires_grad of parameters",
        "gradients of parameters",
        "hooks",
    )
    for name, old, new in zip(names, facts, facts_now, strict=True):
        require(old == new, f"{who} changed the model: its {name}")
    same = all(torch.equal(a, b) for a, b in zip(tensors, tensors_now, strict=True))
    require(same, f"{who} changed the model: its weights or buffers")
