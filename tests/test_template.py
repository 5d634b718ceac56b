"""A laboratory's own boards: `docs/template`, and the action that checks them in its CI."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import apart

ROOT = Path(__file__).parents[1]
TEMPLATE = ROOT / "docs" / "template"
ACTION = ROOT / "ci" / "action"
HARNESS = 'bash "$GITHUB_ACTION_PATH/../install" python'  # the tests have what it installs


def document(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


def steps() -> list[dict[str, Any]]:
    """What the action runs, in its order; others' actions are not here."""
    return [step for step in document(ACTION / "action.yml")["runs"]["steps"] if "run" in step]


def used() -> dict[str, Any]:
    """The step of the template's workflow that uses the action."""
    flow = document(TEMPLATE / ".github" / "workflows" / "boards.yml")
    [step] = [s for s in flow["jobs"]["check"]["steps"] if "/ci/action@" in s["uses"]]
    return dict(step)


def acted(home: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the steps of the action in a repository, as a runner does, up to the first that fails."""
    asked = document(ACTION / "action.yml")["inputs"]
    given = {name: one["default"] for name, one in asked.items()} | used()["with"]
    said = ""
    for step in steps():
        if step["run"] == HARNESS:
            continue
        named = {
            name: re.sub(r"\$\{\{ inputs\.(\w+) \}\}", lambda found: given[found[1]], value)
            for name, value in step.get("env", {}).items()
        }
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        done = subprocess.run(
            command, cwd=home, env={**env, **named}, capture_output=True, text=True, check=False
        )
        said += f"== {step['name']}\n{done.stdout}{done.stderr}"
        if done.returncode:
            break
    return subprocess.CompletedProcess(command, done.returncode, said)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A private repository after the commands of its README, and the environment of both."""
    folder = tmp_path_factory.mktemp("laboratory")
    env = {**apart(folder / "environment"), "OMP_NUM_THREADS": "1"}
    copy = Path(shutil.copytree(TEMPLATE, folder / "boards-of-ours"))
    [commands] = re.findall(r"```sh\n(.*?)```", (TEMPLATE / "README.md").read_text(), re.DOTALL)
    assert len(commands.splitlines()) == 3
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=copy,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith("every table is up to date")
    return copy, env


@pytest.mark.slow
def test_a_private_board_stands_after_three_commands_and_the_action_holds_it(
    home: tuple[Path, dict[str, str]],
) -> None:
    folder, env = home
    assert "| vivid " in (folder / "boards" / "digits" / "README.md").read_text()
    done = acted(folder, env)
    assert done.returncode == 0, done.stdout
    assert "every check passed" in done.stdout
    assert "every table is up to date" in done.stdout
    assert "2 records recomputed: all hold" in done.stdout
    assert ">vivid<" in (folder / "site" / "digits" / "index.html").read_text()


@pytest.mark.slow
def test_the_action_refuses_a_page_that_says_something_else(
    home: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(home[0], tmp_path / "other"))
    page = folder / "boards" / "digits" / "README.md"
    page.write_text(page.read_text().replace("| vivid ", "| vexed "))
    done = acted(folder, home[1])
    assert done.returncode == 1
    assert done.stdout.rpartition("== ")[2].startswith("Do pages follow from records")
    assert "README.md is not what the records say" in done.stdout


def test_the_action_installs_the_harness_that_it_lies_in() -> None:
    assert [step["run"] for step in steps()].count(HARNESS) == 1
    assert (ACTION.parent / "install").is_file()
    assert os.access(ACTION.parent / "python", os.R_OK)


def test_the_action_is_one_that_github_reads() -> None:
    action = document(ACTION / "action.yml")
    assert {*action} == {"name", "description", "inputs", "runs"}
    assert action["runs"]["using"] == "composite"
    for step in action["runs"]["steps"]:
        assert "uses" in step or step["shell"] == "bash"
        assert "inputs." not in step.get("run", "")  # else a shell would read what it is given
    assert all({*one} == {"description", "default"} for one in action["inputs"].values())


def test_the_template_gives_the_action_what_it_asks_for() -> None:
    asked = document(ACTION / "action.yml")["inputs"]
    assert used()["with"] == {name: one["default"] for name, one in asked.items()}
