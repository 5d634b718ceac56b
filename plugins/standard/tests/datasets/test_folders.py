"""Images in folders: views against torchvision's transforms, listings, threads, memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import IMG_EXTENSIONS
from torchvision.transforms import functional as TF

from bench import BenchError, Split
from bench.training import loading
from bench_standard.datasets import folders
from bench_standard.datasets.folders import ENDINGS, FolderSplit, scan

SHAPES = ((50, 37), (37, 50), (24, 24), (61, 25), (300, 20), (20, 300), (3, 2), (1, 1))


def photograph(width: int, height: int, seed: int = 0) -> Image.Image:
    """A smooth image with fine noise."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (3, 4, 3), dtype=np.uint8))
    pixels = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), int)
    noisy = pixels + random.integers(-20, 21, pixels.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def put(path: Path, image: Image.Image | bytes = b"x", **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(image, bytes):
        path.write_bytes(image)
    else:
        image.save(path, **options)
    return path


@pytest.fixture
def root(tmp_path):
    """Two classes of images in many shapes."""
    for k, name in enumerate(("a", "b")):
        for i, shape in enumerate(SHAPES):
            put(tmp_path / "train" / name / f"{i}.jpg", photograph(*shape, seed=8 * k + i))
    return tmp_path


def split(root: Path, size: int = 16, resize: int | None = None) -> FolderSplit:
    names = folders.class_folders(root / "train")
    return scan(root, "train", names).split(size, resize or folders.evaluation_resize(size))


def everything(found: Split) -> torch.Tensor:
    return found.images(torch.arange(len(found.labels)))


# ---- views


@pytest.mark.parametrize(("size", "resize"), [(16, 18), (16, 16), (17, 19), (32, 37)])
def test_the_view_for_evaluation_is_torchvisions_resize_and_centre_crop(root, size, resize):
    views = [transforms.Resize(resize), transforms.CenterCrop(size), transforms.ToTensor()]
    reference = ImageFolder(str(root / "train"), transforms.Compose(views))
    found = split(root, size, resize)
    assert isinstance(found, Split)
    images = everything(found)
    assert images.dtype == torch.float32
    assert images.is_contiguous()
    assert images.shape == (16, 3, size, size)
    for image, label, (expected, target) in zip(images, found.labels, reference, strict=True):
        assert torch.equal(image, expected)
        assert label == target


def test_what_is_cut_from_is_256_for_224_and_in_proportion():
    assert [folders.evaluation_resize(size) for size in (224, 112, 128, 64)] == [256, 128, 146, 73]


def test_an_image_of_the_size_is_as_it_is_where_nothing_is_cut_off(root):
    exact = photograph(16, 16)
    put(root / "train" / "c" / "0.png", exact)
    image = split(root, 16, resize=16).images(torch.tensor([16]))[0]
    assert torch.equal(image, TF.to_tensor(exact))


@pytest.mark.parametrize("box", [(0, 0, 50, 37), (10, 5, 40, 30), (0, 0, 1, 1), (49, 36, 50, 37)])
def test_a_crop_is_torchvisions_resized_crop_of_the_original(root, box):
    left, top, right, bottom = box
    original = Image.open(root / "train" / "a" / "0.jpg")
    with original:
        expected = TF.to_tensor(
            TF.resized_crop(original, top, left, bottom - top, right - left, [16, 16])
        )
    boxes = torch.tensor([[left / 50, top / 37, right / 50, bottom / 37]])
    assert torch.equal(split(root).images(torch.tensor([0]), boxes)[0], expected)


def test_boxes_are_rounded_to_whole_pixels_of_the_original_one_at_least(root):
    index = torch.tensor([0, 0, 7])  # of 50x37 pixels, and of one
    near = torch.tensor([[0.204, 0.27, 0.398, 0.81], [1, 1, 1, 1], [0.3, 0.3, 0.6, 0.6]])
    whole = torch.tensor(
        [[0.2, 10 / 37, 0.4, 30 / 37], [49 / 50, 36 / 37, 1, 1], [0.0, 0.0, 1.0, 1.0]]
    )
    found = split(root)
    assert torch.equal(found.images(index, near), found.images(index, whole))


@pytest.mark.parametrize(
    ("mode", "ending"),
    [(mode, "png") for mode in ("RGB", "L", "P", "RGBA", "1", "LA")]
    + [(mode, "jpg") for mode in ("RGB", "L", "CMYK")]
    + [(mode, "tiff") for mode in ("RGB", "L", "CMYK", "RGBA", "1")],
)
def test_images_of_every_mode_become_rgb_as_in_torchvision(tmp_path, mode, ending):
    put(tmp_path / "train" / "a" / f"0.{ending}", photograph(40, 30).convert(mode))
    reference = ImageFolder(str(tmp_path / "train"))[0][0]
    expected = TF.to_tensor(TF.center_crop(TF.resize(reference, 18), 16))
    image = everything(split(tmp_path))[0]
    assert torch.equal(image, expected)
    assert torch.equal(image[0], image[1]) == (mode in ("L", "1", "LA"))


def test_an_orientation_in_exif_is_ignored_as_torchvision_does(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    put(tmp_path / "train" / "a" / "0.jpg", photograph(30, 20), exif=exif)
    put(tmp_path / "train" / "a" / "1.jpg", photograph(30, 20))
    turned, plain = everything(split(tmp_path))
    assert torch.equal(turned, plain)


def test_any_order_and_repeats_and_nothing_can_be_asked_for(root):
    found, index = split(root), torch.tensor([9, 0, 9, 3])
    assert torch.equal(found.images(index), everything(found)[index])
    assert found.images(index[:0]).shape == (0, 3, 16, 16)


def test_threads_read_the_same_bytes_as_one(root):
    found = split(root)
    index = torch.randint(len(found), (400,), generator=torch.Generator().manual_seed(0))
    corners = torch.rand(400, 2, generator=torch.Generator().manual_seed(1)) / 2
    boxes = torch.cat([corners, corners + 0.5], 1)
    [together] = loading.read(found, [(index, boxes)])
    assert torch.equal(together, found.images(index, boxes))


@pytest.mark.parametrize("keep", [10, 200, -40])
@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "bmp"])
def test_a_file_cut_short_is_named(root, keep, ending):
    path = put(root / "train" / "b" / f"0.{ending}", photograph(50, 37))
    path.write_bytes(path.read_bytes()[:keep])
    at = split(root).paths.tolist().index(f"train/b/0.{ending}".encode())
    with pytest.raises(BenchError, match=f"{path} cannot be read .*; expected an image; .* again"):
        split(root).images(torch.tensor([at]))


def test_a_file_that_has_gone_or_is_another_thing_is_named(root):
    found, path = split(root), root / "train" / "a" / "0.jpg"
    path.write_bytes(b"hello")
    with pytest.raises(BenchError, match=f"{path} cannot be read .*cannot identify"):
        everything(found)
    path.unlink()
    with pytest.raises(BenchError, match=f"{path} cannot be read .*No such file"):
        everything(found)


# ---- what is there


def test_files_are_those_of_torchvision_in_the_order_of_their_bytes(tmp_path):
    names = ["b.JPEG", "a10.jpg", "a2.Jpg", "B.png", "é.jpeg", "a.b.webp", "z.TIF", "x.PPM"]
    for name in [*names, ".hidden.jpg", "._b.JPEG", "list.txt", "jpg", "README"]:
        put(tmp_path / "train" / "a" / name)
    (tmp_path / "train" / "a" / "folder.jpg").mkdir()
    (tmp_path / "train" / ".git").mkdir()
    assert folders.class_folders(tmp_path / "train") == ["a"]
    found = [os.fsdecode(path) for path in scan(tmp_path, "train", ["a"]).paths]
    order = sorted(names, key=os.fsencode)
    assert found == [f"train/a/{name}" for name in order]
    assert {e.decode() for e in ENDINGS} == set(IMG_EXTENSIONS)


def test_the_digest_is_of_classes_names_and_sizes_alone(tmp_path):
    for root in ("one", "two"):
        for name in ("a/1.jpg", "a/2.jpg", "b/1.jpg"):
            put(tmp_path / root / "train" / name, b"xyz")

    def digest(root: str, inner: str = "") -> str:
        return scan(tmp_path / root, "train", ["a", "b"], inner).digest

    first = digest("one")
    put(tmp_path / "two" / "train" / "a" / "notes.txt")
    assert digest("two") == first
    two = tmp_path / "two" / "train"
    (two / "a" / "images").mkdir()
    for name in ("1.jpg", "2.jpg"):
        (two / "a" / name).rename(two / "a" / "images" / name)
    assert digest("two", "images") == first  # another layout
    put(two / "b" / "1.jpg", b"xyzz")
    assert digest("two", "images") != first
    put(two / "b" / "1.jpg", b"xyz")
    (two / "b" / "1.jpg").rename(two / "b" / "3.jpg")
    assert digest("two", "images") != first


def test_the_digest_knows_which_class_and_which_split_a_file_is_in(tmp_path):
    def digest(*names: str) -> str:
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        for name in names:
            put(root / name)
        made = [scan(root, part, ["a", "b"]) for part in ("train", "val")]
        facts = {"size": 1, "resize": 1, "mean": (0, 0, 0), "std": (1, 1, 1)}
        return folders.data(*made, ["a", "b"], **facts).digest

    base = ("train/a/1.jpg", "train/b/2.jpg", "val/a/3.jpg", "val/b/4.jpg")
    swapped = ("train/b/1.jpg", "train/a/2.jpg", "val/a/3.jpg", "val/b/4.jpg")
    exchanged = ("val/a/1.jpg", "val/b/2.jpg", "train/a/3.jpg", "train/b/4.jpg")
    assert len({digest(*base), digest(*swapped), digest(*exchanged)}) == 3
    assert digest(*base) == digest(*base)


def test_a_class_without_images_is_an_error(root):
    put(root / "train" / "c" / "notes.txt")
    with pytest.raises(BenchError, match=f"{root}/train/c holds no image of class c; expected"):
        split(root)


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path):
    put(tmp_path / "train")
    with pytest.raises(BenchError, match=f"{tmp_path}/train cannot be listed .Not a directory"):
        folders.class_folders(tmp_path / "train")


def test_a_path_costs_no_more_than_its_bytes(tmp_path):
    for i in range(100):
        put(tmp_path / "train" / "n01440764" / f"n01440764_{i}.JPEG")
    found = split(tmp_path)
    assert found.paths.nbytes == 100 * len("train/n01440764/n01440764_99.JPEG")


# ---- memory

WALK = """
import re, sys
from pathlib import Path
import torch
from bench.training import loading
from bench_standard.datasets.folders import class_folders, scan
torch.set_num_threads(1)
root = Path(sys.argv[1])
split = scan(root, "train", class_folders(root / "train")).split(64, 64)
seen = sum(len(images) for images in loading.batches(split, torch.arange(len(split)), 256))
status = Path("/proc/self/status").read_text()  # getrusage also counts who has forked us
print(seen, *re.findall(r"VmHWM:\\s*(\\d+) kB", status))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_fifty_thousand_images_are_walked_over_in_flat_memory(tmp_path):
    """All of them, as floats, would take 2.5 GB."""
    for k in range(10):
        first = put(tmp_path / "train" / f"n{k}" / "0.jpg", photograph(16, 16, seed=k))
        for i in range(1, 5000):
            os.link(first, first.with_name(f"{i}.jpg"))
    done = subprocess.run(
        [sys.executable, "-c", WALK, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    seen, kilobytes = map(int, done.stdout.split())
    assert seen == 50_000
    assert kilobytes < 1_000_000
