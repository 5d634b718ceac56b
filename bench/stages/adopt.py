"""The network that metrics look with: as a board keeps it, or as the board is going to."""

from __future__ import annotations

import hashlib
from pathlib import Path

from torch import Tensor, nn

from bench.contract.errors import BenchError
from bench.stages.io import Progress, Result, built, check_finite, network_of, source_of
from bench.stages.source import described
from bench.stages.stage import Work
from bench.store.store import Store
from bench.training import networks
from bench.training.passes import Passes
from bench.training.sets import bytes_of


def run(work: Work, store: Store, progress: Progress) -> Result:
    facts = described(source_of(work, store).facts)
    if "network" in work.above:
        state = networks.state(network_of(work.above["network"], store, facts, "cpu"))
    else:
        state = _kept(work, built(work.parts["architecture"], facts, 0))
    return {"result": state}, {"bytes": bytes_of(state), "passes": Passes().as_json()}


def _kept(work: Work, network: nn.Module) -> dict[str, Tensor]:
    """The weights in a file. Raises BenchError where they are not those of this network."""
    from safetensors import SafetensorError
    from safetensors.torch import load as of_bytes

    path, again = work.parts["file"], "get it from the repository again, or delete it"
    blob = Path(path).read_bytes()
    if hashlib.sha256(blob).hexdigest() != work.parts["sha256"]:
        raise BenchError(f"{path} has changed since the run began; run again")
    try:
        networks.load(network, of_bytes(blob))
        state = networks.state(network)
        check_finite(state)
    except (SafetensorError, BenchError) as error:
        raise BenchError(f"{path} is no network of this board ({error}); {again}") from None
    return state
