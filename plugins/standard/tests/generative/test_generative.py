"""Each metric against an independent computation, on features that are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from prdc import compute_prdc
from sklearn.neighbors import NearestNeighbors
from torch import nn

from bench import BenchError, CondensedSet, Data, Missing, Selection, Trial, Unsupported
from bench.checks import checks_for, run_checks
from bench.contract.kinds import fact
from bench_standard import files
from bench_standard.generative import METRICS, extractors
from bench_standard.generative.copies import OfSet, Uncopied
from bench_standard.generative.coverage import (
    Density,
    Memorisation,
    Neighbours,
    drawn_alike,
    nearest,
    neighbours,
    radii,
)
from bench_standard.generative.denoising import DenoisingLoss
from bench_standard.generative.distances import (
    Frechet,
    Kernel,
    KernelSpread,
    SampleAccuracy,
    Score,
)
from bench_standard.generative.extractors import CLASSIFIER, EFFICIENTNET, look

BY_NAME = {metric.name: metric for metric in METRICS}
OWN = [metric for metric in METRICS if getattr(metric, "eye", CLASSIFIER) == CLASSIFIER]


class Linear(nn.Module):
    """Images of 2x2 pixels; features are the pixels, logits a fixed map of them."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.last = nn.Linear(4, classes, bias=False)
        with torch.no_grad():
            self.last.weight.copy_(torch.linspace(-3, 3, 4 * classes).view(classes, 4).sin() * 9)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.last(images.flatten(1))


def images(count: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (0.4 + shift + 0.15 * torch.randn(count, 1, 2, 2, generator=generator)).clamp(0, 1)


def trial(
    samples: torch.Tensor, real: torch.Tensor, condensed: CondensedSet | None = None
) -> Trial:
    labels = torch.arange(len(real)) % 3
    data = Data.from_tensors((real, labels), (real, labels), ["a", "b", "c"])
    one_hot = nn.functional.one_hot(labels[:9], 3).float()
    return Trial(
        data,
        condensed or CondensedSet(real[:9], one_hot),
        labels=labels,
        index=torch.arange(len(real)),
        samples=samples,
        networks={"features": Linear},
    )


SAMPLES, REAL = images(400, 1, 0.05), images(400, 2)
ONE, TWO = (i.flatten(1).double().numpy() for i in (SAMPLES, REAL))


@pytest.mark.parametrize(
    "metric",
    [BY_NAME["fd"]]
    + [
        pytest.param(metric, marks=pytest.mark.slow)
        for metric in (*OWN, BY_NAME["kd-efflite0"])
        if metric is not BY_NAME["fd"]
    ],
    ids=lambda m: m.name,
)
def test_the_contract_holds(metric) -> None:
    verdicts = run_checks(checks_for("metric", metric))
    assert [v for v in verdicts if v.status == "failed"] == []
    skipped = [v.check for v in verdicts if v.status == "skipped"]
    assert all("ranks perfect" in check for check in skipped)  # it is not about samples


def test_the_frechet_distance_is_that_of_two_gaussians() -> None:
    shift = ONE.mean(0) - TWO.mean(0)
    a, b = np.cov(ONE.T), np.cov(TWO.T)
    values, vectors = np.linalg.eigh(a)
    root = vectors @ np.diag(np.sqrt(values)) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ b @ root)).sum()
    expected = shift @ shift + np.trace(a + b) - 2 * cross
    assert Frechet().measure(trial(SAMPLES, REAL)) == pytest.approx(expected, rel=1e-6)


def test_the_frechet_distance_is_declined_where_its_bias_would_drown_it() -> None:
    with pytest.raises(Unsupported, match="4 feature dimensions want 80 images; 60 were drawn"):
        Frechet().measure(trial(SAMPLES[:60], REAL[:60]))
    assert Frechet(least=0).measure(trial(SAMPLES[:60], REAL[:60])) > 0


def unbiased(x: np.ndarray, y: np.ndarray, paired: bool = True) -> float:
    """MMD^2 with the cubic kernel, by loops; `paired` rows are not compared with each other."""

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / len(a) + 1) ** 3)

    n = len(x)
    within = [sum(kernel(s[i], s[j]) for i in range(n) for j in range(n) if i != j) for s in (x, y)]
    across = [kernel(x[i], y[j]) for i in range(n) for j in range(n) if i != j or not paired]
    return sum(within) / (n * (n - 1)) - 2 * sum(across) / len(across)


def test_the_kernel_distance_is_the_unbiased_estimate() -> None:
    one = trial(SAMPLES[:40], REAL[:40])
    expected = unbiased(ONE[:40], TWO[:40])
    assert Kernel(subsets=1, size=40).measure(one) == pytest.approx(expected, rel=1e-5, abs=1e-9)
    assert KernelSpread(subsets=1, size=40).measure(one) == 0
    assert KernelSpread(subsets=8, size=20).measure(one) > 0
    with pytest.raises(Unsupported, match="a subset has 500 images; 40 were drawn"):
        Kernel().measure(one)


def test_the_kernel_distance_of_samples_of_the_right_classes_is_unbiased() -> None:
    """As samples are drawn: one for each test image, of its class."""
    middle = torch.tensor([0.2, 0.5, 0.8]).view(3, 1, 1, 1)[torch.arange(30) % 3]
    sides = [
        [middle + 0.1 * (images(30, 2 * k + side) - 0.4) for side in (0, 1)] for k in range(40)
    ]
    found = [Kernel(subsets=1, size=30).measure(trial(*pair)) for pair in sides]
    error = np.std(found) / len(found) ** 0.5
    assert abs(np.mean(found)) < 3 * error
    vectors = [[side.flatten(1).double().numpy() for side in pair] for pair in sides]
    assert np.mean([unbiased(*pair, paired=False) for pair in vectors[:10]]) < -10 * error


def test_the_score_is_high_where_the_classifier_is_sure_of_each_and_of_all_classes() -> None:
    with torch.no_grad():
        p = Linear()(SAMPLES).double().softmax(1).numpy()
    expected = np.exp((p * (np.log(p) - np.log(p.mean(0)))).sum(1).mean())
    assert Score().measure(trial(SAMPLES, REAL)) == pytest.approx(expected, rel=1e-6)
    same = SAMPLES[:1].expand(400, -1, -1, -1)
    assert Score().measure(trial(same, REAL)) == pytest.approx(1)


def test_precision_and_recall_are_those_of_nearest_neighbours() -> None:
    def inside(points: np.ndarray, centres: np.ndarray, k: int) -> float:
        distances, _ = NearestNeighbors(n_neighbors=k + 1).fit(centres).kneighbors(centres)
        radius = distances[:, k]
        apart = np.linalg.norm(points[:, None] - centres[None], axis=2)
        return float((apart <= radius).any(1).mean())

    one = trial(SAMPLES, REAL)
    assert Neighbours().measure(one) == pytest.approx(inside(ONE, TWO, 3))
    assert BY_NAME["recall"].measure(one) == pytest.approx(inside(TWO, ONE, 3))


def test_density_and_coverage_are_those_of_their_authors() -> None:
    expected = compute_prdc(TWO, ONE, nearest_k=5)
    one = trial(SAMPLES, REAL)
    assert Density().measure(one) == pytest.approx(expected["density"], abs=1e-9)
    assert BY_NAME["coverage"].measure(one) == pytest.approx(expected["coverage"], abs=1e-9)


def test_distances_made_in_chunks_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = (torch.from_numpy(points) for points in (ONE, TWO))
    whole = [neighbours(kind, x, y, 3) for kind in ("precision", "recall", "density", "coverage")]
    monkeypatch.setattr("bench_standard.generative.coverage.CHUNK", 37)
    assert whole == [
        neighbours(kind, x, y, 3) for kind in ("precision", "recall", "density", "coverage")
    ]
    assert radii(x, 1).shape == (400,)
    assert nearest(x, x).max() < 1e-6  # a copy is at no distance


def test_too_few_images_have_no_neighbours() -> None:
    with pytest.raises(Unsupported, match="3 neighbours of each want more than 3 images"):
        Neighbours().measure(trial(SAMPLES[:3], REAL[:3]))


def test_copies_of_condensed_images_are_memorised_and_fresh_ones_are_not() -> None:
    pool, real, fresh = images(90, 3), images(90, 4), images(90, 5)
    one_hot = nn.functional.one_hot(torch.arange(90) % 3, 3).float()
    condensed = CondensedSet(pool, one_hot)
    for metric in (Memorisation(), Memorisation(features="", space="pixels")):
        assert metric.measure(trial(pool, real, condensed)) == 1
        assert metric.measure(trial(real, real, condensed)) == 0
        assert metric.measure(trial(fresh, pool, condensed)) == 0.5  # held out as it is condensed
        assert 0.3 < metric.measure(trial(fresh, real, condensed)) < 0.7


def test_memorisation_compares_equally_many_of_each_class() -> None:
    labels = torch.tensor([0] * 50 + [1] * 2)  # none of class 2
    one = trial(
        images(300, 5),
        images(300, 4),
        CondensedSet(images(52, 3), nn.functional.one_hot(labels, 3).float()),
    )
    draws = [rows for _, rows in drawn_alike(one, 4)]
    for drawn in draws:
        assert torch.bincount(one.data.test.labels[drawn], minlength=3).tolist() == [50, 2, 0]
        assert len(drawn.unique()) == 52
    assert len({tuple(drawn.tolist()) for drawn in draws}) == 4


def test_memorisation_of_real_images_that_are_named_is_that_of_their_pixels() -> None:
    real, labels = images(300, 4), nn.functional.one_hot(torch.arange(52) % 3, 3).float()
    named, copied = (
        Memorisation().measure(trial(images(300, 5), real, CondensedSet(some, labels)))
        for some in (Selection(torch.arange(52)), real[:52])
    )
    assert named == copied


def test_copies_of_one_image_among_many_are_still_memorised() -> None:
    pool, real = images(300, 3), images(300, 4)
    condensed = CondensedSet(pool, nn.functional.one_hot(torch.arange(300) % 3, 3).float())
    one = trial(pool[:30], real, condensed)
    assert Memorisation().measure(one) == 1


def test_of_a_set_larger_than_what_is_held_out_as_many_images_are_compared() -> None:
    """A copy is then seen with the chance that its image is drawn: here one of three."""
    pool, real = images(900, 3), images(300, 4)
    large = CondensedSet(pool, nn.functional.one_hot(torch.arange(900) % 3, 3).float())
    one = trial(pool[:300], real, large)
    for of_set, of_test in drawn_alike(one, 2):
        for rows, labels in ((of_set, large.classes), (of_test, one.data.test.labels)):
            assert torch.bincount(labels[rows], minlength=3).tolist() == [100, 100, 100]
    assert 0.55 < Memorisation(features="", space="pixels").measure(one) < 0.85
    fresh = trial(images(300, 9), real, large)
    assert 0.4 < Memorisation(features="", space="pixels").measure(fresh) < 0.6


def test_memorisation_is_the_mean_over_draws_of_what_is_held_out() -> None:
    pool, real, fresh = images(9, 3), images(300, 4), images(300, 5)
    condensed = CondensedSet(pool, nn.functional.one_hot(torch.arange(9) % 3, 3).float())
    one = trial(fresh, real, condensed)
    near = nearest(fresh.flatten(1).double(), pool.flatten(1).double())
    shares = [
        (near < nearest(fresh.flatten(1).double(), real[rows].flatten(1).double())).double().mean()
        for _, rows in drawn_alike(one, 3)
    ]
    found = Memorisation(features="", space="pixels", draws=3).measure(one)
    assert found == pytest.approx(float(sum(shares)) / 3)
    assert len({*map(float, shares)}) > 1


# ---- beside a distance


def set_of(pixels: torch.Tensor) -> CondensedSet:
    return CondensedSet(pixels, nn.functional.one_hot(torch.arange(len(pixels)) % 3, 3).float())


def flat(pixels: torch.Tensor) -> np.ndarray:
    return pixels.flatten(1).double().numpy()


def test_only_samples_that_lie_no_nearer_to_the_set_than_to_held_out_images_count() -> None:
    """The copies, half of the samples, are found by brute force; the rest is held against the test
    images of the same rows."""
    pool, real = images(30, 3, 0.2), images(90, 4)
    samples = torch.cat([pool[:15].repeat(3, 1, 1, 1), images(45, 5)])
    one = trial(samples, real, set_of(pool))
    expected, left = [], set()
    for of_set, of_test in drawn_alike(one, 2):
        far = [
            np.linalg.norm(flat(samples)[:, None] - flat(others)[None], axis=2).min(1)
            for others in (pool[of_set], real[of_test])
        ]
        kept = far[1] < far[0]
        assert not kept[:45].any()
        left.add(int(kept.sum()))
        expected.append(unbiased(flat(samples)[kept], flat(real)[kept]))
    assert len(left) == 2  # the draws differ
    found = Uncopied(draws=2, least=10).measure(one)
    assert found == pytest.approx(sum(expected) / 2, rel=1e-5, abs=1e-7)
    assert found < Kernel(subsets=1, size=90).measure(one)  # the copies lie far away here


def test_where_too_few_samples_are_no_copies_nothing_is_said() -> None:
    pool, real = images(90, 3), images(90, 4)
    with pytest.raises(Unsupported, match="0 of 90 samples are no copies; expected 50 or more"):
        Uncopied().measure(trial(pool, real, set_of(pool)))


def test_without_copies_it_is_the_kernel_distance() -> None:
    real, far = images(90, 4), set_of(images(90, 3, 0.5))
    one = trial(images(90, 5), real, far)
    assert Uncopied().measure(one) == pytest.approx(Kernel(subsets=1, size=90).measure(one))


def test_the_distance_of_a_set_is_that_of_its_images_whatever_the_samples() -> None:
    pool, real = images(30, 3, 0.1), images(90, 4)
    expected = []
    for of_set, of_test in drawn_alike(trial(real, real, set_of(pool)), 3):
        assert torch.equal(of_set.sort().values, torch.arange(30))
        expected.append(unbiased(flat(pool[of_set]), flat(real[of_test])))
    for samples in (real, images(90, 5)):
        found = OfSet(draws=3).measure(trial(samples, real, set_of(pool)))
        assert found == pytest.approx(sum(expected) / 3, rel=1e-5)


def test_a_few_real_images_lie_where_real_ones_do_and_learnt_ones_elsewhere() -> None:
    real = images(900, 4)
    near = [OfSet().measure(trial(real, real, set_of(images(30, s)))) for s in range(10, 22)]
    assert abs(np.mean(near)) < 3 * np.std(near) / len(near) ** 0.5  # unbiased, however few
    assert OfSet().measure(trial(real, real, set_of(images(30, 10, 0.3)))) > max(near)


def test_one_image_has_no_distance() -> None:
    real = images(90, 4)
    with pytest.raises(Unsupported, match="wants two images or more; there are 1"):
        OfSet().measure(trial(real, real, set_of(images(1, 3))))


def test_a_sample_is_recovered_if_the_classifier_gives_it_its_label() -> None:
    said = Linear()(SAMPLES).argmax(1)
    one = trial(SAMPLES, REAL)
    expected = (said == one.labels).double().mean().item()
    assert SampleAccuracy().measure(one) == pytest.approx(expected)


def test_what_has_been_looked_at_is_not_looked_at_again() -> None:
    calls = []

    class Counted(Linear):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            calls.append(len(images))
            return super().forward(images)

    def one(samples: torch.Tensor) -> Trial:
        found = trial(samples, REAL)
        return Trial(**{**vars(found), "networks": {"features": Counted}})

    fresh = images(300, 77)
    first = look(one(fresh), fresh, CLASSIFIER)[0]
    seen = sum(calls)
    assert torch.equal(look(one(fresh.clone()), fresh.clone(), CLASSIFIER)[0], first)
    assert sum(calls) == seen == 300


def test_efficientnet_sees_photographs_as_its_authors_do() -> None:
    """Its weights are those of ImageNet only if they went into the right places."""
    from sklearn.datasets import load_sample_image

    for name, wanted in (("china.jpg", 698), ("flower.jpg", 985)):  # a palace, a daisy
        photo = (
            torch.from_numpy(load_sample_image(name).copy()).permute(2, 0, 1)[None].float() / 255
        )
        middle = (photo.shape[3] - photo.shape[2]) // 2
        square = photo[..., middle : middle + photo.shape[2]]
        features, logits = look(trial(SAMPLES, REAL), square, EFFICIENTNET, 224)
        assert features.shape == (1, 1280)
        assert logits.argmax(1).item() == wanted


def test_metrics_of_inception_say_what_to_get() -> None:
    with pytest.raises(
        Missing, match=r"weights-inception-2015-12-05-6726825d\.pth; get it with `bench run --d"
    ):
        BY_NAME["fid"].measure(trial(SAMPLES, REAL))


def test_only_metrics_by_weights_in_print_can_fetch_them() -> None:
    fetching = {name for name, one in BY_NAME.items() if fact("metric", one, "download")}
    assert {"fid", "is", "kid", "precision-inception", "recall-inception"} <= fetching
    assert all(BY_NAME[name].eye == extractors.INCEPTION for name in fetching)


def test_what_is_downloaded_has_the_hash_of_the_name_or_is_not_kept(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = tmp_path / "published.pth"
    published.write_bytes(b"weights")
    kept = tmp_path / "data" / extractors.INCEPTION_FILE
    monkeypatch.setenv("BENCH_DATA", str(kept.parent))
    monkeypatch.setattr(extractors, "INCEPTION_URL", published.as_uri())
    with pytest.raises(RuntimeError, match="invalid hash value"):
        BY_NAME["fid"].download()
    assert not [*kept.parent.iterdir()]
    monkeypatch.setattr(extractors, "INCEPTION_SHA256", files.sha256(published)[:8])
    BY_NAME["fid"].download()
    assert kept.read_bytes() == b"weights"
    published.unlink()
    BY_NAME["is"].download()  # what is here is not fetched again


@pytest.fixture
def inception_of_chance(tmp_path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A weights file like the published one, but of random weights; it is not to be had here."""
    from torch_fidelity import feature_extractor_inceptionv3 as published

    with monkeypatch.context() as patch, torch.random.fork_rng():
        torch.manual_seed(0)
        patch.setattr(published, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(nn.Module, "load_state_dict", lambda *_: None)
        network = published.FeatureExtractorInceptionV3("inception", ["2048"])
    file = tmp_path / extractors.INCEPTION_FILE
    torch.save(network.state_dict(), file)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    monkeypatch.setattr(extractors, "_network", extractors._network.__wrapped__)
    return str(file)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")
def test_by_inception_metrics_are_those_of_torch_fidelity(
    inception_of_chance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a dozen colour images a side, too few for a covariance, and the same all the same."""
    from torch_fidelity import calculate_metrics

    monkeypatch.setattr(extractors, "INCEPTION_SHA256", "")
    generator = torch.Generator().manual_seed(4)
    one, other = ((255 * torch.rand(12, 3, 32, 32, generator=generator)).byte() for _ in range(2))
    theirs = calculate_metrics(
        input1=torch.utils.data.Subset(one, range(12)),
        input2=torch.utils.data.Subset(other, range(12)),
        feature_extractor="inception-v3-compat",
        feature_extractor_weights_path=inception_of_chance,
        **dict.fromkeys(("fid", "isc", "prc"), True),
        **dict.fromkeys(("cuda", "verbose", "save_cpu_ram", "cache"), False),
        isc_splits=1,
    )
    ours = trial(one.float() / 255, other.float() / 255)
    measured = {
        "frechet_inception_distance": replace(BY_NAME["fid"], least=0),
        "inception_score_mean": replace(BY_NAME["is"], splits=1),
        "precision": BY_NAME["precision-inception"],
        "recall": BY_NAME["recall-inception"],
    }
    for name, metric in measured.items():
        assert metric.measure(ours) == pytest.approx(theirs[name], rel=1e-4), name


@pytest.mark.slow
@pytest.mark.usefixtures("inception_of_chance")
def test_inception_is_that_of_the_published_file_and_of_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = trial(SAMPLES[:4], REAL[:4])
    with pytest.raises(Missing, match="expected one that begins with 6726825d; metrics of other"):
        BY_NAME["fid"].measure(one)
    monkeypatch.setattr(extractors, "INCEPTION_SHA256", "")
    with pytest.raises(Unsupported, match="2,048 feature dimensions want 40,960 images; 4 were"):
        BY_NAME["fid"].measure(one)
    features, logits = look(one, one.samples, extractors.INCEPTION)  # grey, and tiny
    assert features.shape == (4, 2048)
    assert logits.shape == (4, 1008)


def test_the_denoising_loss_is_one_bank_for_all_students() -> None:
    from bench.training import diffusion, toy

    data = toy.GRAY.load()
    torch.manual_seed(0)
    student = diffusion.build(toy.ToyDenoiser(), data.shape, 8).eval()
    labels = nn.functional.one_hot(torch.arange(8), 8).float()
    condensed = CondensedSet(data.train.images(torch.arange(8)), labels)
    one = Trial(data, condensed, networks={"student": lambda: student})
    metric = DenoisingLoss(images=20, times=5)
    assert metric.measure(one) == metric.measure(one) > 0
    assert metric.measure(one) != DenoisingLoss(images=20, times=5, seed=1).measure(one)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Frechet(eye="cat"), "eye is 'cat'; expected one of classifier, efficientnet"),
        (lambda: Frechet(features=""), "expected a teacher's name in `features`"),
        (lambda: Frechet(eye=EFFICIENTNET), "none with another"),
        (lambda: Kernel(size=1), "size is 1; expected 2 or more"),
        (lambda: Score(splits=0), "splits is 0; expected 1 or more"),
        (lambda: Neighbours(kind="x"), "kind is 'x'; expected precision or recall"),
        (lambda: Neighbours(k=0), "k is 0; expected 1 or more"),
        (lambda: Uncopied(draws=0), "kd-uncopied: draws is 0; expected 1 or more"),
        (lambda: Uncopied(least=1), "kd-uncopied: least is 1; expected 2 or more"),
        (lambda: OfSet(draws=0), "kd-set: draws is 0; expected 1 or more"),
        (lambda: Memorisation(space="x"), "space is 'x'; expected features or pixels"),
        (lambda: DenoisingLoss(times=0), "times is 0; expected 1 or more"),
    ],
)
def test_a_bad_field_is_refused(make, said: str) -> None:
    with pytest.raises(BenchError) as caught:
        make()
    assert said in str(caught.value)
