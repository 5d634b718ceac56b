import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bench import BenchError
from bench.training.networks import Normalized
from bench_guard.spectrum import largest_eigenpair, top_curvature

SHAPE, CLASSES = (1, 4, 4), 3


def network(activation, seed=0, norm=False):
    torch.manual_seed(seed)
    layers = [nn.Conv2d(1, 6, 3, padding=1), activation, nn.Flatten(), nn.Linear(96, CLASSES)]
    if norm:
        layers.insert(1, nn.BatchNorm2d(6))
    return Normalized(nn.Sequential(*layers), (0.3,), (0.4,)).double().eval()


def some(count=5, seed=1, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, *SHAPE, generator=generator, dtype=dtype)
    return images, torch.randint(CLASSES, (count,), generator=generator)


def dense(model, image, label):
    """Largest eigenvalue and |cosine|, from the whole Hessian of one image [D, D]."""

    def loss(pixels):
        return F.cross_entropy(model(pixels.view(1, *SHAPE)), label[None])

    flat = image.flatten()
    values, vectors = torch.linalg.eigh(torch.autograd.functional.hessian(loss, flat))
    gradient = torch.autograd.functional.jacobian(loss, flat)
    return values[-1], F.cosine_similarity(vectors[:, -1], gradient, dim=0).abs()


@pytest.mark.parametrize("activation", [nn.Softplus(), nn.ReLU(), nn.Tanh()])
def test_it_is_the_top_of_the_dense_hessian(activation):
    model = network(activation)
    images, labels = some()
    values, cosine = top_curvature(model, images, labels, steps=16)
    wanted = [dense(model, *one) for one in zip(images, labels, strict=True)]
    assert torch.allclose(values, torch.stack([v for v, _ in wanted]), rtol=1e-9, atol=0)
    assert torch.allclose(cosine, torch.stack([c for _, c in wanted]), rtol=1e-6, atol=0)
    assert cosine.std() > 1e-3  # else the cosine would test nothing


def test_as_many_steps_as_classes_are_enough_for_a_piecewise_linear_network():
    model = network(nn.ReLU(), norm=True)
    images, labels = some()
    few, some_cosine = top_curvature(model, images, labels, steps=CLASSES)
    many, cosine = top_curvature(model, images, labels, steps=16)
    assert torch.allclose(few, many, rtol=1e-9)
    assert torch.allclose(some_cosine, cosine, rtol=1e-6)


def test_fewer_steps_find_no_larger_value():
    model = network(nn.Tanh())
    images, labels = some()
    found = torch.stack([top_curvature(model, images, labels, steps=k)[0] for k in range(1, 17)])
    assert (found.diff(dim=0) > -1e-12).all()
    assert (found[0] < found[-1]).all()


def test_in_single_precision_it_is_the_same_to_five_digits():
    model = network(nn.Softplus())
    images, labels = some()
    wanted, direction = top_curvature(model, images, labels)
    values, cosine = top_curvature(model.float(), images.float(), labels)
    assert values.dtype == torch.float32
    assert torch.allclose(values.double(), wanted, rtol=1e-5)
    assert torch.allclose(cosine.double(), direction, atol=1e-4)


def test_a_network_that_is_sure_has_a_small_curvature_not_none():
    """p (1 - p) |w|^2, where float32 sees p = 1."""
    margin = 30.0
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2, bias=False))
    with torch.no_grad():
        model[1].weight[0], model[1].weight[1] = 0.0, margin / 8
    values, cosine = top_curvature(model, torch.full((1, *SHAPE), 0.5), torch.tensor([1]))
    wanted = math.exp(-margin) * 16 * (margin / 8) ** 2
    assert values.item() == pytest.approx(wanted, rel=0.01, abs=0)
    assert cosine.item() == pytest.approx(1)


def test_a_flat_loss_has_no_curvature_and_its_gradient_no_direction():
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, CLASSES))
    nn.init.zeros_(model[1].weight)
    values, cosine = top_curvature(model, *some(dtype=torch.float32))
    assert (values == 0).all()
    assert cosine.isnan().all()


def test_an_image_does_not_depend_on_its_batch_nor_on_the_mode_and_nothing_is_changed():
    model = network(nn.Softplus(), norm=True)
    images, labels = some()
    values, cosine = top_curvature(model, images, labels)
    model.train()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    alone, angle = top_curvature(model, images[3:4], labels[3:4])
    assert torch.allclose(alone, values[3:4], rtol=1e-12)
    assert torch.allclose(angle, cosine[3:4], rtol=1e-9)
    assert model.training
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())
    assert all(weights.grad is None for weights in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_attention_can_be_differentiated_twice():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, CLASSES)

        def forward(self, images):  # rows as tokens
            seen = F.scaled_dot_product_attention(images, images, images)
            return self.head(seen.mean((1, 2)))

    torch.manual_seed(0)
    model = Attention().double().eval()
    images, labels = some()
    values, _ = top_curvature(model, images, labels)
    wanted = dense_math(model, images[0], labels[0])
    assert values[0].item() == pytest.approx(wanted, rel=1e-9)


def dense_math(model, image, label):
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel(SDPBackend.MATH):
        return dense(model, image, label)[0].item()


def test_a_loss_that_cannot_be_differentiated_twice_is_an_error():
    class Root(nn.Module):
        def forward(self, images):  # the root of 0
            pixels = images.flatten(1)[:, :CLASSES]
            return (pixels - pixels.detach()).abs().pow(1.5)

    with pytest.raises(BenchError, match="second derivative of the loss is NaN"):
        top_curvature(Root(), *some(dtype=torch.float32))
    with pytest.raises(BenchError, match="steps is 0"):
        top_curvature(Root(), *some(), steps=0)


# ---- Lanczos


def symmetric(spectrum, seed):
    generator = torch.Generator().manual_seed(seed)
    size = len(spectrum)
    basis, _ = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
    return basis @ torch.diag(torch.tensor(spectrum, dtype=torch.float64)) @ basis.T


@pytest.mark.parametrize(
    "spectrum",
    [
        [5.0, 1.0, 0.5, 0.0, -1.0, -7.0],  # the largest, not the largest in size
        [-1.0, -2.0, -3.0, -3.0, -3.0, -3.0],  # negative, and its Krylov space has 3 dimensions
        [2.0] * 6,  # of one dimension
        [0.0] * 6,
        [1e-20, 0.0, 0.0, 0.0, 0.0, -1e-20],
    ],
)
def test_with_as_many_steps_as_dimensions_it_is_exact(spectrum):
    matrices = torch.stack([symmetric(spectrum, seed) for seed in range(3)])
    like = torch.zeros(3, 6, dtype=torch.float64)
    values, vectors = largest_eigenpair(
        lambda v: (matrices @ v[:, :, None])[:, :, 0], like, steps=50, seed=0
    )
    scale = max(map(abs, spectrum))
    assert torch.allclose(values, torch.full((3,), max(spectrum)).double(), atol=1e-12 * scale)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(3).double())
    found = (matrices @ vectors[:, :, None])[:, :, 0]
    assert torch.allclose(found, max(spectrum) * vectors, atol=1e-9 * scale)


def test_a_separated_eigenvalue_of_a_large_matrix_comes_in_few_steps():
    spectrum = [10.0, 4.0, *torch.linspace(1, -1, 398).tolist()]
    matrix = symmetric(spectrum, 0)
    like = torch.zeros(2, 400, dtype=torch.float64)
    values, _ = largest_eigenpair(lambda v: v @ matrix, like, steps=16, seed=0)
    assert torch.allclose(values, torch.full((2,), 10.0).double(), rtol=1e-6)
