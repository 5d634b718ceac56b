import dataclasses
import math

import pytest
import torch
from torch.nn import functional as F

from bench import BenchError, Task, Unsupported, crop_and_resize
from bench.checks import fixtures
from bench.training import networks, toy, untouched
from bench.training.passes import counting
from bench_inversion import recovery
from bench_inversion.recovery import recover
from bench_inversion.settings import Recovery
from bench_inversion.statistics import distance, of_classes, recording, running
from bench_standard.architectures.convnet import CONVNET

WMDD = Recovery(iterations=60, lam=1.0, features=1.0, roll=1, scale=(0.5, 1.0))
SRE2L = Recovery(iterations=60, lam=0.1, first_bn=10.0, cross_entropy=1.0, roll=1, whole=False)


def task(data=toy.GRAY, ipc=2, seed=0, flip=False, progress=None, teacher=None):
    network = fixtures.trained(data) if teacher is None else teacher
    loaded = data.load()
    return Task(
        loaded.train,
        loaded.classes,
        loaded.shape,
        loaded.mean,
        loaded.std,
        flip,
        ipc,
        seed,
        progress=progress or (lambda done, total: None),
        networks={"teacher": lambda: network},
    )


class Killed(Exception):
    pass


class Memory:
    """A checkpoint after every step; it kills after `last` of them."""

    def __init__(self, last):
        self.last, self.times, self.kept = last, 0, {}

    def load(self):
        return self.kept

    def save(self, state):
        self.times += 1
        if self.times > self.last:
            raise Killed
        self.kept = {name: one.clone() for name, one in state().items()}


def aims(given):
    """Statistics of each class, features of its first images, and unequal weights."""
    count, ipc = len(given.classes), given.ipc
    statistics = of_classes(given.teacher, given.train, count)
    index = torch.cat([(given.train.labels == k).nonzero()[:ipc, 0] for k in range(count)])
    with torch.no_grad():
        features = networks.features(given.teacher, given.train.images(index))[0]
    weights = torch.arange(1.0, ipc + 1).repeat(count)
    return statistics, {"features": features, "weights": weights}


def losses(given, images):
    """Statistics of classes, and features, of images as they are."""
    statistics, targets = aims(given)
    with torch.no_grad(), recording(given.teacher) as moments:
        found = networks.features(given.teacher, images.float() / 255)[0]
        weights = targets["weights"].view(-1, given.ipc)
        return distance(moments(), statistics, weights), (found - targets["features"]).norm()


@pytest.mark.parametrize("data", [toy.GRAY, toy.COLOR], ids=["grey", "colour"])
@pytest.mark.parametrize("ipc", [1, 3])
def test_a_recovery_comes_nearer_to_statistics_and_features(data, ipc):
    given = task(data, ipc)
    statistics, targets = aims(given)
    images = recover(given, statistics, WMDD, **targets)
    assert images.dtype == torch.uint8
    assert images.shape == (ipc * len(given.classes), *given.shape)
    noise = recover(given, statistics, dataclasses.replace(WMDD, lr=1e-9, iterations=1), **targets)
    for after, before in zip(losses(given, images), losses(given, noise), strict=True):
        assert after < 0.85 * before


def inputs_and_outputs(network, x):
    """What enters each BatchNorm layer; features; logits."""
    seen = []
    layers = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    hooks = [m.register_forward_hook(lambda _, i, o: seen.append(i[0])) for m in layers]
    found, logits = networks.features(network, x)
    for hook in hooks:
        hook.remove()
    return seen, found, logits


def plain_distance(seen, weights, mean, variance, first):
    """Of one group of images to `mean` and `variance` [ch], layer by layer."""
    total, start = 0, 0
    w = (weights / weights.sum()).view(-1, 1, 1, 1)
    for number, x in enumerate(seen):
        m = (w * x).sum(0).mean((1, 2))
        v = (w * (x - m.view(-1, 1, 1)).square()).sum(0).mean((1, 2))
        part = slice(start, start := start + x.shape[1])
        gap = (m - mean[part]).norm() + (v - variance[part]).norm()
        total = total + (first if number == 0 else 1) * gap
    return total


def plain(given, how, statistics, rows, features=None, weights=None):
    """One batch as the published description has it, with the same noise and the same views."""
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (given.mean, given.std))
    z = torch.stack([recovery._noise(given, int(row)) for row in rows])
    drawn = recovery._views(given, how, int(rows[0]) % given.ipc)
    weights = torch.ones(int(rows.max()) + 1) if weights is None else weights
    owners = rows // given.ipc
    adam = torch.optim.Adam([z.requires_grad_()], lr=how.lr, betas=(0.5, 0.9))
    for step in range(how.iterations):
        adam.param_groups[0]["lr"] = how.lr * 0.5 * (1 + math.cos(math.pi * step / how.iterations))
        x = (mean + std * z + 4) / 9  # the noise leaves [0, 1], to which pixels are cut there
        x = 9 * crop_and_resize(x, drawn.boxes[step].expand(len(z), 4)) - 4
        x = x.flip(3) if drawn.mirrored[step] else x
        x = x.roll(drawn.shifts[step].tolist(), (2, 3))
        seen, found, logits = inputs_and_outputs(given.teacher, x)
        if statistics.mean.ndim == 1:
            target = statistics.mean, statistics.variance
            gap = plain_distance(seen, weights[rows], *target, how.first_bn)
        else:
            gap = 0
            for k in owners.unique():
                own, target = owners == k, (statistics.mean[k], statistics.variance[k])
                inside = [layer[own] for layer in seen]
                gap = gap + plain_distance(inside, weights[rows[own]], *target, how.first_bn)
            gap = gap / len(owners.unique())
        loss = how.lam * gap + how.cross_entropy * F.cross_entropy(logits, owners)
        if features is not None:
            loss = loss + how.features * (found - features[rows]).norm()
        adam.zero_grad()
        loss.backward()
        adam.step()
        with torch.no_grad():
            z.copy_(torch.maximum(torch.minimum(z, (1 - mean) / std), -mean / std))
    return (255 * (mean + std * z.detach())).round()


def test_it_is_the_published_optimisation_with_statistics_of_classes():
    given, how = task(toy.COLOR, flip=True), dataclasses.replace(WMDD, iterations=8)
    statistics, targets = aims(given)
    found = recover(given, statistics, how, **targets)
    expected = plain(given, how, statistics, torch.arange(20), **targets)
    assert (found - expected).abs().max() <= 1


def test_it_is_the_published_optimisation_with_batches_of_one_image_a_class():
    given = task(ipc=3)
    how = dataclasses.replace(SRE2L, iterations=8, curriculum=0.6)
    found = recover(given, running(given.teacher), how).view(8, 3, 1, 8, 8)
    for j in range(3):
        expected = plain(given, how, running(given.teacher), 3 * torch.arange(8) + j)
        assert (found[:, j] - expected).abs().max() <= 1


def test_the_same_seed_makes_the_same_bytes_and_another_seed_others():
    given = task()
    statistics, targets = aims(given)
    how = dataclasses.replace(WMDD, iterations=5)
    one, again = (recover(given, statistics, how, **targets) for _ in range(2))
    assert torch.equal(one, again)
    other = recover(task(seed=1), statistics, how, **targets)
    assert not torch.equal(one, other)


def test_images_of_a_class_differ():
    images = recover(task(ipc=2), running(fixtures.trained(toy.GRAY)), SRE2L).view(8, 2, -1)
    assert (images[:, 0] != images[:, 1]).double().mean() > 0.5


@pytest.mark.parametrize("batch", [1, 5, 7])  # fewer than a class holds, not a multiple of it
def test_with_squared_losses_by_class_batches_do_not_matter(batch):
    given = task(ipc=2)
    statistics, targets = aims(given)
    how = dataclasses.replace(WMDD, iterations=8, feature_loss="squared")
    one = recover(given, statistics, how, **targets).int()
    other = recover(given, statistics, dataclasses.replace(how, batch=batch), **targets).int()
    assert (one - other).abs().max() <= 1


def test_more_classes_than_a_batch_holds_are_optimised_in_parts():
    given = task(ipc=2)
    how = dataclasses.replace(SRE2L, iterations=8)
    whole = recover(given, running(given.teacher), how)
    parts = recover(given, running(given.teacher), dataclasses.replace(how, batch=3))
    assert parts.shape == whole.shape
    assert not torch.equal(parts, whole)  # a batch matches the statistics of all images


@pytest.mark.parametrize("how", [WMDD, SRE2L])
def test_each_step_is_one_pass_of_each_image_and_the_teacher_is_left_alone(how):
    given = task()
    before = untouched.fingerprint(given.teacher)
    with counting(given.teacher) as counted:
        recover(given, running(given.teacher), how)
        assert (counted.forward, counted.backward) == (16 * 60, 16 * 60)
    untouched.check_untouched(before, given.teacher, "recover")


def test_progress_is_told_in_steps_of_all_batches():
    told = []
    given = task(progress=lambda done, total: told.append((done, total)))
    recover(given, running(given.teacher), dataclasses.replace(SRE2L, iterations=70, batch=8))
    assert told == [(50, 140), (70, 140), (120, 140), (140, 140)]


def test_a_curriculum_begins_with_whole_images_and_ends_with_any():
    how = Recovery(iterations=100, curriculum=0.5, scale=(0.1, 1.0))
    left, top, right, bottom = recovery._views(task(), how, 0).boxes.unbind(1)
    area = (right - left) * (bottom - top)
    assert area[0] > 0.999
    quarter = 0.1 + 0.9 * (1 + math.cos(math.pi * 0.5)) / 2  # step 25 of 50
    assert area[:26].min() > quarter - 1e-3
    assert area[50:].min() < 0.25


def test_mirror_images_are_drawn_only_where_they_keep_the_label():
    assert recovery._views(task(flip=True), WMDD, 0).mirrored.any()
    assert not recovery._views(task(flip=False), WMDD, 0).mirrored.any()


def test_a_loss_that_is_not_finite_says_what_to_lower():
    given = task()
    with pytest.raises(BenchError, match=r"diverged.*step 50 of 60.*lower lam or lr"):
        recover(given, running(given.teacher), dataclasses.replace(SRE2L, lam=1e39))


def test_statistics_of_classes_need_whole_classes():
    with pytest.raises(BenchError, match="set whole = True"):
        recover(task(), aims(task())[0], SRE2L)


def test_without_a_curriculum_parts_of_images_are_seen_from_the_first_step_on():
    how = Recovery(iterations=100, curriculum=0.0, scale=(0.1, 0.2))
    boxes = recovery._views(task(), how, 0).boxes
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    assert area.max() <= 0.2 + 1e-5


def test_the_last_batch_is_no_rest():
    sizes = [rows.numel() for rows in recovery._passes(101, 1, Recovery(batch=100, whole=False))]
    assert sorted(sizes) == [50, 51]
    sizes = [rows.numel() for rows in recovery._passes(10, 11, Recovery(batch=100))]
    assert sorted(sizes) == [55, 55]


def test_a_teacher_without_batchnorm_is_declined():
    statistics = running(fixtures.trained(toy.GRAY))
    teacher = networks.build(CONVNET, (1, 8, 8), 8, [0.4], [0.3])
    with pytest.raises(Unsupported, match="no BatchNorm"):
        recover(task(teacher=teacher), statistics, SRE2L)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("iterations", -1, "0 or more"),
        ("batch", 0, "1 or more"),
        ("lr", 0.0, "more than 0"),
        ("lam", -1.0, "0 or more"),
        ("roll", -1, "0 or more"),
        ("curriculum", 1.5, r"in \[0, 1\]"),
        ("feature_loss", "cubed", "'norm' or 'squared'"),
        ("scale", (0.5, 0.2), "smallest <= largest"),
        ("scale", (0.5,), "two areas"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(field, value, expected):
    with pytest.raises(BenchError, match=f"{field} is .*; expected .*{expected}"):
        Recovery(**{field: value})


@pytest.mark.parametrize("last", [1, 13, 25])
@pytest.mark.parametrize("how", [WMDD, SRE2L], ids=["wmdd", "sre2l"])
def test_a_recovery_that_was_killed_ends_with_the_images_of_one_that_was_not(how, last):
    short = dataclasses.replace(how, iterations=15, batch=8)

    def made(memory):
        given = dataclasses.replace(task(), checkpoint=memory)
        statistics, targets = aims(given)
        if how is SRE2L:
            return recover(given, running(given.teacher), short)
        return recover(given, statistics, short, **targets)

    whole = made(Memory(999))
    memory = Memory(last)
    with pytest.raises(Killed):
        made(memory)
    memory.last = 999
    assert torch.equal(made(memory), whole)
