import pytest
import torch

from bench import BenchError, CondensedSet, Data, Selection, Trial, Unsupported
from bench.checks import checks_for
from bench_standard.pictured import FIRST_OPINION, MOVED, FromReal, Opinion

LOOKS = [Opinion(), FIRST_OPINION, FromReal(), MOVED]


def says(*classes):
    """A network that answers so, image after image."""

    class Network(torch.nn.Module):
        def forward(self, images):
            return torch.eye(3)[torch.tensor(classes)][: len(images)]

    return Network


def real(count=5):
    pixels = torch.rand(3 * count, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    return (pixels * 255).round().to(torch.uint8), torch.arange(3).repeat(count)


def trial(images, classes, labels=None, **networks):
    data = Data.from_tensors(real(), real(), ("a", "b", "c"))
    labels = torch.eye(3)[classes] if labels is None else labels
    return Trial(
        data, CondensedSet(images, labels, classes=torch.tensor(classes)), networks=networks
    )


def made(changed=0):
    """Images 4, 0 and 2 of the training split, `changed` values brighter."""
    return (real()[0][[4, 0, 2]].int() + changed).clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize("check", [c for m in LOOKS for c in checks_for("metric", m)], ids=str)
def test_the_contract_holds(check):
    check.run()


def test_the_second_opinion_is_that_of_a_teacher_which_the_set_does_not_know():
    given = trial(made(), [1, 0, 2], teacher=says(1, 0, 2), features=says(1, 0, 0))
    assert Opinion().measure(given) == pytest.approx(2 / 3)
    assert FIRST_OPINION.measure(given) == 1.0


def test_an_image_is_right_where_it_is_called_by_its_class_whatever_its_label_leans_to():
    leaning = torch.eye(3)[[0, 0, 0]]
    given = trial(made(), [1, 0, 2], leaning, features=says(1, 0, 2))
    assert Opinion().measure(given) == 1.0


def test_real_images_are_looked_at_where_they_are():
    given = trial(Selection(torch.tensor([4, 0, 2])), [1, 0, 2], features=says(1, 1, 2))
    assert Opinion().measure(given) == pytest.approx(2 / 3)


def test_without_a_teacher_there_is_no_first_opinion():
    with pytest.raises(Unsupported, match="no teacher"):
        FIRST_OPINION.measure(trial(made(), [1, 0, 2]))


def test_real_images_lie_nowhere_from_real_ones():
    for metric in (FromReal(), MOVED):
        assert metric.measure(trial(made(), [1, 0, 2])) == 0.0
        assert metric.measure(trial(Selection(torch.tensor([4, 0, 2])), [1, 0, 2])) == 0.0


def test_an_image_that_moved_little_is_measured_from_where_it_started():
    moved = made().clone()
    moved[0, 0, 0, 0] = (int(moved[0, 0, 0, 0]) + 51) % 256  # of 4 values of each of 3 images
    change = abs(int(moved[0, 0, 0, 0]) - int(made()[0, 0, 0, 0])) / 255
    given = trial(moved, [1, 0, 2])
    assert FromReal().measure(given) == pytest.approx(change / 12, abs=1e-6)
    assert MOVED.measure(given) == pytest.approx(1 / 12)


def test_only_training_images_of_the_class_count_and_the_nearest_of_them():
    pixels, labels = real()
    image = (torch.rand(1, 1, 2, 2, generator=torch.Generator().manual_seed(3)) * 255).byte()
    own = pixels[labels == 1].float()
    expected = (own - image.float()).abs().flatten(1).mean(1).min() / 255
    assert FromReal().measure(trial(image, [1])) == pytest.approx(float(expected), abs=1e-6)


def test_batches_do_not_matter(monkeypatch):
    images = (torch.rand(3, 1, 2, 2, generator=torch.Generator().manual_seed(4)) * 255).byte()
    whole = FromReal().measure(trial(images, [0, 1, 2]))
    monkeypatch.setattr("bench_standard.pictured.BATCH", 2)
    assert FromReal().measure(trial(images, [0, 1, 2])) == pytest.approx(whole)


def test_a_threshold_outside_of_pixels_is_refused():
    with pytest.raises(BenchError, match=r"over is 1\.5; expected 0 or more, below 1"):
        FromReal(over=1.5)
