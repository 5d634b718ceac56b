"""A run can be killed, doubled and repeated: what it says in the end is the same."""

from __future__ import annotations

import json
import signal
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from support import (
    BOARD,
    SMALL,
    Ended,
    Shell,
    a_result,
    comes_to,
    contents,
    ended,
    records,
    signal_all,
    snapshot,
    stages,
    tables,
    write_board,
)

from bench.board.matrix import Cell, parse
from bench.contract.errors import BenchError
from bench.engine.results import chosen_cells
from bench.records.files import read, write
from bench.records.result import Result, unpack, with_earlier_figures
from bench.report.numbers import board_of
from bench.report.verify import disagreements
from bench.store.store import Store

Bench = Callable[..., Ended]
STAGES = {"condense": 10, "load": 1, "measure": 20, "probe": 20, "train": 10}


# ---- kill -9, Ctrl-C


@pytest.mark.parametrize("moments", [(12,), pytest.param((1, 12, 35), marks=pytest.mark.slow)])
def test_a_run_that_is_killed_ends_as_if_it_had_not_been(
    moments: tuple[int, ...],
    reference: Any,
    shell: Shell,
    bench: Bench,
    board: Callable[..., Path],
) -> None:
    folder, store = board(), shell.folder / "store"
    command = ("run", folder, "--store", store, "--jobs", 2)
    for moment in moments:  # stages that have finished when it is killed
        with shell.begun(*command) as process:
            comes_to(process, lambda moment=moment: sum(stages(store).values()) >= moment)
            signal_all(process, signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
        assert not (folder / "README.md").exists()
        assert sum(stages(store).values()) < sum(STAGES.values())
    assert bench(*command).code == 0
    assert stages(store) == STAGES
    assert tables(folder) == tables(reference.board)
    assert contents(folder) == contents(reference.board)


def has_heard(folder: Path, kind: str) -> bool:
    """Has a run taken in that a stage of this kind has finished? It lets go of its lock then."""
    for done in folder.glob(f"{kind}/*/done.json"):
        if lock := Store(folder).lock(kind, done.parent.name):
            lock.release()
            return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "send"),
    [
        (signal.SIGINT, signal_all),  # as a terminal does
        (signal.SIGTERM, lambda process, number: process.send_signal(number)),
        (signal.SIGHUP, lambda process, number: process.send_signal(number)),
    ],
    ids=["SIGINT", "SIGTERM", "SIGHUP"],
)
def test_a_run_that_is_told_to_end_publishes_what_is_finished_and_says_how_to_go_on(
    number: int,
    send: Callable[..., None],
    shell: Shell,
    bench: Bench,
    board: Callable[..., Path],
    heal: Callable[[], None],
) -> None:
    folder, store = board(methods=["slow"], **SMALL), shell.folder / "store"
    command = ("run", folder, "--store", store, "--jobs", 2)
    with shell.begun(*command) as process:
        comes_to(process, lambda: has_heard(store, "measure"))
        send(process, number)
        stopped = ended(process)
    assert stopped.code == 130
    assert stopped.err == (
        f"bench: interrupted; 1 of 2 cells is published in {folder}, and what else has finished "
        f"is kept in {store}; run the same command to go on\n"
    )
    assert "Traceback" not in stopped.out + stopped.err
    assert [record["method"] for record in records(folder)] == ["toy-first"]
    assert "toy-first" in (folder / "README.md").read_text()
    heal()
    assert bench(*command).code == 0
    assert {record["method"] for record in records(folder)} == {"slow", "toy-first"}


HASTY = """
from bench.engine import publishing
publishing.EVERY = 0.05
from bench.cli import main
main()
"""


@pytest.mark.slow
def test_a_run_that_is_killed_has_published_what_was_complete(
    shell: Shell, bench: Bench, board: Callable[..., Path], heal: Callable[[], None]
) -> None:
    folder, store = board(methods=["slow"], **SMALL), shell.folder / "store"
    command = ("run", folder, "--store", store, "--jobs", 2)
    with shell.begun(*command, code=HASTY) as process:
        comes_to(process, lambda: bool(records(folder)))
        signal_all(process, signal.SIGKILL)
        process.wait()
    assert [record["method"] for record in records(folder)] == ["toy-first"]
    assert records(folder)[0]["metrics"]
    assert not (folder / "README.md").exists()  # pages are made at the end
    heal()
    assert bench(*command).code == 0
    assert {record["method"] for record in records(folder)} == {"slow", "toy-first"}


@pytest.mark.slow
def test_a_second_request_to_end_spoils_no_publication(
    shell: Shell, board: Callable[..., Path]
) -> None:
    """Supervisors send SIGHUP right after SIGTERM."""
    folder, store = board(methods=["slow"], **SMALL), shell.folder / "store"
    with shell.begun("run", folder, "--store", store, "--jobs", 2) as process:
        comes_to(process, lambda: has_heard(store, "measure"))
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGTERM):
            process.send_signal(number)
        stopped = ended(process)
    assert stopped.code == 130
    assert "Traceback" not in stopped.err, stopped.err
    assert "1 of 2 cells is published" in stopped.err
    assert (folder / "README.md").exists()


FULL_DISK = """
from bench.report import folder
add_results, calls = folder.add_results, []
def once_without_room(*given):
    calls.append(given)
    if len(calls) == 1:
        raise OSError("no room")
    return add_results(*given)
folder.add_results = once_without_room
"""


@pytest.mark.slow
def test_records_that_cannot_be_written_meanwhile_cost_no_run(
    shell: Shell, board: Callable[..., Path]
) -> None:
    folder, store = board(**SMALL), shell.folder / "store"
    code = FULL_DISK + HASTY.replace("0.05", "0.0")
    done = shell("run", folder, "--store", store, "--jobs", 1, code=code)
    assert "records are not written before the end: no room\n" in done.out
    assert done.code == 0
    assert len(records(folder)) == 2


@pytest.mark.slow
def test_ctrl_c_while_data_are_loaded_leaves_nothing_half_done(
    shell: Shell, board: Callable[..., Path]
) -> None:
    folder, store = board(datasets=["slow-data"], **SMALL), shell.folder / "store"
    with shell.begun("run", folder, "--store", store) as process:
        comes_to(process, lambda: shell.calls == ["load slow-data"])
        signal_all(process, signal.SIGINT)
        stopped = ended(process)
    assert stopped.code == 130
    assert stopped.err.startswith("bench: interrupted")
    assert stopped.err.count("\n") == 1
    assert stages(store) == {}
    assert [path.name for path in folder.iterdir()] == ["matrix.toml"]


# ---- attacks in parts, and on other students


@pytest.fixture(scope="module")
def attacked(reference: Any, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The records of a board with a step, the same in parts, and the same on another student."""
    folder = tmp_path_factory.mktemp("attacked")
    changes = {
        **SMALL,
        "controls": None,
        "architectures": ["toy-linear", "toy-convnet"],
        "attacks": ["toy-clean", "toy-step", "parted", "moved", "idle", "little", "much"],
        "define": {
            "moved": {"attack": "toy-step", "source": {"architecture": "toy-linear"}},
            "little": {"attack": "fading", "eps": 0.01},
            "much": {"attack": "fading", "eps": 0.5},
        },
    }
    board = write_board(folder / "board", **changes)
    done = Shell(folder, reference.shell.path)("run", board, "--store", folder / "store")
    assert done.code == 0, done
    assert stages(folder / "store")["attack"] == 2 * 3  # 64 images, 24 at a time
    return [*records(board), {"page": (board / "README.md").read_text()}]


def of_attack(attacked: list[dict[str, Any]], attack: str, architecture: str) -> dict[str, Any]:
    wanted = (attack, architecture)
    [found] = [r for r in attacked[:-1] if (r["attack"], r["architecture"]) == wanted]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["toy-linear", "toy-convnet"])
def test_an_attack_in_parts_has_the_result_of_the_whole(
    attacked: list[dict[str, Any]], architecture: str
) -> None:
    whole, parts = (of_attack(attacked, name, architecture) for name in ("toy-step", "parted"))
    for name in ("correct", "images", "images_hash", "metrics", "passes", "no_gradient"):
        assert parts[name] == whole[name]


@pytest.mark.slow
def test_a_transferred_attack_sees_no_gradient_of_the_student(
    attacked: list[dict[str, Any]],
) -> None:
    own, moved = (of_attack(attacked, name, "toy-convnet") for name in ("toy-step", "moved"))
    assert (own["attack_search"], moved["attack_search"]) == ("single-step", "black-box")
    assert own["attack_family"] != moved["attack_family"]
    assert own["correct"] != moved["correct"]
    assert own["content"]["student"] == moved["content"]["student"]
    made_on = of_attack(attacked, "toy-step", "toy-linear")
    assert moved["content"]["source"] == made_on["content"]["student"]
    assert moved["parameters"]["attack"]["source"] == {"architecture": "toy-linear"}
    assert 'attack.source = {"architecture": "toy-linear"}' in attacked[-1]["page"]


@pytest.mark.slow
def test_a_student_is_no_source_of_a_transfer_to_itself(attacked: list[dict[str, Any]]) -> None:
    declined = of_attack(attacked, "moved", "toy-linear")
    assert declined["status"] == "unsupported"
    assert declined["reason"] == "its source is the student itself: that is no transfer"


@pytest.mark.slow
def test_attacks_that_break_a_relation_are_flagged_on_the_page(
    attacked: list[dict[str, Any]],
) -> None:
    page = attacked[-1]["page"]
    assert "flag: weaker than a single-step attack (toy-step leaves" in page
    assert "flag: weaker than in a smaller ball (little leaves" in page


@pytest.mark.slow
def test_who_declines_a_ball_s_attack_has_a_robust_figure_without_it(
    attacked: list[dict[str, Any]],
) -> None:
    assert "without moved, which is declined here" in attacked[-1]["page"]


@pytest.mark.slow
def test_the_page_says_what_results_have_cost_in_passes(attacked: list[dict[str, Any]]) -> None:
    _, page = attacked[-1]["page"].split("## Cost, in passes")
    rows = [line.strip("|").split("|") for line in page.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in row] for row in rows]
    # 5 steps with all 8 images
    assert ["1", "noted", "–", "0 / 0", "40 / 40", "40 / 40"] in cells
    assert ["", "toy-step", "1.0", "1.0"] in cells
    assert ["", "toy-clean", "0.0", "0.0"] in cells


# ---- jobs, and two runs at once


def test_the_reference_run_computed_every_stage_once(reference: Any) -> None:
    assert stages(reference.store) == STAGES
    assert len(reference.shell.calls) == 4 + 10  # sets by noted, students under noted-step
    assert len(set(reference.shell.calls)) == 14


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 3])
def test_the_number_of_jobs_changes_no_byte(
    jobs: int, reference: Any, bench: Bench, board: Callable[..., Path], tmp_path: Path
) -> None:
    folder = board()
    assert bench("run", folder, "--store", tmp_path / "store", "--jobs", jobs).code == 0
    assert contents(folder) == contents(reference.board)
    assert tables(folder) == tables(reference.board)


@pytest.mark.slow
def test_two_runs_at_once_share_the_work(
    reference: Any, shell: Shell, board: Callable[..., Path]
) -> None:
    folder, store = board(), shell.folder / "store"
    command = ("run", folder, "--store", store, "--jobs", 2)
    with shell.begun(*command) as one, shell.begun(*command) as other:
        both = [ended(one), ended(other)]
    assert [run.code for run in both] == [0, 0], both
    assert stages(store) == STAGES
    assert shell.calls == reference.shell.calls
    assert tables(folder) == tables(reference.board)
    assert contents(folder) == contents(reference.board)


@pytest.mark.slow
def test_a_run_keeps_the_records_that_another_has_written_meanwhile(
    shell: Shell, bench: Bench, board: Callable[..., Path], heal: Callable[[], None]
) -> None:
    folder = board(methods=["slow"], controls=None, **{**SMALL, "seeds": [0, 1]})
    store = shell.folder / "store"
    with shell.begun("run", folder, "--only", "seed=0", "--store", store) as slower:
        comes_to(slower, lambda: bool(shell.calls))
        heal()  # those of this process
        assert bench("run", folder, "--only", "seed=1", "--store", store).code == 0
        (shell.folder / "healed").touch()
        assert ended(slower).code == 0
    assert [record["seed"] for record in records(folder)] == [0, 1]


# ---- what is finished is not done again


def test_a_finished_board_starts_no_worker_and_loads_no_torch(
    reference: Any, tmp_path: Path
) -> None:
    code = """
import sys
from bench.cli import main
from bench.engine import fork
try:
    main()
finally:
    print("torch" in sys.modules, fork._bases)
"""
    folder, before = reference.copied(tmp_path), reference.shell.calls
    again = reference.shell("run", folder, "--store", reference.store, code=code)
    assert again.code == 0
    assert again.out.splitlines()[-1] == "False []"
    assert reference.shell.calls == before
    assert tables(folder) == tables(reference.board)


# ---- --missing


def test_a_board_that_has_moved_repeats_nothing_that_is_committed(
    reference: Any, bench: Bench, tmp_path: Path
) -> None:
    folder, store = reference.copied(tmp_path), tmp_path / "store"
    before = snapshot(folder)
    told = bench("run", folder, "--store", store, "--missing")
    assert told.code == 0, told
    assert "20 of 20 cells have a record that holds; none is run\n" in told.out
    assert stages(store) == {"load": 1}  # a record holds for the data that are here
    assert snapshot(folder) == before


def test_a_cell_without_a_record_is_run_with_what_it_needs_and_no_more(
    reference: Any, bench: Bench, tmp_path: Path
) -> None:
    folder, store = reference.copied(tmp_path), tmp_path / "store"
    lost = ("noted", 1, "noted-step", 0)
    results = [r for r in read(folder) if (r.method, r.ipc, r.attack, r.seed) != lost]
    assert len(results) == 19
    write(folder, results)
    told = bench("run", folder, "--store", store, "--missing")
    assert told.code == 0, told
    assert "19 of 20 cells have a record that holds; 1 is run (1 with no record)\n" in told.out
    assert stages(store) == {"condense": 1, "load": 1, "measure": 1, "probe": 1, "train": 1}
    assert contents(folder) == contents(reference.board)
    assert tables(folder) == tables(reference.board)


def test_a_changed_recipe_leaves_no_record_that_holds(
    reference: Any, bench: Bench, tmp_path: Path
) -> None:
    folder = reference.copied(tmp_path)
    write_board(folder, recipe={**BOARD["recipe"], "lr": 0.2})
    told = bench("run", folder, "--store", tmp_path / "store", "--missing", "--dry-run")
    assert told.code == 0, told
    assert (
        "0 of 20 cells have a record that holds; 20 are run (20 with another recipe)\n" in told.out
    )


# ---- which cells


def cells(methods: Any = (), only: Any = None, **changes: Any) -> tuple[Cell, ...]:
    return chosen_cells(parse({k: v for k, v in {**BOARD, **changes}.items() if v}), methods, only)


def test_filters_leave_part_of_an_axis() -> None:
    assert len(cells()) == 20
    assert {c.method for c in cells(methods=["noted", "toy-full"])} == {"noted", "toy-full"}
    assert {c.ipc for c in cells(only={"ipc": ["2"]})} == {2}
    assert {c.seed for c in cells(only={"seed": ["0", "1"]})} == {0, 1}
    both = cells(methods=["noted"], only={"method": ["toy-first"], "attack": ["toy-clean"]})
    assert {c.method for c in both} == {"noted", "toy-first"}
    assert {c.attack for c in both} == {"toy-clean"}


@pytest.mark.parametrize(
    ("methods", "only", "said"),
    [
        (["notd"], None, "method 'notd' is not on this board; did you mean 'noted'?"),
        ([], {"ipc": ["5"]}, "ipc '5' is not on this board; expected one of: 0, 1, 2"),
        ([], {"atack": ["toy-clean"]}, "--only atack: there is no such axis; did you mean 'attack"),
        (["toy-full"], {"ipc": ["1"]}, "no cell is left; widen --methods or --only"),
    ],
)
def test_a_filter_that_selects_nothing_is_refused(methods: Any, only: Any, said: str) -> None:
    with pytest.raises(BenchError) as caught:
        cells(methods, only)
    assert said in str(caught.value)


def test_tables_know_a_board_by_its_axes() -> None:
    matrix = parse(BOARD)
    board = board_of(matrix)
    assert (board.methods, board.ceiling, board.seeds) == (("noted",), ("toy-full",), (0, 1))


# ---- records, in detail


def test_records_say_how_a_cell_came_about(reference: Any) -> None:
    found = {(r["method"], r["ipc"], r["attack"], r["seed"]): r for r in records(reference.board)}
    assert len(found) == 20
    record = found["noted", 2, "noted-step", 1]
    assert record["status"] == "ok"
    assert record["versions"]["toyplug"] == "1.0"
    assert set(record["code"]) == {"dataset", "method", "architecture", "attack"}
    assert set(record["content"]) == {"set", "student", "probe"}
    assert record["about"]["method"] == "Mean images, and a note of each call."
    assert record["recipe"]["steps"] == 5
    assert (record["images"], record["size"]) == (64, 16)
    assert record["bytes"] == {"images": 16 * 64, "labels": 16 * 8, "weights": 0, "extras": 0}
    assert record["norm"] == "linf"
    assert record["perturbation"]["linf"]["max"] == pytest.approx(8 / 255, abs=1e-5)
    assert {r["images_hash"] for r in found.values()} == {record["images_hash"]}
    right = unpack([b64decode(record["correct"])], 64)
    assert record["metrics"]["toy-accuracy"] == pytest.approx(right.mean(), abs=1e-6)


def test_what_the_record_keeps_of_the_machine_is_no_name_and_no_path(reference: Any) -> None:
    found = records(reference.board)
    assert str(reference.store.parent) not in json.dumps(found)
    assert {tuple(record["environment"]) for record in found} == {
        ("cpu", "device", "isa", "python", "system", "threads", "torch")
    }
    assert {record["environment"]["threads"] for record in found} == {1}


def test_two_methods_of_one_seed_are_probed_on_the_same_images(reference: Any) -> None:
    by_method = {
        (r["method"], r["seed"]): r["images_hash"]
        for r in records(reference.board)
        if r["attack"] == "toy-clean"
    }
    assert len(by_method) == 6
    assert len(set(by_method.values())) == 1


def test_a_metric_that_fails_keeps_its_earlier_figure_on_the_same_results() -> None:
    def made(metrics: dict[str, float], content: str, **refused: str) -> Result:
        scales = {name: {"better": "higher", "unit": "fraction"} for name in metrics}
        blocks = {"metrics": metrics, "scales": scales, "refused": refused}
        return a_result(**blocks, content={"probe": content})

    old = [made({"a": 0.5, "b": 0.25}, "same")]
    (both,) = with_earlier_figures(old, [made({"a": 0.75}, "same")], "ab")
    assert both.metrics == {"a": 0.75, "b": 0.25}
    assert set(both.scales) == {"a", "b"}
    (other,) = with_earlier_figures(old, [made({"a": 0.75}, "another")], "ab")
    assert other.metrics == {"a": 0.75}
    (declined,) = with_earlier_figures(old, [made({"a": 0.75}, "same", b="needs more")], "ab")
    assert declined.metrics == {"a": 0.75}
    (still,) = with_earlier_figures([declined], [made({"a": 0.75}, "same")], "ab")
    assert still.refused == {"b": "needs more"}


def test_a_metric_that_the_board_dropped_is_not_kept() -> None:
    """Else no recomputation would ever bear the record out."""
    old = a_result(content={"probe": "same"})
    only = {name: {"right": getattr(old, name)["right"]} for name in ("metrics", "scales")}
    new = structs.replace(old, **only)
    (found,) = with_earlier_figures([old], [new], ["right"])
    assert disagreements([found], [new]) == []
