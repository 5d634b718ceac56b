"""From `--device` and `--jobs` to slots, on devices that exist.

A device is tried in a process of its own: the one that asks never loads torch.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence

from bench.contract.errors import BenchError
from bench.engine.executor import Slot

TRY = """
import sys, torch
devices = sys.argv[1:]
if devices == ["cuda"] and torch.cuda.device_count() > 1:
    devices = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
for device in devices:
    try:
        torch.zeros(1, device=device)
    except Exception as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        print("fault", f"{device}: {said}")
        break
else:
    print("there", *devices)
"""
EXPECTED = "expected cpu, cuda, mps, or devices with a number, as cuda:0,cuda:1"


def slots(device: str, jobs: int = 0) -> tuple[Slot, ...]:
    """The slots for `--device` ("cpu", "cuda:1", "cuda:0,1") and `--jobs`, dealt in turn.

    `cuda` is all GPUs that this process may see. `jobs` counts all slots, so that more than there
    are devices share them; 0 is one a core of this process, or one a device of another type.
    Raises BenchError for a device that is not there, and for one that would get no slot.
    """
    devices = _parsed(device)
    if devices == ["cpu"]:
        return (Slot(),) * (jobs or cores())
    _check_jobs(jobs, devices, device)
    devices = _there(devices, device)
    _check_jobs(jobs, devices, device)  # of those that "cuda" is
    return tuple(Slot(devices[n % len(devices)]) for n in range(jobs or len(devices)))


def _check_jobs(jobs: int, devices: Sequence[str], asked: str) -> None:
    if 0 < jobs < len(devices):
        raise BenchError(
            f"--jobs {jobs} leaves {devices[jobs]} of --device {asked} without work; expected at "
            f"least {len(devices)}, or fewer devices"
        )


def cores() -> int:
    """Cores that this process may use: in a SLURM job those of the job, which a cluster need not
    bind it to."""
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    told = os.environ.get("SLURM_CPUS_PER_TASK") or os.environ.get("SLURM_CPUS_ON_NODE") or ""
    return min(mine or 1, int(told) if told.isdecimal() and int(told) else mine or 1)


def _parsed(text: str) -> list[str]:
    devices = [part.strip() for part in text.split(",")]
    if re.match(r"cuda:\d", devices[0], re.ASCII):  # cuda:0,1
        devices = [f"cuda:{d}" if re.fullmatch(r"\d+", d, re.ASCII) else d for d in devices]
    refused = f"--device {text} cannot be used"
    for one in devices:
        if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", one, re.ASCII):
            raise BenchError(f"{refused}: '{one}' is no device; {EXPECTED}")
        if devices.count(one) > 1:
            raise BenchError(f"{refused}: it names {one} twice; --jobs 2 runs two stages on it")
    types = list(dict.fromkeys(one.split(":")[0] for one in devices))
    if len(types) > 1:
        both = " and ".join(types)
        raise BenchError(f"{refused}: {both} round differently; name devices of one type")
    if len(devices) > 1 and types[0] in devices:
        raise BenchError(f"{refused}: which of them {types[0]} is, is not said; {EXPECTED}")
    return devices


def _there(devices: Sequence[str], asked: str) -> list[str]:
    """The devices, each of several by its number. Raises BenchError if one is not there."""
    ended = subprocess.run(
        [sys.executable, "-P", "-c", TRY, *devices], capture_output=True, text=True, check=False
    )
    if ended.returncode:
        last = (ended.stderr.strip() or f"torch ended with code {ended.returncode}").splitlines()[
            -1
        ]
        raise BenchError(f"--device {asked} cannot be used here: {last}; {EXPECTED}")
    word, *found = ended.stdout.strip().splitlines()[-1].split(" ")
    if word != "there":
        raise BenchError(f"--device {asked} cannot be used here: {' '.join(found)}; {EXPECTED}")
    return found
