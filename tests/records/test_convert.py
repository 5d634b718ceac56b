"""Boards of format 1 are brought into the form of today, with every fact that they hold."""

import json

import msgspec
import pytest
from sound_results import alpha, files, unsupported
from support import changed

from bench.contract.errors import BenchError
from bench.contract.keys import canonical
from bench.records.convert import convert
from bench.records.files import read, rounded, write


def old(result):
    """A result as format 1 had it."""
    found = msgspec.to_builtins(result) | {"status": result.status, "flags": []}
    found["cost"] = {"seconds": found.pop("seconds"), "peak_mb": found.pop("peak_mb")}
    found["scales"] = {
        name: {"better": scale.better, "rate": scale.rate} for name, scale in result.scales.items()
    }
    for name in ("protocol", "sampler", "step"):
        del found[name]
    return found


def put(folder, *records):
    (folder / "records").mkdir()
    text = "".join(f"{canonical(record)}\n" for record in records)
    (folder / "records" / "alpha.jsonl").write_text(text)


RESULTS = [
    alpha(),
    alpha(attack="weak", metrics={**alpha().metrics, "right": 0.5, "distance": 3.0}),
]


def test_a_board_of_format_1_is_what_it_was(tmp_path):
    put(tmp_path, *map(old, [*RESULTS, unsupported(seed=1)]))
    with pytest.raises(BenchError, match="run: bench convert"):
        read(tmp_path)
    assert convert(tmp_path) == 3
    found = read(tmp_path)
    wanted = [changed(r, protocol=3) for r in (*map(rounded, RESULTS), unsupported(seed=1))]
    assert sorted(found, key=lambda r: r.coordinate) == sorted(wanted, key=lambda r: r.coordinate)


def test_converting_twice_changes_no_byte(tmp_path):
    put(tmp_path, *map(old, RESULTS))
    convert(tmp_path)
    before = files(tmp_path)
    assert convert(tmp_path) == 0
    assert files(tmp_path) == before


def test_a_board_of_today_is_left_alone(tmp_path):
    write(tmp_path, RESULTS)
    before = files(tmp_path)
    assert convert(tmp_path) == 0
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "alpha.jsonl:2: .*expected one JSON object a line"),
        ("[]", "alpha.jsonl:2: expected a record of format 1"),
        ({**old(alpha(seed=1)), "size": "2"}, "alpha.jsonl:2: .*size"),
        ({**old(alpha(seed=1)), "scales": 5}, "alpha.jsonl:2: "),
    ],
)
def test_what_is_no_record_is_named_and_nothing_is_written(tmp_path, line, said):
    put(tmp_path, old(alpha()))
    path = tmp_path / "records" / "alpha.jsonl"
    path.write_text(path.read_text() + (line if isinstance(line, str) else json.dumps(line)) + "\n")
    before = files(tmp_path)
    with pytest.raises(BenchError, match=said):
        convert(tmp_path)
    assert files(tmp_path) == before


def test_a_folder_without_records_is_no_board(tmp_path):
    with pytest.raises(BenchError, match="has no records; expected a board's folder"):
        convert(tmp_path)
