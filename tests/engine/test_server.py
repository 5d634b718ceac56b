"""The server imports what it can of what plugins ask for, and nobody notices."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.engine.server import load

Write = Callable[..., None]


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """`modules(name=source)` writes modules that can be imported until the test ends."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def write(**sources: str) -> None:
        for name, source in sources.items():
            (tmp_path / f"{name}.py").write_text(source)

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_modules_that_cannot_be_imported_are_left_out(modules: Write) -> None:
    modules(
        pre_raises="raise RuntimeError('no')",
        pre_exits="import sys; sys.exit(3)",
        pre_wrong="1 +",
        pre_fine="x = 1",
    )
    load(["pre_raises", "pre_exits", "no_such_module", "", "pre_wrong", "pre_fine"])
    assert [name for name in sys.modules if name.startswith("pre_")] == ["pre_fine"]


def test_what_modules_print_is_not_seen_and_printing_goes_on(
    modules: Write, tmp_path: Path
) -> None:
    modules(
        pre_loud="import os, sys; print('one'); print('two', file=sys.stderr); os.write(1, b'3')",
        pre_thief="import sys; sys.stdout = None; sys.stderr.write('four')",
        pre_script="""
import sys
from bench.engine.server import load
load(["pre_loud", "pre_thief"])
assert {"pre_loud", "pre_thief"} <= set(sys.modules)
sys.stdout.write("five")
sys.stderr.write("six")
""",
    )
    ended = subprocess.run(
        [sys.executable, tmp_path / "pre_script.py"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert (ended.stdout, ended.stderr) == ("five", "six")


def test_the_environment_is_put_back(modules: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = dict(os.environ)
    modules(pre_sets="import os; os.environ.update(OMP_NUM_THREADS='9', PRE_NEW='x')")
    load(["pre_sets"])
    assert "pre_sets" in sys.modules
    assert dict(os.environ) == before
