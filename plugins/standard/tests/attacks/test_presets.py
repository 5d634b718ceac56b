"""Every preset against its source, restated here in the words and units of the source.

GUARD: the authors' evaluation code, which calls torchattacks 3.5.1; what it leaves open is that
library's default. DD-RobustBench: configs/params.yaml and attack_utils.py. BEARD: eva_utils.py.
RobustBench: the threat models of its CIFAR-10 boards.
"""

from dataclasses import asdict, replace

import pytest

import bench_standard
from bench_standard.attacks import presets
from bench_standard.attacks.auto import AutoAttack
from bench_standard.attacks.gradient import MIM, PGD

BY_NAME = {attack.name: attack for attack in presets.ATTACKS}
STEPS = [(2, 10), (2, 5), (4, 5), (4, 10), (8, 10)]  # params.yaml: eps x 255, steps
SOURCES = {
    "guard-pgd": ("PGD", {"eps": 1, "alpha": 0.25, "steps": 100, "random_start": True}),
    "guard-square": ("Square", {"eps": 1, "queries": 5000, "p_init": 0.8, "rescaled": True}),
    "guard-autoattack": ("AutoAttack", {"eps": 1, "norm": "linf", "version": "standard"}),
    "guard-cw": ("CW", {"c": 1e-4, "kappa": 0, "steps": 50, "lr": 0.01, "batch": 25}),
    "guard-mim": ("MIM", {"eps": 1, "alpha": 1, "steps": 20, "decay": 1}),
    **{f"ddrb-fgsm-{eps}": ("FGSM", {"eps": eps}) for eps in (2, 4, 8)},
    **{
        f"ddrb-{name}-{eps}-{steps}": (kind, dict(eps=eps, alpha=2, steps=steps, **more))
        for name, kind, more in [
            ("pgd", "PGD", {"random_start": True}),
            ("cw", "PGD", {"random_start": True, "loss": "margin"}),
            ("vmifgsm", "VMIFGSM", {"decay": 1, "neighbours": 5, "beta": 1.5}),
            ("jitter", "Jitter", {"scale": 10, "std": 0.1, "random_start": True}),
        ]
        for eps, steps in STEPS
    },
    **{f"ddrb-autoattack-{eps}": ("AutoAttack", {"eps": eps}) for eps in (1, 2, 3, 4)},
    "beard-fgsm": ("FGSM", {"eps": 8}),
    "beard-pgd": ("PGD", {"eps": 8, "alpha": 255 * 2 / 225, "steps": 10, "random_start": False}),
    "beard-pgd-l2": (
        "PGD",
        {"eps": 128, "norm": "l2", "alpha": 15, "steps": 10, "random_start": False},
    ),
    "beard-deepfool": ("DeepFool", {"steps": 50, "overshoot": 0.02}),
    "beard-cw": ("CW", {"c": 1, "kappa": 0, "steps": 100, "lr": 0.01}),
    "beard-autoattack": ("AutoAttack", {"eps": 8, "norm": "linf", "version": "standard"}),
    "robustbench-linf": ("AutoAttack", {"eps": 8, "norm": "linf", "version": "standard"}),
    "robustbench-l2": ("AutoAttack", {"eps": 127.5, "norm": "l2", "version": "standard"}),
}
IN_GREY_LEVELS = ("eps", "alpha")  # of 255


@pytest.mark.parametrize("name", SOURCES)
def test_a_preset_is_set_as_its_source_says(name):
    attack, (kind, expected) = BY_NAME[name], SOURCES[name]
    assert type(attack).__name__ == kind
    fields = asdict(attack) | {"norm": attack.norm}
    for field, value in expected.items():
        scale = 255 if field in IN_GREY_LEVELS else 1
        found = fields[field]
        assert found == (value if isinstance(value, str) else pytest.approx(value / scale))


def test_every_preset_is_restated():
    assert set(SOURCES) == set(BY_NAME)


def test_what_a_source_leaves_open_is_left_at_our_default():
    for name, attack in BY_NAME.items():
        own = {f for f, v in asdict(attack).items() if v != asdict(type(attack)())[f]}
        assert own <= {"name", "eps", "norm", *SOURCES[name][1]}


def test_presets_follow_the_loss_of_their_source():
    margin = {n for n, a in BY_NAME.items() if getattr(a, "loss", "") == "margin"}
    assert margin == {n for n in SOURCES if n.startswith("ddrb-cw")}
    assert {PGD().loss, MIM().loss} == {"cross-entropy"}


def test_minimal_norm_attacks_of_a_source_have_no_ball():
    for name in ("guard-cw", "beard-cw", "beard-deepfool"):
        assert (BY_NAME[name].eps, BY_NAME[name].norm) == (0, "")


def test_presets_of_autoattack_are_the_standard():
    mine = AutoAttack()
    for attack in presets.ATTACKS:
        if isinstance(attack, AutoAttack):
            assert replace(attack, name="autoattack", eps=mine.eps, norm=mine.norm) == mine


def test_presets_have_names_of_their_own_that_say_whose_they_are():
    names = [a.name for a in presets.ATTACKS]
    assert len(set(names)) == len(names)
    assert {n.split("-")[0] for n in names} == {"guard", "ddrb", "beard", "robustbench"}
    registered = [a.name for a in bench_standard.bench_attacks()]
    assert set(names) < set(registered)
    assert len(set(registered)) == len(registered)
