"""ImageNette and ImageWoof, on small trees in fast.ai's layout; a whole board from such a tree."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import threading
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets, transforms

from bench import BenchError, Missing
from bench.checks import checks_for, determinism, run_checks
from bench_standard.datasets.imagenette import VERSIONS, ImageNette, ImageWoof

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def photograph(k: int, seed: int) -> Image.Image:
    """A smooth image that is like others of its class, in one of three shapes."""
    random = np.random.default_rng(k)
    pattern = random.integers(0, 256, (4, 4, 3)) + np.random.default_rng(seed).normal(0, 25, 3)
    coarse = Image.fromarray(pattern.clip(0, 255).astype(np.uint8))
    return coarse.resize(((40, 30), (30, 40), (32, 32))[seed % 3], Image.Resampling.BICUBIC)


def write(root: Path, component: ImageNette, train: int = 3, val: int = 2) -> Path:
    folder = root / (component.archive + VERSIONS[component.version])
    for split, count in (("train", train), ("val", val)):
        for k, wnid in enumerate(component.classes):
            place = folder / split / wnid
            place.mkdir(parents=True)
            for i in range(count):
                number = f"{wnid}_{i}" if split == "train" else f"ILSVRC2012_val_{k:05}{i:03}"
                image = photograph(k, seed=i + 100 * (split == "val"))
                image.save(place / f"{number}.JPEG", quality=90)
    (folder / f"noisy_{component.name}.csv").write_text("path,noisy_labels_0\n")
    return folder


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("version", VERSIONS)
def test_images_labels_and_order_are_those_of_torchvision(data, version):
    component = ImageNette(size=16, version=version)
    write(data, component)
    views = transforms.Compose(
        [transforms.Resize(18), transforms.CenterCrop(16), transforms.ToTensor()]
    )
    loaded = component.load()
    for split, name in ((loaded.train, "train"), (loaded.test, "val")):
        reference = datasets.Imagenette(data, name, version, transform=views)
        images, labels = zip(*reference, strict=True)
        assert torch.equal(split.images(torch.arange(len(labels))), torch.stack(images))
        assert split.labels.tolist() == list(labels)
        assert split.labels.dtype == torch.int64
    assert loaded.classes == tuple(names[0] for names in reference.classes)
    assert (loaded.shape, loaded.mean, loaded.std, loaded.flip) == ((3, 16, 16), MEAN, STD, True)


def test_the_breeds_are_in_the_order_of_their_ids(data):
    write(data, ImageWoof())
    loaded = ImageWoof(size=16).load()
    assert loaded.classes == (
        "Shih-Tzu",
        "Rhodesian ridgeback",
        "beagle",
        "English foxhound",
        "Border terrier",
        "Australian terrier",
        "golden retriever",
        "Old English sheepdog",
        "Samoyed",
        "dingo",
    )
    assert list(ImageWoof.classes) == sorted(ImageWoof.classes)
    assert loaded.train.labels.tolist() == [k for k in range(10) for _ in range(3)]


def test_the_sources_tell_when_files_come_or_go(data):
    folder = write(data, ImageNette())
    loaded = ImageNette().load()
    assert len(loaded.sources) == 22
    before = {source: os.stat(source).st_mtime_ns for source in loaded.sources}
    os.utime(folder / "val" / "n03028079", ns=(0, 0))  # so that a clock without fine ticks will do
    (folder / "val" / "n03028079" / "ILSVRC2012_val_00004000.JPEG").unlink()
    changed = {s for s in loaded.sources if os.stat(s).st_mtime_ns != before[s]}
    assert changed == {str(folder / "val" / "n03028079")}
    assert ImageNette().load().digest != loaded.digest


def test_the_size_of_the_view_is_no_part_of_the_content(data):
    write(data, ImageNette())
    small, large = ImageNette(size=16).load(), ImageNette().load()
    assert small.digest == large.digest
    assert large.shape == (3, 224, 224)
    assert large.test.images(torch.tensor([0])).shape == (1, 3, 224, 224)


def test_what_is_missing_is_told_with_its_place_and_where_to_get_it(data):
    write(data, ImageNette(version="320px"))
    with pytest.raises(Missing) as error:
        ImageNette().load()
    assert str(error.value) == (
        f"ImageNette (full) is not here; expected {data}/imagenette2; run with --download, or "
        "unpack https://s3.amazonaws.com/fast-ai-imageclas/imagenette2.tgz into "
        f"{data}, or set the field `version` to what you have (320px or 160px)"
    )


def test_a_split_that_is_missing_is_told(data):
    folder = write(data, ImageWoof())
    (folder / "val").rename(folder / "validation")
    with pytest.raises(Missing, match=rf"ImageWoof .full. .val. is not here; expected {folder}/va"):
        ImageWoof().load()


@pytest.mark.parametrize("split", ["train", "val"])
def test_other_classes_are_an_error_that_names_them(data, split):
    folder = write(data, ImageNette())
    (folder / split / "n03028079").rename(folder / split / "church")
    (folder / split / "n03888257").rename(folder / "elsewhere")
    with pytest.raises(BenchError) as error:
        ImageNette().load()
    assert str(error.value) == (
        f"{folder}/{split} holds 9 class folders, expected 10 (lacks n03028079, n03888257 and "
        "also has church); unpack the data set anew, and leave its folders as they are"
    )


@pytest.mark.parametrize("fields", [{"size": 0}, {"size": -64}, {"version": "64px"}])
def test_illegal_fields_are_refused(fields):
    [name] = fields
    with pytest.raises(BenchError, match=f"imagenette: {name} is .*; expected"):
        ImageNette(**fields)


# ---- download


def test_the_checksums_are_those_of_torchvision():
    assert {
        version: (ImageNette(version=version)._url, md5) for version, md5 in ImageNette.md5s.items()
    } == datasets.Imagenette._ARCHIVES


@pytest.fixture
def served(tmp_path):
    """A folder, and the address under which a server of this machine has it."""
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield tmp_path, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("component", [ImageNette(size=16), ImageWoof(size=16, version="160px")])
def test_a_download_unpacks_the_version_that_is_asked_for(data, served, monkeypatch, component):
    tmp_path, address = served
    made = write(tmp_path / "made", component)
    archive = tmp_path / f"{made.name}.tgz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(made, made.name)
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(type(component), "md5s", {component.version: md5})
    monkeypatch.setattr(type(component), "_url", f"{address}/{archive.name}")
    component.download()
    loaded = component.load()
    assert loaded.train.root == data / made.name
    archive.unlink()
    component.download()  # what is here is not fetched again
    assert component.load().digest == loaded.digest


# ---- contract, and a board


@pytest.mark.slow
def test_the_contract_is_kept(data, monkeypatch):
    monkeypatch.setattr(
        determinism, "_helper", cache(determinism._helper.__wrapped__)
    )  # a fresh environment
    for component in (ImageNette(size=16), ImageWoof(size=16, version="160px")):
        write(data, component)
        verdicts = run_checks(checks_for("dataset", component))
        assert [v for v in verdicts if v.status != "passed"] == []


BOARD = """
import json, sys
from pathlib import Path
from bench.engine import results
from bench.training import toy
from bench.board.check import resolve
from bench.engine.scheduler import Engine
from bench.board.matrix import parse
from bench.contract.registry import registry_of
from bench.store.store import Store
from bench_standard.datasets.imagenette import ImageNette

if __name__ == "__main__":
    registry = registry_of({**toy.COMPONENTS, "dataset": (ImageNette(size=16),)})
    matrix = parse(json.loads(sys.argv[2]))
    engine = Engine(resolve(matrix, registry), Store(Path(sys.argv[1])))
    made = results.run(engine, engine.plan(matrix.cells()))
    names = ("method", "labels", "status", "images", "metrics")
    found = [{name: getattr(record, name) for name in names} for record in made.records]
    print(json.dumps([found, [str(failure) for failure in made.failures]]))
"""


@pytest.mark.slow
def test_a_board_runs_on_images_that_stay_on_disk(data, tmp_path):
    """All stages: load, squeeze, condense (real and synthetic images), train, probe, measure."""
    write(data, ImageNette(), train=6, val=4)
    board = {
        "title": "Small photographs",
        "partial": True,  # the small tree is not what was published
        "datasets": ["imagenette"],
        "methods": ["toy-soft"],
        "controls": ["toy-first"],
        "ipc": [2],
        "labels": ["teacher"],
        "architectures": ["toy-convnet"],
        "attacks": ["toy-step"],
        "metrics": ["toy-accuracy"],
        "seeds": [0],
        "backbone": "toy-convnet",
        "teacher": "toy-teacher",
        "recipe": {"steps": 40, "batch": 20, "lr": 0.1, "resized_crop": [0.5, 1.0]},
        "probe": {"images": 30},
        "limits": {"seconds": 120, "memory_gb": 4},
    }
    script = tmp_path / "board.py"
    script.write_text(BOARD)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "store"), json.dumps(board)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    found, failures = json.loads(done.stdout)
    assert failures == []
    assert {(r["method"], r["labels"]) for r in found} == {
        (method, "teacher") for method in ("toy-soft", "toy-first")
    }
    assert {(r["status"], r["images"]) for r in found} == {("ok", 30)}
    kept = [path.name for path in (tmp_path / "store").glob("load/*/*.safetensors")]
    assert sorted(kept) == ["test.safetensors", "train.safetensors"]
    # of the views, 16 x 16 bytes of three channels each
    sizes = {p.name: p.stat().st_size for p in (tmp_path / "store").glob("load/*/*.safetensors")}
    assert 60 * 768 < sizes["train.safetensors"] < 60 * 768 + 2000
