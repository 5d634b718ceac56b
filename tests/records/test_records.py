"""Records on disk: what is sound, what is refused, and that the same results are the same bytes."""

import copy
import json
import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.contract.errors import BenchError
from bench.records.files import read, sift, write
from bench.records.record import COORDINATES, column, coordinate, merge, pack, track, unpack


def record(**changes):
    """A sound record of three images, two of them right."""
    sound = {
        "dataset": "blobs",
        "method": "alpha",
        "ipc": 1,
        "labels": "hard",
        "architecture": "small",
        "attack": "none",
        "seed": 0,
        "status": "ok",
        "reason": "",
        "metrics": {"right": 2 / 3, "distance": 12.5},
        "scales": {
            "right": {"better": "higher", "rate": True},
            "distance": {"better": "lower", "rate": False},
        },
        "correct": pack(np.array([True, True, False])),
        "images": 3,
        "images_hash": "abc",
        "norm": "",
        "eps": None,
        "perturbation": {},
        "bytes": {"images": 64, "labels": 4, "weights": 0, "extras": 0},
        "size": 2,
        "cost": {"seconds": {"train": 1.23456789}, "peak_mb": 10.0},
        "parameters": {"method": {}, "attack": {}},
        "about": {"method": "Alpha.", "attack": "Nothing."},
        "recipe": {"steps": 300, "lr": 0.01},
        "versions": {"plugin": "1.0"},
        "code": {"method": "d1"},
        "data": {"digest": "d2", "classes": "d3"},
        "content": {"set": "d4"},
        "flags": [],
        "environment": {"device": "cpu"},
    }
    return copy.deepcopy(sound) | changes


def sampled(**changes):
    """A sound record of samples."""
    attacked = ("attack", "correct", "norm", "eps", "perturbation")
    kept = {name: value for name, value in record().items() if name not in attacked}
    return kept | {"sampler": "ddim", "step": 0, "parameters": {}, "about": {}} | changes


def unsupported(**changes):
    kept = (*COORDINATES["classification"], "versions", "data", "about", "parameters")
    declined = {name: record()[name] for name in kept}
    return declined | {"status": "unsupported", "reason": "needs BatchNorm"} | changes


def put(folder, *lines, name="alpha.jsonl"):
    (folder / "records").mkdir(exist_ok=True)
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (folder / "records" / name).write_text("".join(f"{text}\n" for text in texts))


def files(folder):
    return {path.name: path.read_bytes() for path in (folder / "records").iterdir()}


cells = st.builds(
    lambda dataset, method, ipc, attack, seed, value: record(
        dataset=dataset,
        method=method,
        ipc=ipc,
        attack=attack,
        seed=seed,
        metrics={"right": value, "distance": value},
    ),
    st.sampled_from(["blobs", "rings-2", "rings-10"]),
    st.sampled_from(["alpha", "beta", "x1", "x01"]),
    st.sampled_from([1, 2, 10]),
    st.sampled_from(["none", "a-9", "a-10"]),
    st.integers(0, 2),
    st.floats(0, 1),
)


def test_what_is_written_is_read_back(tmp_path):
    given_records = [record(), unsupported(seed=1), record(method="beta", norm="l2", eps=0.5)]
    write(tmp_path, given_records)
    found = read(tmp_path)
    assert [coordinate(r) for r in found] == [coordinate(r) for r in given_records]
    assert found[1] == given_records[1]
    assert found[0]["cost"]["seconds"]["train"] == 1.234568
    assert found[0]["metrics"] == {"right": 0.666667, "distance": 12.5}


def test_records_of_samples_are_read_back_in_the_order_of_their_steps(tmp_path):
    given_records = [sampled(step=step, seed=seed) for step in (0, 500, 1000) for seed in (0, 1)]
    write(tmp_path, given_records[::-1])
    assert [(r["step"], r["seed"]) for r in read(tmp_path)] == [
        (r["step"], r["seed"]) for r in given_records
    ]
    assert coordinate(given_records[2]) == ("blobs", "alpha", 1, "hard", "small", "ddim", 500, 0)
    assert track(given_records[0]) == "generation"
    assert track(record()) == "classification"


def test_a_column_is_an_attack_or_a_sampler_at_a_step():
    assert column(record(attack="weak")) == "weak"
    assert column(sampled()) == "ddim"
    assert column(sampled(step=500)) == "ddim @ 500"
    assert column(sampled(step=100_000)) == "ddim @ 100,000"


def test_a_sampler_that_is_declined_has_a_record_without_results(tmp_path):
    kept = (*COORDINATES["generation"], "versions", "data", "about", "parameters")
    declined = {name: sampled()[name] for name in kept}
    write(tmp_path, [declined | {"status": "unsupported", "reason": "walks straight paths"}])
    [found] = read(tmp_path)
    assert found["reason"] == "walks straight paths"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            {k: v for k, v in sampled().items() if k != "step"},
            "no field 'step'; expected one (int)",
        ),
        (sampled(step=-1), "step is -1; expected 0 or more"),
        (sampled(step="500"), "step is '500'; expected a value of type int"),
        (sampled(sampler=1), "sampler is 1; expected a value of type str"),
        ({k: v for k, v in sampled().items() if k != "sampler"}, "no field 'attack'"),
        (sampled(metrics={"right": 1.5}), "metrics.right is 1.5; expected a fraction"),
        (sampled(), "dataset=blobs method=alpha ipc=1 labels=hard architecture=small sampler=ddim"),
    ],
)
def test_an_unsound_record_of_samples_is_refused(tmp_path, line, message):
    put(tmp_path, sampled(), line)
    with pytest.raises(BenchError) as caught:
        read(tmp_path)
    assert message in str(caught.value)


def test_a_board_without_records_has_none(tmp_path):
    assert read(tmp_path) == []


def test_a_line_is_json_with_sorted_keys(tmp_path):
    write(tmp_path, [unsupported(about={"method": "Ä"}, parameters={}, data={}, versions={})])
    assert files(tmp_path) == {
        "alpha.jsonl": b'{"about":{"method":"\\u00c4"},"architecture":"small","attack":"none",'
        b'"data":{},"dataset":"blobs","ipc":1,"labels":"hard","method":"alpha","parameters":{},'
        b'"reason":"needs BatchNorm","seed":0,"status":"unsupported","versions":{}}\n'
    }


def test_rewriting_what_was_read_changes_no_byte(tmp_path):
    write(tmp_path, [record(metrics={"right": 1 / 3, "distance": -1e-9}), unsupported(seed=1)])
    before = files(tmp_path)
    assert b"-0.0" not in before["alpha.jsonl"]
    write(tmp_path, read(tmp_path))
    assert files(tmp_path) == before


def test_only_files_whose_bytes_change_are_touched(tmp_path):
    write(tmp_path, [record(), record(method="beta")])
    stamps = {path: path.stat().st_ino for path in (tmp_path / "records").iterdir()}
    write(tmp_path, merge(read(tmp_path), [record(method="beta", seed=1)]))
    changed = {path.name for path, inode in stamps.items() if path.stat().st_ino != inode}
    assert changed == {"beta.jsonl"}
    assert set(files(tmp_path)) == {"alpha.jsonl", "beta.jsonl"}


def test_records_are_in_natural_order(tmp_path):
    write(tmp_path, [record(attack=f"a-{k}", ipc=ipc) for k in (10, 9) for ipc in (10, 2)])
    order = [(r["ipc"], r["attack"]) for r in read(tmp_path)]
    assert order == [(2, "a-9"), (2, "a-10"), (10, "a-9"), (10, "a-10")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"dataset": ', "expected one JSON object a line"),
        ("", "expected one JSON object a line"),
        ("[1]", "expected an object"),
        (record(eps=float("nan"), norm="l2"), "NaN is no JSON number"),
        (record(metrics={"distance": float("inf")}), "Infinity is no JSON number"),
        (json.dumps(record()).replace("12.5", "1e999"), "metrics.distance is inf"),
        ({k: v for k, v in record().items() if k != "size"}, "no field 'size'"),
        ({k: v for k, v in unsupported().items() if k != "about"}, "no field 'about'"),
        (record(seed="0"), "seed is '0'; expected a value of type int"),
        (record(ipc=True), "ipc is True; expected a value of type int"),
        (record(seed=-1), "seed is -1; expected 0 or more"),
        (record(status="fine"), "status is 'fine'; expected 'ok' or 'unsupported'"),
        (record(labels="smooth"), "labels is 'smooth'; expected 'hard' or 'soft' or 'teacher'"),
        (record(reason="so"), "reason is 'so'"),
        (unsupported(reason=""), "reason is ''"),
        (record(metrics={"right": 66.7}), "metrics.right is 66.7; expected a fraction in [0, 1]"),
        (record(metrics={"right": "0.5"}), "metrics.right is '0.5'; expected a finite number"),
        (record(metrics={"unknown": 0.5}), "scales.unknown is None"),
        (record(scales={"right": {"better": "up", "rate": True}}), "scales.right is"),
        (record(norm="l1", eps=1.0), "norm is 'l1'"),
        (record(norm="linf"), "eps is None"),
        (record(norm="linf", eps=-0.1), "eps is -0.1"),
        (record(bytes={"images": 1.5}), "bytes.images is 1.5"),
        (record(flags=[1]), "flags is 1"),
        (record(parameters={"method": 3}), "parameters.method is 3"),
        (record(about={"method": None}), "about.method is None"),
        (record(images=9), "correct: packed bits fill 1 bytes; expected 2 bytes for 9 images"),
        (record(images=1), "correct: packed bits go on after image 1"),
        (record(correct="*"), "correct: packed bits are no base64"),
        (record(correct="é"), "correct: packed bits are no base64"),
        (record(), "stands at"),
        (record(method="beta"), "move the line to beta.jsonl"),
    ],
)
def test_an_unsound_line_is_refused_with_file_and_line(tmp_path, line, message):
    put(tmp_path, record(), line)
    with pytest.raises(BenchError) as caught:
        read(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'records' / 'alpha.jsonl'}:2: ")
    assert message in str(caught.value)


def test_a_file_that_is_not_utf8_is_refused(tmp_path):
    put(tmp_path, record())
    (tmp_path / "records" / "beta.jsonl").write_bytes(b"\xff\n")
    with pytest.raises(BenchError, match=r"beta\.jsonl: .*expected UTF-8"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (record(method="../alpha"), "no safe file name"),
        (record(method=""), "no safe file name"),
        (record(method=".hidden"), "no safe file name"),
        (record(method="ALPHA"), "differ by case alone"),
        (record(), "2 records of 1 cells"),
        (record(seed=1, metrics={"right": float("nan")}), "metrics.right is nan"),
        (record(seed=1, cost={"peak_mb": float("nan")}), "expected finite numbers"),
        (record(seed=1, metrics={"right": 1.1}), "expected a fraction"),
        ({"method": "alpha"}, "no field 'dataset'"),
    ],
)
def test_what_read_would_refuse_is_not_written(tmp_path, bad, message):
    with pytest.raises(BenchError, match=message):
        write(tmp_path, [record(), bad])
    assert not (tmp_path / "records").exists()


def test_what_cannot_be_written_is_told_apart_from_what_can(tmp_path):
    bad = [
        record(seed=1, metrics={"right": 1.1}),
        record(method="../alpha"),
        record(seed=2, cost={"peak_mb": float("nan")}),
        record(seed=3, perturbation={"linf": np.float32(1)}),
    ]
    sound, refused = sift([*bad, record(), unsupported(seed=4)])
    assert sound == [record(), unsupported(seed=4)]
    assert len(refused) == len(bad)
    assert "metrics.right is 1.1; expected a fraction" in refused[0]
    write(tmp_path, sound)


def test_a_name_that_differs_by_case_from_a_file_is_refused(tmp_path):
    write(tmp_path, [record()])
    with pytest.raises(BenchError, match="differ by case alone"):
        write(tmp_path, [record(method="Alpha")])


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    write(tmp_path, [record()])
    before = files(tmp_path)

    def broken(source, target):
        raise OSError("disk full")

    monkeypatch.setattr("bench.records.files.os.replace", broken)
    with pytest.raises(OSError, match="disk full"):
        write(tmp_path, [record(), record(seed=1)])
    assert files(tmp_path) == before


@given(st.lists(st.booleans(), max_size=70))
def test_packed_bits_are_unpacked(bits):
    text = pack(np.array(bits, dtype=bool))
    found = unpack(text, len(bits))
    assert found.dtype == bool
    assert found.tolist() == bits


@given(st.lists(cells), st.lists(cells))
def test_merging_loses_no_cell_and_prefers_the_new(old, new):
    merged = merge(old, new)
    assert {coordinate(r) for r in merged} == {coordinate(r) for r in (*old, *new)}
    newest = {coordinate(r): r for r in new}
    assert all(r == newest[coordinate(r)] for r in merged if coordinate(r) in newest)


@given(st.lists(cells), st.lists(cells))
def test_merging_twice_is_merging_once(old, new):
    once = merge(old, new)
    assert merge(once, new) == once
    assert merge(once, ()) == once


@given(st.lists(cells, unique_by=coordinate), st.integers(0, 20))
def test_merging_disjoint_records_commutes(records, cut):
    a, b = records[:cut], records[cut:]
    assert merge(a, b) == merge(b, a)


@given(st.lists(cells, min_size=1, unique_by=coordinate), st.randoms())
def test_the_order_of_records_changes_no_byte(tmp_path_factory, records, rng: random.Random):
    first, second = tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("second")
    write(first, records)
    rng.shuffle(records)
    write(second, records)
    assert files(first) == files(second)


def test_the_table_path_imports_neither_torch_nor_plugins():
    script = (
        "import sys, bench.records.files, bench.report.numbers, bench.report.page\n"
        "from importlib.metadata import entry_points\n"
        "plugins = {e.module.split('.')[0] for e in entry_points(group='bench')}\n"
        "print(sorted((plugins | {'torch'}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("[]\n", "", 0)
