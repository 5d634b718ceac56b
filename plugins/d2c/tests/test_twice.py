"""GELU whose second derivative is one product: against torch's, and finite differences."""

import pytest
import torch
from torch.nn import functional as F

from bench_d2c.twice import Twice


def test_it_is_gelu_with_its_first_and_second_derivatives():
    x = torch.linspace(-6, 6, 49, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(_twice, (x,))
    assert torch.autograd.gradcheck(_twice, (x,))
    found, expected = (_of_orders(f, x) for f in (_twice, F.gelu))
    assert type(_twice(x).grad_fn).__name__ == "_GeluBackward"
    for mine, torchs in zip(found, expected, strict=True):
        assert torch.allclose(mine, torchs, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dtypes_stay(dtype):
    x = torch.randn(5, dtype=dtype, requires_grad=True)
    assert {part.dtype for part in _of_orders(_twice, x)} == {dtype}


def test_gelu_by_tanh_and_all_else_are_torchs():
    x = torch.linspace(-3, 3, 9)
    with Twice():
        assert torch.equal(F.gelu(x, approximate="tanh"), torch.nn.GELU("tanh")(x))
        assert torch.equal(F.silu(x), torch.nn.SiLU()(x))


def _twice(x):
    with Twice():
        return F.gelu(x)


def _of_orders(function, x):
    value = function(x)
    (slope,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    (bend,) = torch.autograd.grad(slope.square().sum(), x)
    return value, slope, bend
