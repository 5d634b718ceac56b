"""A network that a board keeps, taken as it is."""

from __future__ import annotations

import hashlib
from pathlib import Path

from bench import networks
from bench.condensed_set import bytes_of
from bench.counting import Passes
from bench.graph import Work
from bench.source import described
from bench.stages.inputs import Progress, Result, built, check_finite, source_of
from bench.store import Store
from bench.types import BenchError


def run(work: Work, store: Store, progress: Progress) -> Result:
    """The network in a file. Raises BenchError for a file that holds another."""
    from safetensors import SafetensorError
    from safetensors.torch import load as of_bytes

    path, again = work.parts["file"], "get it from the repository again, or delete it"
    blob = Path(path).read_bytes()
    if hashlib.sha256(blob).hexdigest() != work.parts["sha256"]:
        raise BenchError(f"{path} has changed since the run began; run again")
    network = built(work.parts["architecture"], described(source_of(work, store).facts), 0)
    try:
        networks.load(network, of_bytes(blob))
        state = networks.state(network)
        check_finite(state)
    except (SafetensorError, BenchError) as error:
        raise BenchError(f"{path} is no network of this board ({error}); {again}") from None
    return {"result": state}, {"bytes": bytes_of(state), "passes": Passes().as_json()}
