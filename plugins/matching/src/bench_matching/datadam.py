"""DataDAM: synthetic images draw the attention of random networks to where real ones draw it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench import BenchError, CondensedSet, Task
from bench_matching.methods import ALL
from bench_matching.settings import Matching

if TYPE_CHECKING:
    from torch import Tensor, nn

SCALE = 100.0  # of the whole distance, as in the released code


@dataclass(frozen=True)
class DataDAM:
    """Attention maps and mean features match those of real images in random networks (Sajedi et
    al., ICCV 2023).

    Attention is what activations of a layer sum to over channels, as a power of their size, scaled
    to length 1; its mean over the images of a class is matched after every activation but the last.
    What enters the classifier is matched as in `dm`, with weight `balance`. All else is as in `dm`.
    """

    name: str = "datadam"
    iterations: int = 20000  # fresh networks, and steps of the images
    power: float = 1.0  # of activations in the attention maps; as released
    balance: float = 0.01  # weight of the mean features beside the maps
    lr: float = 1.0  # of the images, in units of normalised pixels; theirs from IPC 100 on: 10
    momentum: float = 0.5  # of the images
    batch: int = 64  # real images of a class in each step
    init: str = "real"  # "real" images of the class | "noise"
    augment: str = ALL  # operations, of which each step draws one; "flip" where it keeps the label
    quick: ClassVar[dict[str, Any]] = {"iterations": 10, "batch": 16}
    fresh_networks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("power", "balance"):
            if not 0 < getattr(self, name) < math.inf:
                raise BenchError(f"{name} is {getattr(self, name)}; expected more than 0")
        Matching.of(self)

    def condense(self, task: Task) -> CondensedSet:
        from bench_matching.matching import match

        return match(task, Matching.of(self), self.distance_of)

    def distance_of(
        self, network: nn.Module, real: Tensor, synthetic: Tensor, label: int
    ) -> Tensor:
        """How far attention and features of synthetic and of real images are apart."""
        import torch

        from bench.training import networks
        from bench_matching.distances import mean_distance

        with recording(network) as maps:
            with torch.no_grad():
                aim, _ = networks.features(network, real)
            wanted = [attention(layer, self.power) for layer in maps()]
            found, logits = networks.features(network, synthetic)
            seen = [attention(layer, self.power) for layer in maps()]
        far = self.balance * mean_distance(found, aim)
        for one, other in zip(seen[:-1], wanted[:-1], strict=True):
            far = far + mean_distance(one, other)
        # by the logits passes are counted, so they take part
        return SCALE * far + 0 * logits.sum()


def attention(maps: Tensor, power: float) -> Tensor:
    """Where activations [B, C, H, W] are large: [B, H x W], each of length 1."""
    from torch.nn import functional as F

    return F.normalize(maps.abs().pow(power).sum(1).flatten(1), dim=1)


@contextmanager
def recording(network: nn.Module) -> Iterator[Callable[[], list[Tensor]]]:
    """Inside the block: a function that gives the maps [B, C, H, W] that activations gave since it
    was last called, in the order of the pass."""
    from torch import nn

    activations = (nn.ReLU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.GELU, nn.SiLU, nn.ELU)
    kept: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
        if output.ndim == 4:
            kept.append(output)

    def maps() -> list[Tensor]:
        found = [*kept]
        kept.clear()
        if not found:
            raise BenchError(
                "the backbone has no activation that gives maps [B, C, H, W]; expected one or "
                "more, whose attention is matched; use a convolutional network"
            )
        return found

    handles = [
        m.register_forward_hook(keep) for m in network.modules() if isinstance(m, activations)
    ]
    try:
        yield maps
    finally:
        for handle in handles:
            handle.remove()
