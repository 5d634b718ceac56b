"""How right teachers are: what a board says of those that it carries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bench.stages.stage import Result, Stage, Upstream

if TYPE_CHECKING:
    from bench.stages.io import Desk


@dataclass(frozen=True, eq=False)
class Grade(Stage):
    """The accuracies of teachers on the split that the board evaluates on, and whether they agree.

    No part of a cell: nothing is selected by it.
    """

    kind: ClassVar[str] = "grade"

    networks: tuple[Upstream, ...]

    @property
    def words(self) -> str:
        return f"grade of {self.networks[0].words}"

    def run(self, desk: Desk) -> Result:
        import torch

        from bench.training.networks import predict

        test = desk.source(self.dataset).split("test")
        everything = torch.arange(len(test.labels))
        said = [
            predict(desk.network(one, self.dataset), test, everything, device=desk.device).argmax(1)
            for one in self.networks
        ]
        return {}, {
            "accuracies": [(one == test.labels).float().mean().item() for one in said],
            "agreement": [(one == said[0]).float().mean().item() for one in said],
            "images": len(test.labels),
        }
