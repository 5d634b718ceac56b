"""Attacks as others have set them, under names that say whose they are.

Settings are theirs; the implementation is the one of the component. Where the two differ, the
comment says how. Attacks whose settings are not public, or that are not here, are left out.
"""

from __future__ import annotations

from bench_standard.attacks.auto import AutoAttack, Square
from bench_standard.attacks.gradient import FGSM, MARGIN, MIM, PGD, VMIFGSM, Jitter
from bench_standard.attacks.minimal import CW, DeepFool

# Training and evaluation code of GUARD: a ball of 1/255, far below the 8/255 of others.
GUARD = (
    PGD("guard-pgd", eps=1 / 255, alpha=0.25 / 255, steps=100),
    # they normalise a gradient by the norm of the whole batch; here, as in the paper, by its own
    MIM("guard-mim", eps=1 / 255, alpha=1 / 255, steps=20),
    Square("guard-square", eps=1 / 255, rescaled=True),
    # theirs is that of torchattacks, with 10 steps instead of 100: this one is stronger
    AutoAttack("guard-autoattack", eps=1 / 255),
    # any distance counts
    CW("guard-cw", eps=0.0, norm="", c=1e-4, batch=25),
)

# params.yaml of DD-RobustBench: radius, step size and steps
DDRB_GRID = ((2, 5), (2, 10), (4, 5), (4, 10), (8, 10))
DD_ROBUSTBENCH = (
    *(FGSM(f"ddrb-fgsm-{eps}", eps=eps / 255) for eps in (2, 4, 8)),
    *(
        PGD(f"ddrb-pgd-{eps}-{steps}", eps=eps / 255, alpha=2 / 255, steps=steps)
        for eps, steps in DDRB_GRID
    ),
    # theirs has no slope at an image that is wrong by more than 50; such a one has fallen here
    *(
        PGD(f"ddrb-cw-{eps}-{steps}", eps=eps / 255, alpha=2 / 255, steps=steps, loss=MARGIN)
        for eps, steps in DDRB_GRID
    ),
    *(
        VMIFGSM(
            f"ddrb-vmifgsm-{eps}-{steps}",
            eps=eps / 255,
            alpha=2 / 255,
            steps=steps,
            neighbours=5,  # the default of torchattacks, as are decay and beta
        )
        for eps, steps in DDRB_GRID
    ),
    *(
        Jitter(f"ddrb-jitter-{eps}-{steps}", eps=eps / 255, alpha=2 / 255, steps=steps)
        for eps, steps in DDRB_GRID
    ),
    # theirs is that of torchattacks, with 10 steps instead of 100: this one is stronger
    *(AutoAttack(f"ddrb-autoattack-{eps}", eps=eps / 255) for eps in (1, 2, 3, 4)),
)

# Evaluation code of BEARD. Its own attacks take normalised images for pixels and so leave the
# ball by far; numbers in print do not compare.
BEARD = (
    FGSM("beard-fgsm", eps=8 / 255),
    PGD("beard-pgd", eps=8 / 255, alpha=2 / 225, steps=10, random_start=False),  # 225: sic
    PGD("beard-pgd-l2", eps=128 / 255, norm="l2", alpha=15 / 255, steps=10, random_start=False),
    # theirs is that of torchattacks, whose steps overshoot one by one: this one is stronger
    DeepFool("beard-deepfool", eps=0.0, norm="", steps=50, overshoot=0.02),
    CW("beard-cw", eps=0.0, norm="", c=1.0, kappa=0.0, steps=100, lr=0.01),
    # theirs is that of torchattacks, with 10 steps instead of 100: this one is stronger
    AutoAttack("beard-autoattack", eps=8 / 255),
)

# The threat models of RobustBench on CIFAR-10 (Croce et al., 2021)
ROBUSTBENCH = (
    AutoAttack("robustbench-linf", eps=8 / 255),
    AutoAttack("robustbench-l2", eps=0.5, norm="l2"),
)

ATTACKS = (*GUARD, *DD_ROBUSTBENCH, *BEARD, *ROBUSTBENCH)
