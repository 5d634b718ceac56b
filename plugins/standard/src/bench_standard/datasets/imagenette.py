"""ImageNette and ImageWoof: ten easy and ten hard classes of ImageNet, as published by fast.ai."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bench import BenchError, Data, Missing
from bench_standard import files
from bench_standard.datasets import folders

VERSIONS = {"full": "", "320px": "-320", "160px": "-160"}  # as torchvision calls them; endings


@dataclass(frozen=True)
class ImageNette:
    """Ten easy classes of ImageNet, 13,394 photographs (Howard, 2019).

    The field `version` says which archive it is, whatever else is here: in those of 320 and 160
    pixels the shorter side of each image is that long, and JPEG has been at it twice.
    """

    name: str = "imagenette"
    size: int = 224
    version: str = "full"  # "full" | "320px" | "160px"
    preload: ClassVar[tuple[str, ...]] = ("PIL.Image",)
    published: ClassVar[Mapping[str, int]] = {"train": 9_469, "test": 3_925, "classes": 10}
    title: ClassVar[str] = "ImageNette"
    archive: ClassVar[str] = "imagenette2"
    md5s: ClassVar[Mapping[str, str]] = {  # of the archives, as torchvision has them
        "full": "fe2fc210e6bb7c5664d602c3cd71e612",
        "320px": "3df6f0d01a2c9592104656642f5e78a3",
        "160px": "e793b78cc4c9e9a4ccc0c1155377a412",
    }
    classes: ClassVar[Mapping[str, str]] = {  # by WordNet ID, in order
        "n01440764": "tench",
        "n02102040": "English springer",
        "n02979186": "cassette player",
        "n03000684": "chain saw",
        "n03028079": "church",
        "n03394916": "French horn",
        "n03417042": "garbage truck",
        "n03425413": "gas pump",
        "n03445777": "golf ball",
        "n03888257": "parachute",
    }

    def __post_init__(self) -> None:
        folders.check_size(self.name, self.size)
        if self.version not in VERSIONS:
            raise BenchError(
                f"{self.name}: version is {self.version!r}; expected one of {', '.join(VERSIONS)}"
            )

    def load(self) -> Data:
        root, ids = self._root(), list(self.classes)
        for split in ("train", "val"):
            folders.check_classes(root / split, ids)
        return folders.data(
            train=folders.scan(root, "train", ids),
            test=folders.scan(root, "val", ids),
            classes=list(self.classes.values()),
            size=self.size,
            resize=folders.evaluation_resize(self.size),
            mean=folders.IMAGENET_MEAN,
            std=folders.IMAGENET_STD,
        )

    def download(self) -> None:
        """Fetch the archive of this version, with its checksum, unless its folders are here."""
        try:
            self._root()
        except Missing:
            what, into = f"{self.title} ({self.version})", files.folder() / self._folder
            files.fetch(what, [self._url], self.md5s[self.version], into, unpack=self._folder)

    def _root(self) -> Path:
        others = " or ".join(version for version in VERSIONS if version != self.version)
        get = (
            f"run with --download, or unpack {self._url} into "
            f"{files.folder().absolute()}, or set the field `version` to "
            f"what you have ({others})"
        )
        what = f"{self.title} ({self.version})"
        return folders.find_root(what, [self._folder], get)

    @property
    def _folder(self) -> str:
        return self.archive + VERSIONS[self.version]

    @property
    def _url(self) -> str:
        return f"https://s3.amazonaws.com/fast-ai-imageclas/{self._folder}.tgz"


@dataclass(frozen=True)
class ImageWoof(ImageNette):
    """Ten breeds of dogs from ImageNet, 12,954 photographs (Howard, 2019).

    Its versions are those of ImageNette.
    """

    name: str = "imagewoof"
    published: ClassVar[Mapping[str, int]] = {"train": 9_025, "test": 3_929, "classes": 10}
    title: ClassVar[str] = "ImageWoof"
    archive: ClassVar[str] = "imagewoof2"
    md5s: ClassVar[Mapping[str, str]] = {  # of the archives, as catalyst.contrib has them
        "full": "9aafe18bcdb1632c4249a76c458465ba",
        "320px": "0f46d997ec2264e97609196c95897a44",
        "160px": "3d200a7be99704a0d7509be2a9fbfe15",
    }
    classes: ClassVar[Mapping[str, str]] = {
        "n02086240": "Shih-Tzu",
        "n02087394": "Rhodesian ridgeback",
        "n02088364": "beagle",
        "n02089973": "English foxhound",
        "n02093754": "Border terrier",
        "n02096294": "Australian terrier",
        "n02099601": "golden retriever",
        "n02105641": "Old English sheepdog",
        "n02111889": "Samoyed",
        "n02115641": "dingo",
    }


IMAGENETTE_64 = ImageNette("imagenette-64", size=64, version="160px")
