"""What CI and the Makefile stand on: `ci/figures`, `ci/python`, and what pull requests meet."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import yaml

from bench.report.folder import page_of
from bench.report.markdown import rendered

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "leaderboards" / "demo"

IN_PRINT = """
[[table]]
source = "Doe, 2020"
url = "https://example.org/1"
title = "blobs | IPC 1"
metric = "accuracy"
columns = ["clean", "noise", "pgd"]
natural = "clean"
[table.attacks]
noise = { search = "noise", norm = "linf", eps = 0.1 }
pgd = { search = "iterative", norm = "linf", eps = 0.1 }
[table.rows]
one = [[0.785, 0.01], [], [0.115]]
two = [[0.681], [0.2], [0.25]]
"""


def here(script: str, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A script of ci/, in this process, which has imported what takes it a second each time."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(home)
        patch.setattr(sys, "argv", [script, *arguments])
        try:
            runpy.run_path(str(ROOT / "ci" / script), run_name="__main__")
        except SystemExit as end:
            code = int(end.code or 0)
    return subprocess.CompletedProcess(script, code, out.getvalue(), err.getvalue())


def figures(*boards: Path) -> list[str]:
    done = here("figures", ROOT, *map(str, boards))
    assert done.returncode == 0, done
    return done.stdout.splitlines()


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """A board with no records, and two rows in print."""
    (tmp_path / "board").mkdir()
    (tmp_path / "board" / "matrix.toml").write_bytes((DEMO / "matrix.toml").read_bytes())
    (tmp_path / "board" / "published.toml").write_text(IN_PRINT)
    return tmp_path / "board"


def test_figures_stand_with_their_row_their_column_and_their_footnotes(board: Path) -> None:
    lines = [line.split("\t") for line in figures(board)]
    assert {line[0] for line in lines} == {"board"}
    assert {line[1].partition(" > ")[2] for line in lines} == {
        "Published elsewhere > blobs | IPC 1"
    }
    flag = "{flag: weaker than a noise attack (noise leaves 20.0%, this 25.0%): masked gradients?}"
    assert [line[2:] for line in lines] == [
        ["caption", "", "accuracy, in percent. Source: [Doe, 2020](https://example.org/1)."],
        ["one", "clean", "78.5 ± 1.0"],
        ["one", "noise", "–"],
        ["one", "pgd", "11.5"],
        ["two", "clean", "68.1"],
        ["two", "noise", "20.0"],
        ["two", "pgd", f"25.0 {flag}"],
    ]


def test_a_changed_figure_changes_its_line_alone(board: Path) -> None:
    before = figures(board)
    (board / "published.toml").write_text(IN_PRINT.replace("0.681", "0.682"))
    assert len({*before} ^ {*figures(board)}) == 2


def test_values_in_print_are_among_the_figures_with_their_verdict(board: Path) -> None:
    value = 'metric = "accuracy"\nrows = { random = { 1 = [0.5] } }\n'
    named = '[[value]]\nsource = "Roe, 2021"\nurl = "https://example.org/2"\n'
    before = figures(board)
    (board / "published.toml").write_text(IN_PRINT + named + value)
    added = [line.split("\t")[1:] for line in figures(board) if line not in before]
    heading = f"{added[0][0].partition(' > ')[0]} > Published and measured"
    assert [heading, "*random* 1", "Published", "50.0"] in added
    assert [heading, "*random* 1", "Verdict", "open"] in added


def test_a_footnote_stands_with_its_figure_whatever_number_another_row_gives_it(
    board: Path,
) -> None:
    before = figures(board)
    odd = "aaa = [[0.5], [0.2], [0.3]]\n"
    (board / "published.toml").write_text(IN_PRINT.replace("one = ", f"{odd}one = "))
    added = {*figures(board)} - {*before}
    assert {*before} < {*figures(board)}
    assert {line.split("\t")[2] for line in added} == {"aaa"}


def test_every_cell_of_the_tables_of_a_real_board_is_a_figure() -> None:
    text = rendered(page_of(DEMO), lines=10**6)
    rows = [line for line in text.splitlines() if re.match(r"\|[^|]*\| \*?[a-z]", line)]
    of_page = [line for line in figures(DEMO) if "\ttable.csv\t" not in line]
    found = [line for line in of_page if "\tcaption\t" not in line]
    assert len(found) == sum(len(line.split("|")) - 4 for line in rows) > 100


def test_every_figure_of_table_csv_is_printed() -> None:
    rows = (DEMO / "table.csv").read_text().splitlines()
    found = [line for line in figures(DEMO) if "\ttable.csv\t" in line]
    assert len(found) == 11 * (len(rows) - 1) > 100


def python(*folders: Path) -> subprocess.CompletedProcess[str]:
    command = ["/bin/bash", str(ROOT / "ci" / "python")]
    path = os.pathsep.join(map(str, folders))
    return subprocess.run(command, capture_output=True, text=True, env={"PATH": path}, check=False)


def test_the_makefile_takes_the_first_python_that_is_new_enough(tmp_path: Path) -> None:
    old = tmp_path / "python3.11"  # a shim of a version that is not there, as of pyenv
    old.write_text("#!/bin/bash\nexit 127\n")
    old.chmod(0o755)
    (tmp_path / "python3.12").symlink_to(Path(sys.executable).resolve())
    found = python(tmp_path)
    assert (found.returncode, found.stdout) == (0, f"{tmp_path}/python3.12\n")


def test_without_a_python_that_is_new_enough_the_makefile_says_what_it_has_found(
    tmp_path: Path,
) -> None:
    old = tmp_path / "python3"
    old.write_text("#!/bin/bash\necho 3.9.18\nexit 1\n")
    old.chmod(0o755)
    said = python(tmp_path)
    assert said.returncode == 1
    assert f"python3: {old}, 3.9.18" in said.stderr
    assert "python3.11: not found" in said.stderr
    assert "make PYTHON=" in said.stderr


PIECES = ["demo --methods random --only ipc=1 --only seed=0 --only attack=clean", "# no piece", ""]


def pieces(folder: Path, lines: list[str], *options: str) -> subprocess.CompletedProcess[str]:
    file = folder / "pieces.txt"
    file.write_text("\n".join(lines) + "\n")
    command = ["/bin/bash", str(ROOT / "ci" / "pieces"), "--store", str(folder / "store")]
    command += [*options, str(file)]
    bench = f"{sys.executable} -P -m bench"
    env = {**os.environ, "BENCH": bench, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=env)


@pytest.mark.slow
def test_a_piece_leaves_its_records_and_is_not_run_again(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    shutil.copy(DEMO / "matrix.toml", mine)
    lines = [PIECES[0].replace("demo", str(mine)), *PIECES[1:]]
    done = pieces(tmp_path, lines)
    assert done.returncode == 0, done
    assert done.stdout.count(f"== {mine}") == 1
    assert (mine / "records" / "random.jsonl").is_file()
    again = pieces(tmp_path, lines)
    assert again.returncode == 0, again
    assert "1 of 1 cells have a record that holds; none is run" in again.stdout


@pytest.mark.slow
def test_pieces_that_no_time_is_left_for_are_named_and_faults_of_one_cost_no_other(
    tmp_path: Path,
) -> None:
    late = pieces(tmp_path, PIECES, "--minutes", "0")
    assert late.returncode == 0, late
    assert late.stdout == f"== not begun: {PIECES[0]}\n"
    wrong = pieces(tmp_path, ["demo --methods nobody", "demo --only ipc=77"])
    assert wrong.returncode == 1
    assert wrong.stdout.count("== failed with 2: demo") == 2
    assert pieces(tmp_path, PIECES, "--minuets", "5").returncode == 2


# ---- pull requests

GH = """#!/bin/bash
[ "$4" = --edit-last ] && exit 1
cp "$5" "$COMMENT"
"""


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def pulled(tmp_path: Path) -> Path:
    """A clone of a repository with the demo, whose origin has a pull request: no herding."""
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    shutil.copytree(DEMO, origin / "leaderboards" / "demo")
    (origin / "ci").mkdir()
    shutil.copy(ROOT / "ci" / "review", origin / "ci")
    (origin / ".gitattributes").write_text("* filter=evil\n")
    git(origin, "init", "--quiet", "--initial-branch", "main")
    git(origin, "add", ".")
    git(origin, "commit", "--quiet", "--message", "base")
    git(tmp_path, "clone", "--quiet", str(origin), str(clone))
    git(origin, "checkout", "--quiet", "-b", "theirs")
    (origin / "leaderboards" / "demo" / "records" / "herding.jsonl").unlink()
    (origin / "leaderboards" / "demo" / "passwd.md").symlink_to("/etc/passwd")
    (origin / "ci" / "review").write_text("touch /tmp/run-by-review\n")
    git(origin, "add", ".")
    git(origin, "commit", "--quiet", "--message", "theirs")
    git(origin, "update-ref", "refs/pull/7/merge", "theirs")
    return clone


def reviewed(clone: Path, labels: str = "") -> tuple[subprocess.CompletedProcess[str], str]:
    """What `ci/review` prints of the pull request, and the comment that it makes."""
    shims, comment = clone.parent / "shims", clone.parent / "comment.md"
    shims.mkdir()
    (shims / "gh").write_text(GH)
    (shims / "gh").chmod(0o755)
    env = {
        **os.environ,
        "PATH": f"{shims}:{os.environ['PATH']}",
        "BENCH": f"{sys.executable} -P -m bench",
        "PYTHONPATH": str(ROOT),
        "COMMENT": str(comment),
        "BASE": git(clone, "rev-parse", "HEAD"),
        "NUMBER": "7",
        "LABELS": labels,
    }
    command = ["/bin/bash", "ci/review"]
    done = subprocess.run(command, cwd=clone, env=env, capture_output=True, text=True)
    return done, comment.read_text()


def test_a_comment_says_what_a_pull_request_does_to_the_boards(pulled: Path) -> None:
    done, comment = reviewed(pulled)
    assert done.returncode == 1, done
    assert "leaderboards/demo/passwd.md is no file of a board" in comment
    assert "ci/review" in comment.partition("It changes what judges")[2]
    assert str(pulled.parent) not in comment
    assert not Path("/tmp/run-by-review").exists()


@pytest.mark.slow
def test_a_label_names_what_was_measured_again(pulled: Path) -> None:
    origin = pulled.parent / "origin"
    (origin / "leaderboards" / "demo" / "passwd.md").unlink()
    git(origin, "add", ".")
    git(origin, "commit", "--quiet", "--message", "clean")
    git(origin, "update-ref", "refs/pull/7/merge", "theirs")
    done, comment = reviewed(pulled, "bug,remeasured: herding")
    assert "records of herding are not those of the base" not in comment
    assert "README.md is not what the records say" in comment
    assert "herding is named as measured again" in comment
    shutil.rmtree(pulled.parent / "shims")
    done, comment = reviewed(pulled, "bug,herding")
    assert done.returncode == 1
    assert "records of herding are not those of the base" in comment


# ---- comparisons of speed


def timed(path: Path, **seconds: float) -> Path:
    """What pytest-benchmark writes of one group, as far as it is read."""
    rows = [{"group": "g", "name": n, "stats": {"min": s}} for n, s in seconds.items()]
    path.write_text(json.dumps({"benchmarks": rows}))
    return path


def ratios(*files: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "ci" / "ratios"), *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_speeds_are_compared_by_ratios_and_fail_nothing(tmp_path: Path) -> None:
    old = timed(tmp_path / "old.json", theirs=8.0, ours=2.0, other=4.0, gone=8.0)
    new = timed(tmp_path / "new.json", theirs=80.0, ours=24.0, other=60.0)  # a slow machine
    done = ratios(old, new)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "g",
        "  gone / theirs: 1.00 -> not measured",
        "  other / theirs: 0.50 -> 0.75 MOVED",
        "  ours / theirs: 0.25 -> 0.30",
        "3 ratios, 1 moved by more than a quarter",
    ]
    faster = timed(tmp_path / "faster.json", theirs=8.0, ours=1.5, other=4.0, gone=8.0)
    assert "ours / theirs: 0.25 -> 0.19 MOVED" in ratios(old, faster).stdout


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"benchmarks": [{"group": "g"}]}'])
def test_what_is_no_comparison_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    done = ratios(tmp_path / "x.json", tmp_path / "x.json")
    assert done.returncode == 2
    assert done.stderr.startswith(f"{tmp_path}/x.json cannot be read (")
    assert len(done.stderr.splitlines()) == 1


# ---- releases


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    """A repository of one board."""
    shutil.copytree(DEMO, tmp_path / "leaderboards" / "demo")
    return tmp_path


def test_a_release_of_equal_boards_has_equal_bytes_and_names_their_version(boards: Path) -> None:
    command = [sys.executable, str(ROOT / "ci" / "release"), "2026-11-30", "one"]
    first = subprocess.run(command, cwd=boards, capture_output=True, text=True, check=False)
    assert first.returncode == 0, first
    for path in boards.glob("leaderboards/demo/**/*"):
        os.utime(path, (1, 1))
    (boards / "leaderboards" / "demo" / "README.md").chmod(0o600)
    assert here("release", boards, "2026-11-30", "two").returncode == 0
    name = "boards-2026-11-30"
    data = (boards / "one" / f"{name}.tar").read_bytes()
    assert (boards / "two" / f"{name}.tar").read_bytes() == data
    assert hashlib.sha256(data).hexdigest() in first.stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extractall(boards / "out", filter="data")
    manifest = json.loads((boards / "out" / name / "manifest.json").read_text())
    page = (DEMO / "README.md").read_text()
    assert manifest["date"] == "2026-11-30"
    assert f"version `{manifest['boards']['demo']['version']}`" in page
    assert manifest["boards"]["demo"]["records"] == 99
    found = {
        path.relative_to(boards / "out" / name).as_posix(): hashlib.sha256(path.read_bytes())
        for path in (boards / "out" / name / "demo").rglob("*")
        if path.is_file()
    }
    assert {k: v.hexdigest() for k, v in found.items()} == manifest["files"]
    assert {*found} >= {"demo/README.md", "demo/table.csv", "demo/records/wmdd.jsonl"}


def test_what_does_not_hold_is_not_released(boards: Path) -> None:
    page = boards / "leaderboards" / "demo" / "README.md"
    text = page.read_text()
    page.write_text(text.replace("**9", "**8", 1))
    assert page.read_text() != text
    done = here("release", boards, "2026-11-30")
    assert done.returncode == 1
    assert "README.md is not what the records say" in done.stderr
    assert not (boards / ".bench").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "expected a date"),
        (("30.11.2026",), "'30.11.2026' is no date; expected one as in 2026-11-30"),
        (("2026-02-30",), "'2026-02-30' is no date"),
        (("2026-11-30",), "there is no leaderboards/ here"),
    ],
)
def test_a_release_of_nothing_is_one_sentence(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = here("release", tmp_path, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(said)


WORKFLOWS = {path.name: path.read_text() for path in ROOT.glob(".github/workflows/*.yml")}


def test_what_may_write_runs_nothing_of_a_pull_request() -> None:
    """A workflow with the token of the repository checks out the base, and runs `ci/review`."""
    assert {n for n, text in WORKFLOWS.items() if "pull_request_target" in text} == {"review.yml"}
    review = WORKFLOWS["review.yml"]
    assert "ref:" not in review  # else it would check out something else than the base
    assert re.findall(r"run: (.*)", review) == ["bash ci/review"]
    assert "pull-requests: write" not in WORKFLOWS["ci.yml"]
    checks, keeps = WORKFLOWS["nightly.yml"].split("\n  keep:")
    assert "write" not in checks.partition("jobs:")[2]
    assert "plugins.txt" not in keeps
    assert "make" not in keeps
    installs = [re.findall(r"ci/install .*", text) for text in (keeps, WORKFLOWS["release.yml"])]
    assert installs == [["ci/install python reader"]] * 2
    assert "pull_request" not in WORKFLOWS["release.yml"]


def test_the_form_that_disputes_a_number_is_one_that_github_reads() -> None:
    """By GitHub's schema of forms: which keys, which kinds of input, names that differ."""
    form = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE/dispute.yml").read_text())
    assert {"name", "description", "body"} <= {*form}
    assert {*form} <= {"name", "description", "body", "title", "labels", "assignees", "projects"}
    assert all(isinstance(form[key], str) for key in ("name", "description", "title"))
    shown = {"markdown": {"value"}, "input": {"label", "description", "placeholder", "value"}}
    shown["textarea"] = shown["input"] | {"render"}
    shown["dropdown"] = {"label", "description", "multiple", "options", "default"}
    for part in form["body"]:
        assert {*part} <= {"type", "id", "attributes", "validations"}
        assert {"label"} <= {*part["attributes"]} <= shown[part["type"]]
        assert {*part.get("validations", {})} <= {"required"}
        assert re.fullmatch(r"[A-Za-z0-9_-]+", part["id"])
        choices = part["attributes"].get("options", ["one"])
        assert all(isinstance(one, str) for one in choices)  # no YAML word for true or false
        assert len({*choices}) == len(choices) > 0
    assert len({part["id"] for part in form["body"]}) == len(form["body"])
    assert len({part["attributes"]["label"] for part in form["body"]}) == len(form["body"])


@pytest.mark.slow
def test_the_nightly_check_says_what_held(tmp_path: Path) -> None:
    board = Path(shutil.copytree(DEMO, tmp_path / "demo"))
    bench = f"{sys.executable} -P -m bench"
    env = {**os.environ, "BENCH": bench, "PYTHONPATH": os.environ.get("PYTHONPATH", str(ROOT))}
    command = ["/bin/bash", str(ROOT / "ci" / "nightly"), str(board)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**env, "SAMPLE": "1"}, check=False
    )
    assert done.returncode == 0, done
    assert len((board / "checked.jsonl").read_text().splitlines()) == 1
