"""The version of a board: one for what was measured, whatever it took."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support import a_result, changed

from bench.contract.keys import digest
from bench.records.files import read_all, write
from bench.records.levels import name_of
from bench.records.record import ProbeRecord
from bench.records.result import Result

MADE = {"set": "1", "student": "2", "probe": "3"}
RESULTS = [
    *(a_result(seed=seed, content=MADE) for seed in (0, 1)),
    a_result(attack="y", reason="declined"),
]


def version(results: list[Result]) -> str:
    """That of a board with these results."""
    with TemporaryDirectory() as folder:
        write(Path(folder), results)
        found = read_all(Path(folder))
    return found.version(found.results)


@pytest.mark.parametrize(
    "took",
    [{"seconds": {"train": 9.0}}, {"peak_mb": 9.0}, {"environment": {"cpu": "another"}}],
    ids=["seconds", "memory", "machine"],
)
def test_a_version_is_not_of_the_work_that_it_took(took: dict[str, Any]) -> None:
    assert version([changed(RESULTS[0], **took), *RESULTS[1:]]) == version(RESULTS)
    assert version(RESULTS[::-1]) == version(RESULTS)


@pytest.mark.parametrize(
    "said",
    [{"metrics": {"right": 0.6}}, {"recipe": {"steps": 9}}, {"code": {"method": "0"}}, {"ipc": 2}],
)
def test_a_version_is_another_when_one_record_says_something_else(said: dict[str, Any]) -> None:
    assert version([changed(RESULTS[0], **said), *RESULTS[1:]]) != version(RESULTS)
    assert len({version(RESULTS[:n]) for n in range(4)}) == 4


@given(
    st.floats(allow_nan=False, allow_infinity=False) | st.floats(-1e-3, 1e-3),
    st.text(st.characters(exclude_categories=["Cs"])),
)
@example(1e-5, "")
@example(1e16, "\x7f")
def test_a_name_is_the_digest_of_what_a_record_says(figure: float, text: str) -> None:
    record = ProbeRecord(student="s", protocol=1, slope=figure, parameters={"attack": {text: text}})
    said = {"level": "probe", "id": "?", "student": "s", "protocol": 1, "slope": figure}
    assert name_of(record) == digest({**said, "parameters": {"attack": {text: text}}})


def test_where_nothing_was_measured_there_is_no_version() -> None:
    assert version([]) == ""
