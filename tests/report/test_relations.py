"""Relations between robust numbers: which are told, and which are not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import as_result, changed

from bench.contract.kinds import SEARCHES
from bench.records.result import pack
from bench.report.relations import TOLERANCE, Attacked, broken, flagged, flags


def attacked(kind, standing, eps=8 / 255, norm="linf", family=None):
    return Attacked(kind, norm, eps, family or f"{kind} {eps}", standing)


def test_an_ensemble_above_a_gradient_attack_is_told():
    found = broken({"aa": attacked("ensemble", 0.45), "pgd": attacked("iterative", 0.40)})
    assert found == {
        "aa": ["weaker than an iterative attack (pgd leaves 40.0%, this 45.0%): too weak?"]
    }


@pytest.mark.parametrize("blind", ["noise", "black-box", "single-step"])
def test_gradients_beaten_by_those_who_see_less_of_them_are_masked(blind):
    found = broken({"pgd": attacked("iterative", 0.6), "other": attacked(blind, 0.3)})
    assert set(found) == {"pgd"}
    assert found["pgd"][0].endswith("masked gradients?")


def test_a_larger_ball_that_is_easier_is_told():
    small = attacked("iterative", 0.5, eps=2 / 255, family="pgd")
    large = attacked("iterative", 0.6, eps=8 / 255, family="pgd")
    assert set(broken({"small": small, "large": large})) == {"large"}


def test_a_larger_ball_must_be_as_hard_as_a_smaller_one_under_less_of_an_attack():
    large = attacked("ensemble", 0.8, eps=8 / 255)
    assert set(broken({"large": large, "small": attacked("iterative", 0.3, eps=4 / 255)})) == {
        "large"
    }


@pytest.mark.parametrize("eps", [0.0314, 0.03137, 0.031373])
def test_a_radius_as_toml_can_write_it_is_the_same_radius(eps):
    found = broken({"pgd": attacked("iterative", 0.8), "sq": attacked("black-box", 0.3, eps=eps)})
    assert set(found) == {"pgd"}


def test_other_attacks_in_other_balls_say_nothing_of_each_other():
    one = attacked("iterative", 0.6, eps=8 / 255, family="pgd")
    assert broken({"one": one, "two": attacked("ensemble", 0.1, eps=2 / 255)}) == {}
    assert broken({"one": one, "two": attacked("ensemble", 0.1, norm="l2")}) == {}


def test_attacks_without_a_claim_are_compared_with_none():
    assert broken({"a": attacked("", 0.9), "b": attacked("noise", 0.1)}) == {}


kinds = st.sampled_from(SEARCHES)
share = st.floats(0, 1)


@given(kinds, kinds, share, st.floats(0, TOLERANCE))
def test_a_point_of_difference_is_no_breach(one, two, standing, more):
    found = broken({"a": attacked(one, standing), "b": attacked(two, standing + more * 0.99)})
    assert found == {}


@given(st.lists(st.tuples(kinds, share), max_size=5))
def test_of_two_attacks_at_most_one_is_told_on_account_of_the_other(attacks):
    named = {str(k): attacked(kind, standing) for k, (kind, standing) in enumerate(attacks)}
    for name, sentences in broken(named).items():
        assert all(f"{name} leaves" not in sentence for sentence in sentences)
        assert named[name].standing > min(a.standing for a in named.values())


def record(attack, bits, kind, seed=0, **changes):
    correct = np.array([bit == "1" for bit in bits])
    fields = {
        **dict(zip(("dataset", "method", "labels", "architecture"), "abde", strict=True)),
        "ipc": 1,
        "attack": attack,
        "seed": seed,
        "norm": "linf",
        "eps": 0.1,
        "attack_search": kind,
        "attack_family": attack,
        "correct": pack(correct),
        "images": len(bits),
        "images_hash": "same",
        "content": {"student": f"student {seed}"},
    }
    return as_result(fields | changes)


BROKEN = [record("aa", "1111000000", "ensemble"), record("pgd", "1000000000", "iterative")]


def test_a_broken_relation_of_records_is_a_flag_of_the_cell():
    one, two = flagged(BROKEN)
    assert one.flags == (
        "weaker than an iterative attack (pgd leaves 10.0%, this 40.0%): too weak?",
    )
    assert two.flags == ()
    assert BROKEN[0].flags == ()


def test_seeds_are_compared_with_their_like_alone():
    lonely = [record("aa", "1111111111", "ensemble", seed=1)]
    assert flags([*BROKEN, *lonely]) == flags(BROKEN)


def test_an_odd_record_takes_no_other_out_of_the_comparison():
    for odd in ({"content": {"student": "old"}}, {"seed": 7}):
        third = record("fgsm", "1111111111", "single-step", **odd)
        assert flags([*BROKEN, third]) == flags(BROKEN)


def test_other_students_and_images_are_never_compared():
    for change in ({"content": {"student": "other"}}, {"images_hash": "other"}):
        assert flags([BROKEN[0], changed(BROKEN[1], **change)]) == {}


def test_attacks_of_other_rows_are_never_compared():
    assert flags([BROKEN[0], changed(BROKEN[1], method="z")]) == {}


def test_a_loss_without_slope_is_told():
    found = flags([record("pgd", "1111", "iterative", no_gradient=0.5)])
    [[sentence]] = found.values()
    assert sentence == "the loss has no gradient at up to 50% of the images: masked?"
    assert flags([record("pgd", "1111", "iterative", no_gradient=0.01)]) == {}


STEP = "a step along the slope changes the margin by {} of what it says: masked?"
MORE = "a few more steps along the margin fell 30% of the images: too weak?"


def test_an_iterative_attack_far_weaker_than_an_ensemble_is_told():
    near = [record("pgd", "1100000000", "iterative"), record("aa", "1000000000", "ensemble")]
    assert flags(near) == {}
    far = [record("pgd", "1111100000", "iterative"), record("aa", "1000000000", "ensemble")]
    [[sentence]] = flags(far).values()
    assert sentence == "far weaker than an ensemble (aa leaves 10.0%, this 50.0%): misled?"


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        ({"not_finite": 0.02}, "the gradient is no number at up to 2.0% of the images: masked?"),
        ({"slope": 0.2}, STEP.format("0.2")),
        ({"slope": -1.0}, STEP.format("-1")),
        ({"slope": 3.0}, STEP.format("3")),
        ({"fell_further": 0.3}, MORE),
    ],
)
def test_what_no_honest_student_shows_is_told(seen, said):
    [[sentence]] = flags([record("pgd", "1111", "iterative", **seen)]).values()
    assert sentence == said
    honest = {"not_finite": 0.0, "slope": 0.9, "fell_further": 0.06}
    assert flags([record("pgd", "1111", "iterative", **honest)]) == {}


def test_what_a_sample_may_have_missed_is_told():
    probes = [record("aa", "1111", "ensemble", seed=s, sampled=[32, 200]) for s in (0, 1)]
    [[sentence]] = flags(probes).values()
    assert sentence == (
        "its last parts looked at 64 of 400 images that stood, and fell none: that misses a share "
        "of 0.9% with a probability of 0.56; with 95%, no more than 4.6% of them would fall"
    )
    assert flags([record("aa", "1111", "ensemble", sampled=[])]) == {}


@pytest.mark.parametrize(("blind", "told"), [(7, True), (8, False)])
def test_a_blind_part_that_takes_what_gradients_have_left_is_told(blind, told):
    """AutoAttack's own rule; the part that comes first may take what it likes."""
    parts = [("first", "black-box", 9), ("slopes", "iterative", 8), ("blind", "black-box", blind)]
    made = [dict(zip(("name", "search", "standing"), part, strict=True)) for part in parts]
    found = flags([record("aa", "1111111000", "ensemble", parts=made)])
    said = "its blind search took up to 10.0% of the images after all gradients: masked?"
    assert [*found.values()] == ([(said,)] if told else [])
