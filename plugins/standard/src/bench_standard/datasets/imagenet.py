"""ImageNet-1K, from the folders that its users have unpacked and sorted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from bench import BenchError, Data
from bench_standard import files
from bench_standard.datasets import folders

PLACES = ("imagenet", "ILSVRC2012", "imagenet-1k", "ILSVRC/Data/CLS-LOC")  # the last is Kaggle's
GET = (
    "get it from https://image-net.org/download-images (ILSVRC2012; it needs an account), and sort "
    "it into train/<class>/ and val/<class>/, as torchvision.datasets.ImageNet does"
)


@dataclass(frozen=True)
class ImageNet1K:
    """Photographs of 1,000 classes, 1.28 million to train and 50,000 to test (Deng et al., 2009).

    It is the set of the ILSVRC of 2012 (Russakovsky et al., 2015). The test split is its
    validation split, since the labels of the test images are secret. Classes are the sorted
    WordNet IDs: the order of torchvision's weights.
    """

    name: str = "imagenet-1k"
    size: int = 224
    preload: ClassVar[tuple[str, ...]] = ("PIL.Image",)
    published: ClassVar[Mapping[str, int]] = {"train": 1_281_167, "test": 50_000, "classes": 1_000}
    classes: ClassVar[int] = 1000

    def __post_init__(self) -> None:
        folders.check_size(self.name, self.size)

    def load(self) -> Data:
        root = folders.find_root("ImageNet-1K", PLACES, GET)
        ids = folders.wordnet_ids(root / "train", self.classes)
        val = root / "val"
        if not folders.class_folders(val) and (flat := folders.image_files(val)):
            raise BenchError(
                f"{val} holds {len(flat):,} images and no class folders; expected {len(ids):,} of "
                'them; to sort it, let `torchvision.datasets.ImageNet(root, split="val")` unpack '
                "ILSVRC2012_img_val.tar with the labels of ILSVRC2012_devkit_t12.tar.gz, both in "
                "`root`, and put its val there"
            )
        folders.check_classes(val, ids)
        return folders.data(
            train=folders.scan(root, "train", ids),
            test=folders.scan(root, "val", ids),
            classes=ids,
            size=self.size,
            resize=folders.evaluation_resize(self.size),
            mean=folders.IMAGENET_MEAN,
            std=folders.IMAGENET_STD,
            looked=files.passed_over(PLACES, root),
        )
