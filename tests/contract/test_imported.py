"""A worker knows whether the code that it has imported is the code that the key speaks of."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.contract import code, imported
from bench.contract.code import Code
from bench.contract.errors import BenchError

OLD, NEW = "LEVEL = 0.25\n", "LEVEL = 0.75\n"  # as long as each other, and of one second
PACKAGES = frozenset({"laggard"})

Write = Callable[..., None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """`write(helper=text)`: a package `laggard`, whose modules all have the same time stamp."""
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = tmp_path / "laggard"
    folder.mkdir()

    def files(**sources: str) -> None:
        for name, text in sources.items():
            path = folder / f"{name}.py"
            path.write_text(text)
            os.utime(path, (1_700_000_000, 1_700_000_000))
        importlib.invalidate_caches()

    def forget() -> None:
        for name in [n for n in sys.modules if n.split(".")[0] == "laggard"]:
            del sys.modules[name]
        for function in (
            code._closure,
            code._code_of,
            code._source,
            code._parsed,
            code._data_stamps,
        ):
            function.cache_clear()

    files(__init__="", method="def verb():\n    from laggard import helper\n", helper=OLD)
    yield files
    forget()


@pytest.fixture
def recorded(write: Write) -> Iterator[None]:
    before = list(sys.meta_path)
    imported.record(PACKAGES)
    yield
    sys.meta_path[:] = before


def planned() -> Code:
    return code.code_of(["laggard.method"], PACKAGES)


def test_what_is_planned_names_the_modules_and_no_other() -> None:
    toys = code.code_of(["bench.training.toy"], {"bench"})
    assert toys.modules == {}  # PROTOCOL speaks for ours


@pytest.mark.usefixtures("recorded")
def test_code_that_has_not_changed_passes(write: Write) -> None:
    expected = planned()
    assert set(expected.modules) == {"laggard.method", "laggard.helper"}
    imported.check_code(expected)  # nothing is imported yet
    importlib.import_module("laggard.method").verb()
    imported.check_code(expected)


@pytest.mark.usefixtures("recorded")
def test_an_edit_that_is_taken_back_after_the_import_is_seen(write: Write) -> None:
    expected = planned()
    write(helper=NEW)
    importlib.import_module("laggard.method").verb()
    write(helper=OLD)
    with pytest.raises(BenchError) as caught:
        imported.check_code(expected)
    said = "the code of laggard.helper changed while the run went on; run again"
    assert str(caught.value) == said


@pytest.mark.usefixtures("recorded")
def test_an_edit_after_the_import_changes_nothing(write: Write) -> None:
    expected = planned()
    importlib.import_module("laggard.method").verb()
    write(helper=NEW)
    imported.check_code(expected)


@pytest.mark.usefixtures("recorded")
def test_comments_and_docstrings_may_change(write: Write) -> None:
    expected = planned()
    write(helper=f'"""Says more."""\n\n{OLD}# and why\n')
    importlib.import_module("laggard.method").verb()
    imported.check_code(expected)


@pytest.mark.usefixtures("recorded")
def test_a_pyc_of_other_source_of_the_same_size_and_second_is_not_run(write: Write) -> None:
    finders = list(sys.meta_path)
    sys.meta_path[:] = [f for f in finders if not isinstance(f, imported.Recording)]
    assert importlib.import_module("laggard.helper").LEVEL == 0.25  # leaves a .pyc
    del sys.modules["laggard.helper"]
    write(helper=NEW)
    sys.meta_path[:] = finders
    expected = planned()
    assert importlib.import_module("laggard.helper").LEVEL == 0.75
    imported.check_code(expected)


@pytest.mark.parametrize("text", [NEW, "def f(:\n"])
def test_a_module_that_was_not_recorded_must_be_what_it_was(write: Write, text: str) -> None:
    expected = planned()
    importlib.import_module("laggard.method").verb()
    imported.check_code(expected)
    write(helper=text)
    with pytest.raises(BenchError, match=r"the code of laggard\.helper changed while"):
        imported.check_code(expected)


def test_a_library_of_another_version_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imported, "release", lambda name: "2.0")
    imported.check_code(Code({}, {"acme": "2.0"}))
    with pytest.raises(
        BenchError, match=r"acme changed from 1\.9 to 2\.0 while .* in the current folder"
    ):
        imported.check_code(Code({}, {"acme": "1.9"}))


def test_data_beside_the_code_that_are_written_and_put_back_are_seen(
    write: Write, tmp_path: Path
) -> None:
    data = tmp_path / "laggard" / "level.txt"
    data.write_text("0.25")
    expected = planned()
    imported.check_code(expected)
    data.write_text("0.75")
    data.write_text("0.25")
    with pytest.raises(BenchError, match=r"level\.txt was written while the run went on; run"):
        imported.check_code(expected)
