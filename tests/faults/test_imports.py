"""What Python finds, and what a module does when it is imported, changes no figure in silence."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from support import SMALL, Shell, contents, records, stages, write_board

from bench.contract import code

PLAIN = """
from dataclasses import dataclass
from bench import CondensedSet, Task, hookimpl

@dataclass(frozen=True)
class Greys:
    \"\"\"Images of greys that are drawn.\"\"\"
    name: str = "greys"

    def condense(self, task: Task) -> CondensedSet:
        import torch
        n = len(task.classes)
        return CondensedSet(torch.rand(n, *task.shape).mul(0.5).add(0.1).float(), torch.eye(n))

@hookimpl
def bench_methods():
    return [Greys()]
"""
DRIFTING = """
import torch
torch.set_default_dtype(torch.float64)
torch.set_num_threads(2)
torch.set_autocast_enabled('cpu', True)
torch.backends.cudnn.benchmark = True
torch._C._set_mkldnn_enabled(False)
torch.manual_seed(3)
"""


def installed(folder: Path, name: str, source: str) -> Path:
    info = folder / f"{name}-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[bench]\n{name} = {name}\n")
    (folder / f"{name}.py").write_text(source)
    return folder


@pytest.mark.slow
def test_numeric_state_that_a_plugin_changes_at_its_import_reaches_no_figure(
    shell: Shell, tmp_path: Path
) -> None:
    found = []
    for number, source in enumerate((PLAIN, DRIFTING + PLAIN)):
        where = installed(tmp_path / f"site-{number}", "greyplug", source)
        one = Shell(shell.folder, f"{shell.path}:{where}")
        board = write_board(tmp_path / f"board-{number}", **{**SMALL, "methods": ["greys"]})
        done = one("run", board, "--store", tmp_path / f"store-{number}", "--jobs", 1)
        assert done.code == 0, done
        assert stages(tmp_path / f"store-{number}")["condense"] == 2
        found.append([{**r, "code": None} for r in contents(board)])
        assert all(r["versions"]["greyplug"] == "1" for r in records(board) if "greys" in str(r))
    assert found[0] == found[1]


@pytest.mark.parametrize("name", ["typer", "random", "string", "numbers", "inspect", "torch"])
def test_a_module_in_the_current_folder_is_not_taken_for_the_installed_one(
    shell: Shell, tmp_path: Path, name: str
) -> None:
    (tmp_path / f"{name}.py").write_text("raise SystemExit('this was executed')\n")
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--version"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": shell.path},
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith("condensation-bench"), done


def test_another_tool_that_imports_bench_keeps_its_current_folder(
    shell: Shell, tmp_path: Path
) -> None:
    (tmp_path / "tool").mkdir()
    (tmp_path / "tool" / "__init__.py").write_text("import bench\n")
    (tmp_path / "tool" / "__main__.py").write_text("import beside\n")
    (tmp_path / "beside.py").write_text("print('found')\n")
    done = subprocess.run(
        [sys.executable, "-m", "tool", "bench"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": shell.path},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "found\n", done


# ---- a library that PYTHONPATH puts in the place of the installed one


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the package of a library that is installed, with a plugin that imports it."""
    site = tmp_path / "site"
    info = site / "toylib-2.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toylib\nVersion: 2.1\n")
    (info / "top_level.txt").write_text("toylib\n")
    (site / "toylib").mkdir()
    (site / "toylib" / "__init__.py").write_text("LEVEL = 1\n")
    (site / "toylibplug.py").write_text("import toylib\n")
    monkeypatch.syspath_prepend(site)
    return site / "toylib"


@pytest.fixture(autouse=True)
def fresh() -> None:
    for one in (
        code._owners,
        code._closure,
        code._source,
        code._release,
        code._code_of,
        code._data_digest,
        code._data_stamps,
        code._library_stamps,
    ):
        one.cache_clear()


def test_an_installed_library_goes_by_its_version(library: Path) -> None:
    assert code.requirements("toylibplug", {"toylibplug"}) == {"toylib": "2.1"}
    assert code.release("torchattacks") == version("torchattacks")


def test_a_library_in_the_place_of_the_installed_one_goes_by_what_its_files_hold(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "checkout" / "toylib"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("LEVEL = 1\n")
    (other / "part.py").write_text("LEVEL = 1\n")
    monkeypatch.syspath_prepend(other.parent)
    found = set()
    for level in (1, 2, 1):
        (other / "part.py").write_text(f"LEVEL = {level}\n")
        for one in (code._source, code._release, code._library_stamps):
            one.cache_clear()
        found.add(code.requirements("toylibplug", {"toylibplug"})["toylib"])
    assert len(found) == 2
    assert all(one.startswith("2.1+") for one in found)


def test_an_empty_part_of_pythonpath_is_not_the_current_folder_to_a_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from bench.engine.fork import _environment

    monkeypatch.setenv("PYTHONPATH", ":/one::/two:")
    assert _environment()["PYTHONPATH"] == "/one:/two"
    monkeypatch.setenv("PYTHONPATH", ":")
    assert "PYTHONPATH" not in _environment()
