import pytest
import torch
from torch import nn

from bench import Task
from bench.training.toy import GRAY
from bench_inversion.labels import soft_labels

CLASSES = 4


class Pixels(nn.Module):
    """Logits are the first pixels."""

    def forward(self, images):
        return 6 * images.flatten(1)[:, :CLASSES]


def task(ipc):
    return Task(
        *(GRAY.load().train, tuple("abcd"), (1, 2, 2), (0.5,), (0.3,), False, ipc, 0),
        networks={"teacher": Pixels},
    )


def images():
    """Eight, two a class: 0 and 7 are of their class, 1 is wholly another's, 4 a tie."""
    pixels = torch.rand(8, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    pixels[[0, 7]] = 0.2
    pixels[0].view(-1)[0] = pixels[7].view(-1)[3] = 0.8
    pixels[1] = torch.tensor([0.0, 1.0, 0.0, 0.0]).view(1, 2, 2)
    pixels[4] = 0.5
    return pixels


@pytest.mark.parametrize("temperature", [0.01, 1.0, 20.0])
def test_every_row_is_a_distribution_led_by_the_class_of_its_image(temperature):
    labels = soft_labels(task(2), images(), temperature)
    assert labels.dtype == torch.float32
    assert labels.argmax(1).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert (labels >= 0).all()
    torch.testing.assert_close(labels.sum(1), torch.ones(8))


def test_rows_on_which_the_teacher_agrees_are_its_own():
    logits = Pixels()(images())
    for temperature in (1.0, 4.0):
        expected = (logits / temperature).softmax(1)
        agreed = expected.argmax(1) == torch.arange(8) // 2
        assert 2 <= agreed.sum() < 8
        found = soft_labels(task(2), images(), temperature)
        torch.testing.assert_close(found[agreed], expected[agreed])


def test_other_rows_move_no_farther_than_it_takes():
    found = soft_labels(task(2), images(), 1.0)
    first, second = found.sort(1, descending=True).values[:, :2].unbind(1)
    moved = Pixels()(images()).argmax(1) != torch.arange(8) // 2
    assert ((first - second)[moved] < 0.03).all()
