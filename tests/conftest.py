"""Two ways to run `bench` on boards of toys: in this process, and as a user does, in its own."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

TESTS = Path(__file__).parent
PLUGIN = TESTS / "plugin"
sys.path[:0] = [str(TESTS), str(PLUGIN)]  # workers, which start with our path, find them too

from support import Ended, Shell, write_board  # noqa: E402

# A shell starts what runs in its background with interrupts ignored, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Trees of test modules, and all that torch holds, live to the end: no garbage to look for.
gc.set_threshold(100_000)

COSTLIEST = 20  # test files that the summary names

# Set before any worker starts: all are forked from one server, which keeps its environment.
_MARKS = tempfile.TemporaryDirectory(prefix="bench-tests-")
HEALED = Path(_MARKS.name) / "healed"
os.environ["TOYPLUG_HEALED"] = str(HEALED)
os.environ["BENCH_DATA"] = str(TESTS / "data")  # of all processes, which share stores
os.environ["BENCH_CACHE"] = str(Path(_MARKS.name) / "cache")  # not the user's


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()  # what is imported and collected by now is not looked through again


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Which files take the time, so that each addition is seen to pay for itself."""
    seconds: Counter[str] = Counter()
    tests: Counter[str] = Counter()
    for report in (r for reports in terminalreporter.stats.values() for r in reports):
        if isinstance(report, pytest.TestReport):
            file = report.nodeid.partition("::")[0]
            seconds[file] += report.duration
            tests[file] += report.when == "call"
    if len(seconds) > COSTLIEST:
        named = seconds.most_common(COSTLIEST)
        share = sum(spent for _, spent in named) / seconds.total()
        terminalreporter.section(
            f"{COSTLIEST} of {len(seconds)} test files take {share:.0%} of {seconds.total():.0f} s"
        )
        for file, spent in named:
            terminalreporter.write_line(f"{spent:7.1f} s {tests[file]:5} tests  {file}")


@pytest.fixture
def heal() -> Iterator[Callable[[], None]]:
    """Call it to let flaky and slow components of this process's runs finish from now on."""
    yield HEALED.touch
    HEALED.unlink(missing_ok=True)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two installed distributions: toyplug, and one that cannot be imported."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "shattered.py").write_text("import no_such_library\n")
    for name in ("toyplug", "shattered"):
        about = folder / f"{name}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(f"[bench]\n{name} = {name}\n")
    return folder


@pytest.fixture
def bench(
    site: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Callable[..., Ended]:
    """`bench("run", board)`: the command, in this process; its runs share warm workers."""
    from bench.cli import main

    monkeypatch.syspath_prepend(site)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: Any) -> Ended:
        monkeypatch.setattr(sys, "argv", ["bench", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        return Ended(int(end.value.code or 0), *capfd.readouterr())

    return run


def _path(site: Path) -> str:
    return os.pathsep.join(map(str, (TESTS.parent, TESTS, PLUGIN, site)))


@pytest.fixture
def shell(tmp_path: Path, site: Path) -> Shell:
    return Shell(tmp_path, _path(site))


@pytest.fixture
def board(tmp_path: Path) -> Callable[..., Path]:
    """`board(ipc=[1])`: the toy board with changes, in a folder called board."""
    return lambda **changes: write_board(tmp_path / "board", **changes)


@dataclass(frozen=True)
class Reference:
    """A run of the toy board that nothing has disturbed: what other runs must equal."""

    shell: Shell
    board: Path
    store: Path
    ended: Ended

    def copied(self, parent: Path) -> Path:
        """The board with its records and tables, in a folder of its own."""
        return Path(shutil.copytree(self.board, parent / "board"))


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory, site: Path) -> Reference:
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # one for all of them
        folder = folder.parent
    folder = folder / "reference"
    folder.mkdir(exist_ok=True)
    shell, board, store = Shell(folder, _path(site)), folder / "board", folder / "store"
    said = folder / "ended.json"
    with FileLock(folder / "lock"):
        if not said.exists():
            ended = shell("run", write_board(board), "--store", store, "--jobs", 2)
            assert ended.code == 0, ended
            said.write_text(json.dumps(asdict(ended)))
    return Reference(shell, board, store, Ended(**json.loads(said.read_text())))
