"""Data sets that need no download."""

from __future__ import annotations

from dataclasses import dataclass

from bench import Data


@dataclass(frozen=True)
class Digits:
    """Handwritten digits, 1,797 images of 1x8x8 (Alpaydin and Kaynak, 1998), from scikit-learn.

    It has no split of its own (scikit-learn ships the test half of the UCI set), so one is drawn
    here, class by class. No image occurs twice, but the writers of both parts are the same.
    """

    name: str = "digits"
    test: float = 1 / 3  # fraction of the images
    split_seed: int = 0

    def load(self) -> Data:
        from pathlib import Path

        import sklearn.datasets
        import torch
        from sklearn.model_selection import train_test_split

        grey, labels = sklearn.datasets.load_digits(return_X_y=True)  # [T, 64], 0 to 16
        pixels = (grey * 255 / 16).round().astype("uint8").reshape(-1, 1, 8, 8)
        train, test, train_labels, test_labels = train_test_split(
            pixels, labels, test_size=self.test, stratify=labels, random_state=self.split_seed
        )
        return Data.from_tensors(
            train=(torch.from_numpy(train), torch.from_numpy(train_labels).long()),
            test=(torch.from_numpy(test), torch.from_numpy(test_labels).long()),
            classes=[str(digit) for digit in range(10)],
            sources=[str(Path(sklearn.datasets.__file__).parent / "data" / "digits.csv.gz")],
        )
