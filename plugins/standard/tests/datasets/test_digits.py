from pathlib import Path

import pytest
import torch

from bench_standard.datasets.digits import Digits


@pytest.fixture(scope="module")
def digits():
    return Digits().load()


def test_digits_holds_all_1797_images_as_bytes(digits):
    assert (len(digits.train), len(digits.test)) == (1198, 599)
    assert digits.shape == (1, 8, 8)
    assert digits.train.pixels.dtype == torch.uint8
    assert digits.classes == tuple("0123456789")
    assert not digits.flip


def test_the_grey_levels_of_digits_span_the_whole_byte(digits):
    grey = torch.cat([digits.train.pixels, digits.test.pixels]).unique().tolist()
    assert grey == [round(level * 255 / 16) for level in range(17)]


def test_each_class_of_digits_gives_a_third_to_the_test_split(digits):
    train, test = digits.train.labels.bincount(), digits.test.labels.bincount()
    assert ((test - (train + test) / 3).abs() < 1).all()


def test_no_test_image_of_digits_stands_in_train(digits):
    train = {image.numpy().tobytes() for image in digits.train.pixels}
    assert not any(image.numpy().tobytes() in train for image in digits.test.pixels)


def test_digits_loads_twice_the_same_and_another_split_seed_differs(digits):
    assert Digits().load().digest == digits.digest
    assert Digits(split_seed=1).load().digest != digits.digest


def test_a_digit_looks_like_itself(digits):
    """Zeros are hollow: dark at the centre, where every other digit but few is bright."""
    means = [digits.train.pixels[digits.train.labels == k].float().mean(0)[0] for k in range(10)]
    centre = [mean[3:5, 3:5].mean().item() for mean in means]
    assert centre.index(min(centre)) == 0


def test_the_sources_of_digits_are_files(digits):
    assert [Path(source).is_file() for source in digits.sources] == [True]
