"""Running one stage: from the store, into the store."""

from __future__ import annotations

import os
import platform
import resource
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from bench.contract.imported import check_code
from bench.stages import numeric
from bench.stages.checkpoint import INTERVAL, StoredCheckpoint
from bench.stages.io import Desk, Progress
from bench.stages.stage import Work
from bench.store.store import Store


def execute(work: Work, *, device: str, progress: Progress) -> dict[str, Any]:
    """Run one stage on a device and publish what it returns: the fields of a `Finished`.

    Raises what the component raises.
    """
    numeric.begin(work.stage.seed, device)
    if work.folder:
        os.environ["BENCH_DATA"] = work.folder
    store = Store(Path(work.store))
    check_code(work.code)  # before hours of work
    versions = _versions(work)
    started = time.monotonic()
    partial = store.partial(work.stage.kind, work.key)
    checkpoint = StoredCheckpoint(partial, INTERVAL, work.last_call)
    desk = Desk(store, device, progress, checkpoint)
    tensors, value = work.stage.run(desk)
    check_code(work.code)  # of what the verb has imported
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cost = {
        "seconds": round(checkpoint.seconds + time.monotonic() - started, 3),
        "peak_mb": round(peak / (1024**2 if sys.platform == "darwin" else 1024), 1),
    }
    finished = store.publish(
        work.stage.kind,
        work.key,
        tensors,
        value,
        inputs=work.inputs,
        cost=cost,
        environment=environment(device) | {"versions": versions},
    )
    checkpoint.remove()
    return asdict(finished)


def _versions(work: Work) -> dict[str, str]:
    """Of what runs here: the harness, torch, plugins, and the libraries that these import."""
    found = dict(work.code.requires)  # `check_code` has looked
    for name in ("condensation-bench", "torch", *work.provides):
        with suppress(PackageNotFoundError):  # components that no distribution provides
            found[name] = _version(name)
    return found


_version = cache(version)


def look_round() -> None:
    """Find out what is the same for all stages, before processes are forked that would ask again:
    some of it is asked of other programs."""
    environment("cpu")
    for name in ("condensation-bench", "torch"):
        _version(name)


@cache
def environment(device: str) -> dict[str, Any]:
    """The machine that a stage ran on, as records keep it."""
    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.split(": ", 1)[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {
        "cpu": cpu,
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu",
        "isa": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(),
        "system": platform.system(),
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),  # a class of torch's, which would be loaded to read it
    }
