"""Results: which cell one is of, how they are merged, and what their bits say."""

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sound_results import alpha, variants
from support import a_result

from bench.records.levels import joined, split, valued
from bench.records.record import ProbeRecord, SetRecord, StudentRecord
from bench.records.result import merge, order, pack, rounded, unpack


def sampled(**changes):
    return alpha(attack="", sampler="ddim", correct="", **changes)


def test_a_column_is_an_attack_or_a_sampler_at_a_step():
    assert alpha(attack="weak").column == "weak"
    assert sampled().column == "ddim"
    assert sampled(step=500).column == "ddim @ 500"
    assert sampled(step=100_000).column == "ddim @ 100,000"


def test_a_cell_is_named_by_the_axes_of_its_track():
    assert alpha().coordinate == ("blobs", "alpha", 1, "hard", "small", "none", 0)
    assert sampled(step=500).coordinate == ("blobs", "alpha", 1, "hard", "small", "ddim", 500, 0)
    assert (alpha().track, sampled().track) == ("classification", "generation")


@given(st.lists(st.booleans(), max_size=70))
def test_packed_bits_are_unpacked(bits):
    packed = pack(np.array(bits, dtype=bool))
    assert unpack([packed] * 2, len(bits)).tolist() == [bits] * 2


@given(variants(), variants())
def test_merging_loses_no_cell_and_prefers_the_new(old, new):
    merged = merge(old, new)
    assert {r.coordinate for r in merged} == {r.coordinate for r in (*old, *new)}
    newest = {r.coordinate: r for r in new}
    assert all(r == newest[r.coordinate] for r in merged if r.coordinate in newest)
    assert merge(merged, new) == merged == merge(merged, ())


@given(variants(), st.integers(0, 20))
def test_merging_disjoint_results_commutes(results, cut):
    a, b = results[:cut], results[cut:]
    assert merge(a, b) == merge(b, a)


@given(variants())
def test_results_split_into_levels_are_joined_again(results):
    records, notes = split(results)
    levels = {
        kind: {r.id: r for r in records if isinstance(r, kind)}
        for kind in (SetRecord, StudentRecord)
    }
    probes = [r for r in records if isinstance(r, ProbeRecord)]
    known = {note.digest: valued(note) for note in notes}
    again = joined(levels[SetRecord], levels[StudentRecord], probes, known)
    assert sorted(again, key=order) == sorted(results, key=order)


@given(st.floats(-1e9, 1e9), st.floats(0, 1))
def test_rounding_twice_is_rounding_once(distance, right):
    once = rounded(alpha(metrics={"distance": distance, "right": right}))
    assert rounded(once) == once
    assert abs(once.metrics["distance"] - distance) <= 1e-8 * abs(distance)


def test_a_share_that_a_record_lacks_is_not_written():
    """So a new field changes no record of before, nor its name."""
    one = a_result(not_finite=0.0, fell_further=0.0)
    records, _ = split([rounded(one)])
    text = b"".join(msgspec.json.encode(record) for record in records)
    assert b"not_finite" not in text
    assert b"fell_further" not in text
