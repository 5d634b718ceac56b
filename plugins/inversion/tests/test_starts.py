import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import BenchError, Subset
from bench.checks import fixtures
from bench.training import toy
from bench_inversion.methods import CDA, CDA_FROM_RANDOM, RANDOM_START, SRE2L_FROM_RANDOM, SRe2L
from bench_inversion.recovery import _views, recover
from bench_inversion.settings import Recovery
from bench_inversion.starts import at_random, nearest
from bench_inversion.statistics import running
from bench_standard.coresets import Random


def task(ipc=3):
    return fixtures.task(SRe2L(), toy.GRAY, ipc)


def eight_bits(images):
    return (images * 255).round().to(torch.uint8)


def test_random_starts_are_the_images_of_the_control():
    assert torch.equal(at_random(task()), Random().condense(task()).images.indices)


def test_no_iterations_give_the_start_in_eight_bits():
    made = RANDOM_START.condense(task())
    assert made.images.dtype == torch.uint8
    assert torch.equal(made.images, eight_bits(task().train.images(at_random(task()))))
    assert made.classes.tolist() == [k for k in range(8) for _ in range(3)]


def test_small_steps_stay_near_the_start_and_away_from_noise():
    how = Recovery(iterations=20, lr=0.02, cross_entropy=1.0, whole=False, roll=1)
    statistics, start = running(task().teacher), at_random(task())
    begun = eight_bits(task().train.images(start)).float()
    moved = (recover(task(), statistics, how, start=start) - begun).abs().mean()
    noise = (recover(task(), statistics, how) - begun).abs().mean()
    assert 0 < moved < 0.5 * noise


def test_presets_start_from_real_images_and_published_settings_from_noise():
    assert (SRe2L().init, CDA().init, SRe2L().lr) == ("noise", "noise", 0.25)
    for preset in (SRE2L_FROM_RANDOM, CDA_FROM_RANDOM):
        assert (preset.init, preset.lr) == ("random", 0.05)
    assert dataclasses.replace(CDA_FROM_RANDOM, name="cda", init="noise", lr=0.25) == CDA()


@pytest.mark.parametrize("method", [SRe2L, CDA])
def test_without_points_nothing_is_nearest(method):
    with pytest.raises(
        BenchError, match="init is 'nearest'; expected 'noise' or 'random': it aims"
    ):
        method(init="nearest")


def test_an_unknown_start_is_refused():
    with pytest.raises(BenchError, match="init is 'mean'; expected 'noise' or 'random' or"):
        Recovery(init="mean")


def test_views_are_mirrored_only_where_both_allow_it():
    photographs = dataclasses.replace(task(), flip=True)
    assert _views(photographs, Recovery(), 0).mirrored.any()
    assert not _views(photographs, Recovery(mirror=False), 0).mirrored.any()


def test_a_class_of_few_images_gives_them_in_turn_and_one_of_none_is_an_error():
    labels = task().train.labels
    keep = torch.ones(len(labels), dtype=torch.bool)
    keep[(labels == 3).nonzero()[2:, 0]] = False
    few = dataclasses.replace(task(ipc=5), train=Subset(task().train, keep.nonzero()[:, 0]))
    start = at_random(few).view(8, 5)
    assert len(start[3].unique()) == 2
    assert (few.train.labels[start] == torch.arange(8)[:, None]).all()
    none = dataclasses.replace(few, train=Subset(task().train, (labels != 3).nonzero()[:, 0]))
    with pytest.raises(BenchError, match="no training images"):
        at_random(none)


@settings(deadline=None)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 99))
def test_no_point_is_taken_twice_before_each_is_taken_once(k, n, seed):
    generator = torch.Generator().manual_seed(seed)
    targets, points = (torch.randn(m, 3, generator=generator) for m in (k, n))
    times = nearest(targets, points).bincount(minlength=n)
    assert times.sum() == k
    assert times.max() - times.min() <= 1


def test_each_target_that_is_a_point_gets_it():
    points = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    assert nearest(points[[5, 2, 7]], points).tolist() == [5, 2, 7]


def test_the_nearest_pair_comes_first():
    points = torch.tensor([[0.0], [10.0]])
    assert nearest(torch.tensor([[2.0], [1.0]]), points).tolist() == [1, 0]
