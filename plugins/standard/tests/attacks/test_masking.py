"""Networks whose gradients or logits are awkward: an attack must see what they are worth."""

import pytest
import torch
from torch import nn

from bench.checks.attacks import perturbed
from bench.training.passes import counting
from bench_standard.architectures.convnet import ConvNet
from bench_standard.attacks.audited import Audited
from bench_standard.attacks.auto import APGD, FAB, AutoAttack, Square, TargetedAPGD
from bench_standard.attacks.frozen import frozen
from bench_standard.attacks.gradient import FGSM, MIM, PGD, VMIFGSM, Jitter
from bench_standard.attacks.minimal import CW, DeepFool

EPS = 0.02
ATTACKS = [
    *(FGSM(eps=EPS), PGD(eps=EPS, steps=20), MIM(eps=EPS), PGD("pgd-l2", norm="l2", eps=0.2)),
    *(VMIFGSM(eps=EPS, neighbours=2), Jitter(eps=EPS), APGD(eps=EPS, steps=20)),
    *(TargetedAPGD(eps=EPS, steps=20, targets=2), FAB(eps=EPS, steps=20, targets=2)),
    *(CW(eps=0.3, c=5.0, steps=30, lr=0.05), DeepFool(eps=0.2)),
]
every = pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.name)


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


def network(scale=1.0):
    """Logits about as far apart as those of a trained network, and no class out of reach."""
    torch.manual_seed(0)
    model = ConvNet(width=8, depth=2, norm="instance").build((1, 8, 8), 10).eval()
    images = half_black(200)
    with torch.no_grad():
        model[-1].bias -= model(images).mean(0)
        two = model(images).topk(2).values
        factor = scale * 5 / (two[:, 0] - two[:, 1]).median()
        model[-1].weight *= factor
        model[-1].bias *= factor
    return model.requires_grad_(False)


def half_black(count):
    images = torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return (2 * images - 1).clamp_min(0)


class Wrapped(nn.Module):
    """A network behind a function of its images, and before one of its logits."""

    def __init__(self, model, before=lambda x: x, after=lambda z: z):
        super().__init__()
        self.model, self.before, self.after = model, before, after

    def forward(self, images):
        return self.after(self.model(self.before(images)))


def left(model, attack, images, labels):
    """The share of images that the attack leaves right."""
    found = perturbed(attack, model, images, labels, generator())
    assert found.isfinite().all()
    return (model(found).argmax(1) == labels).double().mean().item()


# ---- slopes that are NaN or infinite


def gamma(images):
    """Out of the encoding of a screen and back: no slope at black, though nothing happens."""
    return images.pow(1 / 2.2).pow(2.2)


@every
def test_no_slope_at_black_masks_nothing(attack):
    plain, images = network(), half_black(100)
    encoded = Wrapped(plain, gamma).eval()
    labels = plain(images).argmax(1)
    x = images.clone().requires_grad_()
    (slope,) = torch.autograd.grad(encoded(x).sum(), x)
    assert slope.isnan().flatten(1).any(1).all()  # at every image
    expected = left(plain, attack, images, labels)
    assert 0.05 < expected < 0.9
    assert left(encoded, attack, images, labels) == pytest.approx(expected, abs=0.05)


def test_a_root_is_attacked_at_black_and_an_image_without_contrast_too():
    plain = network()

    def root(x):
        return x.sqrt()

    def contrast(x):
        return x / x.flatten(1).std(1).view(-1, 1, 1, 1).clamp_min(0.1)

    for before in (root, contrast):
        model = Wrapped(plain, before).eval()
        images = torch.cat([torch.zeros(1, 1, 8, 8), torch.full((1, 1, 8, 8), 0.5)])
        labels = model(images).argmax(1)
        moved = PGD(eps=0.3, random_start=False).perturb(model, images, labels, generator())
        assert moved.isfinite().all()
        assert (moved != images).flatten(1).any(1).all()


def test_gradients_of_a_frozen_copy_are_those_of_the_network_where_these_are_finite():
    plain, images = network(), half_black(6).requires_grad_()
    model = Wrapped(plain, gamma).eval()
    (theirs,) = torch.autograd.grad(model(images).sum(), images)
    with counting(model) as passes:
        (ours,) = torch.autograd.grad(frozen(model, images)(images).sum(), images)
    assert passes.forward == 12  # once at the images, once beside them
    finite = theirs.isfinite()
    assert not finite.all()
    torch.testing.assert_close(ours[finite], theirs[finite])
    (true,) = torch.autograd.grad(plain(images).sum(), images)
    near = nn.functional.cosine_similarity(ours[~finite], true[~finite], dim=0)
    assert near > 0.9


def test_where_slopes_are_finite_no_pass_is_added():
    model, images = network(), half_black(6).requires_grad_()
    with counting(model) as passes:
        torch.autograd.grad(frozen(model, images)(images).sum(), images)
    assert (passes.forward, passes.backward) == (6, 6)


def test_a_network_whose_slopes_are_nan_everywhere_leaves_images_where_they_are():
    model = Wrapped(network(), lambda x: x + 0 * (x - x).sqrt()).eval()
    images = half_black(10)
    labels = model(images).argmax(1)
    for attack in (FGSM(eps=EPS), MIM(eps=EPS), DeepFool()):
        assert torch.equal(perturbed(attack, model, images, labels, generator()), images)


# ---- the scale of the logits


@pytest.mark.parametrize(
    "attack",
    [
        *(FGSM, MIM, lambda **k: PGD(steps=20, **k)),
        lambda eps, **k: PGD("pgd-l2", norm="l2", eps=0.2, **k),
    ],
    ids=["fgsm", "mim", "pgd", "pgd-l2"],
)
def test_no_scale_of_the_logits_masks_the_margin_and_one_of_1000_masks_cross_entropy(attack):
    images = half_black(200)
    labels = network()(images).argmax(1)
    models = [network(scale) for scale in (1, 20, 60, 1000)]
    by_margin = [left(m, attack(eps=EPS, loss="margin"), images, labels) for m in models]
    by_loss = [left(m, attack(eps=EPS, loss="cross-entropy"), images, labels) for m in models]
    assert max(by_margin) - min(by_margin) <= 0.02
    assert by_loss[-1] > by_loss[0] + 0.3
    assert by_margin[0] <= by_loss[0] + 0.02


def test_logits_far_from_zero_in_float64_are_told_apart():
    plain, images = network(), half_black(100)
    labels = plain(images).argmax(1)
    model = Wrapped(plain, after=lambda z: z.double() + 1e9).eval()
    for attack in (PGD(eps=EPS, steps=20), APGD(eps=EPS, steps=20)):
        expected = left(plain, attack, images, labels)
        assert left(model, attack, images, labels) == pytest.approx(expected, abs=0.03)


# ---- networks that are not float32, and that cannot be differentiated


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_network_of_another_precision_is_attacked(dtype, norm):
    plain, images = network(), half_black(40)
    model = Wrapped(network().to(dtype), lambda x: x.to(dtype)).eval()
    labels = model(images).argmax(1)
    eps = {"linf": EPS, "l2": 0.2}[norm]
    attacks = [APGD(norm=norm, eps=eps, steps=10), FAB(norm=norm, eps=eps, steps=10, targets=2)]
    attacks += [AutoAttack(norm=norm, eps=eps, steps=10, queries=20, targets=2)]
    for attack in attacks:
        expected = left(plain, attack, images, plain(images).argmax(1))
        assert left(model, attack, images, labels) == pytest.approx(expected, abs=0.1)


def coded():
    """A network that sees how many of three thresholds a pixel is above: without any slope."""
    return Wrapped(network(), lambda x: sum((x > t).float() for t in (0.25, 0.5, 0.75))).eval()


@every
def test_an_attack_by_gradients_leaves_a_network_of_coded_inputs(attack):
    model, images = coded(), half_black(40)
    labels = model(images).argmax(1)
    assert left(model, attack, images, labels) > 0.5


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_what_gradients_leave_of_a_network_of_coded_inputs_square_does_not(norm):
    model, images = coded(), half_black(40)
    labels = model(images).argmax(1)
    same = {"eps": {"linf": 0.1, "l2": 1.0}[norm], "norm": norm, "steps": 3, "targets": 2}
    by_square = left(model, Square(eps=same["eps"], norm=norm, queries=100), images, labels)
    assert by_square < 0.5
    for attack in (AutoAttack(**same, queries=100), Audited(**same, queries=100, sample=5)):
        assert left(model, attack, images, labels) == pytest.approx(by_square, abs=0.15)
