import copy
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL

from bench import BenchError, Missing, Unsupported
from bench.checks import checks_for
from bench.training import diffusion, networks, toy
from bench.training.classifier import Examples
from bench.training.denoiser import fit
from bench.training.diffusion import Schedule
from bench.training.recipe import DiffusionRecipe
from bench_standard import files
from bench_standard.architectures.latents import (
    LATENT_DIT_L,
    LATENT_DIT_XL,
    WEIGHTS,
    LatentDiT,
)
from bench_standard.samplers import DDIM

SHAPE, CLASSES = (3, 16, 16), 10


def made():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoencoderKL(
            block_out_channels=(4, 4),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            layers_per_block=1,
            latent_channels=2,
            norm_num_groups=2,
            scaling_factor=0.5,
            shift_factor=0.25,
        ).eval()


def sha256(model):
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return files.sha256(Path(folder) / WEIGHTS)


@pytest.fixture(scope="module")
def autoencoder():
    return made()


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch, autoencoder):
    autoencoder.save_pretrained(tmp_path / "mini")
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    return tmp_path


MINE = LatentDiT(
    "mine",
    width=16,
    depth=2,
    heads=2,
    projected_from=1,
    autoencoder="mini",
    sha256=sha256(made()),
)


@pytest.mark.slow
def test_contract(data):
    for check in checks_for("architecture", MINE):
        check.run()


@pytest.fixture
def denoiser():
    torch.manual_seed(0)
    return diffusion.build(MINE, SHAPE, CLASSES, extras={"image.features": (5, 2, 2)})


def test_its_space_is_that_of_the_autoencoder(denoiser, autoencoder):
    assert denoiser.shape == (2, 8, 8)
    images = torch.rand(2, *SHAPE)
    with torch.no_grad():
        x = denoiser.encode(images)
        latents = autoencoder.encode(2 * images - 1).latent_dist.mean
        assert torch.allclose(x, 0.5 * (latents - 0.25), atol=1e-6)
        pixels = (autoencoder.decode(latents).sample + 1) / 2
        assert torch.allclose(denoiser.decode(x), pixels.clamp(0, 1), atol=1e-5)


def test_the_autoencoder_is_frozen_and_no_part_of_the_network(denoiser):
    outside = denoiser.network.outside[0]
    assert not any(p.requires_grad for p in outside.parameters())
    inside = {id(tensor) for tensor in (*denoiser.parameters(), *denoiser.buffers())}
    assert not inside & {id(tensor) for tensor in outside.parameters()}
    assert set(networks.state(denoiser)) == {n for n, _ in denoiser.network.named_parameters()}
    denoiser.train()
    assert not outside.training


def test_the_autoencoder_moves_along(denoiser):
    images = torch.rand(1, *SHAPE, dtype=torch.float64)
    moved = denoiser.double()
    assert moved is denoiser
    assert moved.decode(moved.encode(images)).dtype == torch.float64


def test_a_copy_has_an_autoencoder_of_its_own(denoiser):
    copied = copy.deepcopy(denoiser).double()
    assert copied.encode(torch.rand(1, *SHAPE).double()).dtype == torch.float64
    assert denoiser.encode(torch.rand(1, *SHAPE)).dtype == torch.float32


def test_a_gradient_goes_through_to_the_images(denoiser):
    images = torch.rand(1, *SHAPE).requires_grad_()
    denoiser.decode(denoiser.encode(images)).sum().backward()
    assert images.grad.any()


def test_it_is_trained_and_sampled_from_in_its_space(denoiser):
    data = toy.COLOR.load()
    count = len(data.train.labels)
    examples = Examples(data.train, torch.arange(count), data.train.labels)
    extras = {"image.features": torch.randn(count, 5, 2, 2)}
    denoiser.schedule = Schedule("linear")
    recipe = DiffusionRecipe(steps=3, batch=8, noise="linear")
    before = copy.deepcopy(denoiser.network.outside[0].state_dict())
    fit(denoiser, examples, recipe, seed=0, extras=extras)
    after = denoiser.network.outside[0].state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    generator = torch.Generator().manual_seed(0)
    x = DDIM(steps=3).sample(denoiser, torch.tensor([0, 1]), {}, denoiser.shape, generator)
    images = denoiser.decode(x)
    assert images.shape == (2, *SHAPE)
    assert images.isfinite().all()


def test_its_initial_weights_do_not_depend_on_the_autoencoder(data):
    def weights(network):
        torch.manual_seed(3)
        return torch.cat([p.flatten() for p in network.build(SHAPE, CLASSES, {}).parameters()])

    before = weights(MINE)
    other = AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=2,
        norm_num_groups=2,
    )
    other.save_pretrained(data / "mini")
    assert torch.equal(weights(replace(MINE, sha256=sha256(other))), before)


def test_other_weights_than_those_named_are_refused(data):
    known = MINE.sha256
    for given in ("", "0" * 64):
        with pytest.raises(BenchError, match=f'SHA-256 {known}; .*set sha256 = "{known}"'):
            replace(MINE, sha256=given).build(SHAPE, CLASSES, {})


@pytest.mark.parametrize("architecture", [LATENT_DIT_L, LATENT_DIT_XL], ids=lambda a: a.name)
def test_without_the_autoencoder_it_says_what_to_get_and_where_to_put_it(architecture, data):
    said = f"expected {data}/sd-vae-ft-ema; get .* of stabilityai/sd-vae-ft-ema"
    with pytest.raises(Missing, match=said):
        architecture.build((3, 256, 256), 1000, {})


def test_a_folder_without_an_autoencoder_is_refused(data):
    (data / "empty").mkdir()
    with pytest.raises(BenchError, match=f"{data}/empty holds no autoencoder"):
        LatentDiT(autoencoder="empty").build(SHAPE, CLASSES, {})


def test_a_file_that_is_cut_short_is_refused(data):
    file = data / "mini" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(BenchError, match=f"{data}/mini holds no autoencoder"):
        MINE.build(SHAPE, CLASSES, {})


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((1, 16, 16), "takes 3 channels, these images have 1"),
        ((3, 17, 16), "makes 17x16 smaller by 2; both sides must be multiples of 2"),
        ((3, 18, 16), "patches of 2 do not tile 9x8"),
    ],
)
def test_images_that_do_not_fit_are_declined(shape, said):
    with pytest.raises(Unsupported, match=said):
        MINE.build(shape, CLASSES, {})
