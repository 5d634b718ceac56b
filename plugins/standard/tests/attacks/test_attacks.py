"""What every attack of this distribution owes, whatever it does."""

import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from bench import BenchError, Unsupported
from bench.board.check import resolve
from bench.board.matrix import parse
from bench.checks import checks_for, fixtures, run_checks
from bench.checks.attacks import perturbed
from bench.contract.kinds import SEARCHES
from bench.contract.registry import discover
from bench.training.passes import counting
from bench.training.toy import COLOR, GRAY
from bench_standard.attacks.audited import Audited
from bench_standard.attacks.auto import APGD, FAB, AutoAttack, Square, TargetedAPGD
from bench_standard.attacks.clean import Clean
from bench_standard.attacks.gradient import FGSM, MIM, PGD, VMIFGSM, Jitter
from bench_standard.attacks.minimal import CW, DeepFool
from bench_standard.attacks.noise import Noise

EPS = 0.1

ATTACKS = [
    Clean(),
    Noise(eps=EPS),
    Noise("noise-l2", eps=0.5, norm="l2", draws=3),
    FGSM(eps=EPS),
    PGD(eps=EPS, steps=5),
    PGD("pgd-whole", eps=EPS, steps=5, restarts=2, early_stop=False),
    PGD("pgd-l2", eps=0.5, norm="l2", steps=5, restarts=2),
    MIM(eps=EPS, steps=5),
    FGSM("fgsm-margin", eps=EPS, loss="margin"),
    PGD("pgd-margin", eps=EPS, steps=5, loss="margin"),
    PGD("pgd-l2-margin", eps=0.5, norm="l2", steps=5, loss="margin"),
    MIM("mim-margin", eps=EPS, steps=5, loss="margin"),
    VMIFGSM(eps=EPS, steps=3, neighbours=2),
    Jitter(eps=EPS, steps=5),
    Jitter("jitter-whole", eps=EPS, steps=5, early_stop=False),
    CW(steps=5, lr=0.1),
    CW("cw-anywhere", eps=0.0, norm="", steps=5, lr=0.1),
    DeepFool(steps=3),
    DeepFool("deepfool-anywhere", eps=0.0, norm="", steps=3),
    APGD(eps=EPS, steps=5),
    APGD("apgd-dlr-l2", eps=0.5, norm="l2", loss="dlr", steps=5, restarts=2),
    TargetedAPGD(eps=EPS, steps=5),
    FAB(eps=EPS, steps=5),
    FAB("fab-l2", eps=0.5, norm="l2", steps=5),
    Square(eps=EPS, queries=20),
    Square("square-l2", eps=0.5, norm="l2", queries=20),
    AutoAttack(eps=EPS, steps=5, queries=20),
    AutoAttack("autoattack-l2", eps=0.5, norm="l2", steps=5, queries=20, targets=2),
    AutoAttack("autoattack-rand", eps=EPS, version="rand", steps=3, eot=2),
    Audited(eps=EPS, sample=2, steps=5, queries=20, targets=2),
]
IN_A_BALL = [a for a in ATTACKS if a.norm]
CONTRACT = [  # one a class, and the balls whose code is another
    *(a for a in ATTACKS if a.name == type(a)().name),
    *(a for a in ATTACKS if a.name in ("pgd-l2", "pgd-margin", "cw-anywhere", "square-l2")),
]
QUICK = ("clean", "fgsm", "pgd", "square")  # of each search one; CI checks them all
RANDOM = [
    a
    for a in ATTACKS
    if a.name in ("uniform-noise", "pgd-l2", "jitter", "apgd-ce", "square", "autoattack")
]

every = pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.name)


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


def batch(count, data=GRAY):
    test = data.load().test
    index = torch.arange(count)
    return test.images(index), test.labels[index]


def smaller(classes):
    """A network for so many classes, and images [8, 1, 8, 8] that it has right."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, classes)).eval()
    images = torch.rand(8, 1, 8, 8)
    with torch.no_grad():
        model[-1].bias -= model(images).mean(0)  # so that every class is near
    return model, images, model(images).argmax(1)


@pytest.mark.parametrize(
    "attack",
    [
        attack if attack.name in QUICK else pytest.param(attack, marks=pytest.mark.slow)
        for attack in CONTRACT
    ],
    ids=lambda a: a.name,
)
def test_the_contract_holds(attack):
    verdicts = run_checks(checks_for("attack", attack))
    assert {v.status for v in verdicts} <= {"passed", "skipped"}, verdicts
    assert sum(v.status == "passed" for v in verdicts) >= 5


@every
@pytest.mark.parametrize("data", [GRAY, COLOR], ids=["gray", "color"])
def test_it_stays_in_its_ball_and_in_the_range_of_pixels(attack, data):
    images, labels = batch(12, data)
    images[0], images[1] = 0, 1
    attacked = perturbed(attack, fixtures.trained(data), images.clone(), labels, generator())
    assert attacked.shape == images.shape
    assert attacked.dtype == torch.float32
    assert attacked.min() >= 0
    assert attacked.max() <= 1
    moved = (attacked - images).flatten(1).norm(dim=1, p=2 if attack.norm == "l2" else torch.inf)
    if attack.norm:
        assert moved.max() <= attack.eps + 1e-5


@pytest.mark.parametrize("attack", IN_A_BALL, ids=lambda a: a.name)
def test_in_a_ball_without_a_radius_the_images_come_back(attack):
    images, labels = batch(4)
    still = replace(attack, eps=0.0)
    assert torch.equal(
        perturbed(still, fixtures.trained(GRAY), images, labels, generator()), images
    )


@every
def test_a_batch_may_be_empty(attack):
    images, labels = batch(4)
    model = fixtures.trained(GRAY)
    assert perturbed(attack, model, images[:0], labels[:0], generator()).shape == images[:0].shape


@every
def test_one_image_may_be_a_batch(attack):
    images, labels = batch(1)
    assert (
        perturbed(attack, fixtures.trained(GRAY), images, labels, generator()).shape == images.shape
    )


@every
def test_the_network_the_images_and_the_process_are_left_as_found_without_gradients(attack):
    model, (images, labels) = fixtures.trained(GRAY), batch(6)
    model.network[0].weight.requires_grad_(False)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    flags = [p.requires_grad for p in model.parameters()]
    given, trace = images.clone(), sys.gettrace()

    def tracer(frame, event, argument):
        return None

    before = torch.get_rng_state()
    sys.settrace(tracer)
    try:
        with torch.no_grad():
            attacked = perturbed(attack, model, images, labels, generator())
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(trace)
    assert torch.equal(torch.get_rng_state(), before)
    assert not attacked.requires_grad
    assert torch.equal(images, given)
    assert not any(m.training for m in model.modules())
    assert all(p.grad is None for p in model.parameters())
    assert [p.requires_grad for p in model.parameters()] == flags
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("attack", RANDOM, ids=lambda a: a.name)
def test_what_is_random_follows_the_generator_alone(attack):
    model, (images, labels) = fixtures.trained(GRAY), batch(40)
    first = perturbed(attack, model, images, labels, generator(5))
    torch.manual_seed(6)
    assert torch.equal(perturbed(attack, model, images, labels, generator(5)), first)
    assert not torch.equal(perturbed(attack, model, images, labels, generator(6)), first)


@pytest.mark.parametrize(
    "attack",
    [
        Square(norm="linf", eps=0.1, queries=5),
        Square(norm="l2", eps=0.5, queries=5),
        AutoAttack(norm="l2", eps=0.5, steps=2, queries=5, targets=2),
    ],
    ids=["linf", "l2", "autoattack"],
)
def test_a_network_whose_logits_tie_is_attacked_like_any_other(attack):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    images, labels = torch.rand(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64)
    found = perturbed(attack, model, images, labels, generator())
    assert found.shape == images.shape
    assert found.isfinite().all()


@every
def test_passes_through_the_network_are_seen_by_hooks_on_it(attack):
    model, (images, labels) = fixtures.trained(GRAY), batch(6)
    with counting(model) as passes:
        perturbed(attack, model, images, labels, generator())
    assert (passes.forward > 0) == (attack.name not in ("clean", "uniform-noise"))
    assert (passes.backward > 0) == (attack.name not in ("clean", "uniform-noise", "noise-l2")) or (
        attack.name.startswith("square")
    )


@every
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_few_classes_are_attacked_or_declined_with_a_reason(attack, classes):
    model, images, labels = smaller(classes)
    least = {"apgd-dlr-l2": 3, "autoattack-rand": 3}
    least |= dict.fromkeys(("apgd-t", "autoattack", "autoattack-l2", "autoattack-audited"), 4)
    if classes < least.get(attack.name, 2):
        with pytest.raises(Unsupported, match="apgd-ce, fab-t and square take two classes or more"):
            perturbed(attack, model, images, labels, generator())
    else:
        attacked = perturbed(attack, model, images, labels, generator())
        assert attacked.isfinite().all()
        assert torch.equal(attacked, images) == (attack.name == "clean")


@every
def test_a_flat_network_gives_no_nan(attack):
    model, images, labels = smaller(5)
    nn.init.zeros_(model[-1].weight)
    labels = model(images).argmax(1)
    assert perturbed(attack, model, images, labels, generator()).isfinite().all()


@pytest.mark.parametrize(
    "attack", [a for a in IN_A_BALL if not isinstance(a, Noise)], ids=lambda a: a.name
)
def test_an_image_that_is_wrong_as_it_comes_is_given_back_unless_all_are_moved(attack):
    model, (images, labels) = fixtures.trained(GRAY), batch(20)
    wrong = (labels + 1) % 8
    assert not (model(images).argmax(1) == wrong).any()
    moves = attack.name.startswith(("fgsm", "mim", "vmifgsm")) or attack.name.endswith("-whole")
    assert torch.equal(perturbed(attack, model, images, wrong, generator()), images) != moves


def test_the_more_an_attack_knows_the_less_it_leaves():
    model, (images, labels) = fixtures.trained(GRAY), batch(60)
    attacks = [
        *(Noise(eps=EPS), Square(eps=EPS, queries=100), FGSM(eps=EPS), PGD(eps=EPS, steps=20)),
        AutoAttack(eps=EPS, queries=50, targets=2),
    ]
    left = {
        a.name: (model(perturbed(a, model, images, labels, generator())).argmax(1) == labels)
        .double()
        .mean()
        .item()
        for a in attacks
    }
    assert left["uniform-noise"] > left["square"] > left["autoattack"]
    assert left["uniform-noise"] > left["fgsm"] >= left["pgd"] >= left["autoattack"]


def test_where_nothing_of_the_sample_falls_an_audit_has_the_verdicts_of_autoattack_for_less():
    model, (images, labels) = fixtures.trained(GRAY), batch(60)

    def attacked(attack):
        with counting(model) as passes:
            found = perturbed(attack, model, images, labels, generator())
        return model(found).argmax(1) != labels, passes.forward

    same = {"eps": 0.05, "steps": 10, "queries": 60, "targets": 5}
    fell, price = attacked(AutoAttack(**same))
    sampled, less = attacked(Audited(**same, sample=4))
    assert 5 < fell.sum() < 55
    assert torch.equal(sampled, fell)
    assert less < 0.8 * price


def test_an_audit_says_how_many_of_the_standing_images_it_has_sampled():
    model, (images, labels) = fixtures.trained(GRAY), batch(60)

    def audited(sample, eps=0.05):
        audit = Audited(eps=eps, steps=5, queries=20, targets=2, sample=sample)
        return audit.perturb(model, images, labels, generator())

    some = audited(4)
    stand = int((model(some.images).argmax(1) == labels).sum())
    assert some.sampled == (4, stand)
    assert audited(60).sampled == (0, 0)  # all of them
    assert audited(4, eps=0.0).sampled == (0, 0)


def test_kinds_are_those_that_relations_know():
    assert {getattr(a, "search", "") for a in ATTACKS} == set(SEARCHES)


@pytest.mark.parametrize(
    ("attack", "field", "value", "least"),
    [
        (FGSM, "eps", -0.1, 0),
        (PGD, "eps", float("nan"), 0),
        (PGD, "eps", float("inf"), 0),
        (PGD, "alpha", -0.01, 0),
        (PGD, "steps", 0, 1),
        (PGD, "restarts", 0, 1),
        (MIM, "decay", -1.0, 0),
        (VMIFGSM, "neighbours", 0, 1),
        (Jitter, "std", -1.0, 0),
        (Noise, "draws", 0, 1),
        (CW, "batch", 0, 1),
        (DeepFool, "overshoot", -1.0, 0),
        (APGD, "eot", 0, 1),
        (TargetedAPGD, "targets", 0, 1),
        (FAB, "steps", 0, 1),
        (Square, "queries", 0, 1),
        (AutoAttack, "eps", -1.0, 0),
        (Audited, "sample", 0, 1),
    ],
)
def test_a_field_without_meaning_is_refused(attack, field, value, least):
    told = f"{attack.name}: {field} is {value}; expected a number of at least {least}"
    with pytest.raises(BenchError, match=told):
        attack(**{field: value})


@pytest.mark.parametrize(
    ("attack", "field"),
    [
        *((attack, "norm") for attack in (Noise, PGD, CW, APGD, TargetedAPGD, FAB, Square)),
        *((attack, "loss") for attack in (FGSM, PGD, MIM, APGD)),
        *((AutoAttack, "version"), (AutoAttack, "norm"), (Audited, "norm")),
    ],
)
def test_a_choice_that_there_is_not_is_refused(attack, field):
    told = f"{attack.name}: {field} is 'l1'; expected one of '"
    with pytest.raises(BenchError, match=told):
        attack(**{field: "l1"})


# ---- on another student


def transferred(attack):
    board = {
        "title": "Transfer",
        "track": "classification",
        "datasets": ["digits"],
        "controls": ["random"],
        "ipc": [1],
        "labels": ["hard"],
        "architectures": ["convnet", "vgg11"],
        "attacks": ["moved"],
        "metrics": ["accuracy"],
        "seeds": [0],
        "backbone": "convnet",
        "define": {"moved": {"attack": attack, "source": {"architecture": "vgg11"}}},
    }
    return resolve(parse(board), discover()).get("attack", "moved")


def test_on_another_student_pgd_goes_on_to_the_end():
    assert transferred("pgd").early_stop is False
    assert PGD().early_stop is True
    assert transferred("jitter").early_stop is False
    assert transferred("mim") == replace(MIM(), name="moved")


@pytest.mark.parametrize(
    "attack", ["apgd-ce", "autoattack", "autoattack-audited", "square", "cw", "deepfool", "fab-t"]
)
def test_an_attack_that_stops_at_what_just_fools_one_student_is_not_shown_to_another(attack):
    with pytest.raises(BenchError, match="stops at what just fools that one; expected"):
        transferred(attack)


def test_square_in_l2_declines_images_that_its_tiles_do_not_fit():
    model = nn.Sequential(nn.Flatten(), nn.Linear(144, 3)).eval()
    with pytest.raises(Unsupported, match="do not fit into images of 12x12"):
        Square(norm="l2").perturb(
            model, torch.rand(2, 1, 12, 12), torch.zeros(2, dtype=int), generator()
        )


def test_with_one_class_there_is_no_boundary_for_deepfool():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 1)).eval()
    with pytest.raises(Unsupported, match="no boundary with one class"):
        DeepFool().perturb(model, torch.rand(2, 1, 8, 8), torch.zeros(2, dtype=int), generator())
