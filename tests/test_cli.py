"""What a user sees: one clear sentence for a fault, an exit code, and nobody else's loss."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from support import BOARD, SMALL, Ended, Shell, records, snapshot, stages, tables, write_board

from bench.engine.results import Ran
from bench.records.files import read, read_all

Bench = Callable[..., Ended]
Boards = Callable[..., Path]


def one_line(ended: Ended, code: int = 2) -> str:
    """What a command that refuses has to say: one line on stderr, without a traceback."""
    assert ended.code == code, ended
    assert ended.err.startswith("bench: "), ended
    assert ended.err.count("\n") == 1, ended
    assert "Traceback" not in ended.out + ended.err
    return ended.err


# ---- plugins that misbehave

WRONG = {
    "shape, ipc 1": "the condensed images have shape [8, 1, 7, 8]; expected [N, 1, 8, 8]",
    "nan, ipc 1": "the condensed images hold NaN or infinity",
    "many, ipc 1": "the condensed set has 9 images; at most 8 are allowed (1 per class, 8 classes)",
    "loop, ipc 1": "exceeded its time limit of 15 s",
    "abort, ipc 1": "the process died of SIGABRT",
    "exit, ipc 1": "the process exited with code 3 before the job was done",
    "memory, ipc 1": "exceeded its memory limit of 0.6 GB",
    "raise, ipc 1": "FileNotFoundError: no weights at weights.bin (toyplug.py, line ",
    "flaky, ipc 1": "RuntimeError: the moon is full (toyplug.py, line ",
    "teacher broken-teacher (toy-linear)": "ValueError: no batch of one (toyplug.py, line ",
    "teacher stranger (toy-linear)": "the saved state has",
    "leaving on student toy-linear of toy-first, ipc 1, hard labels": "the attack moves an image",
    "leaving on student toy-linear of toy-means, ipc 1, hard labels": "the attack moves an image",
    "broken-metric of toy-clean on student toy-linear of toy-first, ipc 1, hard labels": (
        "ZeroDivisionError: no image is wrong (toyplug.py, line "
    ),
    "broken-metric of toy-clean on student toy-linear of toy-means, ipc 1, hard labels": (
        "ZeroDivisionError: no image is wrong (toyplug.py, line "
    ),
}
"""Every stage that fails on the board of faults, and why."""

FAULTS = {
    "methods": [
        *("shape", "nan", "many", "loop", "abort", "exit", "memory", "raise", "flaky"),
        *("refuse", "taught", "estranged", "toy-means"),
    ],
    "ceiling": None,
    "ipc": [1],
    "architectures": ["toy-linear", "declining"],
    "attacks": ["toy-clean", "leaving"],
    "metrics": ["toy-accuracy", "broken-metric"],
    "seeds": [0],
    "backbone": "toy-linear",
    "limits": {"seconds": 15, "memory_gb": 0.6},
}


@pytest.fixture(scope="module")
def faulty(
    tmp_path_factory: pytest.TempPathFactory, site: Path
) -> Callable[[Bench], tuple[Path, Path, Ended]]:
    """The board of faults, its store, and how its one run ended."""
    folder = tmp_path_factory.mktemp("faults")
    board, store = write_board(folder / "board", **FAULTS), folder / "store"
    found: list[Ended] = []

    def once(bench: Bench) -> tuple[Path, Path, Ended]:
        if not found:
            found.append(bench("run", board, "--store", store, "--jobs", 3))
        return board, store, found[0]

    return once


def failures(text: str) -> dict[str, str]:
    """Stage and reason of each line that tells of a failure; each is told once."""
    told = re.findall(r"^failed: (.*), toy-data, seed 0: (.*)$", text, re.M)
    assert len(dict(told)) == len(told)
    return dict(told)


@pytest.mark.slow
def test_each_fault_is_one_sentence_with_its_stage_and_its_reason(
    faulty: Any, bench: Bench
) -> None:
    _, _, ended = faulty(bench)
    told = failures(ended.out)
    assert set(told) == set(WRONG)
    assert {stage: told[stage] for stage in told if WRONG[stage] not in told[stage]} == {}


def test_faults_are_counted_and_no_traceback_is_shown(faulty: Any, bench: Bench) -> None:
    _, store, ended = faulty(bench)
    assert ended.code == 1
    assert "Traceback" not in ended.out + ended.err
    # 11 methods on 2 networks under 2 attacks; of 2 others, what neither broken thing spares
    assert "15 stages and with them 48 cells failed:\n" in ended.out
    listed = re.findall(r"^  (.*), toy-data, seed 0: (.*); log: (.*)$", ended.out, re.M)
    listed += re.findall(r"^  (.*), toy-data, seed 0: (.*); it printed (nothing)$", ended.out, re.M)
    assert {stage: reason for stage, reason, _ in listed} == failures(ended.out)
    told = {stage: Path(log) for stage, _, log in listed}
    assert "no weights at weights.bin" in told["raise, ipc 1"].read_text()
    assert told["raise, ipc 1"].parent == store / "logs"
    logs = [path.read_text() for path in (store / "logs").iterdir()]
    assert any("FileNotFoundError: no weights at weights.bin" in log for log in logs)


def test_the_cells_of_everybody_else_are_finished(faulty: Any, bench: Bench) -> None:
    board, _, _ = faulty(bench)
    found = {(r["method"], r["architecture"], r["attack"]): r for r in records(board)}
    for method in ("toy-first", "toy-means"):
        record = found[method, "toy-linear", "toy-clean"]
        assert record["status"] == "ok"
        assert record["metrics"]["toy-accuracy"] > 0.5


def test_failures_are_neither_recorded_nor_kept(faulty: Any, bench: Bench) -> None:
    board, store, _ = faulty(bench)
    assert {r["method"] for r in records(board)} == {"toy-first", "toy-means", "refuse"}
    assert "broken-metric" not in json.dumps([r.get("metrics", {}) for r in records(board)])
    for record in records(board):
        assert record["attack"] == "toy-clean" or record["status"] == "unsupported"
    # of two sets; a method and a network have declined, which is kept
    assert stages(store) == {"condense": 3, "load": 1, "measure": 2, "probe": 2, "train": 4}
    assert not list((store / "tmp").iterdir())


def test_what_has_failed_is_tried_again_and_can_heal(
    faulty: Any, bench: Bench, heal: Callable[[], None]
) -> None:
    board, store, _ = faulty(bench)
    heal()
    again = bench("run", board, "--store", store, "--methods", "flaky,shape", "--only", ONLY)
    assert again.code == 1
    told = failures(again.out)
    assert set(told) == {"shape, ipc 1", BROKEN_AGAIN}
    assert {"flaky", "toy-first", "toy-means", "refuse"} == {r["method"] for r in records(board)}


ONLY = "attack=toy-clean"
BROKEN_AGAIN = "broken-metric of toy-clean on student toy-linear of flaky, ipc 1, hard labels"


def test_a_refusal_alone_is_no_failure_but_a_footnote(
    bench: Bench, board: Boards, tmp_path: Path
) -> None:
    folder = board(**{**SMALL, "architectures": ["toy-linear", "declining"], "methods": ["refuse"]})
    ended = bench("run", folder, "--store", tmp_path / "store")
    assert ended.code == 0
    assert "failed" not in ended.out
    page = (folder / "README.md").read_text()
    assert "] needs images in color" in page
    assert "] needs images of 32 pixels" in page
    assert "n/a" in page
    assert "needs images in color" in ended.out


def test_a_plugin_that_cannot_be_imported_stops_the_boards_that_need_it(
    bench: Bench, board: Boards, tmp_path: Path
) -> None:
    folder = board(methods=["from-shattered"])
    said = one_line(bench("run", folder, "--store", tmp_path / "store"))
    assert "there is no method 'from-shattered'" in said
    assert "perhaps it is in a plugin that is broken: shattered" in said
    assert "ModuleNotFoundError: No module named 'no_such_library'" in said
    assert not (tmp_path / "store").exists()
    listed = bench("plugins")
    assert listed.code == 0
    assert "broken: shattered 1.0: entry point shattered = shattered" in listed.out
    assert "toy-means" in listed.out
    assert bench("plugins", "--strict").code == 1


# ---- `bench plugins`, `bench check`


def test_a_component_is_shown_in_full(bench: Bench) -> None:
    ended = bench("plugins", "noted-step")
    assert ended.code == 0
    assert ended.out.startswith("attack noted-step: ")
    for words in (
        "from toyplug 1.0, toyplug:",
        "verb perturb(",
        "field eps: float = ",
        "class variable norm: 'linf'; the ball that it stays in",
        "class variable block: 0 (the default)",
    ):
        assert words in ended.out
    assert "toy-means" not in ended.out


def test_a_component_that_is_not_there_is_met_with_a_suggestion(bench: Bench) -> None:
    said = one_line(bench("plugins", "noted-stp"))
    assert "there is no component 'noted-stp'; did you mean 'noted-step'?" in said


def test_piped_tables_are_not_folded_and_have_no_trailing_spaces(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    lines = bench("plugins").out.splitlines()
    [line] = [line for line in lines if line.startswith("noted-step ")]
    assert line.endswith(" toyplug 1.0")
    assert all(line == line.rstrip() for line in lines)


ACCENTED = """
from dataclasses import dataclass
from bench import hookimpl

@dataclass(frozen=True)
class Accented:
    "Erd\u0151s and R\u00e9nyi \u00b1 1."
    name: str = "accented"
    def condense(self, task): ...

@hookimpl
def bench_methods(): return [Accented()]
"""


@pytest.mark.parametrize(
    "environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}]
)
def test_a_terminal_without_utf8_gets_tables(
    environment: dict[str, str], shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "accented.py").write_text(ACCENTED, encoding="utf-8")
    info = tmp_path / "accented-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: accented\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[bench]\naccented = accented\n")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    ended = Shell(shell.folder, f"{shell.path}:{tmp_path}")("plugins")
    assert (ended.code, ended.err) == (0, "")
    assert "accented 1" in ended.out


def test_a_component_is_checked_as_a_board_sets_it(bench: Bench, board: Boards) -> None:
    folder = board(
        attacks=["toy-clean", "mine"], define={"mine": {"attack": "toy-step", "eps": 0.05}}
    )
    ended = bench("check", "--board", folder, "mine")
    assert ended.code == 0, ended
    assert ended.out.startswith("attack mine (toyplug 1.0) with eps = 0.05\n")
    said = one_line(bench("check", "--board", folder, "toy-denoiser"))
    assert "there is no component 'toy-denoiser'" in said


# ---- bad input


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"titel": "Toys"}, "matrix.toml has an unknown key 'titel'; did you mean 'title'?"),
        ({"methods": ["noted", "noted"]}, "'noted' stands there twice"),
        ({"methods": ["notde"]}, "there is no method 'notde'; did you mean 'noted'?"),
        ({"datasets": []}, "datasets is []; expected at least one entry"),
        ({"ipc": [0]}, "ipc holds 0; expected 1 or more"),
        ({"track": "regression"}, "track is 'regression'"),
        ({"labels": ["teacher"]}, 'labels "teacher" need a backbone'),
        ({"recipe": {"lr": "fast"}}, "recipe.lr is 'fast'; expected a number"),
        ({"recipe": {"lr": -1.0}}, "recipe.lr is -1.0; expected more than 0"),
        ({"limits": {"seconds": 0}}, "limits.seconds is 0; expected a number, more than 0"),
        ({"ceiling": "toy-means"}, "ceiling 'toy-means' is a method with a budget"),
        ({"define": {"x": {"attack": "toy-step", "epps": 1}}}, "has no field 'epps'; did you mean"),
        ({"methods": ["taught"]}, "asks for teacher 'broken-teacher', which needs a network"),
        ({"metrics": ["between"]}, "metric 'between' compares with method 'raise', which is not"),
    ],
)
def test_a_faulty_board_is_one_sentence(
    bench: Bench, board: Boards, changes: dict[str, Any], said: str
) -> None:
    assert said in one_line(bench("run", board(**changes)))


def test_a_board_that_cannot_be_read_is_one_sentence(
    bench: Bench, board: Boards, tmp_path: Path
) -> None:
    said = one_line(bench("run", tmp_path / "nowhere"))
    assert "nowhere/matrix.toml: No such file or directory; a board is a folder" in said
    folder = board()
    assert "Not a directory" in one_line(bench("run", folder / "matrix.toml"))
    (folder / "matrix.toml").write_text("title = \n")
    assert "matrix.toml: not TOML: " in one_line(bench("run", folder))
    one_line(bench("leaderboard", folder))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--methods", "notde"], "method 'notde' is not on this board; did you mean 'noted'?"),
        (["--only", "ipc=7"], "ipc '7' is not on this board"),
        (["--only", "ipc"], "--only ipc: expected KEY=VALUE, as in --only ipc=10"),
        (["--only", "ipc="], "--only ipc=: expected KEY=VALUE"),
        (["--only", "budget=1"], "--only budget: there is no such axis"),
        (["--sample", "3"], "--sample goes with --check"),
        (["--why"], "--why goes with --dry-run"),
        (["--keep-sets", "--dry-run"], "--keep-sets goes with a run that writes to the board"),
        (["--missing", "--check"], "--missing leaves out what is recorded, and --check repeats"),
        (["--device", "cpu,abacus"], "'abacus' is no device; expected cpu, cuda, mps"),
        (["--device", ","], "'' is no device; expected cpu, cuda, mps"),
        (["--device", "cuda:0,cuda:1", "--jobs", "1"], "--jobs 1 leaves cuda:1 of --device"),
        (["--device", "abacus"], "--device abacus cannot be used: 'abacus' is no device"),
        (["--store", "matrix"], "matrix"),
    ],
)
def test_a_faulty_option_is_one_sentence(
    bench: Bench, board: Boards, tmp_path: Path, options: list[str], said: str
) -> None:
    (tmp_path / "matrix").write_text("a file, where a folder of finished stages should be")
    assert said in one_line(bench("run", board(), *options))
    assert not (tmp_path / ".bench").exists()


def test_data_that_cannot_be_loaded_cost_their_own_cells(
    bench: Bench, board: Boards, tmp_path: Path
) -> None:
    folder = board(datasets=["toy-data", "closed"], **SMALL)
    ended = bench("run", folder, "--store", tmp_path / "store")
    assert ended.code == 1
    assert "failed: load closed: RuntimeError: the test split was opened (toyplug" in ended.out
    assert "1 stage and with it 2 cells failed:\n  load closed: RuntimeError" in ended.out
    assert {record["dataset"] for record in records(folder)} == {"toy-data"}
    folder = board(datasets=["closed"], **SMALL)
    said = one_line(bench("run", folder, "--store", tmp_path / "store"))
    assert "dataset 'closed' cannot be loaded: RuntimeError: the test split was opened" in said


def test_files_are_fetched_when_the_user_asks(
    bench: Bench, board: Boards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    folder = board(datasets=["remote"], **SMALL)
    said = one_line(bench("run", folder, "--store", tmp_path / "store"))
    assert f"remote.bin is not here; expected {tmp_path / 'remote.bin'}; run with" in said
    ended = bench("run", folder, "--store", tmp_path / "store", "--download")
    assert ended.code == 0, ended
    assert "downloading what is missing of remote\n" in ended.out
    assert {record["dataset"] for record in records(folder)} == {"remote"}


def test_a_download_that_fails_is_one_sentence(
    bench: Bench, board: Boards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    down = {"down": {"dataset": "remote", "host": "down"}}
    folder = board(datasets=["down"], define=down, **SMALL)
    said = one_line(bench("run", folder, "--store", tmp_path / "store", "--download"))
    assert "downloading down failed: TimeoutError: no answer" in said


def test_a_budget_beyond_the_data_declines_its_own_cells(
    bench: Bench, board: Boards, reference: Any
) -> None:
    folder = board(ipc=[1, 41])
    ended = bench("run", folder, "--store", reference.store)
    assert ended.code == 0, ended
    results = {r.ipc: r for r in read(folder) if r.method == "toy-first"}
    assert results[1].ok
    said = "class 'template 0' has only 40 training images"
    assert said in results[41].reason
    assert said in (folder / "README.md").read_text()


def test_a_line_that_is_no_record_costs_no_run_and_fails_a_check(
    bench: Bench, reference: Any, tmp_path: Path
) -> None:
    folder = reference.copied(tmp_path)
    path = folder / "records" / "noted.jsonl"
    path.write_text(path.read_text().replace('"labels":"hard"', '"labels":"smooth"', 1))
    bad = path.read_text().splitlines()[1]
    said = "noted.jsonl:2: labels is 'smooth'; expected 'hard' or 'soft' or 'teacher'"
    checked = bench("leaderboard", folder, "--check")
    assert checked.code == 1
    assert said in checked.out
    ended = bench("run", folder, "--store", reference.store, "--methods", "toy-first")
    assert ended.code == 0, ended
    assert f"left out: {folder}/records/{said}" in ended.out
    assert path.read_text().splitlines()[1] == bad
    page = (folder / "README.md").read_text()
    assert f"- records/{said}" in page
    assert len(read_all(folder).results) == 20 - 2  # two attacks on the student of that set
    assert bench("leaderboard", folder, "--check").code == 1


def test_records_of_format_1_are_converted_by_a_command(
    bench: Bench, reference: Any, tmp_path: Path
) -> None:
    folder = reference.copied(tmp_path)
    path = folder / "records" / "noted.jsonl"
    path.write_text('{"about":{},"status":"ok"}\n')
    said = one_line(bench("leaderboard", folder))
    assert said.strip().endswith(f"run: bench convert {folder}")
    before = snapshot(reference.board)
    ended = bench("convert", reference.board)
    assert (ended.code, ended.out) == (0, f"{reference.board}: nothing to convert\n")
    assert snapshot(reference.board) == before


def test_records_of_a_newer_format_are_not_passed_over_by_the_converter(
    bench: Bench, reference: Any, tmp_path: Path
) -> None:
    folder = reference.copied(tmp_path)
    path = next(path for path in (folder / "records").glob("*.jsonl") if path.name[0] != "_")
    path.write_text(path.read_text().replace('{"format":2', '{"format":9', 1))
    said = one_line(bench("convert", folder))
    assert "is of format 9; this version reads format 2; upgrade condensation-bench" in said


# ---- part of a board


def test_a_run_of_a_part_keeps_the_records_of_the_rest(
    bench: Bench, board: Boards, reference: Any
) -> None:
    folder = board()
    parts = (["--methods", "noted"], ["--only", "method=toy-first,toy-full"])
    for number, part in enumerate(parts, 1):
        assert bench("run", folder, "--store", reference.store, *part).code == 0
        assert len(records(folder)) == (8, 20)[number - 1]
    assert tables(folder) == tables(reference.board)


# ---- --dry-run


def test_a_dry_run_loads_the_data_and_changes_nothing_else(
    bench: Bench, board: Boards, tmp_path: Path
) -> None:
    folder, store = board(), tmp_path / "store"
    ended = bench("run", folder, "--store", store, "--dry-run", "--jobs", 2)
    assert ended.code == 0
    assert "store does not exist yet" in ended.out
    assert not store.exists()
    assert [path.name for path in folder.iterdir()] == ["matrix.toml"]
    rows = priced(ended.out)
    assert rows["condense"] == ["10", "0", "10", "unknown"]
    assert "20 cells; at least 0 s with 2 jobs: 60 stages have no price, since" in ended.out


def test_a_dry_run_without_the_data_plans_by_the_counts_in_print_and_a_run_does_not(
    bench: Bench, board: Boards, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    changes = {"datasets": ["cifar-100"], "methods": None, "controls": ["random"], "ceiling": None}
    folder = board(**changes, architectures=["convnet"], metrics=["accuracy"], attacks=["clean"])
    ended = bench("run", folder, "--dry-run")
    assert ended.code == 0, ended
    said = (
        "cifar-100 is planned by its counts in print: 50,000 training and 10,000 test images, 100"
    )
    assert said in ended.out.replace("\n", " ")
    assert priced(ended.out)["train"][0] == "4"
    assert bench("run", folder).code == 2


@pytest.mark.parametrize("store", ["matrix.toml", "matrix.toml/store", "/proc/store"])
def test_a_store_that_cannot_be_is_named(bench: Bench, board: Boards, store: str) -> None:
    folder = board()
    where = folder / store  # an absolute path stays as it is
    ended = bench("run", folder, "--store", where)
    assert ended.code == 2
    assert f"--store {where} is no folder that can be written to; name another" in ended.err


def priced(text: str) -> dict[str, list[str]]:
    """The table of a dry run: total, cached, to run, time, by stage."""
    lines = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]
    return {line[0]: line[1:] for line in lines if line[0] in (*ALL, "load")}


ALL = ("condense", "train", "probe", "measure")


def test_a_dry_run_prices_what_is_missing_by_what_the_store_knows(
    bench: Bench, board: Boards, reference: Any
) -> None:
    folder, before = board(seeds=[0, 1, 2]), snapshot(reference.store)
    ended = bench("run", folder, "--store", reference.store, "--dry-run")
    assert priced(ended.out)["condense"][:3] == ["15", "10", "5"]
    assert all(re.fullmatch(r"\d+ s", priced(ended.out)[kind][3]) for kind in ALL)
    assert "30 cells" in ended.out
    assert "no price" not in ended.out
    assert "guess" not in ended.out
    assert {path for path in snapshot(reference.store) if "locks" not in path} == {
        path for path in before if "locks" not in path
    }
    assert not (folder / "records").exists()


def test_a_dry_run_prices_by_the_records_where_the_store_is_empty(
    bench: Bench, reference: Any, tmp_path: Path
) -> None:
    folder = reference.copied(tmp_path)
    path = folder / "records" / "noted.jsonl"
    slower = re.sub(r'"train":[0-9.e-]+', '"train":400', path.read_text())
    path.write_text(slower)
    for name in ("toy-first", "toy-full"):
        (folder / "records" / f"{name}.jsonl").unlink()
    store = tmp_path / "store"
    shutil.copytree(reference.store / "load", store / "load")
    before = snapshot(folder)
    ended = bench("run", folder, "--store", store, "--dry-run", "--jobs", 2)
    assert priced(ended.out)["train"] == ["10", "0", "10", "67 min, a guess"]
    assert priced(ended.out)["measure"][3] == "unknown"  # records do not say
    assert "at least 33 min with 2 jobs: 20 stages have no price" in ended.out
    assert "a guess: 40 stages are priced by stages that differ in data, network," in ended.out
    assert snapshot(folder) == before


def test_a_dry_run_of_a_finished_board_has_nothing_to_do(bench: Bench, reference: Any) -> None:
    ended = bench("run", reference.board, "--store", reference.store, "--dry-run")
    rows = priced(ended.out)
    assert {kind: rows[kind][1:3] for kind in ALL} == {
        "condense": ["10", "0"],
        "train": ["10", "0"],
        "probe": ["20", "0"],
        "measure": ["20", "0"],
    }
    assert "20 cells; about 0 s" in ended.out


def test_a_dry_run_says_that_the_prices_of_other_data_are_a_guess(
    bench: Bench, board: Boards, reference: Any
) -> None:
    folder = board(probe={"images": 128}, **{**SMALL, "methods": ["toy-means"]})
    ended = bench("run", folder, "--store", reference.store, "--dry-run")
    assert ended.code == 0
    assert priced(ended.out)["probe"][3].endswith(", a guess")
    assert "stages are priced by stages that differ in data, network, components or" in ended.out


def test_a_dry_run_says_why_a_stage_is_made_again(
    bench: Bench, board: Boards, reference: Any
) -> None:
    folder = board(recipe={**BOARD["recipe"], "lr": 0.2}, seeds=[0, 2])
    ended = bench("run", folder, "--store", reference.store, "--dry-run", "--why")
    assert ended.code == 0
    student = "student toy-linear of noted, ipc 1, hard labels, toy-data, seed 0"
    follow = "(so are those below it: 2 probe, 2 measure)"
    assert f"\n{student}: recipe.lr was 0.1, is 0.2 {follow}\n" in ended.out
    assert ended.out.count("recipe.lr was 0.1, is 0.2") == 5
    assert "never made before: 5 condense, 5 train, 10 probe, 10 measure" in ended.out
    done = bench("run", reference.board, "--store", reference.store, "--dry-run", "--why")
    assert "nothing would be made again" in done.out


def test_a_record_that_cannot_be_written_takes_no_other_with_it(
    bench: Bench, reference: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = reference.copied(tmp_path)
    good, bad = read(folder)[:2]
    shutil.rmtree(folder / "records")
    wrong = structs.replace(bad, metrics={"toy-accuracy": 1.5})
    monkeypatch.setattr("bench.engine.results.run", lambda *_: Ran((wrong, good), (), 0))
    ended = bench("run", folder, "--store", reference.store)
    assert ended.code == 1
    assert ended.out.count("metrics.toy-accuracy is 1.5; expected a fraction in [0, 1]") == 1
    assert read(folder) == [good]


def test_a_run_that_comes_to_no_record_writes_nothing(
    bench: Bench, board: Boards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = board(**SMALL)
    monkeypatch.setattr("bench.engine.results.run", lambda *_: Ran((), (), 0, interrupted=True))
    ended = bench("run", folder, "--store", tmp_path / "store")
    assert ended.code == 130
    assert "wrote" not in ended.out
    assert [path.name for path in folder.iterdir()] == ["matrix.toml"]


# ---- --check


def edited(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Edit the first probe of `noted`."""
    path = folder / "records" / "noted.jsonl"
    lines = path.read_text().splitlines()
    at = next(k for k, line in enumerate(lines) if '"level":"probe"' in line)
    record = json.loads(lines[at])
    change(record)
    lines[at] = json.dumps(record, sort_keys=True, separators=(",", ":"))
    path.write_text("\n".join(lines) + "\n")


def raise_accuracy(record: dict[str, Any]) -> None:
    record["metrics"]["toy-accuracy"] = 0.75


def test_fresh_records_hold_when_they_are_recomputed(
    bench: Bench, reference: Any, tmp_path: Path
) -> None:
    folder = reference.copied(tmp_path)
    before = snapshot(folder)
    ended = bench("run", folder, "--check", "--jobs", 2)
    assert ended.code == 0, ended
    assert "20 records recomputed: all hold" in ended.out
    assert snapshot(folder) == before
    assert not (tmp_path / ".bench").exists()  # what a store says would prove nothing


def test_an_edited_record_does_not_hold(bench: Bench, reference: Any, tmp_path: Path) -> None:
    folder = reference.copied(tmp_path)
    edited(folder, raise_accuracy)
    assert bench("leaderboard", folder).code == 0
    before = snapshot(folder)
    ended = bench("run", folder, "--check", "--store", reference.store)
    assert ended.code == 1
    words = "toy-data noted 1 hard toy-linear noted-step 0: toy-accuracy is 0.75; recomputed, it is"
    assert [line for line in ended.out.splitlines() if "recomputed" in line] == [
        next(line for line in ended.out.splitlines() if line.startswith(words))
    ]
    assert snapshot(folder) == before


def test_a_check_wants_tables_that_follow_from_the_records(
    bench: Bench, reference: Any, tmp_path: Path
) -> None:
    folder = reference.copied(tmp_path)
    with (folder / "table.csv").open("a") as file:
        file.write("mine,too\n")
    ended = bench("run", folder, "--check", "--store", reference.store)
    assert ended.code == 1
    assert "table.csv is not what the records say; run: bench leaderboard" in ended.out


def test_a_cell_without_a_record_does_not_hold(
    bench: Bench, reference: Any, tmp_path: Path
) -> None:
    folder = reference.copied(tmp_path)
    (folder / "records" / "toy-full.jsonl").unlink()
    bench("leaderboard", folder)
    ended = bench("run", folder, "--check", "--store", reference.store)
    assert ended.code == 1
    assert ended.out.count("has no committed record") == 4


def test_a_sample_recomputes_so_many_cells(bench: Bench, reference: Any, tmp_path: Path) -> None:
    folder = reference.copied(tmp_path)
    ended = bench("run", folder, "--check", "--sample", 2, "--store", reference.store)
    assert ended.code == 0
    assert "2 records recomputed: all hold" in ended.out


def test_an_interrupted_check_does_not_say_that_records_hold(
    bench: Bench, reference: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = reference.copied(tmp_path)
    monkeypatch.setattr("bench.engine.results.run", lambda *_: Ran((), (), 0, interrupted=True))
    ended = bench("run", folder, "--check", "--store", reference.store)
    assert ended.code == 130
    assert "hold" not in ended.out
    assert "interrupted" in ended.err


# ---- exit codes


def test_the_help_of_run_lists_the_exit_codes(bench: Bench) -> None:
    said = " ".join(bench("run", "--help").out.split())
    assert "Exit codes: 0 all is well; 1 something failed, or does not hold; 2 bad input;" in said
    assert "130 interrupted by Ctrl-C, SIGTERM or SIGHUP" in said


def test_each_exit_code_is_what_the_help_says(
    bench: Bench, board: Boards, reference: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fine = ("run", reference.copied(tmp_path / "fine"), "--store", reference.store)
    assert bench(*fine).code == 0
    assert bench("run", board(**{**SMALL, "methods": ["raise"]})).code == 1
    assert bench("run", board(ipc=[0])).code == 2
    stopped = lambda *_: Ran((), (), 0, interrupted=True)  # noqa: E731
    monkeypatch.setattr("bench.engine.results.run", stopped)
    assert bench(*fine).code == 130


# ---- leaderboard


def test_tables_that_follow_from_the_records_pass(bench: Bench, reference: Any) -> None:
    ended = bench("leaderboard", reference.board, "--check")
    assert (ended.code, ended.out) == (0, "every table is up to date\n")


def test_a_stale_table_is_named_and_made_anew(bench: Bench, reference: Any, tmp_path: Path) -> None:
    folder = reference.copied(tmp_path)
    edited(folder, raise_accuracy)
    before = snapshot(folder)
    stale = bench("leaderboard", reference.board, folder, "--check")
    assert stale.code == 1
    by_hand, wrong, *pages = stale.out.splitlines()
    assert "noted.jsonl:4 was changed after it was written" in by_hand
    assert "toy-accuracy is 0.75, and " in wrong
    assert pages == [
        f"{folder / name} is not what the records say; run: bench leaderboard {folder}"
        for name in ("README.md", "table.csv", "table.tex")
    ]
    assert snapshot(folder) == before
    assert bench("leaderboard", folder).code == 0
    assert bench("leaderboard", folder, "--check").out.splitlines() == [by_hand, wrong]
    assert tables(folder) != tables(reference.board)


def test_a_board_without_records_has_tables_that_say_so(bench: Bench, board: Boards) -> None:
    folder = board(**BOARD)
    assert bench("leaderboard", folder, "--check").code == 1
    assert bench("leaderboard", folder).code == 0
    assert "No records yet." in (folder / "README.md").read_text()


# ---- a board of the generation track

GENERATION = {
    "track": "generation",
    "methods": ["toy-means"],
    "controls": None,
    "ceiling": ["toy-real"],
    "ipc": [1],
    "architectures": ["toy-denoiser"],
    "attacks": None,
    "samplers": ["toy-sampler"],
    "metrics": ["toy-distance"],
    "seeds": [0],
    "recipe": {"steps": 6, "checkpoints": [2], "batch": 16},
}


@pytest.mark.slow
def test_a_board_of_samples_is_priced_run_checked_and_published(
    bench: Bench, board: Boards
) -> None:
    folder = board(**GENERATION)
    priced = bench("run", folder, "--dry-run")
    assert priced.code == 0, priced
    assert re.search(r"sample +3\b", priced.out), priced.out  # two of a student, one of real images
    assert not (folder / "records").exists()

    ended = bench("run", folder, "--jobs", 2)
    assert ended.code == 0, ended
    page = (folder / "README.md").read_text()
    assert "toy-sampler @ 2" in page
    pictures = sorted((folder / "images").glob("*.png"))
    [toy_means, real] = [one for one in pictures if not one.name.startswith(("set.", "near."))]
    assert len(pictures) > 2  # of the sets themselves
    assert toy_means.name.startswith("toy-data.toy-denoiser.toy-means.ipc-1.")
    assert f"(images/{real.name})" in page
    assert len(records(folder)) == 2 * 2

    written = snapshot(folder)
    assert bench("run", folder).code == 0  # out of the store
    assert snapshot(folder) == written
    assert bench("leaderboard", folder, "--check").code == 0
    checked = bench("run", folder, "--check", "--sample", 2)
    assert checked.code == 0, checked
    assert "2 records recomputed: all hold" in checked.out
    real.unlink()
    assert "is missing; run: bench run" in bench("leaderboard", folder, "--check").out


def test_the_network_that_metrics_look_with_goes_with_the_board(
    bench: Bench, board: Boards, tmp_path: Path
) -> None:
    changes = {"metrics": ["seen"], "backbone": "toy-linear", "methods": None}
    folder = board(**{**GENERATION, **changes})
    priced = bench("run", folder, "--dry-run")
    assert re.search(r"squeeze +1\b", priced.out), priced.out
    assert not (folder / "teachers").exists()

    ended = bench("run", folder)
    assert ended.code == 0, ended
    [network] = (folder / "teachers").glob("*.safetensors")
    assert "metrics look with it, so commit it with the records" in ended.out.replace("\n", " ")
    digits = hashlib.sha256(network.read_bytes()).hexdigest()[:8]
    assert f"## seen-toy-linear-{digits}" in (folder / "README.md").read_text()

    elsewhere = tmp_path / "elsewhere"
    again = bench("run", folder, "--store", elsewhere)
    assert again.code == 0, again
    assert len([*(elsewhere / "squeeze").iterdir()]) == 1  # read, not trained
    assert bench("run", folder, "--check").code == 0
    network.unlink()
    assert "is missing; get it from the repository again" in one_line(bench("run", folder))
    assert "is missing" in bench("leaderboard", folder, "--check").out.replace("\n", " ")
    assert not network.exists()
    network.write_bytes(b"no network")
    said = one_line(bench("run", folder, "--store", elsewhere))
    assert "is not the file that teachers.toml names" in said
    assert f"## seen-toy-linear-{digits}" in (folder / "README.md").read_text()  # nothing is lost


def test_part_of_a_board_of_samples_can_be_asked_for(bench: Bench, board: Boards) -> None:
    folder = board(**GENERATION)
    said = one_line(bench("run", folder, "--only", "attack=toy-clean"))
    assert "--only attack: there is no such axis" in said
    assert "step '3' is not on this board" in one_line(bench("run", folder, "--only", "step=3"))
    labels = write_board(folder.parent / "labels", **{**GENERATION, "labels": ["soft"]})
    assert "on a generation board; expected none given" in one_line(bench("run", labels))
