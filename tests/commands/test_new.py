"""Each kind of component has a plugin to start from, which keeps the contract as it is."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bench.checks import checks_for, run_checks
from bench.commands.new import files, new, template
from bench.contract.errors import BenchError
from bench.contract.kinds import KINDS

ROOT = Path(__file__).parents[2]
COOKBOOK = (ROOT / "docs" / "cookbook.md").read_text("utf-8")


def imported(path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, path.stem, module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_component_keeps_the_contract_at_once(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = new(kind, f"my-{kind}", tmp_path / "new")
    monkeypatch.syspath_prepend(folder)
    module = imported(folder / f"bench_my_{kind}.py", monkeypatch)
    (component,) = getattr(module, f"bench_{kind}s")()
    assert component.name == f"my-{kind}"
    verdicts = run_checks(checks_for(kind, component))
    assert [(v.check, v.detail) for v in verdicts if v.status == "failed"] == []
    assert sum(v.status == "passed" for v in verdicts) > 3


@pytest.mark.slow
def test_the_test_of_a_new_component_passes(tmp_path: Path) -> None:
    folder = new("method", "mine", tmp_path / "new")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\b\d+ passed", done.stdout)


@pytest.mark.parametrize("kind", KINDS)
def test_the_cookbook_shows_what_is_written(kind: str) -> None:
    assert f"## A {kind}\n" in COOKBOOK.replace("## An ", "## A ")
    assert f"```python\n{template(kind)}```\n" in COOKBOOK


def test_an_entry_point_and_a_name_follow_from_the_name() -> None:
    found = files("method", "2-fold.mean")
    assert [*found] == ["pyproject.toml", "bench_2_fold_mean.py", "test_2_fold_mean.py"]
    assert (
        '[project.entry-points.bench]\n2_fold_mean = "bench_2_fold_mean"'
        in (found["pyproject.toml"])
    )
    assert 'name: str = "2-fold.mean"' in found["bench_2_fold_mean.py"]
    assert "class The2FoldMean:" in found["bench_2_fold_mean.py"]


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("metod", "mine", "there is no kind 'metod'; did you mean 'method'"),
        ("method", "../mine", "the name '../mine' is none; expected"),
        ("method", "Mine", "expected a-z"),
        ("method", "", "the name '' is none"),
        ("method", "m" * 49, "at most 48 characters"),
    ],
)
def test_what_makes_no_plugin_is_one_sentence(kind: str, name: str, said: str) -> None:
    with pytest.raises(BenchError, match=re.escape(said)):
        files(kind, name)


def test_nothing_is_written_over(tmp_path: Path) -> None:
    new("method", "mine", tmp_path / "new")
    with pytest.raises(BenchError, match="holds something; name a new folder"):
        new("metric", "mine", tmp_path / "new")


def test_the_command_says_what_is_next(bench: Callable[..., Any], tmp_path: Path) -> None:
    done = bench("new", "attack", "mine")
    assert done.code == 0
    assert done.out.startswith("wrote bench-mine; next: pip install")
    assert (tmp_path / "bench-mine" / "bench_mine.py").is_file()
