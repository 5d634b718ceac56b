"""Denoisers and samplers give what networks and pipelines of diffusers give, of the same weights
and noise.
"""

from types import SimpleNamespace

import pytest
import torch
from diffusers import (
    DDIMPipeline,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    UNet2DModel,
)
from torch import nn

from bench.training.diffusion import Denoiser, Schedule
from bench_standard.architectures.dit import DIT_NANO
from bench_standard.architectures.unet import UNet
from bench_standard.samplers import DDIM, DDPM, PREDICTIONS

SHAPE, CLASSES = (3, 16, 16), 1000  # as many as `DiTPipeline` takes for granted
STEPS = 10
BETAS = {"cosine": "squaredcos_cap_v2", "linear": "linear"}
LABELS = torch.tensor([0, 7, 999])


def shaken(architecture):
    """A network whose weights are all drawn: a fresh one says nothing."""
    torch.manual_seed(0)
    network = architecture.build(SHAPE, CLASSES, {})
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(torch.randn(weight.shape) / max(1, weight[0].numel()) ** 0.5)
    return network.eval()


@pytest.fixture(scope="module")
def transformers():
    """Ours, and diffusers' with the same weights: each of its blocks has embedders of its own."""
    ours = shaken(DIT_NANO)
    theirs = DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=3,
        out_channels=3,
        num_layers=2,
        sample_size=16,
        patch_size=4,
        activation_fn="gelu",
        num_embeds_ada_norm=CLASSES,
    ).eval()
    theirs.pos_embed.proj.load_state_dict(ours.patches.state_dict())
    for own, block in zip(ours.blocks, theirs.transformer_blocks, strict=True):
        embedder = block.norm1.emb
        embedder.time_proj.downscale_freq_shift = 0  # as the authors of DiT
        embedder.timestep_embedder.load_state_dict(ours.time.state_dict())
        embedder.class_embedder.embedding_table.load_state_dict(ours.conditions.label.state_dict())
        block.norm1.linear.load_state_dict(own.before.linear.state_dict())
        block.attn1.load_state_dict(own.attention.state_dict())
        block.ff.load_state_dict(own.mlp.state_dict())
    for name, tensor in ours.norm.linear.state_dict().items():  # scale and shift change places
        theirs.proj_out_1.state_dict()[name].copy_(tensor.roll(32, 0))
    theirs.proj_out_2.load_state_dict(ours.out.state_dict())
    return ours, theirs


@pytest.fixture(scope="module")
def unets():
    """Ours, and diffusers' with the same weights, whose classes are a table of its own."""
    ours = shaken(UNet("small", widths=(8, 16), attention=(1,)))
    config = {name: value for name, value in ours.unet.config.items() if name[0] != "_"}
    config |= {"class_embed_type": None, "num_class_embeds": CLASSES + 1}
    theirs = UNet2DModel(**config).eval()
    table = {"class_embedding.weight": ours.conditions.label.weight.detach()}
    theirs.load_state_dict({**ours.unet.state_dict(), **table})
    return ours, theirs


# ---- networks


def inputs():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4, *SHAPE, generator=generator)
    return x, torch.tensor([0.0, 0.25, 0.777, 1.0]), torch.tensor([0, 2, 1, CLASSES])


@pytest.mark.parametrize("kind", ["transformers", "unets"])
def test_a_network_is_that_of_diffusers(kind, request):
    """DiT's where the embedders are shared, as its authors have them; the U-Net as it stands."""
    ours, theirs = request.getfixturevalue(kind)
    x, t, labels = inputs()
    with torch.no_grad():
        expected = theirs(x, 1000 * t, class_labels=labels).sample
        assert expected.abs().mean() > 0.1
        assert (theirs(x, 1000 * t, class_labels=labels.flip(0)).sample - expected).norm() > 0.1
        assert torch.allclose(ours(x, t, labels, {}), expected, atol=1e-5)


# ---- walks


class Asking(nn.Module):
    """A U-Net of diffusers that is asked for given classes by a pipeline that knows none."""

    def __init__(self, unet):
        super().__init__()
        self.unet, self.config, self.dtype, self.device = unet, unet.config, unet.dtype, unet.device

    def forward(self, x, t):
        return self.unet(x, t, class_labels=LABELS)


class Plain(nn.Module):
    """In the place of an autoencoder: latents are images."""

    config, device = SimpleNamespace(scaling_factor=1.0), torch.device("cpu")

    def decode(self, x):
        return SimpleNamespace(sample=x)


def images_of(pipeline, **how):
    """[P, C, H, W] of a pipeline, from the noise of seed 3."""
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(3)
    found = pipeline(generator=generator, num_inference_steps=STEPS, output_type="np", **how).images
    return torch.from_numpy(found).permute(0, 3, 1, 2)


def walked(sampler, network, noise, prediction):
    """The same of ours."""
    model = Denoiser(network, SHAPE, CLASSES, Schedule(noise, prediction))
    x = sampler.sample(model, LABELS, {}, SHAPE, torch.Generator().manual_seed(3))
    return model.decode(x)


def alike(found, expected):
    between = (expected > 0.01) & (expected < 0.99)
    assert between.sum() > 4  # the rest is cut off; few are left where noise is predicted by chance
    assert torch.allclose(found, expected, atol=1e-3)


def path(kind, noise, prediction, **fields):
    return kind(
        beta_schedule=BETAS[noise],
        prediction_type=PREDICTIONS[prediction],
        timestep_spacing="trailing",
        **fields,
    )


@pytest.mark.parametrize("noise", BETAS)
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("eta", [0.0, 0.5, None], ids=["ddim", "ddim-half", "ddpm"])
def test_a_walk_is_that_of_the_pipeline(unets, noise, prediction, eta):
    ours, theirs = unets
    if eta is None:
        sampler = DDPM(steps=STEPS, guidance=1)
        pipeline = DDPMPipeline(Asking(theirs), path(DDPMScheduler, noise, prediction))
        expected = images_of(pipeline, batch_size=len(LABELS))
    else:
        sampler = DDIM(steps=STEPS, guidance=1, eta=eta)
        pipeline = DDIMPipeline(Asking(theirs), path(DDIMScheduler, noise, prediction))
        how = {"eta": eta, "use_clipped_model_output": True}
        expected = images_of(pipeline, batch_size=len(LABELS), **how)
    alike(walked(sampler, ours, noise, prediction), expected)


@pytest.mark.parametrize("guidance", [1.0, 1.5, 4.0])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_guided_walk_of_dit_is_that_of_its_pipeline(transformers, guidance, prediction):
    """By DDIM alone: to a step of DDPM, that pipeline gives no generator."""
    ours, theirs = transformers
    scheduler = path(DDIMScheduler, "linear", prediction, clip_sample=False)
    pipeline = DiTPipeline(theirs, Plain(), scheduler)
    expected = images_of(pipeline, class_labels=LABELS.tolist(), guidance_scale=guidance)
    sampler = DDIM(steps=STEPS, guidance=guidance, clip=False)
    alike(walked(sampler, ours, "linear", prediction), expected)
