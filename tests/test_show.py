"""`bench show`, `bench --version`, `python -m bench`: what a component, and the tool, says."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import toyplug
from support import Ended

import bench as package
from bench.commands.show import meanings_of
from bench.training import toy

Bench = Callable[..., Ended]
ROOT = Path(__file__).parents[1]


def test_a_component_shows_its_fields_with_types_meanings_and_its_source(bench: Bench) -> None:
    ended = bench("show", "noted", "remote")
    assert ended.code == 0
    assert ended.out.startswith("method noted: Mean images, and a note of each call.\n")
    lines = [line.strip() for line in ended.out.splitlines()]
    assert "field teacher: str = ''; whose probabilities are the labels; \"\": one-hot" in lines
    assert "field train: int = 40; images per class" in lines  # of the second, inherited
    [first, _] = [line for line in lines if line.startswith("source ")]
    path, _, number = first.removeprefix("source ").rpartition(":")
    assert Path(path) == Path(toyplug.__file__)
    assert "class Noted" in "".join(Path(path).read_text().splitlines()[int(number) - 1 :][:2])


def test_plugins_with_a_name_still_shows_it(bench: Bench) -> None:
    assert bench("plugins", "noted-step").out == bench("show", "noted-step").out


def test_a_component_that_is_not_there_ends_in_one_sentence(bench: Bench) -> None:
    ended = bench("show", "noted-stp")
    assert (ended.code, ended.out) == (2, "")
    assert "there is no component 'noted-stp'; did you mean 'noted-step'?" in ended.err


def test_the_meaning_of_a_field_is_the_comment_behind_it() -> None:
    found = meanings_of(toy.ToyData)
    assert found["noise"] == "standard deviation, in pixels of [0, 1]"
    assert "seed" not in found  # which no comment explains
    assert meanings_of(toyplug.Closed) == found  # inherited


def test_a_class_without_a_source_has_no_meanings() -> None:
    assert meanings_of(type("Made", (), {})) == {}


def test_the_version_is_that_of_the_distribution(bench: Bench) -> None:
    expected = version("condensation-bench")
    assert package.__version__ == expected
    assert bench("--version").out == f"condensation-bench {expected}\n"
    command = [sys.executable, "-m", "bench", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == f"condensation-bench {expected}\n"
    assert f"\nversion: {expected}\n" in (ROOT / "CITATION.cff").read_text()
