"""A teacher that is trained until it stops improving on training images that are held out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench import BenchError, Task, digest
from bench.training.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Patient:
    """Rounds of plain training until `patience` of them bring nothing; the best is kept.

    A share `held_out` of each class is not trained on. A round is `epochs` of SGD on the others
    with a cosine schedule to 0 (warm restarts: Loshchilov and Hutter, 2017); after it the network
    is tried on the images held out. Whether it has improved needs no schedule that knows the end.
    """

    name: str = "patient"
    epochs: int = 6  # of a round
    patience: int = 2  # rounds without improvement after which it ends
    rounds: int = 20  # at most
    held_out: float = 0.1  # share of each class
    batch: int = 64
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: float = 0.05  # of each round
    crop: int = 0  # random shifts of up to this many pixels
    flip: bool = False  # mirror images, where that keeps the label
    resized_crop: tuple[float, ...] = ()  # (smallest, largest) area of a random resized crop
    channels_last: bool = False  # faster with BatchNorm on a CPU; other bytes
    quick: ClassVar[dict[str, Any]] = {"epochs": 2, "rounds": 2, "crop": 0}
    track: ClassVar[str] = "classification"

    def __post_init__(self) -> None:
        for name in ("epochs", "patience", "rounds"):
            if (value := getattr(self, name)) < 1:
                raise BenchError(f"{self.name}: {name} is {value}; expected 1 or more")
        if not 0 < self.held_out < 1:
            raise BenchError(
                f"{self.name}: held_out is {self.held_out}; expected a share, between 0 and 1"
            )
        self._recipe()

    def _recipe(self) -> Recipe:
        own = ("name", "patience", "rounds", "held_out")
        return Recipe(**{name: one for name, one in asdict(self).items() if name not in own})

    def squeeze(self, task: Task) -> nn.Module:
        import torch

        from bench.training import networks
        from bench.training.classifier import Examples, fit

        trained, tried = parts(task.train.labels, len(task.classes), self.held_out, task.seed)
        examples = Examples(task.train, trained, task.train.labels[trained])
        network, kept = task.network(), dict(task.checkpoint.load())
        number, best, since = (int(kept.pop(name, 0)) for name in ("rounds", "right", "since"))
        if kept:
            networks.load(network, _part(kept, "last/"))
        state = _part(kept, "best/")
        while number < self.rounds and since < self.patience:
            fit(
                network,
                examples,
                self._recipe(),
                classes=len(task.classes),
                seed=int(digest([task.seed, "round", number]), 16) >> 1,
                flip=task.flip,
                device=task.device,
            )
            said = networks.predict(network, task.train, tried, device=task.device).argmax(1)
            right = int((said == task.train.labels[tried]).sum())
            number, since = number + 1, since + 1
            if right > best or not state:
                best, since, state = right, 0, networks.state(network)
            counts = {"rounds": number, "right": best, "since": since}
            parted = {"last/": networks.state(network), "best/": state}
            tensors = {p + name: one for p, part in parted.items() for name, one in part.items()}
            tensors |= {name: torch.tensor(value) for name, value in counts.items()}
            task.checkpoint.save(tensors.copy)
            task.progress(number, self.rounds)
        networks.load(network, state)
        return network.eval()


def parts(labels: Tensor, classes: int, held_out: float, seed: int) -> tuple[Tensor, Tensor]:
    """Positions in `labels` [T] to train on, and those held out: a share of each class.

    One image or more of a class stays on each side. Raises BenchError for a class of fewer
    than two.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    trained, tried = [], []
    for label in range(classes):
        members = (labels == label).nonzero().squeeze(1)
        if len(members) < 2:
            raise BenchError(
                f"class {label} has {len(members)} training images; expected two or more, to hold "
                "one out"
            )
        members = members[torch.randperm(len(members), generator=generator)]
        count = min(max(1, round(held_out * len(members))), len(members) - 1)
        tried.append(members[:count])
        trained.append(members[count:])
    return torch.cat(trained).sort().values, torch.cat(tried).sort().values


def _part(kept: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): one for k, one in kept.items() if k.startswith(prefix)}
