"""CONTRIBUTING's plugin, followed word by word by somebody who touches nothing of ours."""

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import bench
from bench import checks, training

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# file: (\S+)\n")


def blocks(page: str) -> list[tuple[str, str]]:
    return BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))


def files(page: str) -> dict[str, str]:
    found = {}
    for _, text in blocks(page):
        if named := FILE.match(text):
            found[named[1]] = text[named.end() :]
    return found


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A virtual environment of its own that sees this one, so that nothing here changes."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    inside = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    ours = sysconfig.get_path("purelib")
    (inside / "ours.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
    for name, module in (("pip", "pip._internal.cli.main"), ("bench", "bench.cli")):
        script = folder / "bin" / name
        script.write_text(
            f"#!{folder}/bin/python\nimport sys\nfrom {module} import main\nsys.exit(main())\n"
        )
        script.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}/bin:{os.environ['PATH']}", "VIRTUAL_ENV": str(folder)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("averages")
    for name, text in files("CONTRIBUTING.md").items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def followed(folder: Path, environment: dict[str, str]) -> str:
    """What the commands of the page print, in their order."""
    commands = next(text for kind, text in blocks("CONTRIBUTING.md") if kind == "sh")
    assert "bench run board" in commands
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_example_plugin_installs_and_is_listed(followed: str) -> None:
    assert "every check passed" in followed
    assert "budget" in followed


@pytest.mark.slow
def test_the_example_plugin_has_its_rows_on_its_board(followed: str, folder: Path) -> None:
    rows = (folder / "board" / "README.md").read_text(encoding="utf-8").splitlines()
    accuracy = re.compile(r"\d+\.\d (± \d|\[\d)")
    for name in ("averages", "averages-32", "random"):
        row = next(r for r in rows if r.startswith("|") and re.search(rf"\b{name}\*? ", r))
        assert accuracy.search(row), row
    assert any("method.group = 32" in r for r in rows)


@pytest.mark.slow
def test_the_example_tests_of_the_plugin_pass(
    followed: str, folder: Path, environment: dict[str, str]
) -> None:
    done = subprocess.run(
        ["python", "-m", "pytest", "-q", "test_averages.py"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\b\d+ passed", done.stdout)


@pytest.mark.slow
def test_the_example_plugin_has_its_row_on_a_board_of_the_second_track(
    followed: str, folder: Path, environment: dict[str, str]
) -> None:
    commands = [text for kind, text in blocks("CONTRIBUTING.md") if kind == "sh"]
    assert commands[1:] == ["bench run generated\n"]
    done = subprocess.run(
        ["bash", "-c", commands[1]], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    page = (folder / "generated" / "README.md").read_text(encoding="utf-8")
    for metric in ("kd", "fd", "recall", "memorisation"):
        assert f"\n## {metric}-narrow-" in page
    tables = page.split("\n## Cost")[0]
    assert len(re.findall(r"^\| +10 \| averages ", tables, re.MULTILINE)) == 4
    assert "n/a" not in page.split("\n## memorisation")[0].split("\n## kd-", 1)[1]  # enough images


def test_the_plugin_of_the_readme_is_that_of_contributing() -> None:
    assert files("README.md")["bench_averages.py"] == files("CONTRIBUTING.md")["bench_averages.py"]


def test_the_table_of_the_readme_is_that_of_the_demo_board() -> None:
    readme, board = (
        (ROOT / page).read_text(encoding="utf-8")
        for page in ("README.md", "leaderboards/demo/README.md")
    )
    [table] = re.findall(r"^\| +IPC \|.*(?:\n\|.*)+", readme, re.MULTILINE)
    assert len(table.splitlines()) > 5
    assert set(table.splitlines()) <= set(board.splitlines())


def test_the_table_of_public_names_is_what_the_packages_list() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = page.split("### What you may import\n")[1].split("\n### ")[0]
    rows = re.findall(r"^\| `(bench[a-z.]*)` \| (.*) \|$", section, re.MULTILINE)
    table = {module: tuple(re.findall(r"`(\w+)`", names)) for module, names in rows}
    listed = {"bench": tuple(bench.__all__), "bench.checks": tuple(checks.__all__)}
    for module, names in training.PUBLIC.items():
        listed[f"bench.training.{module}"] = names
    assert table == listed


def test_every_public_name_is_there() -> None:
    assert all(hasattr(bench, name) for name in bench.__all__)
    assert all(hasattr(checks, name) for name in checks.__all__)
    assert training.__all__ == list(training.PUBLIC)
    for module, names in training.PUBLIC.items():
        assert [n for n in names if not hasattr(getattr(training, module), n)] == []
    with pytest.raises(AttributeError, match=r"'bench\.training' has no attribute 'netwroks'"):
        training.netwroks  # noqa: B018
