import hashlib
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from bench import BenchError, Missing, Task, TensorSplit, Unsupported
from bench.checks import checks_for, fixtures, run_checks
from bench.records.files import read
from bench.training import toy
from bench_standard.prebuilt import Prebuilt

CLASSES = ("cat", "a dog", "a")  # " " sorts before "/"
K, IPC = len(CLASSES), 2
LABELS = torch.arange(K).repeat_interleave(IPC)


def task(shape=(3, 6, 5), ipc=IPC, classes=CLASSES):
    train = TensorSplit(torch.rand(9, *shape), torch.arange(9) % len(classes))
    channels = shape[0]
    mean, std = (0.5,) * channels, (0.25,) * channels
    return Task(train, classes, shape, mean=mean, std=std, flip=False, ipc=ipc, seed=0)


def images(shape=(3, 6, 5), count=K * IPC):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (count, *shape), dtype=torch.uint8, generator=generator)


def sha(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def file(tmp_path):
    """`file(images=...)`: the component of a file with these tensors, and others that fit."""

    def make(**tensors):
        given = {"images": images(), "labels": LABELS, **tensors}
        path = tmp_path / "set.safetensors"
        save_file({k: v for k, v in given.items() if v is not None}, path)
        return Prebuilt(path=str(path), sha256=sha(path))

    return make


@pytest.fixture
def folder(tmp_path):
    """`folder(names)`: a folder of PNGs with the images above, and its component."""

    def make(names=CLASSES, pixels=None):
        pixels = images() if pixels is None else pixels
        for i, one in enumerate(pixels):
            path = tmp_path / "set" / names[i // IPC] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(one.permute(1, 2, 0).squeeze(2).numpy()).save(path)
        return hashed(tmp_path / "set")

    return make


def hashed(path):
    """The component of a folder, with the hash that coreutils say it has."""
    command = "LC_ALL=C sha256sum */*.png | sha256sum"
    done = subprocess.run(command, shell=True, cwd=path, capture_output=True, check=True, text=True)
    return Prebuilt(path=str(path), sha256=done.stdout.split()[0])


def fault(component, given=None, kind=BenchError):
    with pytest.raises(kind) as raised:
        component.condense(given or task())
    return str(raised.value)


# ---- files


@pytest.mark.parametrize("pixels", [images(), images().float() / 255])
@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.int32])
def test_a_file_comes_back_as_it_is(file, pixels, dtype):
    condensed = file(images=pixels, labels=LABELS.to(dtype)).condense(task())
    assert torch.equal(condensed.images, pixels)
    assert condensed.images.dtype == pixels.dtype
    assert torch.equal(condensed.labels, torch.eye(K)[LABELS])
    assert condensed.weights is None


def test_soft_labels_and_weights_come_back_as_they_are(file):
    labels = torch.eye(K)[LABELS] * 0.7 + 0.1
    weights = torch.arange(1.0, K * IPC + 1)
    condensed = file(labels=labels.double(), weights=weights).condense(task())
    assert torch.equal(condensed.labels, labels)
    assert torch.equal(condensed.weights, weights)


def test_published_soft_labels_that_lean_to_other_classes_bring_the_classes_of_the_images(file):
    labels = torch.full((K * IPC, K), 0.5 / K)
    labels[:, 0] += 0.5
    assert "pass classes=" in fault(file(labels=labels))
    condensed = file(labels=labels, classes=LABELS).condense(task())
    assert torch.equal(condensed.labels, labels)
    assert torch.equal(condensed.classes, LABELS)
    assert "classes are float32" in fault(file(labels=labels, classes=LABELS.float()))


def test_a_relative_path_is_below_the_data_folder(file, tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    component = Prebuilt(path="set.safetensors", sha256=file().sha256)
    assert len(component.condense(task())) == K * IPC


def test_without_a_path_or_a_file_it_says_what_to_get(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    told = fault(Prebuilt(), kind=Missing)
    assert "prebuilt has no path" in told
    assert str(tmp_path) in told
    told = fault(Prebuilt(path="no.safetensors"), kind=Missing)
    assert f"expected {tmp_path / 'no.safetensors'}" in told


def test_without_a_hash_it_says_what_to_paste(file):
    component = file()
    told = fault(Prebuilt(path=component.path))
    assert "prebuilt has no sha256" in told
    assert f'add sha256 = "{component.sha256}"' in told


def test_a_wrong_hash_says_both(file):
    component = file()
    told = fault(Prebuilt(path=component.path, sha256="0" * 64))
    assert component.sha256 in told
    assert "0" * 64 in told


@pytest.mark.parametrize("given", ["abc", "A" * 64, "g" * 64])
def test_what_is_no_hash_is_refused_at_once(given):
    with pytest.raises(BenchError, match="expected 64 digits"):
        Prebuilt(sha256=given)


FAULTS = {
    "no labels": ({"labels": None}, "holds the tensors images; expected images, labels"),
    "a stranger": ({"weight": torch.ones(6)}, "holds the tensors images, labels, weight; expected"),
    "one image": ({"images": images()[0]}, r"images are [3, 6, 5]; expected [N, 3, 6, 5]"),
    "last": (
        {"images": images().permute(0, 2, 3, 1).contiguous()},
        "images are [6, 6, 5, 3]; expected [N, 3, 6, 5]; reshape or permute them",
    ),
    "normalised": (
        {"images": images().float() / 64 - 2},
        "expected pixels in [0, 1]; if they are normalised, store (images * std + mean)",
    ),
    "bytes": ({"images": images().float()}, "if they are bytes, store them as uint8"),
    "NaN": ({"images": torch.full((6, 3, 6, 5), torch.nan)}, "hold NaN"),
    "class 3": ({"labels": LABELS + 1}, "labels span 1..3; expected 0..2"),
    "class -1": ({"labels": LABELS - 1}, "labels span -1..1; expected 0..2"),
    "float labels": ({"labels": LABELS.float()}, "float32 [6]; expected int [N] or float [N, 3]"),
    "bool labels": ({"labels": LABELS > 0}, "bool [6]; expected int [N] or float [N, 3]"),
    "logits": ({"labels": torch.randn(6, K)}, "the labels are not distributions"),
    "4 classes": ({"labels": torch.eye(4)[LABELS]}, "float32 [6, 4]; expected a tensor [6, 3]"),
    "5 labels": ({"labels": LABELS[:5]}, "[5, 3]; expected a tensor [6, 3]"),
    "no class 2": ({"labels": LABELS.clamp(max=1)}, "no image of class [2]"),
    "5 weights": ({"weights": torch.ones(5)}, "expected float32 [6]"),
    "weight 0": ({"weights": torch.zeros(6)}, "weights must be positive"),
    "no images": ({"images": images()[:0], "labels": LABELS[:0]}, "the condensed set is empty"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_faulty_file_is_named_with_its_fault(file, case):
    tensors, sentence = FAULTS[case]
    component = file(**tensors)
    told = fault(component)
    assert component.path in told
    assert sentence in told


@pytest.mark.parametrize("ipc", [1, 3])
def test_a_file_of_another_budget_is_declined(file, ipc):
    told = fault(file(images=images(), labels=LABELS), task(ipc=ipc), Unsupported)
    assert f"holds 6 images of 3 classes, and ipc is {ipc}; name the file of this budget" in told


def test_any_floats_become_float32(file):
    made = file(images=images().double() / 255, labels=LABELS, weights=torch.ones(6).double())
    condensed = made.condense(task())
    assert condensed.images.dtype == condensed.weights.dtype == torch.float32


@pytest.mark.parametrize("shape", [(1, 6, 5), (3, 8, 8)])
def test_a_data_set_of_another_shape_is_declined(file, shape):
    told = fault(file(), task(shape), Unsupported)
    assert told.startswith("set.safetensors holds images of 3 x 6 x 5; those of the data set are")


def test_a_file_that_is_no_safetensors_is_an_error(tmp_path):
    path = tmp_path / "set.safetensors"
    path.write_bytes(b"nonsense of some length")
    told = fault(Prebuilt(path=str(path), sha256=sha(path)))
    assert f"{path} cannot be read as safetensors" in told


def test_a_pickle_is_not_opened_but_told_how_to_convert(tmp_path):
    path = tmp_path / "set.pt"
    torch.save((images(), LABELS), path)
    told = fault(Prebuilt(path=str(path), sha256=sha(path)))
    assert f"{path} is no .safetensors file" in told
    code = told.partition("where you trust it: ")[2].replace("PATH", repr(str(path)))
    run = {"torch": torch, "safetensors": __import__("safetensors.torch")}
    exec(code.replace("'set.safetensors'", repr(str(tmp_path / "set.safetensors"))), run)
    converted = tmp_path / "set.safetensors"
    assert len(Prebuilt(path=str(converted), sha256=sha(converted)).condense(task())) == K * IPC


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_probabilities_of_half_precision_are_distributions(file, dtype):
    soft = torch.softmax(torch.eye(K)[LABELS] * 3.3, 1)
    found = file(labels=soft.to(dtype)).condense(task()).labels
    assert torch.allclose(found.sum(1), torch.ones(6), atol=1e-6)
    assert torch.allclose(found, soft, atol=5e-3)


def test_a_rounding_below_0_is_0_and_a_negative_probability_is_none(file):
    hard = torch.eye(K)[LABELS]
    assert torch.equal(file(labels=hard - 1e-9 * (1 - hard)).condense(task()).labels, hard)
    assert "are not distributions" in fault(file(labels=hard - 1e-3 * (1 - hard)))


# ---- folders


def test_litter_and_upper_case_endings_are_no_fault(folder, tmp_path):
    folder()
    (tmp_path / "set" / "__MACOSX").mkdir()
    (tmp_path / "set" / "cat" / "Thumbs.db").write_text("x")
    (tmp_path / "set" / "cat" / "0.png").rename(tmp_path / "set" / "cat" / "0.PNG")
    told = fault(Prebuilt(path=str(tmp_path / "set")))
    sha256 = told.split(" is ")[1][:64]
    assert len(Prebuilt(path=str(tmp_path / "set"), sha256=sha256).condense(task())) == K * IPC


@pytest.mark.parametrize("spelt", ["T-shirt/top", "T-shirt_top", "T-shirt-top"])
def test_a_class_whose_name_holds_a_slash_has_a_folder(folder, spelt):
    component = folder((spelt, "b", "c"))
    told = fault(Prebuilt(path=component.path), task(classes=("T-shirt/top", "b", "c")))
    made = Prebuilt(path=component.path, sha256=told.split(" is ")[1][:64])
    condensed = made.condense(task(classes=("T-shirt/top", "b", "c")))
    assert torch.equal(condensed.labels, torch.eye(K)[LABELS])
    assert torch.equal(condensed.images, images())


def test_folders_named_by_wordnet_id_are_those_of_the_names(folder):
    names = ("tench", "church", "gas pump")
    condensed = folder(("n01440764", "n03028079", "n03425413")).condense(task(classes=names))
    assert torch.equal(condensed.labels, torch.eye(K)[LABELS])


@pytest.mark.parametrize("names", [CLASSES, ("0", "1", "2"), ("00", "01", "02")])
def test_a_folder_is_read_by_class_names_or_by_index(folder, names):
    condensed = folder(names).condense(task())
    assert torch.equal(condensed.images, images())
    assert torch.equal(condensed.labels, torch.eye(K)[LABELS])


def test_class_names_that_are_numbers_are_names(folder):
    component = folder(("2", "0", "1"))
    condensed = component.condense(task(classes=("2", "0", "1")))
    assert torch.equal(condensed.images, images())


@pytest.mark.parametrize(
    ("names", "stranger"),
    [(("cat", "1", "2"), "1"), (("0", "1", "3"), "3"), (("cat", "dog", "a"), "dog")],
)
def test_a_folder_of_no_class_is_an_error_that_lists_the_classes(folder, names, stranger):
    told = fault(folder(names))
    assert f"holds a folder '{stranger}'; expected all to be named by class" in told
    assert "(cat, a dog, a), or all by index (0 to 2)" in told


def test_grey_images_are_read_from_grey_and_from_equal_channels(folder):
    grey = images((1, 6, 5))
    given = task((1, 6, 5))
    assert torch.equal(folder(pixels=grey).condense(given).images, grey)
    three = folder(pixels=grey.expand(-1, 3, -1, -1))
    assert torch.equal(three.condense(given).images, grey)
    assert torch.equal(three.condense(task()).images, grey.expand(-1, 3, -1, -1))


def test_colour_is_no_grey(folder):
    component = folder()
    told = fault(component, task((1, 6, 5)))
    assert f"{component.path}/cat/0.png is in colour; expected grey" in told


def test_a_folder_without_a_hash_or_with_a_wrong_one_says_what_it_is(folder):
    component = folder()
    assert f'add sha256 = "{component.sha256}"' in fault(Prebuilt(path=component.path))
    told = fault(Prebuilt(path=component.path, sha256="0" * 64))
    assert component.sha256 in told
    assert "0" * 64 in told


@pytest.mark.parametrize("change", ["pixels", "name", "class", "one less"])
def test_every_change_of_a_folder_changes_its_hash(folder, change, tmp_path):
    component, inside = folder(), tmp_path / "set" / "cat"
    if change == "pixels":
        shutil.copy(inside / "0.png", inside / "1.png")
    elif change == "name":
        (inside / "0.png").rename(inside / "2.png")
    elif change == "class":
        (inside / "0.png").rename(tmp_path / "set" / "a" / "0.png")
    else:
        (inside / "0.png").unlink()
    assert "has SHA-256" in fault(component)


def test_hidden_files_and_a_readme_are_passed_over(folder, tmp_path):
    component = folder()
    (tmp_path / "set" / "cat" / "._0.png").write_text("not a picture")
    (tmp_path / "set" / "README.md").write_text("by hand")
    (tmp_path / "set" / ".git").mkdir()
    assert len(component.condense(task())) == K * IPC


def test_anything_but_pngs_is_an_error(folder, tmp_path):
    component = folder()
    Image.new("RGB", (5, 6)).save(tmp_path / "set" / "cat" / "2.jpg")
    assert "2.jpg is no PNG" in fault(component)


def test_an_empty_folder_says_what_it_should_hold(tmp_path):
    assert "expected <class>/*.png" in fault(Prebuilt(path=str(tmp_path)))


def put(path, image):
    image.save(path, format="PNG")


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (lambda path: path.write_bytes(b"GIF89a"), "0.png cannot be read as a PNG"),
        (lambda path: path.write_bytes(path.read_bytes()[:-40]), "0.png cannot be read as a PNG"),
        (lambda path: put(path, Image.new("RGBA", (5, 6))), "mode RGBA; expected 8 bits"),
        (
            lambda path: put(path, Image.fromarray(np.zeros((6, 5), np.uint16))),
            "mode I;16; expected 8 bits",
        ),
    ],
)
def test_a_faulty_png_is_named_with_its_fault(folder, tmp_path, write, sentence):
    folder()
    write(tmp_path / "set" / "cat" / "0.png")
    assert sentence in fault(hashed(tmp_path / "set"))


def test_pngs_of_different_sizes_are_an_error(folder, tmp_path):
    folder()
    put(tmp_path / "set" / "a" / "4.png", Image.new("RGB", (9, 9)))
    assert "a/4.png is 9 x 9; expected 6 x 5" in fault(hashed(tmp_path / "set"))


def test_a_folder_for_another_shape_is_declined(folder):
    told = fault(folder(), task((3, 8, 8)), Unsupported)
    assert told == "set holds images of 6 x 5; those of the data set are 8 x 8"


def test_a_folder_with_too_many_images_or_without_a_class_is_refused(folder, tmp_path):
    component = folder()
    assert "name the file of this budget by [[set]]" in fault(component, task(ipc=1), Unsupported)
    shutil.rmtree(tmp_path / "set" / "a")
    assert "no image of class [2]" in fault(hashed(tmp_path / "set"))


# ---- the contract, and a board


def means(ipc):
    """A condensed set of the toy data: mean images."""
    made = toy.ToyMeans().condense(fixtures.task(toy.ToyMeans(), toy.GRAY, ipc))
    return {"images": made.images, "labels": made.labels.argmax(1)}


def test_the_contract_holds_on_the_data_that_a_file_fits(file):
    verdicts = run_checks(checks_for("method", file(**means(2))))
    assert [v for v in verdicts if v.status != "passed"] == []


def test_without_a_path_the_contract_is_skipped_and_nothing_fails():
    verdicts = run_checks(checks_for("method", Prebuilt()))
    assert {v.status for v in verdicts} == {"passed", "skipped"}
    assert any("has no path" in v.detail for v in verdicts)


PLUGIN = """
from bench import hookimpl
from bench.training import toy
from bench_standard.prebuilt import Prebuilt

@hookimpl
def bench_datasets(): return [toy.GRAY]
@hookimpl
def bench_methods(): return [Prebuilt("made-elsewhere")]
@hookimpl
def bench_architectures(): return [toy.ToyLinear()]
@hookimpl
def bench_attacks(): return [toy.ToyClean()]
@hookimpl
def bench_metrics(): return [toy.ToyAccuracy()]
"""
BOARD = """
title = "Sets that were made elsewhere"
datasets = ["toy-data"]
methods = ["shelved"]
ipc = [1, 2]
architectures = ["toy-linear"]
attacks = ["toy-clean"]
metrics = ["toy-accuracy"]
seeds = [0]
[recipe]
steps = 60
batch = 16
lr = 0.1
[define.shelved]
method = "made-elsewhere"
[[set]]
where = {{ method = "shelved", ipc = [1] }}
path = "one.safetensors"
sha256 = "{one}"
[[set]]
where = {{ method = "shelved", ipc = [2] }}
path = "two"
sha256 = "{two}"
"""


@pytest.mark.slow
def test_a_board_runs_a_file_and_a_folder_from_toml_to_record(tmp_path):
    data, site, board = (tmp_path / name for name in ("data", "site", "board"))
    for path in (data, site / "shelf-1.0.dist-info", board):
        path.mkdir(parents=True)
    (site / "shelf.py").write_text(PLUGIN)
    about = site / "shelf-1.0.dist-info"
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: shelf\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[bench]\nshelf = shelf\n")

    save_file(means(1), data / "one.safetensors")
    two = means(2)
    for number, (image, label) in enumerate(zip(two["images"], two["labels"], strict=True)):
        path = data / "two" / f"template {int(label)}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image[0] * 255).byte().numpy()).save(path)
    hashes = {"one": sha(data / "one.safetensors"), "two": hashed(data / "two").sha256}
    (board / "matrix.toml").write_text(BOARD.format(**hashes))

    done = subprocess.run(
        [sys.executable, "-c", "from bench.cli import main; main()", "run", str(board)],
        cwd=tmp_path,
        env={**os.environ, "BENCH_DATA": str(data), "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = {result.ipc: result for result in read(board)}
    assert {ipc: result.status for ipc, result in found.items()} == {1: "ok", 2: "ok"}
    assert {ipc: result.size for ipc, result in found.items()} == {1: 8, 2: 16}
    assert 2 * found[1].bytes["images"] == found[2].bytes["images"]  # all in eight bits
    assert all(result.metrics["toy-accuracy"] > 0.5 for result in found.values())
    assert "shelved" in (board / "README.md").read_text()
