import subprocess
import sys

import pytest
import torch

from bench.checks import fixtures
from bench.contract.kinds import KINDS
from bench.contract.registry import registry_of
from bench.training import networks, toy


def test_there_is_a_toy_of_every_kind() -> None:
    assert set(toy.COMPONENTS) == set(KINDS)
    names = [entry.name for entry in registry_of(toy.COMPONENTS).entries]
    assert all(name.startswith("toy-") for name in names)
    assert len(names) == sum(map(len, toy.COMPONENTS.values()))


def test_importing_the_toys_does_not_import_torch() -> None:
    code = "import sys, bench.training.toy; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("dataset", [toy.GRAY, toy.COLOR], ids=lambda d: d.name)
def test_toy_data_has_equal_classes_and_is_the_same_every_time(dataset) -> None:
    data = dataset.load()
    assert data.shape == dataset.shape
    assert torch.bincount(data.train.labels).tolist() == [40] * dataset.classes
    assert torch.bincount(data.test.labels).tolist() == [20] * dataset.classes
    assert data.train.pixels.dtype == (torch.uint8 if dataset.uint8 else torch.float32)
    assert data.digest == dataset.load().digest
    assert data.digest != toy.ToyData(seed=9).load().digest


@pytest.mark.parametrize("dataset", [toy.GRAY, toy.COLOR], ids=lambda d: d.name)
def test_a_tiny_network_learns_toy_data(dataset) -> None:
    data = dataset.load()
    index = torch.arange(len(data.test))
    logits = networks.predict(fixtures.trained(dataset), data.test, index)
    assert (logits.argmax(1) == data.test.labels).float().mean() > 0.95


def test_toy_means_are_the_means_of_the_parts_of_each_class() -> None:
    data = toy.GRAY.load()
    condensed = toy.ToyMeans().condense(fixtures.task(toy.ToyMeans(), toy.GRAY, 2))
    second = data.train.pixels[data.train.labels == 0][20:]
    torch.testing.assert_close(condensed.images[1], second.mean(0))
    assert condensed.labels.argmax(1).tolist() == [k // 2 for k in range(16)]


def test_toy_first_takes_the_first_of_each_class_in_their_order() -> None:
    condensed = toy.ToyFirst().condense(fixtures.task(toy.ToyFirst(), toy.GRAY, 2))
    assert condensed.images.indices.tolist() == [
        0,
        8,
        1,
        9,
        2,
        10,
        3,
        11,
        4,
        12,
        5,
        13,
        6,
        14,
        7,
        15,
    ]


def test_toy_sampling_ends_near_what_the_denoiser_says() -> None:
    data = toy.GRAY.load()
    denoiser = fixtures.network(toy.ToyDenoiser(), data)
    labels = torch.arange(8)
    generator = torch.Generator().manual_seed(0)
    samples = toy.ToySampler(steps=20).sample(denoiser, labels, {}, data.shape, generator)
    said = denoiser.network.images.weight[:8].view(8, *data.shape)
    assert (samples - said).abs().max() < 0.01
