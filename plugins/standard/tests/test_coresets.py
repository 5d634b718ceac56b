import dataclasses
import threading

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from torch import nn

from bench import BenchError, Selection, Task, TensorSplit
from bench.checks import checks_for, run_checks
from bench.contract import code
from bench.training import sets
from bench_standard.central import Central
from bench_standard.coresets import (
    Easiest,
    Full,
    Hardest,
    Herding,
    KCenter,
    Random,
    greedy_k_center,
    herd,
)
from bench_standard.medoid import Medoid, medoids

CLASSES, SIZES = 3, (20, 300, 40)  # more than one batch of features in the second class
ORDERED = [
    Random(),
    KCenter(),
    KCenter(space="pixels"),
    Herding(),
    Herding(space="pixels"),
    Central(),
    Central(space="pixels"),
    Easiest(),
    Hardest(),
]
CORESETS = [*ORDERED, Medoid(), Medoid(space="pixels")]


def split():
    labels = torch.repeat_interleave(torch.arange(CLASSES), torch.tensor(SIZES))
    generator = torch.Generator().manual_seed(0)
    labels = labels[torch.randperm(len(labels), generator=generator)]
    return TensorSplit(torch.rand(len(labels), 1, 4, 4, generator=generator), labels)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, CLASSES)).eval()


def task(ipc, seed=0, networks=None):
    return Task(
        train=split(),
        classes=("a", "b", "c"),
        shape=(1, 4, 4),
        mean=(0.5,),
        std=(0.3,),
        flip=False,
        ipc=ipc,
        seed=seed,
        networks={"teacher": network} if networks is None else networks,
    )


def picked(method, ipc, **given):
    """The indices picked, [CLASSES, ipc]."""
    return method.condense(task(ipc, **given)).images.indices.view(CLASSES, ipc)


def brute_k_center(points, count):
    """By the definition: the point whose nearest picked one is farthest, from the start again."""
    centre = points.mean(0)
    chosen = [min(range(len(points)), key=lambda i: np.linalg.norm(points[i] - centre))]
    while len(chosen) < count:
        rest = [i for i in range(len(points)) if i not in chosen]
        nearest = {i: min(np.linalg.norm(points[i] - points[j]) for j in chosen) for i in rest}
        chosen.append(max(rest, key=nearest.__getitem__))
    return chosen


def brute_herding(points, count):
    """By the definition: the running mean that lies nearest to the mean of the class."""
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    chosen = []
    for _ in range(count):
        rest = [i for i in range(len(points)) if i not in chosen]
        gap = {i: np.linalg.norm(unit[[*chosen, i]].mean(0) - unit.mean(0)) for i in rest}
        chosen.append(min(rest, key=gap.__getitem__))
    return chosen


@pytest.mark.parametrize(
    ("fast", "brute"), [(greedy_k_center, brute_k_center), (herd, brute_herding)]
)
@pytest.mark.parametrize("seed", range(5))
def test_a_greedy_pick_is_that_of_its_definition(fast, brute, seed):
    points = np.random.default_rng(seed).normal(0.3, 1, size=(40, 5))
    assert fast(torch.from_numpy(points), 15).tolist() == brute(points, 15)


@pytest.mark.parametrize("greedy", [greedy_k_center, herd])
def test_duplicates_are_picked_once_each(greedy):
    points = torch.ones(6, 3)
    assert sorted(greedy(points, 6).tolist()) == list(range(6))


def test_k_center_covers_clusters_before_it_goes_into_one():
    clusters = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0], [9.0, 9.0]])
    points = clusters.repeat_interleave(10, 0) + 0.1 * torch.rand(40, 2)
    assert sorted((greedy_k_center(points, 4) // 10).tolist()) == [0, 1, 2, 3]


@pytest.mark.parametrize("method", CORESETS)
def test_a_coreset_takes_ipc_images_of_each_class_with_their_labels(method):
    condensed = method.condense(task(7))
    assert isinstance(condensed.images, Selection)
    index = condensed.images.indices
    assert len(index.unique()) == 7 * CLASSES
    labels = torch.arange(CLASSES).repeat_interleave(7)
    assert torch.equal(split().labels[index], labels)
    assert torch.equal(condensed.labels, torch.eye(CLASSES)[labels])
    assert condensed.labels.dtype == torch.float32


@pytest.mark.parametrize("method", ORDERED)
def test_a_small_coreset_is_the_beginning_of_a_large_one(method):
    assert torch.equal(picked(method, 2), picked(method, 20)[:, :2])


@pytest.mark.parametrize("method", CORESETS)
def test_an_image_weighs_its_pixels_and_its_label_8_bytes(method):
    stored = sets.to_tensors(method.condense(task(7)))
    count = 7 * CLASSES
    expected = {"images": 16 * count, "labels": 8 * count, "weights": 0, "extras": 0}
    assert sets.weigh(stored, (1, 4, 4)) == expected
    assert sets.index_bytes(stored) == 8 * count


def test_random_follows_the_seed():
    assert torch.equal(picked(Random(), 5, seed=3), picked(Random(), 5, seed=3))
    assert not torch.equal(picked(Random(), 5, seed=3), picked(Random(), 5, seed=4))


def test_random_is_uniform_within_a_class():
    """Over 200 seeds, each of the 20 images of class a is drawn 5 / 20 of the time."""
    counts = torch.zeros(len(split().labels))
    for seed in range(200):
        counts[picked(Random(), 5, seed=seed)[0]] += 1
    rates = counts[split().labels == 0] / 200
    assert rates.mean() == pytest.approx(0.25)
    assert (rates - 0.25).abs().max() < 4 * (0.25 * 0.75 / 200) ** 0.5


@pytest.mark.parametrize(
    "method",
    [Random(), Full(), *(kind(space="pixels") for kind in (KCenter, Herding, Medoid))],
)
def test_who_needs_no_features_loads_no_teacher(method):
    def refuse():
        raise AssertionError("the teacher was loaded")

    assert len(method.condense(task(2, networks={"teacher": refuse})))


@pytest.mark.parametrize("kind", [KCenter, Herding, Medoid])
def test_features_and_pixels_are_different_spaces(kind):
    assert not torch.equal(picked(kind(), 5), picked(kind(space="pixels"), 5))


def test_features_are_those_that_the_last_linear_layer_sees():
    members = (split().labels == 1).nonzero().squeeze(1)
    with torch.no_grad():
        hidden = network()[:3](split().images(members))
    assert torch.equal(picked(KCenter(), 9)[1], members[brute_k_center(hidden.numpy(), 9)])


def pixels_of(label):
    """Indices and flattened pixels of a class."""
    members = (split().labels == label).nonzero().squeeze(1)
    return members, split().images(members).flatten(1).double().numpy()


@pytest.mark.parametrize("seed", [0, 7, 2**62 + 5])  # by 7, one image is nearest to two centres
def test_medoids_are_the_images_nearest_to_the_centres_of_k_means(seed):
    given = picked(Medoid(space="pixels"), 6, seed=seed)
    for label in range(CLASSES):
        members, points = pixels_of(label)
        chosen = []
        for centre in KMeans(6, n_init=1, random_state=seed % 2**32).fit(points).cluster_centers_:
            rest = [i for i in range(len(points)) if i not in chosen]
            chosen.append(min(rest, key=lambda i: np.linalg.norm(points[i] - centre)))
        assert given[label].tolist() == members[chosen].tolist()


def test_nearest_mean_takes_the_images_nearest_to_the_mean_of_their_class():
    given = picked(Central(space="pixels"), 3)
    for label in range(CLASSES):
        members, points = pixels_of(label)
        far = np.linalg.norm(points - points.mean(0), axis=1)
        assert given[label].tolist() == members[far.argsort(kind="stable")[:3]].tolist()
    assert given[:, 0].tolist() != picked(Herding(space="pixels"), 3)[:, 2].tolist()


def test_medoids_find_one_image_of_each_cluster():
    clusters = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0], [9.0, 9.0]])
    points = clusters.repeat_interleave(10, 0)
    points += 0.1 * torch.rand(40, 2, generator=torch.Generator().manual_seed(0))
    assert sorted((medoids(points, 4, 0) // 10).tolist()) == [0, 1, 2, 3]


@pytest.mark.parametrize("count", [2, 3, 5, 9])
@pytest.mark.parametrize("seed", range(5))
def test_duplicates_fill_up_a_class_with_few_different_images(count, seed):
    points = torch.tensor([[0.0, 1.0], [5.0, 5.0], [0.5, 0.0]]).repeat(3, 1)
    found = medoids(points, count, seed)
    assert len(found.unique()) == count
    assert len(points[found].unique(dim=0)) == min(count, 3)
    assert torch.equal(medoids(points, count, seed), found)


def test_points_too_near_for_k_means_to_tell_apart_are_medoids_all_the_same():
    points = torch.tensor([[0.0], [1e-30], [2e-30], [1.0]])
    assert sorted(medoids(points, 4, 0).tolist()) == [0, 1, 2, 3]


def test_the_number_of_threads_changes_no_medoid(monkeypatch):
    points = torch.randn(3000, 20, generator=torch.Generator().manual_seed(0))
    seen = []
    fit = KMeans.fit

    def watched(self, *args):
        from threadpoolctl import threadpool_info

        seen.extend(pool["num_threads"] for pool in threadpool_info())
        return fit(self, *args)

    monkeypatch.setattr(KMeans, "fit", watched)
    medoids(points, 5, 0)
    assert set(seen) == {1}


@pytest.mark.parametrize(("method", "sign"), [(Easiest(), 1), (Hardest(), -1)])
def test_easy_and_hard_are_by_the_loss_of_the_teacher(method, sign):
    given = picked(method, 20)
    for label in range(CLASSES):
        members = (split().labels == label).nonzero().squeeze(1)
        with torch.no_grad():
            probabilities = network()(split().images(members)).double().softmax(1)
        loss = -np.log(probabilities[:, label].numpy())
        order = sorted(range(len(members)), key=lambda i: sign * loss[i])
        assert given[label].tolist() == members[order[:20]].tolist()


@pytest.mark.parametrize("method", [Easiest(), Hardest()])
def test_of_equal_losses_the_lower_index_comes_first(method):
    def same():  # a teacher that is of one mind about all images
        teacher = nn.Sequential(nn.Flatten(), nn.Linear(16, CLASSES)).requires_grad_(False)
        teacher[1].weight.zero_()
        return teacher.eval()

    first = [(split().labels == label).nonzero().squeeze(1)[:9] for label in range(CLASSES)]
    assert torch.equal(picked(method, 9, networks={"teacher": same}), torch.stack(first))


class OnDisk:
    """A split whose images are decoded when they are asked for, and notes what was asked for."""

    def __init__(self):
        self.of, self.asked, self.lock = split(), [], threading.Lock()

    @property
    def labels(self):
        return self.of.labels

    def images(self, index, boxes=None):
        with self.lock:
            self.asked.append(len(index))
        return self.of.images(index, boxes)


@pytest.mark.parametrize("method", CORESETS)
def test_images_that_are_not_in_memory_are_read_piece_by_piece(method):
    lazy = OnDisk()
    given = method.condense(dataclasses.replace(task(7), train=lazy))
    assert torch.equal(given.images.indices, method.condense(task(7)).images.indices)
    assert max(lazy.asked, default=0) <= 32
    assert sum(lazy.asked) == (0 if isinstance(method, Random) else sum(SIZES))


@pytest.mark.parametrize("method", [Random(), KCenter(), Full()])
def test_only_medoid_depends_on_scikit_learn(method):
    packages = {"bench_standard"}
    assert "scikit-learn" in code.requirements(Medoid.__module__, packages)
    assert "scikit-learn" not in code.requirements(type(method).__module__, packages)


@pytest.mark.parametrize(
    "method",
    [Easiest()]
    + [
        pytest.param(method, marks=pytest.mark.slow)
        for method in (Medoid(), Herding(space="pixels"), Hardest())
    ],
)
def test_the_contract_holds(method):
    verdicts = run_checks(checks_for("method", method))
    assert [v for v in verdicts if v.status != "passed"] == []


@pytest.mark.parametrize("ipc", [0, 21])
def test_a_budget_that_a_class_cannot_fill_is_refused(ipc):
    with pytest.raises(BenchError, match=f"ipc is {ipc} but class 'a' has 20 training images"):
        Random().condense(task(ipc))


@pytest.mark.parametrize("kind", [KCenter, Herding, Medoid])
def test_an_unknown_space_is_refused(kind):
    with pytest.raises(BenchError, match="space is 'logits'; expected one of features, pixels"):
        kind(space="logits")


def test_the_full_set_is_every_training_image_in_order():
    condensed = Full().condense(task(0))
    assert condensed.images.indices.tolist() == list(range(sum(SIZES)))
    assert torch.equal(condensed.labels.argmax(1), split().labels)
    assert Full.ceiling


def test_the_last_progress_says_that_all_is_done():
    seen = []
    given = task(2)
    Random().condense(Task(**{**vars(given), "progress": lambda *now: seen.append(now)}))
    assert seen == [(1, 3), (2, 3), (3, 3)]
