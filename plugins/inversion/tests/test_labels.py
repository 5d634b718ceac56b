import pytest
import torch
from torch import nn

from bench import Task
from bench.training.toy import GRAY
from bench_inversion.labels import owners, soft_labels

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
def test_every_row_is_the_distribution_of_the_teacher_whatever_it_leans_to(temperature):
    labels = soft_labels(task(2), images(), temperature)
    assert labels.dtype == torch.float32
    torch.testing.assert_close(labels, (Pixels()(images()) / temperature).softmax(1))
    assert labels.argmax(1).tolist() != owners(task(2), 8).tolist()


def test_images_are_of_their_classes_in_turn():
    assert owners(task(2), 8).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
