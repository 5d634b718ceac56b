from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from bench import BenchError, Missing, Selection, Task, TensorSplit
from bench.checks import checks_for, run_checks
from bench.training.diffusion import Denoiser, Schedule
from bench_d2c import difficulty as scoring
from bench_d2c.select import VARIANTS, Select
from bench_standard.coresets import Random

SIZES = (20, 7, 12)
BY_NAME = {variant.name: variant for variant in VARIANTS}


class Says(nn.Module):
    """Zeros: on a path of noise alone, the same loss for all images."""

    def forward(self, x, t, labels, extras):
        return torch.zeros_like(x)


def brightness(task, times, noises):
    """In place of the score: the darkest image is the easiest."""
    return task.train.pixels.flatten(1).mean(1)[:, None].repeat(1, times)


def task(ipc=2, pixels=None, networks=None, seed=3):
    generator = torch.Generator().manual_seed(1)
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor(SIZES))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    if pixels is None:
        pixels = torch.rand(len(labels), 1, 4, 4, generator=generator)
    network = Denoiser(Says(), (1, 4, 4), 3, Schedule("cosine", "noise"))
    given = {"scorer": lambda: network, "teacher": lambda: nn.Conv2d(1, 5, 3, padding=1)}
    return Task(
        train=TensorSplit(pixels, labels),
        classes=("ant", "bee", "cat"),
        shape=(1, 4, 4),
        mean=(0.5,),
        std=(0.3,),
        flip=False,
        ipc=ipc,
        seed=seed,
        networks=given if networks is None else networks,
    )


# ---- which ranks are kept


@pytest.mark.parametrize(
    ("count", "interval", "last"), [(10, 96, 864), (50, 16, 784), (100, 10, 990)]
)
def test_the_published_budgets_leave_out_the_hardest_images(count, interval, last):
    places = Select(interval=interval).places(1300, count).tolist()
    assert places == list(range(0, last + 1, interval))
    assert len(places) == count


def test_a_class_too_short_for_the_interval_gets_the_widest_that_fits():
    """ImageNet-1K has classes of 732 images, and rank 864 is asked for."""
    assert Select(interval=96).places(732, 10).tolist() == list(range(0, 730, 81))


@pytest.mark.parametrize(
    ("choose", "kept"),
    [
        ("interval", [0, 4, 8]),
        ("min", [0, 1, 2]),
        ("max", [13, 14, 15]),
        ("medium", [6, 7, 8]),
    ],
)
def test_what_is_kept_of_sixteen_ranks(choose, kept):
    assert Select(choose=choose, coverage=0.75).places(16, 3).tolist() == kept


def test_one_image_of_a_class_is_the_easiest():
    assert Select().places(16, 1).tolist() == [0]


@given(
    size=st.integers(1, 400),
    share=st.floats(0, 1),
    coverage=st.floats(0.01, 1),
    interval=st.integers(0, 60),
    choose=st.sampled_from(["interval", "min", "max", "medium"]),
)
def test_as_many_different_ranks_as_asked_for(size, share, coverage, interval, choose):
    count = max(1, round(share * size))
    method = Select(choose=choose, coverage=coverage, interval=interval)
    places = method.places(size, count).tolist()
    assert len(places) == count
    assert places == sorted(set(places))
    assert places[0] >= 0
    assert places[-1] < size


@given(size=st.integers(1, 2000), share=st.floats(0.01, 1))
def test_coverage_is_the_share_of_the_class_that_is_spanned(size, share):
    places = Select(coverage=share).places(size, min(size, 5))
    if len(places) > 1 and int(share * size / len(places)) >= 1:
        span = int(places[1]) * len(places)
        assert share * size - len(places) <= span <= share * size


# ---- the set


@pytest.mark.parametrize(
    "variant",
    [
        v if v.name == "d2c-select-only" else pytest.param(v, marks=pytest.mark.slow)
        for v in VARIANTS
    ],
    ids=list(BY_NAME),
)
def test_contract(variant):
    for verdict in run_checks(checks_for("method", variant)):
        assert verdict.status == "passed", verdict


@pytest.mark.parametrize("choose", ["interval", "min", "max", "medium"])
def test_images_are_ranked_within_their_class_from_the_easiest(monkeypatch, choose):
    monkeypatch.setattr(scoring, "difficulty", brightness)
    given, method = task(ipc=3), Select(choose=choose, visual=False)
    made = method.condense(given)
    assert isinstance(made.images, Selection)
    bright = given.train.pixels.flatten(1).mean(1)
    expected = []
    for k in range(3):
        members = [i for i in range(len(bright)) if given.train.labels[i] == k]
        members.sort(key=lambda i: bright[i].item())
        expected += [members[place] for place in method.places(SIZES[k], 3)]
    assert made.images.indices.tolist() == expected
    assert made.labels.argmax(1).tolist() == [k for k in range(3) for _ in range(3)]


def test_of_equal_images_the_first_are_taken():
    given = task(ipc=4, pixels=torch.full((sum(SIZES), 1, 4, 4), 0.5))
    made = Select(choose="min", visual=False).condense(given)
    for k in range(3):
        members = (given.train.labels == k).nonzero().squeeze(1)
        assert made.images.indices[4 * k : 4 * k + 4].tolist() == members[:4].tolist()


def test_notes_say_how_hard_images_are_and_which_ranks_were_kept(monkeypatch):
    monkeypatch.setattr(scoring, "difficulty", brightness)
    given = task(ipc=2)
    made = Select(interval=3).condense(given)
    assert torch.allclose(made.notes["difficulty"], given.train.pixels.flatten(1).mean(1))
    assert made.notes["reliability"] == 1  # all draws agree
    assert made.notes["ranks"].tolist() == [0, 3] * 3
    assert not set(made.notes) & set(made.extras)


def test_select_and_attach_are_the_two_halves_of_d2c():
    sets = {n: BY_NAME[n].condense(task()) for n in ("d2c-select", "d2c-select-only")}
    both, select = sets["d2c-select"], sets["d2c-select-only"]
    assert both.images.indices.tolist() == select.images.indices.tolist()
    assert select.extras == {}
    shapes = {name: list(tensor.shape) for name, tensor in both.extras.items()}
    assert shapes == {"class.text": [3, 8, 64], "image.features": [6, 5, 4, 4]}


def test_images_are_scored_once_for_all_budgets_and_all_variants():
    """The survey of one is that of the others, and a task that knows it needs no scorer."""
    surveys = {variant.survey for variant in VARIANTS if variant.scorer}
    assert len(surveys) == 1
    assert {BY_NAME[name].survey for name in ("random-attach", "full-attach")} == {None}
    (survey,) = surveys
    known = {survey: survey.survey(task(ipc=0))}
    for name in ("d2c-select-only", "d2c-min"):
        method = replace(BY_NAME[name], visual=False)
        for ipc in (1, 4):
            made = method.condense(replace(task(ipc=ipc, networks={}), surveys=known))
            alone = method.condense(task(ipc=ipc))
            assert torch.equal(made.images.indices, alone.images.indices)
            assert torch.equal(made.notes["difficulty"], alone.notes["difficulty"])


@pytest.mark.parametrize("seed", [0, 3])
def test_random_attach_attaches_to_the_images_of_random(seed):
    """So that the rows differ by attachments alone; and nothing scores its images."""
    attached = BY_NAME["random-attach"]
    assert not attached.scorer
    networks = {"teacher": lambda: nn.Conv2d(1, 5, 3, padding=1)}
    made = attached.condense(task(seed=seed, networks=networks))
    plain = Random().condense(task(seed=seed))
    assert made.images.indices.tolist() == plain.images.indices.tolist()
    assert set(made.extras) == {"class.text", "image.features"}
    assert made.notes == {}


# ---- what is refused


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"choose": "best"}, "choose is 'best'; expected one of interval, min"),
        ({"coverage": 0.0}, "coverage is 0.0; expected a share"),
        ({"coverage": 1.5}, "coverage is 1.5; expected a share"),
        ({"interval": -1}, "interval is -1; expected 1 or more, or 0"),
        ({"times": 0}, "times is 0; expected 1 or more"),
        ({"grid": 0}, "grid is 0; expected 1 or more"),
        ({"scorer": ""}, "scorer is empty; expected the name"),
        ({"teacher": ""}, "teacher is empty; expected the name"),
    ],
)
def test_a_field_without_sense_is_refused(fields, said):
    with pytest.raises(BenchError, match=said):
        Select(**fields)


def test_more_images_than_a_class_has_are_refused():
    with pytest.raises(BenchError, match=r"ipc is 8 but class 'bee' has 7 training images"):
        Select(visual=False).condense(task(ipc=8))


def test_a_missing_file_of_text_is_said_before_any_image_is_scored():
    with pytest.raises(Missing, match=r"no\.safetensors is not here"):
        Select(text="no.safetensors").condense(task(networks={}))
