import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bench import BenchError, Task, TensorSplit
from bench.checks import fixtures
from bench.training import networks, toy
from bench.training.classifier import Examples, fit
from bench.training.passes import counting
from bench.training.recipe import Recipe
from bench_matching import matching
from bench_matching.matching import RealImages, begin, match, settle
from bench_matching.methods import DC, DM
from bench_matching.settings import Matching, loops
from bench_standard.architectures.convnet import ConvNet

INSTANCE = ConvNet(width=6, depth=2)


def task(data=toy.GRAY, ipc=2, seed=0, architecture=None, **changes):
    """A task whose backbones are those of one architecture, each with weights of its own."""
    loaded, calls = data.load(), iter(range(100_000))

    def backbone():
        return fixtures.network(architecture or toy.ToyConvNet(), loaded, 1 + next(calls))

    facts = (loaded.train, loaded.classes, loaded.shape, loaded.mean, loaded.std, loaded.flip)
    made = Task(*facts, ipc, seed, networks={"backbone": backbone})
    return dataclasses.replace(made, **changes)


def changed(of, **changes):
    return dataclasses.replace(of, **changes)


def rows(condensed, classes):
    """Images as float [K, m, ...] of a set whose labels are in order."""
    count = len(condensed) // classes
    assert torch.equal(condensed.labels.argmax(1), torch.arange(classes).repeat_interleave(count))
    assert condensed.images.dtype == torch.uint8
    return (condensed.images.float() / 255).view(classes, count, *condensed.images.shape[1:])


# ---- it is the published optimisation


def plain_dc(given, how):
    """The published loops, written out: one class after another, a sum, one backward pass."""
    draws = matching._generator(given.seed, "draws")
    real, classes, ipc = RealImages(given, draws), len(given.classes), given.ipc
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (given.mean, given.std))
    z = ((begin(given, how.init) - mean) / std).flatten(0, 1).requires_grad_()
    owners = torch.arange(classes).repeat_interleave(ipc)
    of_images = torch.optim.SGD([z], lr=how.lr, momentum=how.momentum)
    for _ in range(how.iterations):
        network = given.network()
        of_network = torch.optim.SGD(network.parameters(), lr=how.lr_network)
        for outer in range(how.outer):
            norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
            network.eval()
            if norms:  # statistics by hand, layer after layer, on 16 images of each class
                x = torch.cat([real.draw(k, 16) for k in range(classes)])
                x = (x - mean) / std
                for layer in network.network:
                    if layer in norms:
                        layer.running_mean = x.mean((0, 2, 3)).detach()
                        layer.running_var = x.transpose(0, 1).flatten(1).var(1).detach()
                    x = layer(x)
            total = 0
            for k in range(classes):
                images, own = real.draw(k, how.batch), owners == k
                labels = torch.full((len(images),), k)
                loss = F.cross_entropy(network(images), labels)
                aims = torch.autograd.grad(loss, list(network.parameters()))
                loss = F.cross_entropy(network(mean + std * z[own]), owners[own])
                found = torch.autograd.grad(loss, list(network.parameters()), create_graph=True)
                for a, b in zip(found, aims, strict=True):
                    if a.ndim > 1:
                        a, b = a.flatten(1), b.flatten(1)
                        total = total + (1 - (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))).sum()
            of_images.zero_grad()
            total.backward()
            of_images.step()
            with torch.no_grad():
                z.copy_(torch.maximum(torch.minimum(z, (1 - mean) / std), -mean / std))
            if outer + 1 == how.outer:
                break
            network.train()
            torch.randint(2**62, (1,), generator=draws)  # the seed of the order, of one batch
            for _ in range(how.inner):
                of_network.zero_grad()
                F.cross_entropy(network((mean + std * z).detach()), owners).backward()
                of_network.step()
    return (mean + std * z.detach()).view(classes, ipc, *given.shape)


@pytest.mark.parametrize("data", [toy.GRAY, toy.COLOR], ids=["grey", "colour"])
@pytest.mark.parametrize("architecture", [None, INSTANCE], ids=["batchnorm", "instancenorm"])
def test_dc_is_the_published_optimisation(data, architecture):
    method = DC(iterations=2, outer=3, inner=4, batch=12, lr=0.5, lr_network=0.05)
    expected = plain_dc(task(data, architecture=architecture), method)
    given = task(data, architecture=architecture)
    found = rows(method.condense(given), len(given.classes))
    assert (found - expected).abs().max() < 1 / 255
    assert (found - begin(given, "real")).abs().amax((2, 3, 4)).min() > 2 / 255  # all have moved


def embedding(classes):
    """A linear map of 1x4x4 images to 4 features, without bias, and a classifier."""
    torch.manual_seed(3)
    embed = nn.Linear(16, 4, bias=False)
    nn.init.orthogonal_(embed.weight)
    layers = nn.Sequential(nn.Flatten(), embed, nn.Linear(4, classes))
    return networks.Normalized(layers, [0.5], [0.25])


@pytest.mark.parametrize("ipc", [1, 3])
def test_dm_reaches_the_mean_embedding_of_each_class(ipc):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(3).repeat(10)
    pixels = (0.25 + 0.15 * labels.view(-1, 1, 1, 1)) + 0.3 * torch.rand(
        30, 1, 4, 4, generator=generator
    )
    network = embedding(3)
    given = Task(
        *(TensorSplit(pixels, labels), ("a", "b", "c"), (1, 4, 4), (0.5,), (0.25,), False, ipc, 0),
        networks={"backbone": lambda: network},
    )
    how = Matching(iterations=60, lr=0.3, batch=10, init="noise")
    made = rows(match(given, how, DM().distance_of), 3)
    for k in range(3):
        aim = networks.features(network, pixels[labels == k])[0].mean(0)
        found = networks.features(network, made[k])[0].mean(0)
        before = networks.features(network, begin(given, "noise")[k].clamp(0, 1))[0].mean(0)
        assert (found - aim).norm() < 0.02 < 0.2 < (before - aim).norm()


def test_the_gradient_of_dm_is_that_of_the_embeddings():
    given = task(architecture=INSTANCE)
    network, real = given.network(), given.train.images(torch.arange(6))
    made = given.train.images(torch.arange(6, 9)).requires_grad_()
    far = DM().distance_of(network, real, made, 2)
    layers = network.network[:-1]
    mean, std = network.mean, network.std
    gap = layers((made - mean) / std).mean(0) - layers((real - mean) / std).mean(0)
    assert far.item() == pytest.approx(gap.square().sum().item(), rel=1e-5)
    expected = torch.autograd.grad(gap.square().sum(), made)[0]
    assert torch.allclose(torch.autograd.grad(far, made)[0], expected, atol=1e-6)


# ---- what it does


def accuracy(images):
    """Of a student that is trained on images [K, m, C, H, W] of the grey toy data."""
    labels = torch.arange(len(images)).repeat_interleave(images.shape[1])
    examples = Examples(TensorSplit(images.flatten(0, 1), labels), torch.arange(16), labels)
    loaded = toy.GRAY.load()
    student = fixtures.network(toy.ToyConvNet(), loaded)
    fit(student, examples, Recipe(steps=60, lr=0.05), classes=8, seed=0)
    logits = networks.predict(student, loaded.test, torch.arange(len(loaded.test)))
    return (logits.argmax(1) == loaded.test.labels).double().mean().item()


FROM_NOISE = [
    DC(iterations=8, outer=4, inner=4, batch=20, init="noise", lr=2.0),
    DM(iterations=40, batch=32, init="noise"),
]


@pytest.mark.parametrize("method", FROM_NOISE, ids=lambda m: m.name)
def test_noise_becomes_images_that_teach_a_student(method):
    given = task(ipc=2)
    before = accuracy(begin(given, "noise").clamp(0, 1))
    assert accuracy(rows(method.condense(given), 8)) > before + 0.3


QUICK = Matching(iterations=2, outer=2, inner=2, batch=8, augment="color_crop_cutout_flip")


def test_the_same_seed_makes_the_same_bytes_and_another_seed_others():
    one, again, other = (match(task(seed=s), QUICK, DC().distance_of).images for s in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_images_begin_as_different_real_ones_of_their_class():
    given = task(ipc=3)
    pixels, labels = given.train.pixels, given.train.labels
    made = begin(given, "real")
    for k in range(8):
        own = pixels[labels == k]
        found = [int((own == image).all((1, 2, 3)).nonzero()) for image in made[k]]
        assert len(set(found)) == 3


def test_noise_has_the_mean_and_the_spread_of_the_data():
    made = begin(task(toy.COLOR, ipc=20), "noise")
    loaded = toy.COLOR.load()
    assert made.mean((0, 1, 3, 4)).tolist() == pytest.approx(loaded.mean, abs=0.01)
    assert made.std((0, 1, 3, 4)).tolist() == pytest.approx(loaded.std, abs=0.01)


def test_settling_gives_batchnorm_the_statistics_of_some_images_and_freezes_them():
    network = fixtures.network(toy.ToyConvNet(), toy.GRAY.load()).train()
    norm = network.network[1]
    images = toy.GRAY.load().train.images(torch.arange(30))
    for scale in (1.0, 0.3):  # nothing is left of those before
        settle(network, lambda: scale * images)  # noqa: B023
        seen = network.network[0]((scale * images - network.mean) / network.std)
        assert torch.allclose(norm.running_mean, seen.mean((0, 2, 3)), atol=1e-5)
        assert torch.allclose(norm.running_var, seen.transpose(0, 1).flatten(1).var(1), atol=1e-5)
    assert not any(m.training for m in network.modules())
    assert norm.momentum == 0.1


def test_a_network_is_trained_on_all_images_augmented(monkeypatch):
    trained = []

    def spy(network, examples, recipe, **given):
        trained.append((len(examples), recipe.dsa, recipe.epochs, given["flip"]))
        return fit(network, examples, recipe, **given)

    monkeypatch.setattr(matching, "fit", spy)
    match(task(), QUICK, DC().distance_of)
    assert trained == [(16, QUICK.augment, 2, False)] * 2  # not after the last step of a network


def test_without_batchnorm_no_images_are_asked_for():
    network = fixtures.network(INSTANCE, toy.GRAY.load()).train()
    settle(network, lambda: pytest.fail("asked"))
    assert not network.training


def test_progress_is_told_in_steps_of_the_images_and_networks_are_fresh():
    told, asked = [], []
    given = task(progress=lambda done, total: told.append((done, total)))
    made = given.network

    def counted():
        asked.append(len(told))
        return made()

    given = dataclasses.replace(given, networks={"backbone": counted})
    match(given, changed(QUICK, iterations=3), DC().distance_of)
    assert told == [(n, 6) for n in range(1, 7)]
    assert asked == [0, 2, 4]


def test_passes_are_counted():
    network = fixtures.network(INSTANCE, toy.GRAY.load())
    given = task(networks={"backbone": lambda: network})
    with counting(network) as counted:
        DM(iterations=3, batch=5).condense(given)
    assert (counted.forward, counted.backward) == (3 * 8 * (5 + 2), 3 * 8 * 2)


@pytest.mark.parametrize("method", [DC(), DM()], ids=["dc", "dm"])
def test_bf16_on_real_images_changes_the_distance_a_little_and_leaves_it_a_float32(method):
    given = task()
    network, real = given.network().eval(), RealImages(given, torch.Generator()).draw(1, 8)
    made = begin(given, "noise")[1].requires_grad_()
    exact, rounded = (
        how.distance_of(network, real, made, 1)
        for how in (method, dataclasses.replace(method, bf16=True))
    )
    assert rounded.dtype == torch.float32
    assert torch.autograd.grad(rounded, made)[0].isfinite().all()
    assert rounded.item() == pytest.approx(exact.item(), rel=0.05)
    assert rounded.item() != exact.item()


@pytest.mark.parametrize("scale", [float("nan"), float("inf")])
def test_a_distance_that_is_not_finite_says_what_to_lower(scale):
    def distance_of(network, real, synthetic, label):
        return scale * synthetic.sum()

    with pytest.raises(BenchError, match=r"diverged.*step 1 of 4.*lower lr or lr_network"):
        match(task(), QUICK, distance_of)


def test_a_network_that_diverges_on_the_images_says_what_to_lower():
    with pytest.raises(BenchError, match=r"lr_network 1e\+20.*lower lr_network or inner"):
        match(task(), changed(QUICK, lr_network=1e20), DC().distance_of)


# ---- settings


@pytest.mark.parametrize(
    ("ipc", "expected"),
    [(1, (1, 1)), (10, (10, 50)), (20, (20, 25)), (30, (30, 20)), (40, (40, 15)), (50, (50, 10))],
)
def test_the_loops_of_the_published_budgets_are_the_published_ones(ipc, expected):
    assert loops(ipc) == expected


def test_other_budgets_lie_between():
    assert loops(5) == (5, 23)  # 1 + 49 x 4 / 9
    assert loops(100) == (50, 10)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("iterations", 0, "1 or more"),
        ("outer", 0, "1 or more"),
        ("batch", 0, "1 or more"),
        ("inner", -1, "0 or more"),
        ("lr", 0.0, "more than 0"),
        ("lr_network", -1.0, "more than 0"),
        ("momentum", 1.0, r"in \[0, 1\)"),
        ("init", "zero", "'real' or 'noise'"),
        ("augment", "color_blur", "operations out of color, crop"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(field, value, expected):
    with pytest.raises(BenchError, match=f"{field} is .*; expected .*{expected}"):
        Matching(**{field: value})
