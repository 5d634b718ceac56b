"""Jobs of a real SLURM end with the tables of one run, whatever befalls them: run ci/slurm."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from support import SMALL, Ended, Shell, contents, records, tables, toml, write_board

from bench.store.store import Store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("BENCH_SLURM" not in os.environ, reason="ci/slurm runs it"),
]
PATIENCE = 240  # seconds until what should come to be is given up


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def comes(point: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not point():
        assert time.monotonic() < until, said("squeue")
        time.sleep(0.2)


def ids(submitted: Ended) -> list[str]:
    assert submitted.code == 0, submitted
    return submitted.out.split("follow: squeue -j ")[1].split(";")[0].split(",")


def queued(jobs: Sequence[str]) -> list[str]:
    return said("squeue", "--noheader", "--jobs", ",".join(jobs), "--format", "%T").split()


def states(job: str) -> set[str]:
    lines = said("scontrol", "--oneliner", "show", "job", job).splitlines()
    return {line.split("JobState=")[1].split()[0] for line in lines}


class Cluster:
    """A board, its store, and `bench` in a folder, as a user of a cluster has them."""

    def __init__(self, shell: Shell, folder: Path, slurm: dict[str, Any], **board: Any) -> None:
        path = os.pathsep.join([shell.path, os.environ.get("PYTHONPATH", "")])
        self.shell, self.store = Shell(shell.folder, path), folder / "store"
        self.board = write_board(folder / "board", **board)
        jobs = "".join(f"[[job]]\n{toml(job)}" for job in slurm.pop("job", ()))
        (self.board / "slurm.toml").write_text(toml({"cpus_per_task": 1, **slurm}) + jobs)

    def submit(self) -> Ended:
        return self.shell("run", self.board, "--store", self.store, "--engine", "slurm")

    def logs(self, job: str) -> str:
        return "".join(p.read_text() for p in sorted((self.store / "slurm").glob(f"{job}_*log*")))

    def heal(self) -> None:
        (self.shell.folder / "healed").touch()

    def begun(self, times: int) -> None:
        comes(lambda: self.shell.calls.count("condense slow") >= times)


SLOW: dict[str, Any] = {**SMALL, "methods": ["slow"], "controls": None}


def test_two_pilots_leave_the_tables_of_one_run(
    reference: Any, shell: Shell, tmp_path: Path
) -> None:
    cluster = Cluster(shell, tmp_path, {"pilots": 2, "rounds": 2, "minutes": 5})
    jobs = ids(cluster.submit())
    comes(lambda: not queued(jobs))
    assert len(jobs) == 2
    assert states(jobs[0]) == states(jobs[1]) == {"COMPLETED"}
    assert tables(cluster.board) == tables(reference.board)
    assert contents(cluster.board) == contents(reference.board)
    assert cluster.shell.calls == reference.shell.calls  # each stage by one of them
    assert Store(cluster.store).doubled == 0


def test_kinds_of_stages_have_jobs_of_their_own(
    reference: Any, shell: Shell, tmp_path: Path
) -> None:
    """Two jobs that run at a time: one makes the sets, the other waits for them."""
    sets = {"stages": ["squeeze", "condense"]}
    shared = {"pilots": 1, "rounds": 1, "minutes": 5}
    cluster = Cluster(shell, tmp_path, {**shared, "job": [sets, {}]})
    jobs = ids(cluster.submit())
    comes(lambda: not queued(jobs))
    assert len(jobs) == 2
    assert states(jobs[0]) == states(jobs[1]) == {"COMPLETED"}
    assert tables(cluster.board) == tables(reference.board)
    assert contents(cluster.board) == contents(reference.board)
    assert sorted(cluster.shell.calls) == sorted(reference.shell.calls)
    assert "its stages are made" in cluster.logs(jobs[0])


@pytest.mark.parametrize(
    ("slurm", "sentence"),
    [
        ({"partition": "gpus"}, "refused the jobs: Batch job submission failed: Invalid partition"),
        ({"mem": "900G"}, "refused the jobs: Batch job submission failed: Requested node config"),
        ({"partitoin": "all"}, "unknown key 'partitoin'; did you mean 'partition'?"),
        ({"pilots": 0}, "pilots is 0; expected 1 or more"),
    ],
)
def test_what_the_cluster_cannot_do_is_one_sentence(
    shell: Shell, tmp_path: Path, slurm: dict[str, Any], sentence: str
) -> None:
    submitted = Cluster(shell, tmp_path, slurm).submit()
    assert submitted.code == 2
    last = submitted.err.splitlines()[-1]
    assert last.startswith("bench: ")
    assert sentence in last
    assert "Traceback" not in submitted.err


def test_what_a_killed_pilot_was_at_is_done_by_the_next(shell: Shell, tmp_path: Path) -> None:
    cluster = Cluster(shell, tmp_path, {"pilots": 1, "rounds": 2, "minutes": 5}, **SLOW)
    jobs = ids(cluster.submit())
    cluster.begun(1)
    said("scancel", "--signal=KILL", "--full", jobs[0])
    cluster.begun(2)
    cluster.heal()
    comes(lambda: not queued(jobs))
    assert states(jobs[1]) == {"COMPLETED"}
    assert len(records(cluster.board)) == 1


def test_a_drained_node_and_a_controller_that_restarts_cost_no_work(
    shell: Shell, tmp_path: Path
) -> None:
    cluster = Cluster(shell, tmp_path, {"pilots": 1, "rounds": 2, "minutes": 5}, **SLOW)
    jobs = ids(cluster.submit())
    cluster.begun(1)
    controller = Path(os.environ["SLURM_CONF"]).with_name("slurmctld.pid")
    os.kill(int(controller.read_text()), signal.SIGKILL)
    time.sleep(1)
    subprocess.run(["slurmctld", "-f", os.environ["SLURM_CONF"]], check=True)
    node = said("sinfo", "--noheader", "--format", "%n").strip()
    said("scontrol", "update", f"nodename={node}", "state=drain", "reason=test")
    cluster.heal()
    comes(lambda: len(records(cluster.board)) == 1)
    comes(lambda: queued(jobs) == ["PENDING"])  # the second array, for want of a node
    comes(lambda: "drained" in said("sinfo", "--noheader", "--format", "%T"))
    said("scontrol", "update", f"nodename={node}", "state=resume")
    comes(lambda: not queued(jobs))
    assert states(jobs[1]) == {"COMPLETED"}
    assert cluster.shell.calls == ["condense slow"]


def test_a_pilot_ends_itself_before_its_time_limit_and_the_next_goes_on(
    shell: Shell, tmp_path: Path
) -> None:
    cluster = Cluster(shell, tmp_path, {"pilots": 1, "rounds": 2, "minutes": 1}, **SLOW)
    jobs = ids(cluster.submit())
    cluster.begun(1)
    comes(lambda: "work is left" in cluster.logs(jobs[0]))
    comes(lambda: not states(jobs[0]) & {"RUNNING", "COMPLETING"})
    assert states(jobs[0]) == {"COMPLETED"}  # and not TIMEOUT
    assert "work is left: its time is over; 0 of 1 cells have records" in cluster.logs(jobs[0])
    cluster.heal()
    comes(lambda: not queued(jobs))
    assert len(records(cluster.board)) == 1
    assert "Traceback" not in cluster.logs(jobs[0]) + cluster.logs(jobs[1])
