"""Boards of toys, and `bench` in a process of its own: what a user has, for end-to-end tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from bench.records.files import read
from bench.records.result import COORDINATES, Result

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
SMALL = {"ceiling": None, "ipc": [1], "attacks": ["toy-clean"], "seeds": [0]}
"""Changes that leave two cells of BOARD."""

PATIENCE = 120  # seconds until a run that should come to some point is given up


def write_board(folder: Path, **changes: Any) -> Path:
    """A board in `folder`, made of BOARD and changes; None takes a key away."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {k: v for k, v in {**BOARD, **changes}.items() if v is not None}
    (folder / "matrix.toml").write_text(toml(document))
    return folder


def toml(document: Mapping[str, Any], name: str = "") -> str:
    """TOML, whose scalars and lists are those of JSON."""
    head = [f"[{name}]"] if name else []
    plain = [f"{k} = {json.dumps(v)}" for k, v in document.items() if not isinstance(v, Mapping)]
    tables = [
        toml(v, f"{name}.{k}" if name else k) for k, v in document.items() if isinstance(v, Mapping)
    ]
    return "\n".join([*head, *plain, *tables]) + "\n"


def tables(board: Path) -> dict[str, bytes]:
    """The tables of a board."""
    return {name: (board / name).read_bytes() for name in ("README.md", "table.csv", "table.tex")}


def records(board: Path) -> list[dict[str, Any]]:
    """The results of a board, as JSON would have them."""
    return [{"status": one.status, **_plain(one)} for one in read(board)]


def _plain(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(result)
    return found


def as_result(fields: Mapping[str, Any]) -> Result:
    """A result of JSON values; one whose `status` is "unsupported" has some reason."""
    reason = "declined" if fields.get("status", "ok") != "ok" else ""
    return msgspec.convert({"reason": reason, **fields}, Result)


def changed(result: Result, **changes: Any) -> Result:
    """A result with other JSON values."""
    return as_result({**_plain(result), **changes})


def a_result(**changes: Any) -> Result:
    """A result of a cell, for whatever looks at two of them."""
    where = dict(
        zip(COORDINATES["classification"], ("d", "m", 1, "hard", "a", "x", 0), strict=True)
    )
    ok = {
        "metrics": {"right": 0.5, "distance": 10.0},
        "scales": {
            "right": {"better": "higher", "unit": "fraction"},
            "distance": {"better": "lower"},
        },
        "images": 400,
        "environment": {"cpu": "one"},
    }
    return as_result({**where, **ok, **changes})


def contents(board: Path) -> list[Any]:
    """What the stages of every cell have given: all of a record but what it took."""
    took = ("seconds", "peak_mb")
    return [{k: v for k, v in one.items() if k not in took} for one in records(board)]


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file under a folder, with the time of its last change."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in paths}


def stages(store: Path) -> dict[str, int]:
    """How many stages of each kind a store has finished."""
    done = [path.parent.parent.name for path in store.glob("*/*/done.json")]
    done = [kind for kind in done if kind != "tmp"]  # left by a run that was killed
    return {kind: done.count(kind) for kind in sorted(set(done))}


def apart(folder: Path) -> dict[str, str]:
    """A virtual environment in which what is installed here can be imported; its variables.

    It has `pip` and `bench`, so that a plugin can be installed as a user does it.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    ours = sysconfig.get_path("purelib")
    (packages / "ours.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
    for name, module in (("pip", "pip._internal.cli.main"), ("bench", "bench.cli")):
        script = folder / "bin" / name
        script.write_text(
            f"#!{folder}/bin/python\nimport sys\nfrom {module} import main\nsys.exit(main())\n"
        )
        script.chmod(0o755)
    path = f"{folder}/bin{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "VIRTUAL_ENV": str(folder)}


@dataclass(frozen=True)
class Ended:
    """What a command has left."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Shell:
    """`bench` as a process that leads its process group, in a folder, with toyplug installed."""

    folder: Path
    path: str  # PYTHONPATH

    def __call__(self, *arguments: Any, code: str = "from bench.cli import main; main()") -> Ended:
        with self.begun(*arguments, code=code) as process:
            return ended(process)

    @contextmanager
    def begun(
        self, *arguments: Any, code: str = "from bench.cli import main; main()"
    ) -> Iterator[subprocess.Popen[str]]:
        with subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            cwd=self.folder,
            env={
                **os.environ,
                "PYTHONPATH": self.path,
                "TOYPLUG_CALLS": str(self.folder / "calls.txt"),
                "TOYPLUG_HEALED": str(self.folder / "healed"),
                "COLUMNS": "200",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                yield process
            finally:
                signal_all(process, signal.SIGKILL)

    @property
    def calls(self) -> list[str]:
        """What the components of toyplug have written down, one line a call."""
        path = self.folder / "calls.txt"
        return sorted(path.read_text().splitlines()) if path.exists() else []


def ended(process: subprocess.Popen[str]) -> Ended:
    out, err = process.communicate(timeout=PATIENCE)
    return Ended(process.returncode, out, err)


def signal_all(process: subprocess.Popen[str], number: int) -> None:
    """Send a signal to a run and all its workers, as a terminal does."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def comes_to(process: subprocess.Popen[str], point: Callable[[], bool]) -> None:
    """Wait until a run has come to some point; it must not have ended there."""
    until = time.monotonic() + PATIENCE
    while not point():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.005)
    assert process.poll() is None, process.communicate()
