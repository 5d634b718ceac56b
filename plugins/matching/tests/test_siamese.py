import pytest
import torch

from bench.training.recipe import DSA_OPERATIONS
from bench_matching.siamese import alike

ALL = "_".join(DSA_OPERATIONS)

PIXELS = (0.0,), (1.0,)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def images(count=5, dtype=torch.float32):
    return torch.rand(count, 3, 8, 8, generator=generator(9), dtype=dtype)


@pytest.mark.parametrize("operation", DSA_OPERATIONS)
def test_batches_of_any_size_share_one_draw(operation):
    one = images(1)
    changed = False
    for seed in range(8):
        few, many = alike(
            (one.expand(2, -1, -1, -1), one.expand(6, -1, -1, -1)),
            operation,
            generator(seed),
            flip=True,
            units=PIXELS,
        )
        assert torch.equal(few[:1].expand_as(many), many)
        changed |= not torch.equal(many[:1], one)
    assert changed


def test_draws_differ_from_call_to_call_and_come_from_the_generator_alone():
    draws = generator()
    views = [alike((images(),), ALL, draws, flip=True, units=PIXELS)[0] for _ in range(12)]
    assert len({tuple(v.flatten().tolist()) for v in views}) > 9
    again = generator()
    torch.manual_seed(5)
    for view in views:
        assert torch.equal(alike((images(),), ALL, again, flip=True, units=PIXELS)[0], view)


@pytest.mark.parametrize("operation", DSA_OPERATIONS)
def test_an_augmentation_is_differentiable_in_the_images(operation):
    batch = (0.4 + 0.2 * images(2, torch.float64)).requires_grad_()

    def view(x):
        return alike((x,), operation, generator(3), flip=True, units=PIXELS)[0]

    assert torch.autograd.gradcheck(view, batch, atol=1e-6)
    (given,) = torch.autograd.grad(view(batch).square().sum(), batch)
    assert given.abs().sum() > 0


def test_images_are_mirrored_only_where_that_keeps_the_label():
    batch = images()
    legal = [
        alike((batch,), "flip", generator(seed), flip=True, units=PIXELS)[0] for seed in range(10)
    ]
    assert {torch.equal(v, batch.flip(3)) for v in legal} == {True, False}
    for seed in range(10):
        assert torch.equal(
            alike((batch,), "flip", generator(seed), flip=False, units=PIXELS)[0], batch
        )


def test_without_operations_nothing_changes_and_nothing_is_drawn():
    draws = generator()
    one, two = images(2), images(3)
    assert alike((one, two), "", draws, flip=True, units=PIXELS) == (one, two)
    assert torch.equal(draws.get_state(), generator().get_state())
