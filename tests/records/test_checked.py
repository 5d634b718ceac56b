"""What the nightly check says of records is said of these alone, and by nobody else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sound_results import alpha

from bench.contract.errors import BenchError
from bench.records.checked import CHECKED, CLAIMED, FILE, add, name, read, tiers
from bench.records.files import read as results_of
from bench.records.files import write


def test_a_record_that_held_is_checked_and_others_are_claimed(tmp_path: Path) -> None:
    one, other = alpha(), alpha(seed=1)
    assert tiers(tmp_path, [one, other]) == [CLAIMED, CLAIMED]
    add(tmp_path, [one], [one, other])
    assert tiers(tmp_path, [one, other]) == [CHECKED, CLAIMED]
    add(tmp_path, [other], [one, other])
    assert tiers(tmp_path, [one, other]) == [CHECKED, CHECKED]


def test_a_record_is_known_again_when_it_is_read(tmp_path: Path) -> None:
    write(tmp_path, [alpha(), alpha(seed=1)])
    add(tmp_path, results_of(tmp_path)[:1], results_of(tmp_path))
    assert tiers(tmp_path, results_of(tmp_path)) == [CHECKED, CLAIMED]


@pytest.mark.parametrize(
    "changes", [{"correct": "oA=="}, {"recipe": {"steps": 3}}, {"content": {"set": "x"}}]
)
def test_what_was_changed_since_is_claimed(tmp_path: Path, changes: dict[str, object]) -> None:
    add(tmp_path, [alpha()], [alpha()])
    assert tiers(tmp_path, [alpha(**changes)]) == [CLAIMED]
    assert tiers(tmp_path, [alpha(seconds={"train": 9.0})]) == [CHECKED]
    add(tmp_path, [], [alpha(**changes)])
    assert read(tmp_path) == frozenset()


def test_names_tell_all_levels_apart() -> None:
    assert (
        len({name(alpha()), name(alpha(seed=1)), name(alpha(attack="a")), name(alpha(ipc=2))}) == 4
    )


@pytest.mark.parametrize("line", ["{}", "no", json.dumps({"record": "a", "protocol": 1, "b": 2})])
def test_a_line_that_is_none_is_one_sentence(tmp_path: Path, line: str) -> None:
    (tmp_path / FILE).write_text(f"{line}\n")
    with pytest.raises(BenchError, match=r"checked\.jsonl:1: .*; expected what the nightly check"):
        read(tmp_path)
