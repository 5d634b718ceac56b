"""Our results against those of the libraries, called as a user would, and against arithmetic."""

import logging

import pyautoattack
import pytest
import torch
import torchattacks
from pyautoattack import fab_projections
from pyautoattack.fab_pt import FABAttack_PT
from pyautoattack.square import SquareAttack
from torch import nn
from torch.nn.utils import parametrizations

from bench.checks import fixtures
from bench.checks.attacks import perturbed
from bench.training.passes import counting
from bench.training.toy import COLOR, GRAY
from bench_standard.architectures.convnet import ConvNet
from bench_standard.attacks import parts, search
from bench_standard.attacks.auto import APGD, FAB, AutoAttack, Square, TargetedAPGD
from bench_standard.attacks.frozen import frozen
from bench_standard.attacks.gradient import FGSM, MIM, PGD, VMIFGSM, Jitter
from bench_standard.attacks.minimal import CW, DeepFool
from bench_standard.attacks.noise import Noise

EPS = 0.1


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


def convnet():
    """Without BatchNorm, so that a copy has the same layout; centred, so that classes are near."""
    torch.manual_seed(0)
    model = ConvNet(width=8, depth=2, norm="instance").build((1, 8, 8), 10).eval()
    with torch.no_grad():
        model[-1].bias -= model(random_images(200)).mean(0)
    return model.requires_grad_(False)


def random_images(count):
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def right_images(count, model=None):
    """A network, images that it has right, and their labels."""
    model = model or convnet()
    images = random_images(count)
    return model, images, model(images).argmax(1)


def fooled(model, images, labels):
    with torch.no_grad():
        return model(images).argmax(1) != labels


def linear(classes=2):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes)).eval().requires_grad_(False)


# ---- torchattacks


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (FGSM(eps=EPS), lambda m: torchattacks.FGSM(m, eps=EPS)),
        (
            PGD(eps=EPS, steps=4, random_start=False, early_stop=False),
            lambda m: torchattacks.PGD(m, EPS, 2.5 * EPS / 4, 4, random_start=False),
        ),
        (
            PGD(eps=EPS, steps=4, alpha=0.03, early_stop=False),
            lambda m: torchattacks.PGD(m, EPS, 0.03, 4),
        ),
        (
            PGD(eps=0.5, norm="l2", steps=4, early_stop=False),
            lambda m: torchattacks.PGDL2(m, 0.5, 2.5 * 0.5 / 4, 4),
        ),
        (MIM(eps=EPS, steps=4, decay=0.5), lambda m: torchattacks.MIFGSM(m, EPS, EPS / 4, 4, 0.5)),
        (
            VMIFGSM(eps=EPS, steps=3, neighbours=2),
            lambda m: torchattacks.VMIFGSM(m, EPS, EPS / 3, 3, N=2),
        ),
        (
            Jitter(eps=EPS, steps=4, alpha=0.03, early_stop=False),
            lambda m: torchattacks.Jitter(m, EPS, 0.03, 4),
        ),
    ],
    ids=["fgsm", "pgd", "pgd random", "pgd-l2", "mim", "vmifgsm", "jitter"],
)
def test_where_nothing_is_added_the_images_are_those_of_torchattacks(ours, theirs):
    model, images, labels = convnet(), random_images(30), torch.arange(30) % 10
    torch.manual_seed(search.seed(generator()))
    expected = theirs(model)(images, labels)
    found = ours.perturb(model, images, labels, generator())
    rounding = 1e-6 if ours.norm == "l2" else 0  # gradients are scaled before they are normed
    torch.testing.assert_close(found, expected, atol=rounding, rtol=0)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_an_image_that_pgd_stops_early_is_fooled_and_the_others_are_those_of_torchattacks(norm):
    model, images, labels = right_images(100)
    eps = {"linf": 0.03, "l2": 0.2}[norm]
    whole, early = (
        PGD(eps=eps, norm=norm, steps=10, random_start=False, early_stop=stop)
        for stop in (False, True)
    )
    last, first = (perturbed(a, model, images, labels, generator()) for a in (whole, early))
    by_last, by_first = (fooled(model, x, labels) for x in (last, first))
    assert 10 < by_last.sum() < 90
    assert by_first[by_last].all()
    torch.testing.assert_close(first[~by_first], last[~by_first], atol=1e-5, rtol=0)
    gone, stayed = ((x - images).abs().amax((1, 2, 3))[by_last].mean() for x in (last, first))
    assert stayed < gone


def test_an_early_stop_saves_the_passes_after_it():
    model, images, labels = right_images(40)
    with counting(model) as passes:
        PGD(eps=0.9, steps=50, random_start=False).perturb(model, images, labels, generator())
    assert passes.forward < 40 * 10
    assert passes.backward < 40 * 10


def test_a_restart_starts_elsewhere_and_keeps_what_fooled():
    model, images, labels = right_images(200)
    attack = {"eps": 0.02, "steps": 2, "alpha": 0.005}
    once = PGD(**attack).perturb(model, images, labels, generator())
    often = PGD(**attack, restarts=8).perturb(model, images, labels, generator())
    by_once, by_often = (fooled(model, x, labels) for x in (once, often))
    assert by_once.any()
    assert torch.equal(often[by_once], once[by_once])
    assert by_often.sum() > by_once.sum()


def test_on_a_linear_network_pgd_and_mim_reach_the_closed_form():
    """Of two classes, the worst image of the ball is x + eps sign(w_other - w_true), clamped."""
    model, images = linear(), random_images(30)
    labels = torch.arange(30) % 2
    weight = model[1].weight
    direction = (weight[1 - labels] - weight[labels]).sign().view_as(images)
    worst = (images + EPS * direction).clamp(0, 1)
    for attack in (PGD(eps=EPS, early_stop=False), MIM(eps=EPS)):
        reached = perturbed(attack, model, images, labels, generator())
        torch.testing.assert_close(reached, worst, atol=1e-6, rtol=0)


def test_the_gradient_of_mim_is_normalised_image_by_image():
    model, images, labels = convnet(), random_images(20), torch.arange(20) % 10
    attack = MIM(eps=EPS, steps=5)
    alone = [
        perturbed(attack, model, x[None], y[None], generator())
        for x, y in zip(images, labels, strict=True)
    ]
    together = perturbed(attack, model, images, labels, generator())
    assert ((torch.cat(alone) - together).abs() < 1e-5).double().mean() > 0.99


# ---- attacks that look for the nearest image


def test_without_a_ball_whatever_fools_counts_and_in_a_ball_what_is_near():
    near = CW(eps=0.3, steps=30, lr=0.05, c=5.0)
    far = CW(eps=0.0, norm="", steps=30, lr=0.05, c=5.0)
    model, images, labels = right_images(30)
    expected = torchattacks.CW(search.Shifted(model), c=5.0, steps=30, lr=0.05)(images, labels)
    works = fooled(model, expected, labels)
    distance = (expected - images).flatten(1).norm(dim=1)
    within = works & (distance <= near.eps)
    assert works.sum() > within.sum() > 0
    anywhere, inside = (perturbed(a, model, images, labels, generator()) for a in (far, near))
    torch.testing.assert_close(anywhere[works], expected[works])
    assert torch.equal(anywhere[~works], images[~works])
    torch.testing.assert_close(inside[within], expected[within])
    assert torch.equal(inside[~within], images[~within])


ANYWHERE = {"eps": 0.0, "norm": ""}


def to_a_boundary(model, images, labels):
    """Of a linear network: the distance to the nearest class [B], and its normals [B, P]."""
    weight, points = model[1].weight, images.flatten(1)
    logits = model(images)
    found, normals = torch.full_like(logits[:, 0], torch.inf), torch.zeros_like(points)
    for c in range(logits.shape[1]):
        w = weight[labels] - weight[c]
        lead = logits.gather(1, labels[:, None]).squeeze(1) - logits[:, c]
        distance = torch.where(labels == c, torch.inf, lead / w.norm(dim=1))
        normals = torch.where((distance < found)[:, None], w, normals)
        found = torch.minimum(found, distance)
    return found, normals


@pytest.mark.parametrize("overshoot", [0.02, 0.5])
def test_deepfool_steps_over_the_nearest_boundary_by_its_overshoot(overshoot):
    """Of a linear network the nearest class is known, and one step is enough."""
    model = linear(5)
    images = 0.4 + 0.2 * random_images(40)  # so that no pixel meets black or white
    labels = model(images).argmax(1)
    distance, normals = to_a_boundary(model, images, labels)
    attack = DeepFool(**ANYWHERE, steps=1, overshoot=overshoot)
    moved = (perturbed(attack, model, images, labels, generator()) - images).flatten(1)
    assert fooled(model, images + moved.view_as(images), labels).all()
    expected = (1 + overshoot) * (distance + 1e-4)  # the authors' code goes so far beyond
    torch.testing.assert_close(moved.norm(dim=1), expected, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(
        nn.functional.cosine_similarity(moved, -normals), torch.ones(40), atol=1e-4, rtol=0
    )


def test_deepfool_gets_off_black_where_half_of_the_pixels_can_go_no_further():
    """In [0, 1] the nearest image has moved the pixels that may grow, along their slopes alone."""
    model = linear(2)
    images = torch.zeros(1, 1, 8, 8)
    labels = model(images).argmax(1)
    w = model[1].weight[1 - labels] - model[1].weight[labels]
    lead = (model[1].bias[labels] - model[1].bias[1 - labels]).abs()
    nearest = lead / w.clamp_min(0).norm()
    found = DeepFool(**ANYWHERE).perturb(model, images, labels, generator())
    assert fooled(model, found, labels).all()
    assert 1 <= found.norm() / nearest <= 1.05
    theirs = torchattacks.DeepFool(model)(images, labels)
    assert not fooled(model, theirs, labels).any()  # it comes ever nearer


def test_deepfool_goes_on_from_boundary_to_boundary_and_fools_more_than_that_of_torchattacks():
    model, images, labels = right_images(30)
    images[:, :, :4] = 0  # a black half
    labels = model(images).argmax(1)
    theirs = torchattacks.DeepFool(model)(images, labels)
    ours = DeepFool(**ANYWHERE).perturb(model, images, labels, generator())
    by_them, by_us = (fooled(model, x, labels) for x in (theirs, ours))
    assert by_us.all()
    assert by_them.sum() < 30
    far_they, far_we = ((x - images)[by_them].flatten(1).norm(dim=1) for x in (theirs, ours))
    assert (far_we < 1.1 * far_they + 1e-3).double().mean() > 0.9
    inside = DeepFool(eps=float(far_we.median())).perturb(model, images, labels, generator())
    far = (ours - images).flatten(1).norm(dim=1) > far_we.median()
    assert torch.equal(inside, images.where(far.view(-1, 1, 1, 1), ours))


def test_cw_sees_classes_whose_logits_are_negative():
    """torchattacks takes the largest of the other logits and 0 for the largest other logit."""
    model, images, labels = right_images(30)
    with torch.no_grad():
        model[-1].bias -= 100
    attack = CW(eps=0.0, norm="", c=5.0, steps=30, lr=0.05)
    assert not fooled(model, torchattacks.CW(model, 5.0, 0, 30, 0.05)(images, labels), labels).any()
    assert fooled(model, perturbed(attack, model, images, labels, generator()), labels).sum() > 10


# ---- pyautoattack


def direct(model, images, labels, seed, **options):
    """AutoAttack as its README has it."""
    attack = pyautoattack.AutoAttack(model, seed=seed, **options)
    attack.logger.setLevel(logging.CRITICAL)
    attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = 1
    attack.square.n_queries = 60
    return attack.run_standard_evaluation(images, labels)[0]


@pytest.fixture
def tracing():
    """pyautoattack clears the trace function, and coverage would not count any further."""
    import sys

    kept = sys.gettrace()
    yield
    sys.settrace(kept)


@pytest.mark.usefixtures("tracing")
@pytest.mark.parametrize(
    ("data", "norm", "eps"),
    [(COLOR, "linf", 0.04), pytest.param(GRAY, "l2", 0.4, marks=pytest.mark.slow)],
    ids=["linf", "l2"],
)
def test_autoattack_gives_every_image_the_verdict_of_pyautoattack(data, norm, eps):
    model = fixtures.trained(data)
    test = data.load().test
    images, labels = test.images(torch.arange(24)), test.labels[:24]
    seed = search.seed(generator())
    theirs = direct(model, images, labels, seed, norm={"linf": "Linf", "l2": "L2"}[norm], eps=eps)
    ours = perturbed(
        AutoAttack(eps=eps, norm=norm, queries=60, targets=1), model, images, labels, generator()
    )
    by_them, by_us = (fooled(model, x, labels) for x in (theirs, ours))
    assert 3 < by_them.sum() < 21
    assert torch.equal(by_us, by_them)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (
            FAB(eps=0.5, norm="l2", targets=3, steps=10),
            lambda m, s: FABAttack_PT(
                m, norm="L2", n_iter=10, eps=0.5, seed=s, targeted=True, n_target_classes=3
            ),
        ),
        (
            Square(eps=EPS, queries=50),
            lambda m, s: SquareAttack(m, n_queries=50, eps=EPS, seed=s, resc_schedule=False),
        ),
        (
            Square(eps=0.5, norm="l2", queries=50),
            lambda m, s: SquareAttack(
                m, norm="L2", n_queries=50, eps=0.5, seed=s, resc_schedule=False
            ),
        ),
    ],
    ids=["fab-t-l2", "square", "square-l2"],
)
def test_where_nothing_is_changed_the_images_are_those_of_pyautoattack(ours, theirs):
    model, images, labels = right_images(30)
    attack = theirs(model, search.seed(generator()))
    with torch.random.fork_rng():
        expected = attack.perturb(images, labels)
    assert not torch.equal(expected, images)
    assert torch.equal(ours.perturb(model, images, labels, generator()), expected)


@pytest.mark.parametrize("gain", [0.0, 0.01, 1.0, 5.0, 1000.0])
def test_the_projection_by_newton_is_that_of_pyautoattack(gain):
    torch.manual_seed(0)
    points, normals = torch.rand(40, 300), torch.randn(40, 300)
    points[:, ::3], points[:, 1::7] = 0, 1
    normals[:, 5], normals[3] = 0, 0  # a pixel without a slope, and an image
    offsets = (normals * points).sum(1) + gain * torch.randn(40)  # the last: out of reach
    expected = fab_projections.projection_linf(points, normals.clone(), offsets.clone())
    found = parts.project(points, normals, offsets)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    assert (expected.abs().amax(1) > 1e-3).any() == (gain > 0.1)


def test_fab_gives_every_image_the_verdict_of_pyautoattack():
    model, images, labels = right_images(60)
    common = {"eps": 0.02, "seed": search.seed(generator())}
    theirs = FABAttack_PT(model, n_iter=20, targeted=True, n_target_classes=3, **common)
    with torch.random.fork_rng():
        expected = fooled(model, theirs.perturb(images, labels), labels)
    ours = FAB(eps=0.02, targets=3, steps=20).perturb(model, images, labels, generator())
    assert 5 < expected.sum() < 55
    assert torch.equal(fooled(model, ours, labels), expected)


@pytest.mark.parametrize("attack", [APGD(eps=0.02), TargetedAPGD(eps=0.02, targets=3)])
def test_apgd_keeps_the_images_that_pyautoattack_keeps_at_fewer_passes(attack):
    from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted

    model, images, labels = right_images(30)
    common = {"eps": 0.02, "seed": search.seed(generator())}
    if isinstance(attack, APGD):
        reference = APGDAttack(model, **common)
    else:
        reference = APGDAttack_targeted(model, n_target_classes=3, **common)
    with counting(model) as theirs, torch.random.fork_rng(), torch.no_grad():
        expected = reference.perturb(images, labels)
    with counting(model) as ours:
        reached = perturbed(attack, model, images, labels, generator())
    broken = fooled(model, expected, labels)
    assert 3 < broken.sum() < 27
    assert torch.equal(fooled(model, reached, labels), broken)
    assert torch.equal(reached[~broken], images[~broken])
    assert ours.forward < theirs.forward


# ---- what attacks are run by


def test_a_frozen_copy_says_the_same_in_the_layout_that_suits_it():
    for data, norm in ((COLOR, "batch"), (COLOR, "instance")):
        torch.manual_seed(0)
        model = fixtures.network(ConvNet(width=8, depth=2, norm=norm), data.load()).eval()
        images = data.load().test.images(torch.arange(70))
        copy = frozen(model, images)
        torch.testing.assert_close(copy(images), model(images), atol=1e-5, rtol=1e-5)
        weight = next(p for p in copy.parameters() if p.ndim == 4)
        channels_last = weight.is_contiguous(memory_format=torch.channels_last)
        assert channels_last == (norm == "batch")
        assert not any(p.requires_grad for p in copy.parameters())
        assert all(p.requires_grad for p in model.parameters())


class Standardised(nn.Conv2d):
    """A convolution whose weights have no scale, as in weight standardisation."""

    def forward(self, x):
        weight = self.weight / self.weight.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        return self._conv_forward(x, weight, self.bias)


def indexed():
    """A network that takes parts out of a Sequential."""

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8))

        def forward(self, x):
            z = self.block[0](x)
            return z + self.block[1](z)

    return [Residual()]


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [Standardised(3, 8, 3, padding=1), nn.BatchNorm2d(8)],
        indexed,
        lambda: [parametrizations.weight_norm(nn.Conv2d(3, 8, 3, padding=1)), nn.BatchNorm2d(8)],
        lambda: [parametrizations.spectral_norm(nn.Conv2d(3, 8, 3, padding=1)), nn.BatchNorm2d(8)],
        lambda: [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8, track_running_stats=False)],
    ],
    ids=["standardised weights", "indexed", "weight norm", "spectral norm", "no statistics"],
)
def test_a_network_that_cannot_be_folded_is_attacked_as_it_is(layers):
    torch.manual_seed(0)
    model = nn.Sequential(*layers(), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 256, 10))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
    model.eval()
    images = torch.rand(8, 3, 16, 16)
    model(images).sum().backward()  # as a harness may have done
    with torch.no_grad():
        torch.testing.assert_close(
            frozen(model, images)(images), model(images), atol=1e-4, rtol=1e-4
        )


def test_pgd_in_l2_does_not_depend_on_the_size_of_a_batch_however_sure_the_network_is():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4)).eval()
    images = torch.rand(200, 1, 8, 8)
    with torch.no_grad():
        logits = model(images).sort().values
        model[1].weight.mul_(25 / (logits[:, -1] - logits[:, -2]).median())
        labels = model(images).argmax(1)
    attack = PGD(eps=1.0, norm="l2", steps=10, random_start=False, early_stop=False)
    together = perturbed(attack, model, images, labels, generator())
    alone = torch.cat(
        [perturbed(attack, model, images[k, None], labels[k, None], generator()) for k in range(20)]
    )
    torch.testing.assert_close(together[:20], alone, atol=1e-4, rtol=1e-4)


def test_gradients_through_a_frozen_copy_have_the_layout_of_images():
    model = fixtures.trained(COLOR)
    images = torch.rand(40, 3, 16, 16, requires_grad=True)
    copy = frozen(model, images)
    (gradient,) = torch.autograd.grad(copy(images).sum(), images)
    assert gradient.is_contiguous()
    (expected,) = torch.autograd.grad(model(images).sum(), images)
    torch.testing.assert_close(gradient, expected, atol=1e-5, rtol=1e-4)


def test_an_image_that_has_fallen_is_kept_and_looked_at_no_more():
    looked = []

    class Sum(nn.Module):
        def forward(self, images):  # class 1 if the pixels sum to more than 0
            looked.append(len(images))
            total = images.flatten(1).sum(1, keepdim=True)
            return torch.cat([-total, total], 1)

    images = torch.tensor([-1.0, -2.0, 3.0]).view(3, 1, 1, 1)
    standing = search.Standing(Sum(), images, torch.zeros(3, dtype=torch.int64))
    steps = [images + step for step in (0, 1.5, 5.0, 9.0)]
    for step in steps:
        step.requires_grad_()
        (gradient,) = torch.autograd.grad(standing(step).sum(), step, retain_graph=True)
        assert gradient.shape == images.shape
    assert looked == [3, 2, 1]
    assert standing.fallen.all()
    torch.testing.assert_close(standing.adversarial.flatten(), torch.tensor([0.5, 3.0, 3.0]))
    assert standing(steps[-1]).argmax(1).tolist() == [0, 0, 0]


def test_each_run_gets_what_still_stands():
    got = []

    def run(network, images, labels):
        got.append(len(images))
        images = images.clone()
        images[0] = 1 - images[0]
        return images

    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 2))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[1.0], [-1.0]]))
        model[1].bias.copy_(torch.tensor([-0.5, 0.5]))
    images = torch.tensor([0.9, 0.8, 0.7, 0.1]).view(4, 1, 1, 1)
    labels = torch.zeros(4, dtype=torch.int64)  # the last image is wrong as it comes
    found = search.search([run] * 4, model, images, labels, generator())
    assert got == [3, 2, 1]
    assert found.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3, 0.1])
    got.clear()
    search.search([run] * 2, model, images, labels, generator(), all_first=True)
    assert got == [4, 2]


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.1), ("l2", 0.4)])
def test_noise_fills_its_ball_evenly(norm, eps):
    images = torch.full((4000, 1, 2, 2), 0.5)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    noisy = Noise(eps=eps, norm=norm).perturb(
        model, images, torch.zeros(4000, dtype=torch.int64), generator()
    )
    size = (noisy - 0.5).flatten(1).norm(dim=1, p=2 if norm == "l2" else torch.inf)
    share = (size <= eps / 2).double().mean().item()  # of the volume, in four dimensions
    assert share == pytest.approx(1 / 16, abs=0.015)
    assert (noisy.mean(0) - 0.5).abs().max() < 0.01
    assert size.max() <= eps + 1e-6
