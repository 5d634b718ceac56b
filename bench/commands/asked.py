"""What a user asks of `bench run`, and how it ends.

Exit codes: 0 all is well, 1 something failed or does not hold, 2 bad input, 75 its time was over
and work is left, 130 interrupted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.contract.errors import BenchError
from bench.contract.fields import suggest

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130
ENGINES = ("local", "slurm")


class Interrupted(Exception):
    """A run was told to end; its text says what was published."""


@dataclass(frozen=True)
class Asked:
    """What the user wants of a board. Raises BenchError for what does not go together."""

    board: Path
    methods: Sequence[str] = ()
    only: Mapping[str, Sequence[str]] = field(default_factory=dict)
    jobs: int = 0  # 0: one a core
    device: str = "cpu"
    store: Path | None = None
    into: Path | None = None
    download: bool = False
    dry_run: bool = False
    why: bool = False
    check: bool = False
    sample: int = 0  # cells to check; 0: all
    against: str = ""  # only cells that differ from this commit
    salt: str = ""  # of the draw; "": a new one
    keep_checked: bool = False
    missing: bool = False
    keep_teachers: bool = False
    keep_sets: bool = False
    retrain_teachers: bool = False
    minutes: float = 0.0  # 0: all the time there is
    stages: Sequence[str] = ()  # kinds that this run makes; none: all
    engine: str = "local"  # or "slurm"

    def __post_init__(self) -> None:
        if self.sample and not self.check:
            raise BenchError("--sample goes with --check")
        if (self.against or self.keep_checked) and not self.check:
            raise BenchError("--against and --keep-checked go with --check")
        if self.salt and not self.sample:
            raise BenchError("--salt goes with --sample: it draws the cells of an earlier check")
        if self.why and not self.dry_run:
            raise BenchError("--why goes with --dry-run")
        if self.keep_sets and (self.check or self.dry_run or self.retrain_teachers):
            raise BenchError("--keep-sets goes with a run that writes to the board")
        if self.missing and (self.check or self.retrain_teachers):
            other = "--check" if self.check else "--retrain-teachers"
            raise BenchError(f"--missing leaves out what is recorded, and {other} repeats it")
        if self.engine not in ENGINES:
            hint = suggest(self.engine, ENGINES)
            raise BenchError(f"--engine {self.engine}: there is no such engine{hint}")
        if self.engine != "local" and (self.check or self.dry_run or self.retrain_teachers):
            raise BenchError(f"--engine {self.engine} goes with a run that writes to the board")
        if self.engine != "local" and self.minutes:
            raise BenchError(f"--engine {self.engine} takes minutes from slurm.toml, not --minutes")
        if self.minutes and (self.check or self.dry_run or self.retrain_teachers):
            raise BenchError("--minutes goes with a run that writes to the board")
        if self.stages and (self.check or self.dry_run or self.retrain_teachers):
            raise BenchError("--stages goes with a run that writes to the board")
        if self.engine != "local" and self.stages:
            raise BenchError(f"--engine {self.engine} takes stages from slurm.toml, not --stages")
        if self.into and (self.check or self.dry_run):
            raise BenchError(
                f"--into {self.into} goes with neither --check nor --dry-run: they write nothing"
            )
