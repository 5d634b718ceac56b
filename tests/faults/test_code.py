"""Code that is edited while a run goes on leaves nothing under the key of the old code."""

from __future__ import annotations

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
