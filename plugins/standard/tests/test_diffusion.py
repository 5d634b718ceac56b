import hashlib
from dataclasses import asdict, fields

import pytest
import torch
from safetensors.torch import save_file

from bench import BenchError, Missing, Task
from bench.checks import checks_for, run_checks
from bench.training import diffusion, networks, toy
from bench.training.diffusion import Schedule
from bench.training.recipe import DiffusionRecipe
from bench_standard.architectures.dit import DIT_NANO
from bench_standard.diffusion import Diffusion, PretrainedDiffusion


@pytest.mark.parametrize(
    "check",
    [
        pytest.param(c, marks=pytest.mark.slow if "makes the same bytes" in str(c) else ())
        for c in checks_for("teacher", Diffusion())
    ],
    ids=str,
)
def test_contract(check):
    check.run()


def test_without_a_file_the_contract_of_the_pretrained_one_is_skipped_with_a_reason():
    verdicts = run_checks(checks_for("teacher", PretrainedDiffusion()))
    assert {v.status for v in verdicts} == {"passed", "skipped"}
    assert all(v.detail for v in verdicts if v.status == "skipped")


@pytest.fixture(scope="module")
def data():
    return toy.GRAY.load()


def task(data, architecture, seed=0, flip=False, progress=None):
    def backbone():
        torch.manual_seed(0)  # always: what the seed of the task changes is the training
        return diffusion.build(architecture, data.shape, len(data.classes))

    return Task(
        **{f: getattr(data, f) for f in ("train", "classes", "shape", "mean", "std")},
        flip=flip,
        ipc=0,
        seed=seed,
        networks={"backbone": backbone},
        progress=progress or (lambda done, total: None),
    )


def held_out(denoiser, data):
    """The denoising loss of the test images, by a noise and times of their own."""
    generator = torch.Generator().manual_seed(0)
    x, labels = denoiser.encode(data.test.images(torch.arange(160))), data.test.labels
    time = torch.randint(denoiser.schedule.timesteps, (160,), generator=generator)
    noise = torch.randn(x.shape, generator=generator)
    with torch.no_grad():
        return diffusion.losses(denoiser, x, labels, time, noise, {}).mean()


@pytest.mark.slow
def test_a_scorer_learns_to_denoise_images_that_it_has_not_seen(data):
    seen = []
    teacher = Diffusion(steps=300, batch=32, lr=3e-3)
    given = task(data, DIT_NANO, progress=lambda *now: seen.append(now))
    denoiser = teacher.squeeze(given)
    assert not denoiser.training
    assert held_out(denoiser, data) < 0.6 * held_out(given.network(), data)
    assert seen[-1] == (300, 300)


@pytest.mark.parametrize(
    "path",
    [("linear", "image", 100), ("straight", "velocity", 1000), ("cosine", "velocity", 50)],
)
def test_it_says_on_which_path_it_was_trained(data, path):
    noise, prediction, timesteps = path
    teacher = Diffusion(steps=2, noise=noise, prediction=prediction, timesteps=timesteps)
    denoiser = teacher.squeeze(task(data, toy.ToyDenoiser()))
    assert denoiser.schedule == Schedule(*path)


def weights(data, seed=0, keeps=False, **fields):
    """What is trained where mirror images keep their label, or not."""
    teacher = Diffusion(steps=5, batch=32, **fields)
    denoiser = teacher.squeeze(task(data, toy.ToyDenoiser(), seed, flip=keeps))
    return torch.cat([p.detach().flatten() for p in denoiser.parameters()])


def test_the_same_seed_gives_the_same_scorer_and_another_seed_another(data):
    assert torch.equal(weights(data), weights(data))
    assert not torch.equal(weights(data), weights(data, seed=1))


def test_images_are_mirrored_only_where_that_keeps_the_label(data):
    plain = weights(data, keeps=True)
    assert torch.equal(weights(data, keeps=False, flip=True), plain)
    assert not torch.equal(weights(data, keeps=True, flip=True), plain)


def test_its_fields_are_those_of_a_recipe_with_the_same_defaults():
    fixed = {"name", "checkpoints", "projection", "momentum", "betas"}
    recipe = {f.name: f.default for f in fields(DiffusionRecipe) if f.name not in fixed}
    own = {key: value for key, value in asdict(Diffusion()).items() if key not in fixed}
    assert own == recipe


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"prediction": "score"}, {"ema": 1.0}])
def test_a_recipe_that_makes_no_sense_is_refused_when_it_is_named(wrong):
    with pytest.raises(BenchError, match=next(iter(wrong))):
        Diffusion(**wrong)


# ---- pretrained


@pytest.fixture
def file(tmp_path, monkeypatch, data):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    torch.manual_seed(7)
    trained = diffusion.build(toy.ToyDenoiser(), data.shape, len(data.classes))
    save_file(networks.state(trained), tmp_path / "mine.safetensors")
    digest = hashlib.sha256((tmp_path / "mine.safetensors").read_bytes()).hexdigest()
    return trained, digest


def test_a_pretrained_scorer_is_the_network_that_was_saved_on_the_path_that_is_named(data, file):
    trained, digest = file
    teacher = PretrainedDiffusion(
        file="mine.safetensors", sha256=digest, noise="straight", prediction="velocity"
    )
    denoiser = teacher.squeeze(task(data, toy.ToyDenoiser()))
    assert denoiser.schedule == Schedule("straight", "velocity")
    assert not denoiser.training
    assert torch.equal(denoiser.network.images.weight, trained.network.images.weight)


def test_a_file_of_another_hash_is_refused(data, file):
    teacher = PretrainedDiffusion("mine", file="mine.safetensors", sha256="00")
    with pytest.raises(BenchError, match=f'set sha256 = "{file[1]}"'):
        teacher.squeeze(task(data, toy.ToyDenoiser()))


def test_without_a_file_it_says_how_to_name_one(data):
    with pytest.raises(Missing, match=r"pretrained-diffusion has no file; .* \[define"):
        PretrainedDiffusion().squeeze(task(data, toy.ToyDenoiser()))


def test_a_path_that_nobody_knows_is_refused():
    with pytest.raises(BenchError, match=r"pretrained-diffusion: .*noise is 'quadratic'"):
        PretrainedDiffusion(noise="quadratic")
