"""Records on disk: what is sound, what is refused, and that the same results are the same bytes."""

import json
import random
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sound_results import alpha, files, lines, put, unsupported, variants

from bench.contract.errors import BenchError
from bench.records.files import SHARED, edited, read, read_all, split_valid, write
from bench.records.reading import Fault
from bench.records.result import merge
from bench.report.markdown import rendered
from bench.report.numbers import Board
from bench.report.page import build


def test_what_is_written_is_read_back(tmp_path):
    given_results = [alpha(), unsupported(seed=1), alpha(method="beta", norm="l2", eps=0.5)]
    write(tmp_path, given_results)
    found = read(tmp_path)
    assert [r.coordinate for r in found] == [r.coordinate for r in given_results]
    assert found[1] == given_results[1]
    assert found[0].seconds == {"train": 1.235}
    assert found[0].metrics == {"right": 0.666667, "distance": 12.5, "curvature": 3.25}


def test_a_setting_is_not_rounded_and_a_figure_keeps_its_digits(tmp_path):
    small = alpha(recipe={"lr": 3e-7}, parameters={"attack": {"eps": 8 / 255}})
    write(tmp_path, [alpha(seed=1, metrics={"distance": 1.23456789e-8}), small])
    first, second = read(tmp_path)
    assert first.recipe == {"lr": 3e-7}
    assert first.parameters == {"attack": {"eps": 8 / 255}}
    assert second.metrics == {"distance": 1.23456789e-8}


def test_a_fact_of_a_student_or_a_set_stands_once(tmp_path):
    many = [alpha(attack=f"a-{k}", architecture=a) for k in range(5) for a in ("small", "large")]
    write(tmp_path, many)
    text = files(tmp_path)["alpha.jsonl"].decode()
    assert [text.count(f'"level":"{level}"') for level in ("set", "student", "probe")] == [1, 2, 10]
    assert text.count("curvature") == 2
    assert "Alpha." not in text
    assert files(tmp_path)[SHARED].decode().count("Alpha.") == 1
    assert [r.metrics["curvature"] for r in read(tmp_path)] == [3.25] * 10


def test_results_of_one_cell_s_set_that_differ_are_kept_apart(tmp_path):
    both = [alpha(), alpha(attack="other", size=3, content={**alpha().content, "set": "x"})]
    write(tmp_path, both)
    assert [r.size for r in read(tmp_path)] == [2, 3]


def test_a_declined_cell_beside_a_measured_one_needs_no_set_of_its_own(tmp_path):
    write(tmp_path, [alpha(), unsupported(attack="other")])
    assert files(tmp_path)["alpha.jsonl"].count(b'"level":"set"') == 1
    assert read(tmp_path)[1] == unsupported(attack="other")


def test_rewriting_what_was_read_changes_no_byte(tmp_path):
    write(tmp_path, [alpha(metrics={"right": 1 / 3, "distance": -1e-12}), unsupported(seed=1)])
    before = files(tmp_path)
    assert b"-0.0" not in before["alpha.jsonl"]
    write(tmp_path, read(tmp_path))
    assert files(tmp_path) == before


def test_only_files_whose_bytes_change_are_touched(tmp_path):
    write(tmp_path, [alpha(), alpha(method="beta")])
    stamps = {path: path.stat().st_ino for path in (tmp_path / "records").iterdir()}
    write(tmp_path, merge(read(tmp_path), [alpha(method="beta", seed=1)]))
    changed = {path.name for path, inode in stamps.items() if path.stat().st_ino != inode}
    assert changed == {"beta.jsonl"}


def test_writing_one_method_keeps_what_the_others_share(tmp_path):
    write(tmp_path, [alpha(), alpha(method="beta", about={"method": "Beta."})])
    write(tmp_path, [alpha(about={"method": "New."})])
    assert [r.about["method"] for r in read(tmp_path)] == ["New.", "Beta."]
    assert b"Alpha." not in files(tmp_path)[SHARED]  # which no line names any longer


def test_a_board_without_records_has_none(tmp_path):
    assert read(tmp_path) == []


def test_results_are_in_natural_order(tmp_path):
    write(tmp_path, [alpha(attack=f"a-{k}", ipc=ipc) for k in (10, 9) for ipc in (10, 2)])
    order = [(r.ipc, r.attack) for r in read(tmp_path)]
    assert order == [(2, "a-9"), (2, "a-10"), (10, "a-9"), (10, "a-10")]


PROBE, STUDENT, SET = 3, 2, 1  # lines of a file, its head being line 0


@pytest.mark.parametrize(
    ("at", "change", "message"),
    [
        (PROBE, '{"level": ', "expected one JSON object a line"),
        (PROBE, "", "expected one JSON object a line"),
        (PROBE, "[1]", "a list; expected a JSON object"),
        (PROBE, {"level": "cell"}, "level is 'cell'; expected 'set' or 'student' or 'probe'"),
        (PROBE, {"level": None}, "no field 'level'; expected one"),
        (PROBE, {"metrics": {"right": float("nan")}}, "expected one JSON object a line"),
        (PROBE, {"metrics": {"distance": "1e999"}}, "64 bits"),
        (
            PROBE,
            '{"level":"probe","student":"s","protocol":4,"metrics":{"right":1e999}}',
            "metrics.right is inf; expected a number that 64 bits can hold",
        ),
        (PROBE, {"metrics": {"distance": 10**400}}, "expected a number that 64 bits can hold"),
        (PROBE, {"metrics": {"distance": 1e200}}, "metrics.distance is 1e+200; expected a number"),
        (PROBE, {"metrics": {"right": "0.5"}}, "metrics.right is '0.5'; expected a number"),
        (PROBE, {"metrics": {"right": 66.7}}, "metrics.right is 66.7; expected a fraction"),
        (PROBE, {"metrics": {"unknown": 0.5}}, "metrics.unknown is 0.5; expected a scale"),
        (PROBE, {"refused": {"gap": 5}}, "refused.gap is 5; expected text"),
        (PROBE, {"passes": {"probe": "12"}}, "passes.probe is '12'; expected a JSON object"),
        (PROBE, {"passes": {"probe": {"forward": "1"}}}, "passes.probe.forward is '1'"),
        (
            PROBE,
            {"content": {}, "passes": {}},
            "content is {}; expected the hash of what the probe gave",
        ),
        (PROBE, {"eps": 1e308}, "eps is 1e+308; expected a number of at most 1000000.0"),
        (PROBE, {"norm": "l1"}, "norm is 'l1'; expected 'linf' or 'l2' or ''"),
        (PROBE, {"norm": "linf", "eps": None}, "eps is None; expected a radius"),
        (PROBE, {"reason": "so"}, "expected nothing measured beside a reason"),
        (PROBE, {"sampler": "ddim"}, "expected either an attack or a sampler"),
        (PROBE, {"images": 9}, "correct: packed bits fill 1 bytes; expected 2 bytes for 9 images"),
        (PROBE, {"images": 1}, "correct: packed bits go on after image 1"),
        (PROBE, {"correct": "*"}, "correct is '*'; expected packed bits in base64"),
        (PROBE, {"correct": "é"}, "correct is 'é'; expected packed bits in base64"),
        (PROBE, {"attck": "x"}, "unknown field 'attck'; did you mean 'attack'?"),
        (PROBE, {"student": "none"}, "student is 'none'; expected the id of one"),
        (PROBE, {"about": "none"}, "about is 'none'; expected the digest of a note"),
        (PROBE, {"reason": "\ud800"}, "expected one JSON object a line"),
        (PROBE, {"parameters": {"attack": 3}}, "parameters.attack is 3; expected a JSON object"),
        (PROBE, json.dumps({"level": [0]}).replace("0", "[" * 5000 + "]" * 5000), ""),
        (
            PROBE,
            {"parameters": {"a": {"b": [[[[[[[[[[[[[[[[[[[[[0]]]]]]]]]]]]]]]]]]]]]}}},
            "levels",
        ),
        (STUDENT, {"step": -1}, "step is -1; expected a whole number of at least 0"),
        (STUDENT, {"set": 5}, "set is 5; expected text"),
        (SET, {"seed": "0"}, "seed is '0'; expected a whole number"),
        (SET, {"ipc": True}, "ipc is True; expected a whole number"),
        (SET, {"labels": "smooth"}, "labels is 'smooth'; expected 'hard' or 'soft' or 'teacher'"),
        (SET, {"bytes": {"images": 1.5}}, "bytes.images is 1.5; expected a whole number"),
        (SET, {"size": None}, "size is None; expected a whole number"),
        (SET, {"method": "beta"}, "move its lines to beta.jsonl"),
        (SET, {"content": {}, "passes": {}}, "its set holds no content"),
    ],
)
def test_an_unsound_line_is_named_with_file_and_line_and_left_alone(tmp_path, at, change, message):
    write(tmp_path, [alpha(), alpha(method="beta")])
    put(tmp_path, at, change)
    before = files(tmp_path)
    with pytest.raises(BenchError) as caught:
        read(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'records' / 'alpha.jsonl'}:")
    assert "\n" not in str(caught.value)
    found = read_all(tmp_path)
    assert any(message in str(fault) and fault.line in (at + 1, 4) for fault in found.faults)
    assert [r.method for r in found.results] == ["beta"]
    write(tmp_path, found.results, found.preserved)
    assert files(tmp_path)["alpha.jsonl"] == before["alpha.jsonl"]
    write(tmp_path, [*found.results, alpha(seed=1)], found.preserved)
    assert read_all(tmp_path).results[0].coordinate == alpha(seed=1).coordinate
    old = before["alpha.jsonl"].split(b"\n")[at]
    assert old in files(tmp_path)["alpha.jsonl"].split(b"\n")


def test_a_cell_that_stands_twice_is_named(tmp_path):
    write(tmp_path, [alpha()])
    put(tmp_path, 4, lines(tmp_path)[3])
    [fault] = read_all(tmp_path).faults
    assert "stands at records/alpha.jsonl:4 already; expected one probe a cell" in fault.said


def test_bytes_that_are_no_text_are_one_fault(tmp_path):
    write(tmp_path, [alpha()])
    with (tmp_path / "records" / "alpha.jsonl").open("ab") as file:
        file.write(b'{"level":"\xff"}\n')
    [fault] = read_all(tmp_path).faults
    assert fault.line == 5


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ('{"format":3}', "is of format 3; this version reads format 2; upgrade condensation-bench"),
        ('{"format":1}', "run: bench convert"),
        (
            '{"about":{},"status":"ok"}',
            "a record of format 1; this version reads format 2; run: be",
        ),
    ],
)
def test_records_of_another_form_are_one_sentence(tmp_path, head, said):
    write(tmp_path, [alpha()])
    put(tmp_path, 0, head)
    with pytest.raises(BenchError, match=said):
        read_all(tmp_path)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (alpha(method="../alpha"), "no safe file name"),
        (alpha(method=""), "method is ''; expected text of length"),
        (alpha(method=".hidden"), "no safe file name"),
        (alpha(method="ALPHA"), "differ by case alone"),
        (alpha(), "2 results of 1 cells"),
        (alpha(seed=1, metrics={"right": float("nan")}), "metrics.right is nan"),
        (alpha(seed=1, peak_mb=float("inf")), "peak_mb is inf"),
        (alpha(seed=1, metrics={"right": 1.1}), "expected a fraction"),
        (alpha(seed=1, parameters={"method": {"k": float("nan")}}), "JSON"),
    ],
)
def test_what_read_would_refuse_is_not_written(tmp_path, bad, message):
    with pytest.raises(BenchError, match=message):
        write(tmp_path, [alpha(), bad])
    assert not (tmp_path / "records").exists()


def test_what_cannot_be_written_is_told_apart_from_what_can(tmp_path):
    bad = [alpha(seed=1, metrics={"right": 1.1}), alpha(method="../alpha"), alpha(seed=2, size=-1)]
    valid, refused = split_valid([*bad, alpha(), unsupported(seed=4)])
    assert valid == [alpha(), unsupported(seed=4)]
    assert len(refused) == len(bad)
    assert "metrics.right is 1.1; expected a fraction" in refused[0]
    write(tmp_path, valid)


def test_a_name_that_differs_by_case_from_a_file_is_refused(tmp_path):
    write(tmp_path, [alpha()])
    with pytest.raises(BenchError, match="differ by case alone"):
        write(tmp_path, [alpha(method="Alpha")])


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    write(tmp_path, [alpha()])
    before = files(tmp_path)

    def broken(source, target):
        raise OSError("disk full")

    monkeypatch.setattr("bench.contract.files.os.replace", broken)
    with pytest.raises(OSError, match="disk full"):
        write(tmp_path, [alpha(), alpha(seed=1)])
    assert files(tmp_path) == before


@given(variants(min_size=1), st.randoms())
def test_the_order_of_results_changes_no_byte(tmp_path_factory, results, rng: random.Random):
    first, second = tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("second")
    write(first, results)
    rng.shuffle(results)
    write(second, results)
    assert files(first) == files(second)


JUNK = st.recursive(
    st.sampled_from([None, True, -1, 5, 2**70, 10**400, 1e308, 0.5, "", "x", "\ud800", "\x00"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
BOARD = Board(
    "Any", "classification", ("blobs",), ("alpha", "beta"), (), (), (1,), ("hard",), ("small",),
    ("none",), ("right", "distance", "curvature"), (0, 1),
)  # fmt: skip


@settings(deadline=None)
@given(st.data())
def test_any_line_is_read_or_named_and_the_page_is_made(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("board")
    write(folder, [alpha(), alpha(seed=1), alpha(method="beta")])
    name = data.draw(st.sampled_from(["alpha.jsonl", SHARED]))
    path = folder / "records" / name
    rows = path.read_bytes().split(b"\n")[:-1]
    at = data.draw(st.integers(1, len(rows) - 1))
    record = json.loads(rows[at])
    place, *_ = [record]
    for _ in range(data.draw(st.integers(0, 1))):
        inner = [value for value in place.values() if isinstance(value, dict) and value]
        place = data.draw(st.sampled_from(inner)) if inner else place
    place[data.draw(st.sampled_from([*place, "other"]))] = data.draw(JUNK)
    rows[at] = json.dumps(record).encode()
    path.write_bytes(b"".join(row + b"\n" for row in rows))
    found = read_all(folder)
    assert all("\n" not in sentence for sentence in found.sentences(folder))
    assert len(found.results) >= 1 or name == SHARED
    page = rendered(build(BOARD, found.results, faults=tuple(map(str, found.faults))))
    assert ("could not be read" in page) == bool(found.faults)
    before = files(folder)
    write(folder, found.results, found.preserved)
    assert {line for line in before[name].split(b"\n") if line} >= {
        fault.text for fault in found.faults if fault.file == name
    }
    again = read_all(folder)
    assert {fault.text for fault in again.faults} == {fault.text for fault in found.faults}
    assert [r.coordinate for r in again.results] == [r.coordinate for r in found.results]


DEMO = Path(__file__).parents[2] / "leaderboards" / "demo"


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("random.jsonl", '"level":"set"', ('"images":640', '"images":64')),
        ("random.jsonl", '"level":"student"', ('"forward":', '"forward":1')),
        ("random.jsonl", '"level":"probe"', ('"eps":0.1', '"eps":0.5')),
        ("random.jsonl", '"level":"probe"', ('"accuracy":0.', '"accuracy":0.9')),
        ("_shared.jsonl", '"kind":"recipe"', ('"steps":1500', '"steps":400')),
    ],
)
def test_what_was_changed_by_hand_is_found_by_its_name(
    tmp_path: Path, file: str, old: str, new: tuple[str, str]
) -> None:
    shutil.copytree(DEMO / "records", tmp_path / "records")
    assert edited(tmp_path) == []
    path = tmp_path / "records" / file
    lines = path.read_text().split("\n")
    number = next(n for n, line in enumerate(lines) if old in line and new[0] in line)
    lines[number] = lines[number].replace(*new, 1)
    path.write_text("\n".join(lines))
    [said] = edited(tmp_path)
    assert said.startswith(f"{path}:{number + 1} was changed after it was written: ")


def test_a_probe_whose_name_was_taken_away_is_found_if_others_have_one(tmp_path: Path) -> None:
    def bare(line: str) -> str:
        one = json.loads(line)
        if one.get("level") == "probe":
            one.pop("id", None)
        return json.dumps(one)

    shutil.copytree(DEMO / "records", tmp_path / "records")
    paths = [p for p in (tmp_path / "records").glob("*.jsonl") if p.name != SHARED]
    lines = paths[0].read_text().splitlines()
    number = next(n for n, line in enumerate(lines) if '"level":"probe"' in line)
    paths[0].write_text("\n".join([*lines[:number], bare(lines[number]), *lines[number + 1 :]]))
    [said] = edited(tmp_path)
    assert f":{number + 1} was changed after it was written: no name is not" in said
    for path in paths:  # as an earlier version has written them
        path.write_text("\n".join(map(bare, path.read_text().splitlines())))
    assert edited(tmp_path) == []


def test_a_fault_is_one_line_whatever_a_name_holds() -> None:
    assert str(Fault("a.jsonl", 3, "metrics.a\nb is 1")) == "records/a.jsonl:3: metrics.a b is 1"
