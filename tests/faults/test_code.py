"""Code that is edited while a run goes on leaves nothing under the key of the old code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file
from support import SMALL, Shell, comes_to, ended, write_board

LAZY = """
from dataclasses import dataclass
from bench import CondensedSet, Task, hookimpl

@dataclass(frozen=True)
class Lazy:
    \"\"\"Images of one grey.\"\"\"
    name: str = "onegrey"

    def condense(self, task: Task) -> CondensedSet:
        import time
        from pathlib import Path
        import torch
        here = Path(__file__).parent
        (here / "begun").touch()
        while not (here / "go").exists():
            time.sleep(0.02)
        from lazyplug.helper import LEVEL
        (here / "imported").touch()
        while not (here / "end").exists():
            time.sleep(0.02)
        n = len(task.classes)
        return CondensedSet(torch.full((n, *task.shape), LEVEL), torch.eye(n))

@hookimpl
def bench_methods():
    return [Lazy()]
"""


@pytest.fixture
def package(site: Path, shell: Shell, tmp_path: Path) -> Path:
    """The package of a plugin that imports a helper when it is told to."""
    folder = tmp_path / "installed" / "lazyplug"
    folder.mkdir(parents=True)
    info = folder.parent / "lazyplug-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lazyplug\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[bench]\nlazyplug = lazyplug\n")
    (folder / "__init__.py").write_text(LAZY)
    (folder / "helper.py").write_text("LEVEL = 0.25\n")
    return folder


def test_an_edit_during_a_run_that_is_taken_back_is_kept_nowhere(
    package: Path, shell: Shell
) -> None:
    shell = Shell(shell.folder, f"{shell.path}:{package.parent}")
    board = write_board(shell.folder / "board", **{**SMALL, "methods": ["onegrey"]})
    helper = package / "helper.py"
    with shell.begun("run", board, "--store", "store", "--jobs", 1) as process:
        comes_to(process, (package / "begun").exists)
        helper.write_text("LEVEL = 0.75\n")
        (package / "go").touch()
        comes_to(process, (package / "imported").exists)
        helper.write_text("LEVEL = 0.25\n")
        (package / "end").touch()
        done = ended(process)
    assert done.code == 0, done  # the code of its key was loaded before the edit
    kept = shell.folder.glob("store/condense/*/result.safetensors")
    levels = {float(load_file(path)["images"].float().max()) for path in kept}
    assert levels & {64.0, 0.25}
    assert not levels & {191.0, 0.75}


READS = """
from dataclasses import dataclass
from bench import CondensedSet, Task, hookimpl

@dataclass(frozen=True)
class Lazy:
    \"\"\"Images of one grey, which a file has that is not code, or a library.\"\"\"
    name: str = "onegrey"

    def condense(self, task: Task) -> CondensedSet:
        import time
        from pathlib import Path
        import torch
        here = Path(__file__).parent.parent
        (here / "begun").touch()
        while not (here / "go").exists():
            time.sleep(0.02)
        {read}
        (here / "read").touch()
        while not (here / "end").exists():
            time.sleep(0.02)
        n = len(task.classes)
        return CondensedSet(torch.full((n, *task.shape), level), torch.eye(n))

@hookimpl
def bench_methods():
    return [Lazy()]
"""


def put_data(package: Path, level: float) -> None:
    (package / "level.txt").write_text(f"{level}\n")


def put_library(package: Path, level: float) -> None:
    """Install another version, as `pip install -U` does: metadata and modules anew."""
    site, version = package.parent, int(level * 4)
    for info in site.glob("greylib-*.dist-info"):
        for file in info.iterdir():
            file.unlink()
        info.rmdir()
    info = site / f"greylib-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: greylib\nVersion: {version}\n")
    (info / "RECORD").write_text(f"greylib.py,,\n{info.name}/METADATA,,\n")
    # of another length each time: Python takes what it has compiled for that of a file of the same
    # second and size
    (site / "greylib.py").write_text(f"level = {level}{'#' * version}\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("read", "put", "named"),
    [
        (
            "level = float((Path(__file__).parent / 'level.txt').read_text())",
            put_data,
            "lazyplug/level.txt",
        ),
        ("from greylib import level", put_library, "greylib-1.dist-info/METADATA"),
    ],
)
def test_what_no_import_tells_of_and_is_put_back_is_kept_nowhere(
    package: Path, shell: Shell, read: str, put: Callable[[Path, float], None], named: str
) -> None:
    shell = Shell(shell.folder, f"{shell.path}:{package.parent}")
    (package / "__init__.py").write_text(READS.replace("{read}", read))
    put(package, 0.25)
    board = write_board(shell.folder / "board", **{**SMALL, "methods": ["onegrey"]})
    site = package.parent
    with shell.begun("run", board, "--store", "store", "--jobs", 1) as process:
        comes_to(process, (site / "begun").exists)
        put(package, 0.75)
        (site / "go").touch()
        comes_to(process, (site / "read").exists)
        put(package, 0.25)
        (site / "end").touch()
        done = ended(process)
    assert done.code == 1, done
    assert f"{named} was written while the run went on; run again" in done.out
    assert shell("run", board, "--store", "store", "--jobs", 1).code == 0
    kept = [*shell.folder.glob("store/condense/*/result.safetensors")]
    levels = {float(load_file(path)["images"].float().max()) for path in kept}
    assert levels & {64.0, 0.25}
    assert not levels & {191.0, 0.75}
