import pytest
import safetensors.torch
import torch
from torch import nn

from bench.contract.data import TensorSplit
from bench.contract.errors import BenchError
from bench.training.networks import Normalized, build, evaluating, features, load, predict, state

MEAN, STD = (0.2, 0.5, 0.7), (0.1, 0.2, 0.3)


class Architecture:
    def build(self, shape, classes):
        return nn.Sequential(
            nn.Conv2d(shape[0], 4, 3),
            nn.BatchNorm2d(4),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 7),
            nn.Dropout(0.5),
            nn.Linear(7, classes),
        )


@pytest.fixture
def network():
    torch.manual_seed(0)
    return build(Architecture(), (3, 8, 8), 5, MEAN, STD)


@pytest.fixture
def split():
    pixels = torch.rand(10, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return TensorSplit(pixels, torch.arange(10) % 5)


def test_normalisation_is_inside():
    network = Normalized(nn.Identity(), MEAN, STD)
    images = torch.rand(2, 3, 4, 4)
    mean, std = (torch.tensor(t)[None, :, None, None] for t in (MEAN, STD))
    torch.testing.assert_close(network(images), (images - mean) / std)


def test_a_network_without_weights_has_a_tensor_on_its_device():
    assert len(list(Normalized(nn.Flatten(), MEAN, STD).buffers())) == 2


def test_normalisation_is_not_part_of_the_state(network):
    assert set(network.state_dict()) == {f"network.{key}" for key in state(network)}
    assert not any("mean" in key and "running" not in key for key in state(network))


def test_features_are_what_the_last_linear_layer_sees(network, split):
    network.eval()
    seen, logits = features(network, split.pixels)
    assert seen.shape == (10, 7)
    torch.testing.assert_close(network.network[-1](seen), logits)


def test_features_leave_no_hook_behind(network, split):
    features(network.eval(), split.pixels)
    assert not network.network[-1]._forward_pre_hooks


def test_features_are_differentiable(network, split):
    images = split.pixels.clone().requires_grad_()
    features(network.eval(), images)[0].sum().backward()
    assert images.grad.abs().sum() > 0


def test_a_network_without_a_linear_layer_has_no_features():
    with pytest.raises(BenchError, match=r"Flatten has no nn\.Linear"):
        features(Normalized(nn.Flatten(), MEAN, STD), torch.rand(1, 3, 4, 4))


def test_an_unused_last_linear_layer_is_an_error():
    class Unused(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(4, 2), nn.Linear(4, 2)

        def forward(self, x):
            return self.used(x)

    with pytest.raises(BenchError, match="not called"):
        features(Unused(), torch.rand(1, 4))


def test_predictions_do_not_depend_on_the_batch_size(network, split):
    index = torch.tensor([3, 1, 9, 0])
    whole = predict(network, split, index)
    torch.testing.assert_close(whole, predict(network, split, index, batch=3))
    torch.testing.assert_close(whole, network.eval()(split.pixels[index]))
    assert not whole.requires_grad


def test_predicting_leaves_each_modules_mode_as_it_was(network, split):
    network.train()
    network.network[1].eval()  # e.g. a frozen BatchNorm
    before = {key: value.clone() for key, value in network.state_dict().items()}
    predict(network, split, torch.arange(4))
    assert network.training
    assert not network.network[1].training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_modes_are_restored_after_an_error(network):
    with pytest.raises(ZeroDivisionError), evaluating(network):
        1 / 0  # noqa: B018
    assert network.training


def test_predicting_nothing_is_an_error(network, split):
    with pytest.raises(BenchError, match="empty"):
        predict(network, split, torch.arange(0))


def test_a_state_survives_safetensors(network, split, tmp_path):
    network.to(memory_format=torch.channels_last)
    safetensors.torch.save_file(state(network), tmp_path / "state.safetensors")
    other = build(Architecture(), (3, 8, 8), 5, MEAN, STD)
    load(other, safetensors.torch.load_file(tmp_path / "state.safetensors"))
    ours, theirs = network.state_dict(), other.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_a_state_of_tied_weights_shares_no_memory():
    layer = nn.Linear(3, 3)
    tied = nn.ModuleDict({"a": layer, "b": layer})
    saved = state(tied)
    assert len({value.data_ptr() for value in saved.values()}) == len(saved) == 4


def test_a_state_is_a_copy(network):
    saved = state(network)
    with torch.no_grad():
        network.network[-1].bias.fill_(42)
    assert not (saved["6.bias"] == 42).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("4.weight"), "has no '4.weight'"),
        (lambda s: s.update(extra=torch.zeros(1)), "unexpected 'extra'"),
        (lambda s: s.update({"6.bias": torch.zeros(9)}), r"'6.bias' of shape \[9\], not \[5\]"),
    ],
)
def test_a_state_that_does_not_fit_is_named(network, change, message):
    saved = state(network)
    change(saved)
    with pytest.raises(BenchError, match=message):
        load(network, saved)
