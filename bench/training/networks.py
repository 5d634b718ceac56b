"""Networks as the harness holds them: normalisation inside, features, logits, and saved states."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bench.contract.data import Split
from bench.contract.errors import BenchError
from bench.training.diffusion import Denoiser
from bench.training.loading import batches


class Normalized(nn.Module):
    """A network that takes pixels in [0, 1]: `network((images - mean) / std)`.

    `mean` and `std` come from the data, one number a channel; they are not trained and not part
    of the state.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:  # [B, C, H, W] -> [B, K]
        logits: Tensor = self.network((images - self.mean) / self.std)
        return logits


def units_of(network: nn.Module) -> tuple[Tensor, Tensor]:
    """The mean and standard deviation [C, 1, 1] by which a network normalises pixels; 0 and 1 for
    one that `build` has not made."""
    if isinstance(network, Normalized):
        return network.mean, network.std
    return torch.zeros(1, 1, 1), torch.ones(1, 1, 1)


def build(
    architecture: Any,
    shape: tuple[int, int, int],
    classes: int,
    mean: Sequence[float],
    std: Sequence[float],
) -> Normalized:
    """A fresh network of a registered architecture, with its normalisation inside.

    Initial weights come from torch's global generator: seed it to have them fixed.
    """
    return Normalized(architecture.build(shape, classes), mean, std)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Eval mode inside the block; afterwards each module is in the mode in which it was found."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def features(network: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """What enters the last `nn.Linear` [B, D], and the logits [B, K].

    Raises BenchError if the network has no `nn.Linear`, or did not use the last one.
    """
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise BenchError(
            f"{_name(network)} has no nn.Linear; expected one as the last layer, the classifier; "
            "give the architecture one, or do not ask for its features"
        )
    seen: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0])

    with linear[-1].register_forward_pre_hook(keep):
        logits: Tensor = network(images)
    if not seen:
        raise BenchError(
            f"the last nn.Linear of {_name(network)} was not called; expected it to be the "
            "classifier; define it after the other layers"
        )
    return seen[-1], logits


def predict(
    network: nn.Module, split: Split, index: Tensor, *, batch: int = 256, device: str = "cpu"
) -> Tensor:
    """Logits [P, K] (float32, on the CPU) of the images of `split` at `index` [P], in eval mode."""
    if not len(index):
        raise BenchError("`index` is empty; expected the positions of one image or more")
    with evaluating(network), torch.no_grad():
        return torch.cat(
            [network(b.to(device)).float().cpu() for b in batches(split, index, batch)]
        )


def state(network: nn.Module) -> dict[str, Tensor]:
    """The weights and buffers, without the normalisation: contiguous copies on the CPU.

    No two of them share memory, which safetensors would refuse.
    """
    return {
        key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, value in _inner(network).state_dict().items()
    }


def load(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put a `state` into a network of the same architecture.

    Raises BenchError naming the first key that is missing, unexpected, or of another shape.
    """
    fault = next(_faults(_inner(network).state_dict(), tensors), None)
    if fault:
        raise BenchError(
            f"the saved state {fault}; expected the state of such a {_name(network)}; "
            "build the network with the fields and the shape that it was saved with"
        )
    _inner(network).load_state_dict(dict(tensors))


def _faults(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> Iterator[str]:
    for key, value in own.items():
        if key not in given:
            yield f"has no {key!r}"
        elif given[key].shape != value.shape:
            yield f"has {key!r} of shape {list(given[key].shape)}, not {list(value.shape)}"
    yield from (f"has an unexpected {key!r}" for key in given if key not in own)


def _inner(network: nn.Module) -> nn.Module:
    return network.network if isinstance(network, Normalized | Denoiser) else network


def _name(network: nn.Module) -> str:
    return type(_inner(network)).__name__
