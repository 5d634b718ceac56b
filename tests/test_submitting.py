"""From `bench new` to a pull request that holds: the whole path of somebody's plugin, outside."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from support import apart

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "leaderboards" / "demo"

BEFORE = """
git init --quiet --initial-branch main
git add .
git -c user.name=a -c user.email=a@example.org commit --quiet --message base
"""

PATH = """
bench new method mine --into ../bench-mine
echo "-e ../bench-mine" >> ci/plugins.txt
pip install --quiet --no-deps --no-build-isolation --requirement ci/plugins.txt
bench check mine
sed -i 's/^methods = \\[/methods = ["mine", /' leaderboards/demo/matrix.toml
bench run leaderboards/demo --methods mine
bench submit leaderboards/demo --against main --sample 2
git add leaderboards ci
git -c user.name=a -c user.email=a@example.org commit --quiet --message mine
bench leaderboard leaderboards/*/ --check --against main~1
bench site ../site leaderboards/demo
"""


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A repository in which a plugin was submitted, and what the commands have said."""
    folder = tmp_path_factory.mktemp("submitting")
    home = folder / "repository"
    shutil.copytree(DEMO, home / "leaderboards" / "demo")
    (home / "ci").mkdir()
    (home / "ci" / "plugins.txt").write_text("# Plugins on the leaderboards\n")
    (home / ".gitignore").write_text(".bench/\n")
    env = apart(folder / "environment")
    said = ""
    for commands in (BEFORE, PATH):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=home,
            env=env,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        said += done.stdout
    return folder, said


@pytest.mark.slow
def test_a_plugin_of_somebody_goes_the_whole_way_to_a_row(walked: tuple[Path, str]) -> None:
    folder, said = walked
    assert "every check passed" in said
    assert "they come from bench-mine 0.1.0: ci/plugins.txt must install that" in said
    assert "2 records recomputed: all hold" in said
    assert "open a pull request" in said
    assert said.rstrip().splitlines()[-2] == "every table is up to date"
    page = (folder / "repository" / "leaderboards" / "demo" / "README.md").read_text()
    assert "| mine " in page
    assert ">mine<" in (folder / "site" / "demo" / "index.html").read_text()


@pytest.mark.slow
def test_a_reviewer_sees_the_new_row_among_its_neighbours(walked: tuple[Path, str]) -> None:
    _, said = walked
    assert "adds 18 records of mine" in said
    assert "+methods = " in said
    assert "not distinguishable from the best" in said
