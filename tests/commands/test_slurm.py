"""A submission asks a cluster for the same run, many times, with paths that hold everywhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
from support import SMALL, Ended, Shell, stages, write_board

from bench.store.store import LEASES

Bench = Callable[..., Ended]


@dataclass
class FakeExecutor:
    """What submitit has, as far as we use it; it remembers what it was given."""

    folder: Path
    arrays: ClassVar[list[dict[str, Any]]] = []
    options: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def _valid_parameters() -> set[str]:
        return {"partition", "time", "dependency", "mem", "job_name", "additional_parameters"}

    def update_parameters(self, **options: Any) -> None:
        self.options = options

    @contextmanager
    def batch(self) -> Iterator[None]:
        self.arrays.append({"options": self.options, "calls": []})
        yield

    def submit(self, function: Callable[..., int], command: list[str]) -> Any:
        array = self.arrays[-1]
        array["calls"].append((function, command))
        return type("Job", (), {"job_id": f"{len(self.arrays)}_{len(array['calls']) - 1}"})()


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """The arrays that were submitted."""
    fake, core, utils = (
        ModuleType(n) for n in ("submitit", "submitit.core", "submitit.core.utils")
    )
    fake.SlurmExecutor, fake.core = FakeExecutor, core  # type: ignore[attr-defined]
    core.utils = utils  # type: ignore[attr-defined]
    utils.FailedJobError = type("FailedJobError", (RuntimeError,), {})  # type: ignore[attr-defined]
    for module in (fake, core, utils):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(FakeExecutor, "arrays", [])
    return FakeExecutor.arrays


def test_a_submission_is_arrays_of_the_same_command_each_after_the_one_before(
    bench: Bench, submitted: list[dict[str, Any]], tmp_path: Path
) -> None:
    board = write_board(tmp_path / "board", **SMALL)
    (board / "slurm.toml").write_text('pilots = 3\nrounds = 2\nminutes = 40\nmem = "4G"\n')
    asked = ("--only", "seed=0", "--methods", "noted", "--jobs", 2, "--device", "cuda")
    done = bench("run", "board", *asked, "--store", "store", "--missing", "--engine", "slurm")
    assert done.code == 0, done
    assert "submitted 2 times 3 jobs of 40 min, one array after another: 1 2\n" in done.out
    assert f"end: scancel 1 2; logs: {tmp_path / 'store' / 'slurm'}" in done.out
    assert [len(array["calls"]) for array in submitted] == [3, 3]
    command = [
        *(sys.executable, "-m", "bench", "run", str(tmp_path / "board")),
        *("--methods", "noted", "--only", "seed=0", "--jobs", "2", "--device", "cuda"),
        *("--store", str(tmp_path / "store"), "--missing", "--minutes", "40"),
    ]
    assert {tuple(c) for array in submitted for _, c in array["calls"]} == {tuple(command)}
    first, second = (array["options"] for array in submitted)
    assert (first["time"], first["mem"]) == (40, "4G")
    assert "dependency" not in first
    assert second["dependency"] == "afterany:1"
    assert first["additional_parameters"] == {"signal": "CONT@1"}  # which ends nothing
    assert (tmp_path / "store" / LEASES).exists()
    assert stages(tmp_path / "store") == {}  # nothing is run here


def test_kinds_of_stages_have_jobs_of_their_own_and_one_that_names_none_makes_the_others(
    bench: Bench, submitted: list[dict[str, Any]], tmp_path: Path
) -> None:
    board = write_board(tmp_path / "board", **SMALL)
    (board / "slurm.toml").write_text(
        'rounds = 1\nmem = "4G"\n'
        '[[job]]\nstages = ["squeeze", "condense"]\npilots = 3\nminutes = 600\nmem = "16G"\n'
        "[[job]]\npilots = 1\n"
    )
    done = bench("run", "board", "--engine", "slurm")
    assert done.code == 0, done
    assert "submitted 1 times 3 jobs of 600 min for squeeze, condense, one array" in done.out
    assert "follow: squeue -j 1,2; end: scancel 1 2" in done.out
    assert [len(array["calls"]) for array in submitted] == [3, 1]
    assert [array["options"]["mem"] for array in submitted] == ["16G", "4G"]
    assert [command[-4:] for array in submitted for _, command in array["calls"][-1:]] == [
        ["--minutes", "600", "--stages", "squeeze,condense"],
        ["--minutes", "60", "--stages", "grade,survey,train,sample,attack,probe,measure"],
    ]


def test_what_a_user_asks_of_every_cluster_stands_in_their_folder(
    bench: Bench, submitted: list[dict[str, Any]], tmp_path: Path
) -> None:
    config = tmp_path / "config" / "condensation-bench"
    config.mkdir(parents=True)
    (config / "slurm.toml").write_text("pilots = 1\nrounds = 1\n")
    write_board(tmp_path / "board", **SMALL)
    assert bench("run", "board", "--engine", "slurm").code == 0
    assert [len(array["calls"]) for array in submitted] == [1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pilots = 0", "pilots is 0; expected 1 or more"),
        (
            'partitoin = "all"',
            "slurm.toml has an unknown key 'partitoin'; did you mean 'partition'",
        ),
        ("time = 3", "slurm.toml has an unknown key 'time'"),
        ("minutes = [", "slurm.toml: not TOML"),
        ("job = 3", "job is no list of tables; write [[job]] above each"),
        ('stages = ["trian"]', "there are no stages 'trian'; did you mean 'train'?"),
        (
            '[[job]]\nstages = ["train", "probe", "measure"]',
            "no job makes the stages squeeze, grade, survey, condense, sample, attack; add a [[job",
        ),
    ],
)
def test_a_wrong_table_is_refused_in_a_sentence(
    bench: Bench, submitted: list[dict[str, Any]], tmp_path: Path, text: str, said: str
) -> None:
    board = write_board(tmp_path / "board", **SMALL)
    (board / "slurm.toml").write_text(text)
    done = bench("run", "board", "--engine", "slurm")
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1
    assert submitted == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--engine", "slrum"), "--engine slrum: there is no such engine; did you mean 'slurm'?"),
        (("--engine", "slurm", "--check"), "--engine slurm goes with a run that writes"),
        (("--engine", "slurm", "--minutes", 3), "takes minutes from slurm.toml, not --minutes"),
        (("--minutes", 3, "--dry-run"), "--minutes goes with a run that writes"),
        (("--stages", "train", "--dry-run"), "--stages goes with a run that writes"),
        (("--stages", "trian"), "--stages: there are no stages 'trian'; did you mean 'train'?"),
        (("--stages", "train,train"), "--stages: 'train' stands there twice"),
        (("--engine", "slurm", "--stages", "train"), "takes stages from slurm.toml"),
    ],
)
def test_what_does_not_go_together_is_refused(
    bench: Bench, tmp_path: Path, options: tuple[Any, ...], said: str
) -> None:
    write_board(tmp_path / "board", **SMALL)
    done = bench("run", "board", *options)
    assert done.code == 2
    assert said in done.err


def test_without_submitit_the_sentence_says_how_to_get_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    write_board(tmp_path / "board", **SMALL)
    done = bench("run", "board", "--engine", "slurm")
    assert done.code == 2
    assert "pip install 'condensation-bench[slurm]'" in done.err


def test_work_that_is_left_is_no_failure_of_a_job(shell: Shell) -> None:
    from bench.engine.slurm import pilot

    assert pilot([sys.executable, "-c", "raise SystemExit(75)"]) == 75
