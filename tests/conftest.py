"""The command line as a user has it: a plugin is installed, boards are folders, runs are processes.

`plugin/toyplug.py` is on the path of this process too, so that tests may import it; as a plugin
it is installed for the command lines alone.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PLUGIN = Path(__file__).parent / "plugin"
sys.path.insert(0, str(PLUGIN))

BOARD: dict[str, Any] = {
    "title": "Toys",
    "datasets": ["toy-data"],
    "methods": ["noted"],
    "controls": ["toy-first"],
    "ceiling": "toy-full",
    "ipc": [1, 2],
    "architectures": ["toy-linear"],
    "attacks": ["toy-clean", "noted-step"],
    "metrics": ["toy-accuracy"],
    "seeds": [0, 1],
    "recipe": {"steps": 5, "batch": 32, "lr": 0.1},
    "probe": {"images": 64},
    "limits": {"seconds": 120, "memory_gb": 4},
}
MAIN = "from bench.cli import main; main()"


@dataclass(frozen=True)
class Ended:
    """What a command line has left."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class CommandLine:
    """`bench` in a process of its own, in a folder, with toyplug installed."""

    folder: Path
    path: str  # PYTHONPATH

    def __call__(self, *arguments: Any, code: str = MAIN) -> Ended:
        return self.end(self.begin(*arguments, code=code))

    def begin(self, *arguments: Any, code: str = MAIN) -> subprocess.Popen[str]:
        """A run that leads a process group of its own, as a shell starts it."""
        return subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def end(self, process: subprocess.Popen[str]) -> Ended:
        try:
            out, err = process.communicate(timeout=300)
        finally:
            kill_group(process)
        return Ended(process.returncode, out, err)

    @property
    def environment(self) -> dict[str, str]:
        mine = {
            "PYTHONPATH": self.path,
            "TOYPLUG_CALLS": str(self.folder / "calls.txt"),
            "TOYPLUG_HEALED": str(self.folder / "healed"),
            "COLUMNS": "200",
        }
        return {**os.environ, **mine}

    def heal(self) -> None:
        """Let flaky and slow components finish from now on."""
        (self.folder / "healed").touch()

    def calls(self) -> list[str]:
        """What the components of toyplug have written down, one line a call."""
        path = self.folder / "calls.txt"
        return sorted(path.read_text().splitlines()) if path.exists() else []

    def board(self, name: str = "board", **changes: Any) -> Path:
        """A folder with a matrix.toml, made of BOARD and changes (None takes a key away)."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        document = {k: v for k, v in {**BOARD, **changes}.items() if v is not None}
        (folder / "matrix.toml").write_text(toml(document))
        return folder

    def waits(self, process: subprocess.Popen[str], claim: Callable[[], bool]) -> None:
        """Wait until a run has come so far. It must not end before."""
        until = time.monotonic() + 120
        while not claim():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until
            time.sleep(0.005)


def tables(board: Path) -> dict[str, bytes]:
    """The tables of a board."""
    return {name: (board / name).read_bytes() for name in ("README.md", "table.csv")}


def records(board: Path) -> list[dict[str, Any]]:
    """The records of a board, as JSON has them."""
    paths = sorted((board / "records").glob("*.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def toml(document: Mapping[str, Any], name: str = "") -> str:
    """TOML, whose scalars and lists are those of JSON."""
    head = [f"[{name}]"] if name else []
    plain = [f"{k} = {json.dumps(v)}" for k, v in document.items() if not isinstance(v, Mapping)]
    tables = [
        toml(v, f"{name}.{k}" if name else k) for k, v in document.items() if isinstance(v, Mapping)
    ]
    return "\n".join([*head, *plain, *tables]) + "\n"


def kill_group(process: subprocess.Popen[str], number: int = signal.SIGKILL) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        pass


# ---- fixtures


@pytest.fixture(scope="session")
def plugin_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """PYTHONPATH with two distributions: toyplug, and one that cannot be imported."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "shattered.py").write_text("import no_such_library\n")
    for name in ("toyplug", "shattered"):
        about = folder / f"{name}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(f"[bench]\n{name} = {name}\n")
    return os.pathsep.join(map(str, (ROOT, PLUGIN, folder)))


@pytest.fixture
def cli(tmp_path: Path, plugin_path: str) -> CommandLine:
    return CommandLine(tmp_path, plugin_path)


@dataclass(frozen=True)
class Reference:
    """An uninterrupted run of BOARD, which other runs must equal."""

    cli: CommandLine
    board: Path
    store: Path
    ended: Ended

    def copy(self, cli: CommandLine, **changes: Any) -> Path:
        """Its board with its records and tables, in the folder of another command line."""
        folder = cli.folder / "board"
        shutil.copytree(self.board, folder)
        return cli.board(**changes)


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory, plugin_path: str) -> Reference:
    cli = CommandLine(tmp_path_factory.mktemp("reference"), plugin_path)
    board, store = cli.board(), cli.folder / "store"
    ended = cli("run", board, "--store", store, "--jobs", 2)
    assert ended.code == 0, ended
    return Reference(cli, board, store, ended)
