"""`bench run --engine slurm`: the same command, in jobs of a cluster."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.commands.asked import Asked

HERE = ("board", "engine", "download")  # of a submission, and not of its jobs


def submit(asked: Asked) -> int:
    """Put the jobs into the queue, and say where they are; the exit code."""
    from bench.display import console
    from bench.engine import slurm
    from bench.store.store import LEASES, check_store, place

    root = place(asked.store).absolute()
    check_store(root)
    (root / LEASES).touch()  # nodes share it by a network
    folder, ids = root / "slurm", list[str]()
    for job in slurm.pilots_of(asked.board):
        command = [*command_of(asked, root), "--minutes", str(job.minutes)]
        command += ["--stages", ",".join(job.stages)] if job.stages else []
        added = slurm.submit(command, job, folder, ids)
        ids += added
        what = f" for {', '.join(job.stages)}" if job.stages else ""
        console.print(
            f"submitted {job.rounds} times {job.pilots} jobs of {job.minutes} min{what}, one array "
            f"after another: {' '.join(added)}"
        )
    console.print(
        f"what they leave goes to {asked.into or asked.board}\n"
        f"follow: squeue -j {','.join(ids)}; end: scancel {' '.join(ids)}; logs: {folder}"
    )
    return 0


def command_of(asked: Asked, root: Path) -> list[str]:
    """The command of a job: what was asked, with paths that do not depend on where it runs."""
    given = [sys.executable, "-m", "bench", "run", str(asked.board.absolute())]
    for name in (f.name for f in fields(asked)):
        value = root if name == "store" else getattr(asked, name)
        option = f"--{name.replace('_', '-')}"
        if name in HERE or not value:
            continue
        if value is True:
            given += [option]
        elif isinstance(value, Mapping):
            given += [word for k, v in value.items() for word in (option, f"{k}={','.join(v)}")]
        elif isinstance(value, Path):
            given += [option, str(value.absolute())]
        else:
            given += [option, ",".join(value) if isinstance(value, list) else str(value)]
    return given
