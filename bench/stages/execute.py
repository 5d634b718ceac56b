"""Running one stage: from the store, into the store."""

from __future__ import annotations

import os
import platform
import random
import resource
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils import deterministic

from bench.contract.imported import check_code
from bench.stages.io import Desk, Progress
from bench.stages.stage import Work
from bench.store.store import Finished, Store


def execute(work: Work, *, progress: Progress) -> Finished:
    """Run one stage and publish what it returns. Raises what the component raises."""
    _deterministic(work.stage.seed)
    if work.folder:
        os.environ["BENCH_DATA"] = work.folder
    store = Store(Path(work.store))
    check_code(work.code)  # before hours of work
    started = time.monotonic()
    tensors, value = work.stage.run(Desk(store, work.device, progress))
    check_code(work.code)  # of what the verb has imported
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cost = {
        "seconds": round(time.monotonic() - started, 3),
        "peak_mb": round(peak / (1024**2 if sys.platform == "darwin" else 1024), 1),
    }
    return store.publish(
        work.stage.kind,
        work.key,
        tensors,
        value,
        inputs=work.inputs,
        cost=cost,
        environment=environment(work.device),
    )


def _deterministic(seed: int) -> None:
    """Law 5: same inputs and seed, same bytes."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  (a plugin may still draw from it)
    torch.manual_seed(seed)
    torch.set_default_dtype(torch.float32)  # a bundle shares a process
    torch.set_grad_enabled(True)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # slow
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


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
