import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bench import BenchError
from bench_matching.distances import EPSILON, distance, gradients, mean_distance

SHAPES = ((4, 3, 3, 3), (4,), (5, 2, 3), (10, 8), (10,))


def parts(seed, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return [scale * torch.randn(s, generator=generator, dtype=torch.float64) for s in SHAPES]


def plain_layerwise(found, aim):
    """The formula, number by number."""
    total = 0.0
    for a, b in zip(found, aim, strict=True):
        if a.ndim == 1:
            continue
        for row in range(len(a)):
            x, y = a[row].flatten().tolist(), b[row].flatten().tolist()
            dot = sum(p * q for p, q in zip(x, y, strict=True))
            norms = sum(p * p for p in x) ** 0.5 * sum(q * q for q in y) ** 0.5
            total += 1 - dot / (norms + EPSILON)
    return total


def test_the_layerwise_distance_is_the_published_formula():
    found, aim = parts(0), parts(1)
    expected = plain_layerwise(found, aim)
    assert distance(found, aim).item() == pytest.approx(expected, rel=1e-12)
    assert 0 < expected < 2 * (4 + 5 + 10)


def test_cosine_and_l2_take_all_parameters_as_one_vector():
    found, aim = parts(0), parts(1)
    x, y = (torch.cat([p.flatten() for p in side]).tolist() for side in (found, aim))
    dot = sum(p * q for p, q in zip(x, y, strict=True))
    norms = sum(p * p for p in x) ** 0.5 * sum(q * q for q in y) ** 0.5
    cosine = 1 - dot / (norms + EPSILON)
    assert distance(found, aim, "cosine").item() == pytest.approx(cosine, rel=1e-12)
    squares = sum((p - q) ** 2 for p, q in zip(x, y, strict=True))
    assert distance(found, aim, "l2").item() == pytest.approx(squares, rel=1e-12)


@pytest.mark.parametrize("kind", ["layerwise", "cosine", "l2"])
def test_equal_gradients_are_no_distance_apart_and_opposite_ones_far(kind):
    found = parts(0)
    assert abs(distance(found, found, kind).item()) < 1e-5
    assert distance([-p for p in found], found, kind) > 1.9


def test_the_layerwise_distance_ignores_the_length_of_a_row_and_whatever_has_one_dimension():
    found, aim = parts(0, 100.0), parts(1, 100.0)
    before = distance(found, aim)
    longer = [p.clone() for p in found]
    longer[0][2] *= 7.0
    longer[1] += 5.0
    longer[4] *= -1.0
    assert distance(longer, aim).item() == pytest.approx(before.item(), rel=1e-9)
    assert distance(longer, aim, "cosine").item() != pytest.approx(
        distance(found, aim, "cosine").item(), rel=1e-3
    )


@pytest.mark.parametrize("kind", ["layerwise", "cosine", "l2"])
def test_a_gradient_of_zero_has_a_finite_distance_that_can_be_differentiated(kind):
    aim = parts(1)
    found = [torch.zeros_like(p, requires_grad=True) for p in aim]
    far = distance(found, aim, kind)
    given = torch.autograd.grad(far, found, materialize_grads=True)
    assert far.isfinite()
    assert all(g.isfinite().all() for g in given)


def test_another_kind_of_distance_is_refused():
    with pytest.raises(BenchError, match="distance is 'cubed'; expected 'layerwise', 'cosine'"):
        distance(parts(0), parts(1), "cubed")


def small():
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(32, 3)]
    return nn.Sequential(*layers).double()


def test_gradients_are_those_of_a_backward_pass_and_zero_where_there_is_none():
    network, spare = small(), nn.Parameter(torch.ones(2))
    images = torch.rand(4, 1, 6, 6, dtype=torch.float64)
    loss = F.cross_entropy(network(images), torch.tensor([0, 1, 2, 0]))
    found = gradients(loss, [*network.parameters(), spare])
    assert not any(g.requires_grad for g in found)
    F.cross_entropy(network(images), torch.tensor([0, 1, 2, 0])).backward()
    for got, parameter in zip(found, network.parameters(), strict=False):
        assert torch.allclose(got, parameter.grad)
    assert found[-1].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("kind", ["layerwise", "cosine", "l2"])
def test_images_can_be_optimised_through_gradients(kind):
    """The gradient of the distance in the images, against finite differences."""
    network, labels = small(), torch.tensor([0, 1])
    generator = torch.Generator().manual_seed(1)
    real, images = torch.rand(2, 2, 1, 6, 6, generator=generator, dtype=torch.float64)
    parameters = list(network.parameters())
    aim = gradients(F.cross_entropy(network(real), labels), parameters)

    def far(x):
        loss = F.cross_entropy(network(x), labels)
        return distance(gradients(loss, parameters, differentiable=True), aim, kind)

    assert torch.autograd.gradcheck(far, images.requires_grad_(), atol=1e-6)


def test_the_distance_of_means_is_that_of_the_average_features():
    generator = torch.Generator().manual_seed(0)
    found, aim = torch.randn(3, 5, generator=generator), torch.randn(7, 5, generator=generator)
    expected = sum(
        (sum(found[:, j].tolist()) / 3 - sum(aim[:, j].tolist()) / 7) ** 2 for j in range(5)
    )
    assert mean_distance(found, aim).item() == pytest.approx(expected, rel=1e-5)
    assert mean_distance(aim.flip(0), aim).item() < 1e-12
