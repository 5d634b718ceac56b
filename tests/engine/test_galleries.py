"""Pictures of condensed sets: a run that publishes draws them, from its store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from support import Ended

Bench = Callable[..., Ended]


def test_a_run_draws_each_set_of_the_first_seed_and_its_page_leads_there(
    bench: Bench, reference: Any, tmp_path: Path
) -> None:
    board, there = reference.copied(tmp_path), tmp_path / "there"
    ended = bench("run", board, "--into", there, "--store", reference.store)
    assert ended.code == 0, ended
    drawn = sorted(file.name for file in (there / "images").glob("set.*.png"))
    page = (there / "README.md").read_text()
    assert drawn
    assert all(f"](images/{name})" in page for name in drawn)
    beside = [file.name for file in (there / "images").glob("near.*.png")]
    assert {name.split(".")[2] for name in beside} == {"noted"}  # the others are real images
    assert all(f"](images/{name})" in page for name in beside)
    assert "have no picture" not in page
    assert bench("leaderboard", there, "--check").code == 0
    for name in (*drawn, *beside):
        (there / "images" / name).unlink()
    assert bench("leaderboard", there).code == 0
    assert (
        "sets have no picture: their tensors were not at hand." in (there / "README.md").read_text()
    )
    assert bench("leaderboard", there, "--check").code == 0


def test_pictures_are_drawn_without_torch(reference: Any, tmp_path: Path) -> None:
    code = """
import sys
from bench.cli import main
try:
    main()
finally:
    print("torch" in sys.modules)
"""
    board, there = reference.copied(tmp_path), tmp_path / "there"
    given = ("run", board, "--into", there, "--store", reference.store)
    ended = reference.shell(*given, code=code)
    assert ended.code == 0, ended
    assert ended.out.splitlines()[-1] == "False"
    assert list((there / "images").glob("set.*.png"))
