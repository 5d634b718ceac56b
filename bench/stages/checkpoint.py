"""What a stage keeps of itself while it runs, so that a run that is killed goes on from there."""

from __future__ import annotations

import json
import math
import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench.training.passes import Passes

if TYPE_CHECKING:
    from torch import Tensor

INTERVAL = 60.0  # seconds: what a kill costs at most


@dataclass
class StoredCheckpoint:
    """The checkpoint of one stage, in a file of the store that goes when the stage is finished.

    What a plugin saves travels with what the harness has counted by then. Without a path nothing
    is kept.
    """

    path: Path | None = None
    interval: float = INTERVAL
    last_call: float = math.inf  # of `time.monotonic`: soon after it, the run ends
    passes: Passes = field(default_factory=Passes)  # of the networks that are counted
    drawn: int = 0  # fresh networks
    seconds: float = 0.0  # that earlier runs have spent on what is kept
    _since: float = field(default_factory=time.monotonic)
    _last: float = field(default_factory=time.monotonic)

    def load(self) -> Mapping[str, Tensor]:
        """What was last kept; empty where there is nothing, or nothing that can be read."""
        from safetensors import SafetensorError, safe_open

        if not self.path:
            return {}
        try:
            with safe_open(self.path, "pt") as file:
                counted = json.loads(file.metadata()["counted"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, ValueError, KeyError, TypeError):
            return {}
        self.seconds, self.drawn = counted["seconds"], counted["drawn"]
        self.passes.forward, self.passes.backward = counted["forward"], counted["backward"]
        return tensors

    def save(self, state: Callable[[], Mapping[str, Tensor]]) -> None:
        now = time.monotonic()
        called = self._last < self.last_call <= now
        if not self.path or (now - self._last < self.interval and not called):
            return
        from safetensors.torch import save_file

        seconds = self.seconds + now - self._since
        counted = {**self.passes.as_json(), "drawn": self.drawn, "seconds": seconds}
        tensors = {name: one.detach().cpu().contiguous().clone() for name, one in state().items()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # two machines may do one thing twice, and number their processes alike
        temporary = self.path.with_suffix(f".{secrets.token_hex(8)}.tmp")
        try:
            save_file(tensors, temporary, {"counted": json.dumps(counted)})
            os.replace(temporary, self.path)
        finally:
            temporary.unlink(missing_ok=True)
        self._last = time.monotonic()

    def remove(self) -> None:
        if self.path:
            self.path.unlink(missing_ok=True)
