"""docs/records.md names every field of every record, and no other."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from bench.records import record as types
from bench.records.files import read
from bench.records.record import NOTES, Level

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "records.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### (\w+)[^\n]*\n(.*?)(?=^##)", PAGE, re.MULTILINE | re.DOTALL))
SHARED = set(Level.__struct_fields__)
KINDS = {
    "Head": types.Head,
    "Every": Level,
    "Sets": types.SetRecord,
    "Students": types.StudentRecord,
    "Probes": types.ProbeRecord,
    "Notes": types.Note,
    "Scale": types.Scale,
    "Passes": types.Passes,
    "Moved": types.Moved,
}


def documented(section: str) -> list[str]:
    return re.findall(r"^\| `(\w+)` \|", SECTIONS[section], re.MULTILINE)


@pytest.mark.parametrize("section", KINDS)
def test_every_field_is_explained_once_and_in_order(section: str) -> None:
    kind = KINDS[section]
    own = [name for name in kind.__struct_fields__ if kind is Level or name not in SHARED]
    assert documented(section) == own


def test_no_other_table_is_there() -> None:
    assert set(SECTIONS) == set(KINDS)


def test_the_kinds_of_notes_are_named() -> None:
    [line] = [line for line in SECTIONS["Notes"].splitlines() if "`kind`" in line]
    assert set(re.findall(r"`(\w+)`", line)) == {"kind", *NOTES}


def test_the_schema_that_the_page_prints_is_one_of_three_levels() -> None:
    [code] = re.findall(r'python -c "(.*)"\n', PAGE)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=ROOT)
    schema = msgspec.json.decode(done.stdout)
    assert sorted(schema["discriminator"]["mapping"]) == ["probe", "set", "student"]
    assert set(documented("Probes")) | SHARED | {"level"} == set(
        schema["$defs"]["ProbeRecord"]["properties"]
    )


def test_the_example_reads_a_board() -> None:
    [code] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert len(done.stdout.splitlines()) == len(read(ROOT / "leaderboards" / "demo"))
