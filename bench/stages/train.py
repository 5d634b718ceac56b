"""A student, trained on a condensed set."""

from __future__ import annotations

from dataclasses import asdict

from torch import nn

from bench.contract.data import Split
from bench.contract.task import CondensedSet
from bench.stages.io import (
    Progress,
    Result,
    built,
    check_finite,
    condensed_of,
    examples_of,
    network_of,
    source_of,
)
from bench.stages.source import described
from bench.stages.stage import Work
from bench.store.store import Store
from bench.training import denoiser, diffusion, networks
from bench.training.classifier import fit
from bench.training.diffusion import Denoiser, Schedule
from bench.training.passes import Passes
from bench.training.recipe import DiffusionRecipe, Recipe


def train(
    network: nn.Module,
    condensed: CondensedSet,
    real: Split,
    recipe: Recipe,
    *,
    regime: str,
    seed: int,
    flip: bool,
    teacher: nn.Module | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> nn.Module:
    """Train a student on a condensed set ; the last one is the student."""
    return fit(
        network,
        examples_of(condensed, real),
        recipe,
        classes=condensed.labels.shape[1],
        seed=seed,
        regime=regime,
        teacher=teacher,
        flip=flip,
        device=device,
        progress=progress,
    )


def run(work: Work, store: Store, progress: Progress) -> Result:
    if isinstance(work.parts["recipe"], DiffusionRecipe):
        return _train_denoiser(work, store, progress)
    source = source_of(work, store)
    facts, above = described(source.facts), work.above
    student = built(work.parts["architecture"], facts, work.seed).to(work.device)
    teacher = None
    if "teacher" in above:
        teacher = network_of(above["teacher"], store, facts, work.device)
    passes = Passes()
    for network in filter(None, (student, teacher)):
        passes.count(network)
    train(
        student,
        condensed_of(work, store),
        source.split("train"),
        work.parts["recipe"],
        regime=work.parts["labels"],
        seed=work.seed,
        flip=facts["flip"],
        teacher=teacher,
        device=work.device,
        progress=progress,
    )
    state = networks.state(student)
    check_finite(state)
    return {"result": state}, {"passes": passes.as_json()}


def _train_denoiser(work: Work, store: Store, progress: Progress) -> Result:
    source, condensed = source_of(work, store), condensed_of(work, store)
    recipe = work.parts["recipe"]
    schedule = Schedule(recipe.noise, recipe.prediction, recipe.timesteps)
    extras = diffusion.rows_of(condensed.extras)
    student = built(
        work.parts["architecture"], described(source.facts), work.seed, schedule, extras
    ).to(work.device)
    assert isinstance(student, Denoiser)
    passes = Passes()
    passes.count(student)
    checkpoints = denoiser.fit(
        student,
        examples_of(condensed, source.split("train")),
        recipe,
        seed=work.seed,
        extras=condensed.extras,
        flip=source.facts["flip"],
        device=work.device,
        progress=progress,
    )
    files = {"result": networks.state(student)}
    files |= {f"step-{step}": state for step, state in checkpoints.items()}
    for state in files.values():
        check_finite(state)
    value = {"passes": passes.as_json(), "schedule": asdict(schedule), "extras": extras}
    return files, value
