"""Hostile submissions: each is refused with one sentence, and nothing of it is run."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import changed, snapshot

from bench.board.matrix import read as matrix
from bench.commands.draw import drawn
from bench.contract.keys import PROTOCOL
from bench.records.files import read, write
from bench.records.result import Result, pack
from bench.report.folder import write_tables

Bench = Callable[..., Any]
Tamper = Callable[[Path], None]


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    command = ["git", *who, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def board(reference: Any, tmp_path: Path) -> Path:
    """The toy board with its records, as the base branch has it."""
    folder = Path(shutil.copytree(reference.board, tmp_path / "boards" / "toys"))
    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    git(tmp_path, "add", "boards")
    git(tmp_path, "commit", "--quiet", "--message", "base")
    return folder


@pytest.fixture
def told(bench: Bench, board: Path) -> Callable[..., list[str]]:
    """What is said of the board as it stands now; [] where nothing speaks against it."""

    def told(*options: Any) -> list[str]:
        done = bench("leaderboard", board, "--check", "--against", "main", *options)
        assert "Traceback" not in done.out + done.err
        lines = [line for line in done.out.splitlines() if line.strip()]
        assert done.code == (0 if lines[-1:] == ["every table is up to date"] else 1), done
        if done.code == 0:
            return []
        return [line for line in lines if line.startswith(str(board))]

    return told


def rewrite(board: Path, change: Callable[[Result], Result | None]) -> None:
    """Change results as somebody does who knows the format: names, notes and tables fit."""
    results = [new for one in read(board) if (new := change(one))]
    gone = {one.method for one in read(board)} - {one.method for one in results}
    for method in gone:
        (board / "records" / f"{method}.jsonl").unlink()
    write(board, results)
    write_tables(board)


def first_of(method: str, **changes: Any) -> Callable[[Result], Result]:
    """Change the first result of a method."""
    seen: list[Result] = []

    def change(one: Result) -> Result:
        if one.method == method and not seen:
            seen.append(one)
            return changed(one, **changes)
        return one

    return change


def test_a_board_that_is_as_it_was_holds(told: Any) -> None:
    assert told() == []


# ---- rows of others


def test_a_rival_whose_records_are_deleted_is_missed(told: Any, board: Path) -> None:
    rewrite(board, lambda one: None if one.method == "toy-first" else one)
    [said] = told()
    assert "records of toy-first are not those of the base (8 vanish; the first: " in said
    assert said.endswith("put them back, or have toy-first named as measured again")
    assert told("--remeasured", "toy-first") == []
    assert told("--remeasured", "noted") == [said]


def test_a_rival_that_is_taken_off_the_axes_is_missed(told: Any, board: Path) -> None:
    text = (board / "matrix.toml").read_text()
    (board / "matrix.toml").write_text(text.replace('controls = ["toy-first"]\n', ""))
    write_tables(board)
    [said] = told()
    assert "records of toy-first are not those of the base (8 leave the page;" in said


def test_one_image_of_a_rival_that_turns_wrong_is_found(told: Any, board: Path) -> None:
    one = next(one for one in read(board) if one.method == "toy-first")
    bits = np.unpackbits(np.frombuffer(one.correct, np.uint8))
    bits = bits[: one.images].astype(bool)
    bits[np.flatnonzero(bits)[0]] = False
    worse = {"toy-accuracy": round(float(bits.mean()), 6)}
    rewrite(board, first_of("toy-first", correct=pack(bits), metrics=one.metrics | worse))
    [said] = told()
    assert "records of toy-first are not those of the base (1 differ; the first: " in said
    assert "its metrics, correct" in said


def test_a_rival_that_is_declined_is_found(told: Any, board: Path) -> None:
    named = ("dataset", "method", "ipc", "labels", "architecture", "attack", "seed")
    rewrite(
        board,
        lambda one: (
            Result(**{n: getattr(one, n) for n in named}, reason="needs <BatchNorm>")
            if one.method == "toy-first"
            else one
        ),
    )
    assert any("records of toy-first are not those of the base (8 differ" in s for s in told())


def test_a_whole_board_that_is_deleted_is_missed(told: Any, board: Path, bench: Bench) -> None:
    other = Path(shutil.copytree(board, board.parent / "others"))
    git(board.parent, "add", ".")
    git(board.parent, "commit", "--quiet", "--message", "two boards")
    shutil.rmtree(other)
    done = bench("leaderboard", board, "--check", "--against", "main")
    assert done.code == 1
    assert f"{other} is gone; put it back" in done.out


# ---- rows of one's own


def submitted(board: Path, **changes: Any) -> None:
    """A base without `noted`, and a submission of it whose first record says something else."""
    records = {path.name: path.read_bytes() for path in (board / "records").iterdir()}
    rewrite(board, lambda one: None if one.method == "noted" else one)
    git(board, "add", "--all", ".")
    git(board, "commit", "--quiet", "--message", "without")
    for name, text in records.items():
        (board / "records" / name).write_bytes(text)
    if changes:
        rewrite(board, first_of("noted", **changes))
    write_tables(board)


def test_a_new_row_passes_and_stands_among_its_neighbours(
    told: Any, board: Path, bench: Bench, tmp_path: Path
) -> None:
    submitted(board)
    assert told("--review", tmp_path / "review.md") == []
    review = (tmp_path / "review.md").read_text()
    assert "adds 8 records of noted" in review
    assert "| noted [1] " in review
    assert "not distinguishable from the best" in review


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"protocol": PROTOCOL - 1}, f"of protocol {PROTOCOL - 1}, as dataset=toy-data method="),
        ({"protocol": PROTOCOL + 1}, f"expected {PROTOCOL}, that of this harness"),
        ({"ipc": 50}, "1 new record is not on the board, as dataset=toy-data method=noted ipc=50"),
        ({"seed": 77}, "1 new record is not on the board"),
        ({"evaluate": "validation"}, "1 new record is not on the board"),
        ({"data": {"digest": "0" * 16, "classes": "0" * 16}}, "is of other data (their digest"),
        ({"images_hash": "0" * 16}, "is of other test images than"),
        ({"metrics": {"toy-accuracy": 0.999}}, "toy-accuracy is 0.999, and "),
    ],
    ids=["old", "new", "budget", "seed", "split", "data", "images", "bits"],
)
def test_a_row_that_was_measured_otherwise_is_refused(
    told: Any, board: Path, changes: dict[str, Any], said: str
) -> None:
    submitted(board, **changes)
    found = told()
    assert any(said in one for one in found), found


@pytest.mark.parametrize(
    ("old", "new", "changes", "what"),
    [
        ("lr = 0.1", "lr = 0.2", {"recipe": {"lr": 0.2}}, "recipe"),
        (
            "[recipe]",
            '[[set]]\nwhere = { attack = "noted-step" }\neps = 0.01\n\n[recipe]',
            {"parameters": {"attack": {"eps": 0.01}}},
            "attack",
        ),
    ],
    ids=["recipe", "attack"],
)
def test_a_row_for_which_the_board_was_changed_is_refused(
    told: Any, board: Path, old: str, new: str, changes: dict[str, dict[str, Any]], what: str
) -> None:
    """A longer training, or a weaker attack, for one's own rows: they hold when measured again."""
    submitted(board)
    path = board / "matrix.toml"
    path.write_text(path.read_text().replace(old, new))

    def change(one: Result) -> Result:
        if one.method != "noted" or (what == "attack" and one.attack != "noted-step"):
            return one
        return changed(one, **{name: {**getattr(one, name), **v} for name, v in changes.items()})

    rewrite(board, change)
    found = told()
    assert found
    assert all(f"has another {what} than dataset=toy-data method=toy-" in one for one in found)
    assert all(one.endswith("measure it with the settings of the board") for one in found)


def unfolded(text: str) -> str:
    """Without blanks: lines are folded at 80 columns, and folders of tests have names of any
    length."""
    return "".join(text.split())


def test_a_reviewer_is_told_of_an_attack_that_was_edited(board: Path, bench: Bench) -> None:
    """Its settings are those of the rows beside it, and it holds when it is measured again."""
    submitted(board)
    other = {"attack": "0" * 16}
    rewrite(
        board,
        lambda one: (
            changed(one, code=one.code | other)
            if (one.method, one.attack) == ("noted", "noted-step")
            else one
        ),
    )
    done = bench("leaderboard", board, "--check", "--against", "main")
    assert done.code == 0
    said = "Look twice: the attack noted-step behind noted is other code than behind the rows"
    assert unfolded(done.out).count(unfolded(said)) == 1
    assert "toy-linear behind" not in done.out


NETWORK = """
[[network]]
file = "toy-data.toy-linear.mine.safetensors"
sha256 = "{sha256}"
dataset = "toy-data"
data = "1"
network = "toy-linear"
teacher = "mine"
settings = "1"
seed = 0
"""


def test_a_reviewer_is_told_of_a_teacher_that_a_submission_brings(
    board: Path, bench: Bench
) -> None:
    """Who recomputes its rows reads it, and would not see that it has learned test images."""
    submitted(board)
    blob = (2).to_bytes(8, "little") + b"{}"
    put("teachers/toy-data.toy-linear.mine.safetensors", blob)(board)
    text = NETWORK.format(sha256=hashlib.sha256(blob).hexdigest())
    put("teachers/teachers.toml", text.encode())(board)
    write_tables(board)
    done = bench("leaderboard", board, "--check", "--against", "main")
    said = "Look twice: the network toy-data.toy-linear.mine.safetensors is new"
    assert unfolded(done.out).count(unfolded(said)) == 1, done
    again = f"bench run {board} --retrain-teachers trains it again"
    assert unfolded(again) in unfolded(done.out)


def test_a_row_beside_none_that_stays_may_have_settings_of_its_own(told: Any, board: Path) -> None:
    submitted(board)
    path = board / "matrix.toml"
    path.write_text(path.read_text().replace("lr = 0.1", "lr = 0.2"))
    rewrite(board, lambda one: changed(one, recipe={**one.recipe, "lr": 0.2}))
    again = ("--remeasured", "toy-first,toy-full")
    assert told(*again) == []


def test_a_frozen_board_takes_no_rows(told: Any, board: Path) -> None:
    submitted(board)
    path = board / "matrix.toml"
    path.write_text(f'frozen = "of 0.1.0"\n{path.read_text()}')
    write_tables(board)
    [said] = told()
    assert "is frozen, and takes no new records, as dataset=toy-data method=noted" in said


# ---- what is recomputed


def test_only_what_is_submitted_is_recomputed(board: Path, bench: Bench, reference: Any) -> None:
    kept = ("--store", reference.store)
    same = bench("run", board, "--check", "--against", "main", *kept)
    assert (same.code, same.out) == (0, "no record differs from those of main\n")
    submitted(board)
    done = bench("run", board, "--check", "--against", "main", *kept)
    assert done.code == 0
    assert "8 records recomputed: all hold" in done.out


def test_a_forged_row_is_found_by_a_draw_of_the_submission(
    board: Path, bench: Bench, reference: Any
) -> None:
    submitted(board)
    rewrite(board, lambda one: raised(one) if one.method == "noted" else one)
    asked = ("--check", "--sample", 8, "--against", "main", "--store", reference.store)
    done = bench("run", board, *asked)
    assert done.code == 1
    assert "8 of 8 cells are recomputed, drawn with --salt " in done.out
    assert "toy-accuracy is 1; recomputed, it is" in done.out


def raised(one: Result) -> Result:
    """A forged result: all images are right, and it is said to be of another machine."""
    return changed(
        one,
        correct=pack(np.ones(one.images, dtype=bool)),
        metrics=one.metrics | {"toy-accuracy": 1.0},
        environment=one.environment | {"cpu": "Intel"},
    )


def test_each_draw_is_new_and_can_be_repeated(board: Path) -> None:
    cells = matrix(board).cells()
    one, said = drawn(board, cells, 3, "main", "a salt")
    assert said == "3 of 20 cells are recomputed, drawn with --salt a salt"
    assert drawn(board, cells, 3, "main", "a salt")[0] == one
    assert len({drawn(board, cells, 3, "main")[0] for _ in range(20)}) > 10
    assert len({drawn(board, cells, 3, "", str(n))[0] for n in range(20)}) > 10


def test_a_draw_hangs_on_the_base_and_on_what_is_submitted(board: Path) -> None:
    cells = matrix(board).cells()

    def draws() -> list[Any]:
        return [drawn(board, cells, 3, "main", str(n))[0] for n in range(9)]

    before = draws()
    git(board, "commit", "--quiet", "--allow-empty", "--message", "another")
    other_base = draws()
    assert other_base != before
    submitted_path = board / "records" / "noted.jsonl"
    submitted_path.write_text(submitted_path.read_text() + " ")
    assert draws() != other_base
    submitted_path.write_text(submitted_path.read_text()[:-1])
    (board / "README.md").write_text("amended")
    assert draws() == other_base


# ---- lines


def edit(board: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Edit the first probe of `noted` by hand."""
    path = board / "records" / "noted.jsonl"
    lines = path.read_text().splitlines()
    at = next(k for k, line in enumerate(lines) if '"level":"probe"' in line)
    record = json.loads(lines[at])
    change(record)
    lines[at] = json.dumps(record, sort_keys=True, separators=(",", ":"))
    path.write_text("\n".join(lines) + "\n")
    write_tables(board)


def metric(value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda record: record["metrics"].update({"toy-accuracy": value})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (metric(float("nan")), "records/noted.jsonl:4: JSON is malformed"),
        (metric(1e999), "records/noted.jsonl:4: JSON is malformed"),
        (metric(75.0), "metrics.toy-accuracy is 75.0; expected a fraction in [0, 1]"),
        (metric(-0.1), "metrics.toy-accuracy is -0.1; expected a fraction"),
        (metric("0.75"), "metrics.toy-accuracy is '0.75'; expected a number"),
        (metric([0.75]), "metrics.toy-accuracy is [0.75]; expected a number"),
        (lambda r: r.update(correct="AAAA"), "packed bits fill 3 bytes; expected 8"),
        (lambda r: r.update(correct="§"), "correct is '§'; expected packed bits in base64"),
        (lambda r: r.update(images=4), "packed bits fill 8 bytes; expected 1"),
        (lambda r: r.update(images=-4), "images is -4; expected"),
        (lambda r: r.update(images=2**70), "images is "),
        (lambda r: r.update(student="0" * 16), "student is '0000000000000000'; expected the id of"),
        (lambda r: r.update(attack=""), "expected either an attack or a sampler"),
        (lambda r: r.update(verified=True), "unknown field 'verified'"),
        (lambda r: r.update(protocol=None), "protocol is "),
        (lambda r: r.update(reason="too good"), "expected nothing measured beside a reason"),
        (lambda r: r.update(eps=None, norm="linf"), "expected a radius of 0 or more"),
        (lambda r: r["passes"]["probe"].update(forward=1), "was changed after it was written"),
    ],
)
def test_a_line_that_was_tampered_with_is_named(
    told: Any, board: Path, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    edit(board, change)
    found = told()
    assert any(said in one for one in found), found


DEEP = "[" * 200_000


@pytest.mark.parametrize(
    ("name", "line", "said"),
    [
        ("noted.jsonl", DEEP, "records/noted.jsonl:18: "),
        ("noted.jsonl", '{"level":"probe","parameters":' + DEEP, "records/noted.jsonl:18: "),
        ("_shared.jsonl", '{"digest":"0","kind":"about","value":' + DEEP, "_shared.jsonl:13: "),
        ("deep.jsonl", '{"format":' + DEEP, "records/deep.jsonl:1: "),
    ],
)
def test_a_line_that_is_nested_too_deeply_is_named(
    told: Any, board: Path, name: str, line: str, said: str
) -> None:
    path = board / "records" / name
    path.write_text((path.read_text() if path.exists() else "") + line + "\n")
    write_tables(board)
    [found] = told()
    assert f"{said}nested too deeply; expected one JSON object a line" in found
    assert found.endswith("mend the line, or delete it")


def test_a_row_that_stands_twice_is_named(told: Any, board: Path) -> None:
    path = board / "records" / "noted.jsonl"
    lines = path.read_text().splitlines()
    probe = next(line for line in lines if '"level":"probe"' in line)
    path.write_text("\n".join([*lines, probe]) + "\n")
    write_tables(board)
    assert any("stands at records/noted.jsonl" in one for one in told())


def test_a_rival_s_set_in_a_file_of_one_s_own_is_named(told: Any, board: Path) -> None:
    text = (board / "records" / "toy-first.jsonl").read_text()
    (board / "records" / "toy-mine.jsonl").write_text(text)
    assert any("expected only sets of 'toy-mine' in this file" in one for one in told())


# ---- files


def put(name: str, data: bytes = b"") -> Tamper:
    def tamper(board: Path) -> None:
        (board / name).parent.mkdir(parents=True, exist_ok=True)
        (board / name).write_bytes(data)

    return tamper


class Boom:
    """What runs code where somebody unpickles it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path("/tmp/boom").touch, ())


BOOM = pickle.dumps(Boom())


def link(name: str, to: str) -> Tamper:
    def tamper(board: Path) -> None:
        (board / name).parent.mkdir(exist_ok=True)
        (board / name).symlink_to(to)

    return tamper


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (put("set.pt", BOOM), "set.pt is no file of a board"),
        (put("conftest.py", b"raise SystemExit(0)"), "conftest.py is no file of a board"),
        (put("records/sub/noted.jsonl"), "noted.jsonl is no file of a board"),
        (put(".hidden"), ".hidden is no file of a board"),
        (put("images/x.svg", b"<svg/>"), "x.svg is no file of a board"),
        (put("images/x.png", BOOM), "x.png holds something else than its name says"),
        (put("sets/x.safetensors", BOOM), "x.safetensors holds something else than its name"),
        (put("sets/x.safetensors", b"\xff" * 8), "x.safetensors holds something else"),
        (
            put("sets/x.safetensors", (2).to_bytes(8, "little") + b"{}"),
            "x.safetensors is named by no entry of sets/sets.toml; delete it",
        ),
        (
            put("sets/x.safetensors", (200_000).to_bytes(8, "little") + DEEP.encode()),
            "x.safetensors holds something else than its name says",
        ),
        (put("records/noted .jsonl"), "noted .jsonl is no file of a board"),
        (put("records/a\nb.jsonl"), "records/a\ufffdb.jsonl is no file of a board"),
        (put("images/![x](http:x).png", b"\x89PNG\r\n\x1a\n"), "is no file of a board"),
        (put("records/n\u043eted.jsonl"), "is no file of a board"),  # a Cyrillic letter
        (put("records/big.jsonl", b" " * 25_000_001), "has 25,000,001 bytes; expected at most"),
        (link("records/passwd.jsonl", "/etc/passwd"), "passwd.jsonl is a link; expected a file"),
        (link("teachers", "/etc"), "teachers is a link; expected a file of the board's own"),
    ],
)
def test_a_file_that_no_board_has_is_named(
    told: Any, board: Path, tamper: Tamper, said: str
) -> None:
    tamper(board)
    [found] = told()
    assert said in found


def test_a_link_in_the_place_of_a_board_is_refused(board: Path, bench: Bench) -> None:
    there = board.parent / "mine"
    there.symlink_to(board)
    done = bench("leaderboard", there, "--check", "--against", "main")
    assert done.code == 1
    assert f"{there} is a link; expected a file of the board's own; delete it" in done.out


SET = """
[[set]]
file = "{file}"
sha256 = "{sha256}"
dataset = "toy-data"
data = "1"
method = "noted"
settings = "1"
ipc = 1
seed = 0
dtype = "U8"
shape = [1]
content = "1"
"""


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("../../../secret.safetensors", "file is '../../../secret.safetensors'; expected NAME"),
        ("/etc/passwd.safetensors", "file is '/etc/passwd.safetensors'; expected NAME"),
        ("..\\secret.safetensors", "expected NAME.safetensors"),
        ("gone.safetensors", "gone.safetensors is missing; get it from the repository again"),
    ],
)
def test_a_table_that_leads_out_of_its_folder_is_refused(
    bench: Bench, board: Path, file: str, said: str
) -> None:
    text = SET.format(file=file.replace("\\", "\\\\"), sha256="0" * 64)
    put("sets/sets.toml", text.encode())(board)
    done = bench("leaderboard", board, "--check", "--against", "main")
    assert done.code in (1, 2)
    assert said in done.out + done.err


def test_a_file_whose_hash_is_another_is_named(told: Any, board: Path) -> None:
    put("sets/x.safetensors", (2).to_bytes(8, "little") + b"{}")(board)
    put("sets/sets.toml", SET.format(file="x.safetensors", sha256="0" * 64).encode())(board)
    assert any("its SHA-256 differs" in one for one in told())


def test_a_set_of_a_rival_that_vanishes_is_missed(told: Any, board: Path) -> None:
    put("sets/x.safetensors", (2).to_bytes(8, "little") + b"{}")(board)
    sha256 = hashlib.sha256((board / "sets" / "x.safetensors").read_bytes()).hexdigest()
    put("sets/sets.toml", SET.format(file="x.safetensors", sha256=sha256).encode())(board)
    git(board, "add", ".")
    git(board, "commit", "--quiet", "--message", "a set")
    assert told() == []
    shutil.rmtree(board / "sets")
    [said] = told()
    assert "the set x.safetensors is gone; put it back, or have noted named" in said


def test_what_is_said_of_a_file_of_others_may_not_change(told: Any, board: Path) -> None:
    """What a teacher has cost stands in its table, and in the cost of each row that it labels."""
    blob = (2).to_bytes(8, "little") + b"{}"
    put("sets/x.safetensors", blob)(board)
    text = SET.format(file="x.safetensors", sha256=hashlib.sha256(blob).hexdigest())
    put("sets/sets.toml", text.encode())(board)
    git(board, "add", ".")
    git(board, "commit", "--quiet", "--message", "a set")
    put("sets/sets.toml", text.replace('content = "1"', 'content = "2"').encode())(board)
    [said] = told()
    assert "the set x.safetensors is described otherwise; put it back, or have noted named" in said
    assert told("--remeasured", "noted") == []


def test_a_commit_that_git_does_not_know_is_one_sentence(bench: Bench, board: Path) -> None:
    for ref in ("nothing", "--upload-pack=touch /tmp/boom"):
        done = bench("leaderboard", board, "--check", f"--against={ref}")
        assert done.code == 2
        assert f"--against {ref} is no commit of the repository that holds" in done.err
    assert not Path("/tmp/boom").exists()


def test_a_folder_outside_git_is_held_against_nothing(
    bench: Bench, reference: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = Path(shutil.copytree(reference.board, tmp_path_factory.mktemp("out") / "board"))
    done = bench("leaderboard", folder, "--check", "--against", "main")
    assert done.code == 2
    assert "is no commit of the repository that holds" in done.err


# ---- texts


HOSTILE = "<img src=x onerror=alert(1)> [a](javascript:alert(1)) **b** `c` | d \\ & $x$ #e ~f~"


def test_a_reason_reaches_a_page_as_text(board: Path) -> None:
    named = ("dataset", "method", "ipc", "labels", "architecture", "attack", "seed")
    rewrite(
        board,
        lambda one: (
            Result(**{n: getattr(one, n) for n in named}, reason=HOSTILE)
            if one.method == "noted"
            else one
        ),
    )
    page = (board / "README.md").read_text()
    assert "\\<img src=x" in page
    assert "<img" not in page.replace("\\<img", "")


# ---- bench submit


def test_a_submission_that_holds_is_shown_as_a_reviewer_sees_it(board: Path, bench: Bench) -> None:
    submitted(board)
    before = snapshot(board.parents[1])
    done = bench("submit", board, "--against", "main", "--sample", 1)
    assert done.code == 0, done
    assert "adds 8 records of noted" in done.out
    assert "method noted (toyplug 1.0)" in done.out
    assert "8 records say what a run would say here, of the same data" in done.out
    assert "1 records recomputed: all hold" in done.out
    assert f"all that is checked of {board} holds; commit it, and open a pull" in done.out
    after = snapshot(board.parents[1])
    assert {name for name in after if after[name] != before.get(name)} <= {"calls.txt"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"code": {"method": "0" * 16}}, "noted 1 hard toy-linear noted-step 0: another code"),
        pytest.param(
            {"recipe": {"steps": 500}},
            "measure it with the settings of the board",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"parameters": {"method": {"k": 3}}},
            "noted-step 0: other settings",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["code", "recipe", "settings"],
)
def test_a_submission_that_another_plugin_has_made_is_refused(
    board: Path,
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    said: str,
) -> None:
    monkeypatch.setattr("bench.commands.check.checked", lambda *_: 0)  # it takes 6 s, as above
    submitted(board, **changes)
    done = bench("submit", board, "--against", "main")
    assert done.code == 1
    assert unfolded(said) in unfolded(done.out)


def test_a_submission_of_nothing_says_what_to_do(board: Path, bench: Bench) -> None:
    done = bench("submit", board, "--against", "main")
    assert done.code == 2
    assert "no record of" in done.err
    assert "run the board first, as in: bench run" in done.err
    done = bench("submit", board)
    assert done.code == 2
    assert "--against origin/main is no commit of the repository" in done.err


# ---- tiers


def test_what_was_measured_again_is_checked_and_says_so(
    board: Path, bench: Bench, reference: Any, told: Any
) -> None:
    asked = ("--check", "--keep-checked", "--sample", 2, "--store", reference.store)
    assert bench("run", board, *asked).code == 0
    assert len((board / "checked.jsonl").read_text().splitlines()) == 2
    page = (board / "README.md").read_text()
    assert "2 of 20 records are **checked**" in page
    [said] = told()
    assert "checked.jsonl is not that of the base; put it back" in said
    git(board, "add", ".")
    git(board, "commit", "--quiet", "--message", "nightly")
    assert told() == []
    assert bench("leaderboard", board, "--check").code == 0


def test_a_check_that_fails_makes_nothing_checked(
    board: Path, bench: Bench, reference: Any
) -> None:
    rewrite(board, lambda one: raised(one) if one.method == "noted" else one)
    asked = ("--check", "--keep-checked", "--store", reference.store)
    assert bench("run", board, *asked).code == 1
    assert not (board / "checked.jsonl").exists()
