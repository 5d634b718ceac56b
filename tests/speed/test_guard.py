"""What a step of training costs with the curvature of GUARD in its loss, in plain steps.

A ConvNet of width 32 with BatchNorm, channels last, images of the shape of Fashion-MNIST (made
up), equal batches. "written out" is the loop that a user would write after the formula: the
gradient for the direction, and the difference of two more, by torch alone. Passes are images that
went forward through the network and came back, by images of the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn
from torch.nn import functional as F

from bench.training import networks
from bench.training.passes import counting
from bench_guard.curvature import curvature, gradient_norm, loss_difference, with_curvature
from bench_standard.architectures.convnet import ConvNet

SHAPE, CLASSES, LENGTH, WIDTH = (1, 28, 28), 10, 0.5, 32


def written_out(model: nn.Module, images: Tensor, labels: Tensor, *, h: float) -> Tensor:
    model.eval()
    x = images.clone().requires_grad_()
    (slope,) = torch.autograd.grad(F.cross_entropy(model(x), labels, reduction="sum"), x)
    z = h * F.normalize(slope.flatten(1)).view_as(x)
    risen = F.cross_entropy(model(x + z), labels, reduction="sum")
    risen = risen - F.cross_entropy(model(x), labels, reduction="sum")
    (change,) = torch.autograd.grad(risen, x, create_graph=True)
    model.train()
    return change.flatten(1).norm(dim=1)


def first_half(model: nn.Module, images: Tensor, labels: Tensor, *, h: float) -> Tensor:
    half = len(images) // 2
    return curvature(model, images[:half], labels[:half], h=h)


TERMS: dict[str, Callable[..., Tensor] | None] = {
    "plain": None,
    "curvature, with the loss": None,  # of one pass: where a network has no BatchNorm
    "curvature of half": first_half,
    "curvature, written out": written_out,
    "curvature": curvature,
    "loss difference": loss_difference,
    "gradient norm": lambda model, x, y, h: gradient_norm(model, x, y),
}


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize(
    ("norm", "batch"),
    [
        pytest.param("batch", 32, marks=pytest.mark.short),
        ("batch", 64),
        ("batch", 128),
        ("instance", 32),
    ],
)
def test_step(norm: str, batch: int, term: str, benchmark: BenchmarkFixture) -> None:
    benchmark.group = f"a step of training, {norm} norm, batch {batch}"
    torch.manual_seed(0)
    layout = torch.channels_last if norm == "batch" else torch.contiguous_format
    convnet = ConvNet(width=WIDTH, norm=norm)
    network = networks.build(convnet, SHAPE, CLASSES, (0.28,), (0.35,)).to(memory_format=layout)
    sgd = torch.optim.SGD(network.parameters(), 0.01, 0.9, nesterov=True, fused=True)
    images = torch.rand(batch, *SHAPE).contiguous(memory_format=layout)
    labels = torch.randint(CLASSES, (batch,))
    regularise: Any = TERMS[term]
    shared = term == "curvature, with the loss"
    if shared and norm == "batch":
        pytest.skip("the loss of a step goes by its batch, the term by running statistics")

    def step() -> None:
        if shared:
            losses, terms = with_curvature(network, images, labels, h=LENGTH)
            loss = losses.mean() + terms.mean()
        else:
            loss = F.cross_entropy(network(images), labels)
        if regularise:
            loss = loss + regularise(network, images, labels, h=LENGTH).mean()
        sgd.zero_grad()
        loss.backward()
        sgd.step()

    if term == "curvature":  # losses are float64 there, and ReLU has kinks
        expected = written_out(network, images, labels, h=LENGTH)
        found = curvature(network, images, labels, h=LENGTH)
        torch.testing.assert_close(found, expected, rtol=0.01, atol=0.001)
    with counting(network) as passes:
        step()
    benchmark.extra_info["passes forward"] = passes.forward / batch
    benchmark.extra_info["passes back"] = passes.backward / batch
    benchmark.pedantic(step, rounds=5, warmup_rounds=1)
