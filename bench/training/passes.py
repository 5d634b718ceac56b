"""Passes through networks, counted in images: what seconds cannot compare between machines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


@dataclass
class Passes:
    """Images that went forward through some networks, and whose gradients came back."""

    forward: int = 0
    backward: int = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> Passes:
        return self  # a copy of a network goes on counting here

    def count(self, network: nn.Module) -> RemovableHandle:
        """Count what goes through `network` from now on, and through copies of it."""
        return network.register_forward_hook(self._went)

    def _went(self, module: nn.Module, inputs: Any, output: Any) -> None:
        output = output[0] if isinstance(output, tuple) else output
        if isinstance(output, Tensor) and output.ndim:
            self.forward += len(output)
            if output.requires_grad:
                output.register_hook(self._came_back)  # type: ignore[no-untyped-call]

    def _came_back(self, gradient: Tensor) -> None:
        self.backward += len(gradient)

    def as_json(self) -> dict[str, int]:
        return {"forward": self.forward, "backward": self.backward}


@contextmanager
def counting(network: nn.Module) -> Iterator[Passes]:
    """The passes through a network inside the block."""
    passes = Passes()
    with removed_after(passes.count(network)):
        yield passes


@contextmanager
def removed_after(handle: RemovableHandle) -> Iterator[None]:
    """A hook that lives as long as the block."""
    try:
        yield
    finally:
        handle.remove()
