"""A cluster with SLURM: one command, many times, in jobs that share a store.

Each job is an ordinary run that ends before its time is over. They are submitted, and not
followed: arrays of jobs stand in the queue one behind another, and what one array leaves is for
the next. Kinds of stages may have jobs of their own, which ask for other nodes. submitit writes
the job scripts; its `result()` is not called, which without `sacct` never returns.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.contract.errors import BenchError
from bench.contract.typed import Count, known, read, toml
from bench.stages.kinds import KINDS, kinds_of

FILE = "slurm.toml"
OURS = ("pilots", "rounds", "minutes", "stages")
SIGNAL = "CONT@1"  # instead of submitit's, which would end a run that is about to end by itself


@dataclass(frozen=True)
class Pilots:
    """Jobs to ask of a cluster; `options` are those of `sbatch`, with _ for -."""

    pilots: Count = 2  # jobs at a time
    rounds: Count = 3  # arrays of them, one after another
    minutes: Count = 60  # of one job
    stages: tuple[str, ...] = ()  # kinds that they make; none: all
    options: Mapping[str, Any] = field(default_factory=dict)


def pilots_of(board: Path) -> list[Pilots]:
    """`slurm.toml` of a board, or else of the user: its tables `[[job]]`, which have the keys
    above them, or else jobs with those alone. Raises BenchError for what it cannot be."""
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    for path in (board / FILE, config / "condensation-bench" / FILE):
        if path.exists():
            found = toml(path, "expected keys as in docs/running.md")
            tables = found.pop("job", [{}])
            if not (isinstance(tables, list) and all(isinstance(t, dict) for t in tables)):
                raise BenchError(f"{path}: job is no list of tables; write [[job]] above each")
            return _shared_out([_read({**found, **table}, path) for table in tables], path)
    return [Pilots()]


def _read(table: dict[str, Any], path: Path) -> Pilots:
    ours = {name: table.pop(name) for name in OURS if name in table}
    made = Pilots(**read(Pilots, ours, str(path)), options=table)
    kinds_of(made.stages, f"{path}: stages")
    return made


def _shared_out(jobs: Sequence[Pilots], path: Path) -> list[Pilots]:
    """Jobs that name no stages make those that no other names. Raises BenchError if one is left."""
    named = {kind for job in jobs for kind in job.stages}
    others = tuple(kind for kind in KINDS if kind not in {*named, "load"})
    if named and others and all(job.stages for job in jobs):
        raise BenchError(
            f"{path}: no job makes the stages {', '.join(others)}; add a [[job]] without `stages`, "
            "which makes all that no other names"
        )
    return [replace(job, stages=job.stages or (others if named else ())) for job in jobs]


def submit(command: Sequence[str], job: Pilots, folder: Path, queued: Sequence[str]) -> list[str]:
    """Put `job.rounds` arrays of jobs into the queue that run a command; their ids, in order.

    What the jobs print goes to `folder`. Raises BenchError where there is no SLURM, no submitit,
    or where SLURM refuses; it then names what is `queued` already.
    """
    try:
        from submitit import SlurmExecutor
        from submitit.core.utils import FailedJobError
    except ImportError:
        raise BenchError(
            "--engine slurm wants submitit, which is not installed; "
            "try: pip install 'condensation-bench[slurm]'"
        ) from None
    options = SlurmExecutor._valid_parameters() - {"time", "dependency"}  # which are said here
    known(job.options, {*options, *OURS}, FILE)
    ids: list[str] = []
    try:
        for _ in range(job.rounds):
            executor = SlurmExecutor(folder)
            executor.update_parameters(**_parameters(job, ids[-1:]))
            with executor.batch():
                jobs = [executor.submit(pilot, [*command]) for _ in range(job.pilots)]
            ids.append(jobs[0].job_id.split("_")[0])
    except (FailedJobError, RuntimeError, ValueError) as error:
        raise BenchError(_refused(error, [*queued, *ids])) from None
    return ids


def _parameters(job: Pilots, before: Sequence[str]) -> dict[str, Any]:
    """What submitit is told; an array begins when those `before` it have ended, however."""
    more = {"signal": SIGNAL, **job.options.get("additional_parameters", {})}
    after = {"dependency": f"afterany:{before[0]}"} if before else {}
    own = {"job_name": "bench", "time": job.minutes}
    return {**own, **after, **job.options, "additional_parameters": more}


def _refused(error: Exception, ids: Sequence[str]) -> str:
    lines = [line.strip() for line in str(error).splitlines() if "error:" in line]
    said = lines[-1].rpartition("error:")[2].strip() if lines else str(error).splitlines()[0]
    there = f"; already in the queue: {' '.join(ids)} (`scancel` ends them)" if ids else ""
    return f"SLURM has refused the jobs: {said}; mend {FILE}, and see docs/running.md{there}"


def pilot(command: Sequence[str]) -> int:
    """What a job calls: the exit code of the command. That work is left is no failure of a job."""
    return subprocess.run(command, check=False).returncode
