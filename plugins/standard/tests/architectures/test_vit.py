import pytest
import timm
import torch

from bench import BenchError, Unsupported
from bench_standard.architectures.vit import VIT_NANO, VIT_TINY, ViT


def test_at_224_the_tiny_one_is_deit_of_timm():
    reference = timm.create_model("deit_tiny_patch16_224", num_classes=5).eval()
    network = VIT_TINY.build((3, 224, 224), 5).eval()
    network.load_state_dict(reference.state_dict())
    images = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        assert torch.allclose(network(images), reference(images), atol=1e-5)


@pytest.mark.parametrize(
    ("height", "width", "patch"),
    [(8, 8, 2), (16, 16, 2), (28, 28, 4), (32, 32, 4), (64, 64, 8), (32, 64, 8), (224, 224, 16)],
)
def test_the_patch_goes_by_the_size_of_the_image(height, width, patch):
    network = VIT_NANO.build((1, height, width), 3)
    assert network.patch_embed.patch_size == (patch, patch)
    assert network.patch_embed.num_patches == height * width // patch**2


@pytest.mark.parametrize("shape", [(3, 31, 31), (3, 33, 47), (3, 4, 4), (3, 512, 512)])
def test_images_that_no_patch_tiles_are_declined_with_what_would_do(shape):
    with pytest.raises(Unsupported, match="multiples of 8 would do"):
        VIT_NANO.build(shape, 3)


def test_a_patch_that_is_asked_for_must_tile_the_image():
    assert (
        ViT(width=8, heads=2, depth=1, patch=7).build((1, 28, 28), 3).patch_embed.num_patches == 16
    )
    with pytest.raises(Unsupported, match="patches of 5 pixels do not tile images of 28x28"):
        ViT(patch=5).build((1, 28, 28), 3)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"width": 64}, "width is 64; expected a multiple of heads = 3"),
        ({"depth": 0}, "depth is 0; expected 1 or more"),
        ({"patch": -1}, "patch is -1; expected a side in pixels"),
    ],
)
def test_a_field_that_makes_no_sense_is_refused(wrong, said):
    with pytest.raises(BenchError, match=said):
        ViT(**wrong)
