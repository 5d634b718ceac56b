import hashlib

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from bench import BenchError, Missing, Task, TensorSplit, Unsupported
from bench.training import networks
from bench_d2c import attach
from bench_d2c.attach import feature_map, features, hashed_text, text_of_file
from bench_standard.architectures.resnet import RESNET18
from bench_standard.architectures.vit import ViT
from bench_standard.datasets.digits import Digits
from bench_standard.datasets.idx import FashionMNIST

IMAGES = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))

# ---- text


def test_a_class_has_a_vector_for_each_word_and_zeros_after_the_last():
    table = hashed_text(["ant", "polar bear"], 8, 64)
    assert table.shape == (2, 8, 64)
    lengths = table.norm(dim=2)
    assert torch.allclose(lengths[0, :5], torch.ones(5))  # a photo of a ant
    assert torch.allclose(lengths[1, :6], torch.ones(6))
    assert not table[0, 5:].any()
    assert not table[1, 6:].any()


def test_a_text_has_the_same_vectors_in_any_company():
    alone = hashed_text(["polar bear"], 8, 64)
    among = hashed_text(["ant", "polar bear", "bee"], 8, 64)
    assert torch.equal(alone[0], among[1])
    assert torch.equal(among[0, :4], among[1, :4])  # a photo of a


def test_related_words_are_nearer_than_others():
    shirt, tshirt, bag = hashed_text(["shirt", "t-shirt", "bag"], 5, 64)[:, 4]
    assert shirt @ tshirt > shirt @ bag + 0.2


def test_of_a_long_name_the_last_words_are_kept():
    table = hashed_text(["great white shark"], 3, 64)
    assert torch.equal(table[0], hashed_text(["great white shark"], 7, 64)[0, 4:])


@pytest.mark.parametrize(
    "classes", [Digits().load().classes, FashionMNIST.classes], ids=["digits", "fashion"]
)
def test_all_classes_differ(classes):
    table = hashed_text(classes, 8, 64).flatten(1)
    assert bool((torch.pdist(table) > 0.5).all())


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    return tmp_path


def written(path, **tensors):
    save_file({name.replace("_", "."): tensor for name, tensor in tensors.items()}, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_vectors_of_a_file_are_attached_as_they_are(data):
    table = torch.rand(3, 4, 5, dtype=torch.bfloat16)
    sha256 = written(data / "t5.safetensors", class_text=table)
    found = text_of_file("t5.safetensors", 3, sha256)
    assert found.dtype == torch.float32
    assert torch.equal(found, table.float())


def test_a_missing_file_says_what_to_get_and_where_to_put_it(data):
    with pytest.raises(Missing) as error:
        text_of_file("t5.safetensors", 3, "")
    assert str(data / "t5.safetensors") in str(error.value)
    assert "'class.text' [3, L, d]" in str(error.value)


def test_a_file_is_that_of_its_hash(data):
    sha256 = written(data / "t5.safetensors", class_text=torch.rand(3, 4, 5))
    for said in ("", "0" * 64):
        with pytest.raises(BenchError, match=f'set sha256 = "{sha256}"'):
            text_of_file("t5.safetensors", 3, said)


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"class_text": torch.rand(2, 4, 5)}, r"has \[2, 4, 5\] under 'class.text'"),
        ({"class_text": torch.rand(3, 5)}, r"has \[3, 5\] under 'class.text'"),
        ({"text": torch.rand(3, 4, 5)}, r"has nothing under 'class.text'"),
    ],
)
def test_a_table_of_another_shape_is_refused(data, tensors, said):
    sha256 = written(data / "t5.safetensors", **tensors)
    with pytest.raises(BenchError, match=said + r"; expected \[3, L, d\]"):
        text_of_file("t5.safetensors", 3, sha256)


def test_a_file_of_another_kind_is_refused(data):
    (data / "t5.safetensors").write_bytes(b"no tensors")
    sha256 = hashlib.sha256(b"no tensors").hexdigest()
    with pytest.raises(BenchError, match="is no safetensors file"):
        text_of_file("t5.safetensors", 3, sha256)


# ---- features


def resnet():
    torch.manual_seed(0)
    return networks.build(RESNET18, (3, 32, 32), 10, (0.5,) * 3, (0.2,) * 3).eval()


def vit():
    torch.manual_seed(0)
    vit = ViT("vit", width=24, depth=2, heads=3, patch=4)
    return networks.build(vit, (3, 32, 32), 10, (0.5,) * 3, (0.2,) * 3).eval()


@pytest.mark.parametrize(("grid", "layer"), [(4, 4), (5, 3), (8, 3), (16, 2)])
def test_a_map_is_the_last_that_is_fine_enough(grid, layer):
    """A ResNet's last maps have sides of 4, those of layer 3 have 8, of layer 2 have 16."""
    network, seen = resnet(), []
    inner = dict(network.network.named_modules())
    with (
        torch.no_grad(),
        inner[f"layer{layer}"].register_forward_hook(lambda m, i, o: seen.append(o)),
    ):
        network(IMAGES)
        found = feature_map(network, IMAGES, grid)
    assert torch.equal(found, F.adaptive_avg_pool2d(seen[0], grid))
    assert found.shape[2:] == (grid, grid)


def test_the_map_of_a_vision_transformer_is_of_its_patches_and_not_of_the_class_token():
    network = vit()
    with torch.no_grad():
        tokens = network.network.forward_features((IMAGES - 0.5) / 0.2)
        found = feature_map(network, IMAGES, 8)
    assert tokens.shape == (6, 1 + 64, 24)
    for row, column in ((0, 0), (2, 5), (7, 7)):
        assert torch.allclose(found[:, :, row, column], tokens[:, 1 + 8 * row + column], atol=1e-6)


def test_a_map_has_the_sides_of_its_image():
    """Or the trainer, which mirrors it with the image, would be wrong to do so."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.AvgPool2d(4), nn.Flatten(), nn.Linear(256, 2))
    with torch.no_grad():
        plain, mirrored = (feature_map(network, x, 4) for x in (IMAGES, IMAGES.flip(3)))
    assert torch.allclose(plain.flip(3), mirrored, atol=1e-6)
    assert not torch.allclose(plain, mirrored, atol=1e-2)


def test_a_network_without_such_a_map_is_declined():
    with torch.no_grad(), pytest.raises(Unsupported, match="no feature map of 33x33"):
        feature_map(resnet(), IMAGES, 33)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
    with torch.no_grad(), pytest.raises(Unsupported, match="no feature map of 1x1"):
        feature_map(flat, IMAGES, 1)


def test_no_hook_stays_behind():
    network = resnet()
    with torch.no_grad():
        feature_map(network, IMAGES, 4)
    assert not any(module._forward_hooks for module in network.modules())


def test_features_are_those_of_the_images_at_the_index(monkeypatch):
    network = resnet()
    task = Task(
        train=TensorSplit(IMAGES, torch.zeros(6, dtype=torch.int64)),
        classes=("a",),
        shape=(3, 32, 32),
        mean=(0.5,) * 3,
        std=(0.2,) * 3,
        flip=True,
        ipc=4,
        seed=0,
        networks={"teacher": lambda: network},
    )
    index = torch.tensor([5, 0, 3, 1])
    monkeypatch.setattr(attach, "BATCH", 3)
    found = features(task, index, 4)
    with torch.no_grad():
        expected = feature_map(network, IMAGES[index], 4)
    assert torch.allclose(found, expected, atol=1e-5)
    assert not found.requires_grad


class Attentive(nn.Module):
    """Tokens, a map of attention by heads, and tokens again: 7 x 7 of them."""

    def __init__(self):
        super().__init__()
        self.patches, self.norm, self.kept = nn.Conv2d(3, 6, 4, 4), nn.LayerNorm(6), nn.Identity()

    def forward(self, x):
        tokens = self.norm(self.patches(x).flatten(2).mT)
        self.kept((tokens @ tokens.mT)[:, None].expand(-1, 4, -1, -1))
        return tokens.mean(1)


def test_attention_is_no_map():
    images = torch.rand(2, 3, 28, 28)
    assert feature_map(Attentive(), images, 7).shape == (2, 6, 7, 7)
    with pytest.raises(Unsupported, match="no feature map of 8x8"):
        feature_map(Attentive(), images, 8)


def test_channels_that_come_last_are_no_map():
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.LayerNorm(3)

        def forward(self, x):
            return self.norm(x.permute(0, 2, 3, 1)).mean((1, 2))

    with pytest.raises(Unsupported, match="no feature map"):
        feature_map(Last(), torch.rand(2, 3, 8, 8), 2)
