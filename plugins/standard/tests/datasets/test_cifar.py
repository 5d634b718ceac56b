"""CIFAR-10 and CIFAR-100, on small files in both formats of their author."""

from __future__ import annotations

import os
import pickle
import struct
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torchvision import datasets

from bench import BenchError, Missing
from bench.checks import checks_for, run_checks
from bench_standard.datasets.cifar import CIFAR10, CIFAR100

CLASSES = {
    "cifar-10": [
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    ],
    "cifar-100": [f"fine_{number}" for number in range(100)],
}


class Python2(pickle._Pickler):
    """Writes what Python 2 and its numpy wrote: byte strings, and numpy's old names."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_bytes(self, value):
        short = len(value) < 256
        size = struct.pack("<B" if short else "<i", len(value))
        self.write((b"U" if short else b"T") + size + value)  # SHORT_BINSTRING, BINSTRING
        self.memoize(value)

    def save_array(self, array):
        self.write(b"cnumpy.core.multiarray\n_reconstruct\n")
        for part in (np.ndarray, (0,), b"b"):
            self.save(part)
        self.write(pickle.TUPLE3 + pickle.REDUCE)
        self.memoize(array)
        kind = SimpleNamespace(kind=b"u1")
        self.write(pickle.MARK)
        self.save(1), self.save(array.shape), self.save(kind), self.save(False)
        self.save(array.tobytes())
        self.write(pickle.TUPLE + pickle.BUILD)

    def save_dtype(self, dtype):
        self.write(b"cnumpy\ndtype\n")
        for part in (dtype.kind, 0, 1):
            self.save(part)
        self.write(pickle.TUPLE3 + pickle.REDUCE)
        self.save((3, b"|", None, None, None, -1, -1, 0))
        self.write(pickle.BUILD)

    dispatch[bytes] = save_bytes
    dispatch[np.ndarray] = save_array
    dispatch[SimpleNamespace] = save_dtype


def dump(path: Path, content: object) -> None:
    with path.open("wb") as file:
        Python2(file, protocol=2).dump(content)


def parts(name: str) -> dict[str, tuple[np.ndarray, list[int], list[int]]]:
    """By file of the python version: pixels [T, 3072], labels, coarse labels."""
    random, classes = np.random.default_rng(0), len(CLASSES[name])
    if name == "cifar-10":
        counts = {**{f"data_batch_{n}": 4 for n in range(1, 6)}, "test_batch": 10}
    else:
        counts = {"train": 200, "test": 100}
    made, start = {}, 0
    for part, count in counts.items():
        pixels = random.integers(0, 256, (count, 3072), dtype=np.uint8)
        labels = [(start + i) % classes for i in range(count)]
        made[part] = (pixels, labels, [label // 5 for label in labels])
        start = 0 if part == "test" else start + count
    return made


def write_python(root: Path, name: str) -> Path:
    folder = root / {"cifar-10": "cifar-10-batches-py", "cifar-100": "cifar-100-python"}[name]
    folder.mkdir()
    for part, (pixels, labels, coarse) in parts(name).items():
        content = {b"batch_label": b"a " + part.encode(), b"data": pixels}
        if name == "cifar-10":
            content[b"labels"] = labels
        else:
            content |= {b"fine_labels": labels, b"coarse_labels": coarse}
        content[b"filenames"] = [f"image_{i}.png".encode() for i in range(len(labels))]
        dump(folder / part, content)
    names = [c.encode() for c in CLASSES[name]]
    if name == "cifar-10":
        content = {b"num_cases_per_batch": 10000, b"label_names": names, b"num_vis": 3072}
        dump(folder / "batches.meta", content)
    else:
        dump(folder / "meta", {b"fine_label_names": names, b"coarse_label_names": [b"any"]})
    return folder


def write_binary(root: Path, name: str) -> Path:
    folder = root / {"cifar-10": "cifar-10-batches-bin", "cifar-100": "cifar-100-binary"}[name]
    folder.mkdir()
    for part, (pixels, labels, coarse) in parts(name).items():
        with (folder / f"{part}.bin").open("wb") as file:
            for row, fine, rough in zip(pixels, labels, coarse, strict=True):
                head = [fine] if name == "cifar-10" else [rough, fine]
                file.write(bytes(head) + row.tobytes())
    text = "\n".join(CLASSES[name])
    if name == "cifar-10":
        (folder / "batches.meta.txt").write_text(text + "\n\n")  # as published
    else:
        (folder / "fine_label_names.txt").write_text(text + "\n")
    return folder


WRITERS = {"binary": write_binary, "python": write_python}
BOTH = [CIFAR10(), CIFAR100()]


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("component", BOTH)
@pytest.mark.parametrize("version", WRITERS)
def test_images_and_fine_labels_are_read_as_they_were_written(data, component, version):
    folder = WRITERS[version](data, component.name)
    loaded, written = component.load(), parts(component.name)
    *train, test = written.values()
    for split, batches in ((loaded.train, train), (loaded.test, [test])):
        expected = np.concatenate([pixels for pixels, _, _ in batches]).reshape(-1, 3, 32, 32)
        assert np.array_equal(split.pixels.numpy(), expected)
        assert split.labels.tolist() == [k for _, labels, _ in batches for k in labels]
        assert split.labels.dtype == torch.int64
    assert loaded.classes == tuple(CLASSES[component.name])
    assert loaded.shape == (3, 32, 32)
    assert loaded.flip
    looked = {"cifar-10-batches-bin", "cifar-100-binary"} if version == "python" else set()
    files = {str(path) for path in folder.iterdir()}
    assert files < set(loaded.sources) <= files | {str(folder), *(str(data / x) for x in looked)}


@pytest.mark.parametrize("component", BOTH)
def test_both_versions_give_the_same_data(data, component):
    binary = write_binary(data, component.name)
    first = component.load()
    for path in binary.iterdir():
        path.unlink()
    write_python(data, component.name)
    second = component.load()
    assert first.sources != second.sources
    for fact in ("digest", "classes", "mean", "std", "shape", "flip"):
        assert getattr(first, fact) == getattr(second, fact)


@pytest.mark.parametrize(
    ("component", "source"), [(CIFAR10(), datasets.CIFAR10), (CIFAR100(), datasets.CIFAR100)]
)
def test_the_bytes_are_those_that_torchvision_reads(data, monkeypatch, component, source):
    """With numpy's own unpickling, which also shows that the small files are legal pickles."""
    write_python(data, component.name)
    monkeypatch.setattr(source, "_check_integrity", lambda self: True)
    monkeypatch.setattr(source, "meta", {**source.meta, "md5": None})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)  # numpy.core
        reference = {train: source(data, train=train) for train in (True, False)}
    loaded = component.load()
    for train, split in ((True, loaded.train), (False, loaded.test)):
        assert np.array_equal(split.pixels.permute(0, 2, 3, 1).numpy(), reference[train].data)
        assert split.labels.tolist() == reference[train].targets
    assert list(loaded.classes) == reference[True].classes


def test_both_formats_are_looked_for_in_their_usual_folders(data):
    with pytest.raises(Missing) as error:
        CIFAR100().load()
    assert str(error.value) == (
        f"CIFAR-100 is not here; expected train.bin, test.bin, fine_label_names.txt in "
        f"{data}/cifar-100-binary; or train, test, meta in {data}/cifar-100-python; run with "
        "--download, or get either from https://www.cs.toronto.edu/~kriz/cifar.html"
    )


@pytest.mark.parametrize("version", WRITERS)
def test_one_missing_batch_is_told(data, version):
    folder = WRITERS[version](data, "cifar-10")
    [lost] = folder.glob("data_batch_3*")
    lost.unlink()
    with pytest.raises(Missing, match=f"{folder} lacks {lost.name}"):
        CIFAR10().load()


# ---- a pickle is read, never run


class Runs:
    """Pickled, it writes a file when it is unpickled."""

    def __init__(self, call, *arguments):
        self.call = call, arguments

    def __reduce__(self):
        return self.call


def attacks(mark: Path) -> dict[str, bytes]:
    touch = f"touch {mark}"
    python = f"open({str(mark)!r}, 'w').close()"
    return {
        "os.system": pickle.dumps({"data": Runs(os.system, touch)}, protocol=2),
        "eval": pickle.dumps(Runs(eval, python), protocol=2),
        "exec, in a new protocol": pickle.dumps(Runs(exec, python), protocol=5),
        "open": pickle.dumps(Runs(open, str(mark), "w"), protocol=2),
        "a dotted name": b"\x80\x04\x8c\x05numpy\x8c\x0bf2py.os.sys\x93.",
        "through numpy": b"\x80\x02cnumpy.ndarray\ntofile\n.",
        "an object's type": b"\x80\x02cbuiltins\ngetattr\n.",
        "INST": f"(S'{touch}'\nios\nsystem\n.".encode(),
        "OBJ": b"(cos\nsystem\nS'" + touch.encode() + b"'\no.",
        "an extension": b"\x80\x02\x82\x01.",
        "a persistent id": b"Pos.system\n.",
    }


@pytest.mark.parametrize("attack", attacks(Path("mark")))
@pytest.mark.parametrize("target", ["data_batch_1", "batches.meta"])
def test_a_malicious_pickle_is_refused_and_not_run(data, attack, target):
    folder, mark = write_python(data, "cifar-10"), data / "mark"
    (folder / target).write_bytes(attacks(mark)[attack])
    with pytest.raises(BenchError, match=f"{folder}/{target} is no pickle of a CIFAR"):
        CIFAR10().load()
    assert not mark.exists()


@pytest.mark.parametrize("attack", ["os.system", "eval", "exec, in a new protocol", "INST", "OBJ"])
def test_an_attack_is_one_that_plain_unpickling_runs(tmp_path, attack):
    pickle.loads(attacks(tmp_path / "mark")[attack])
    assert (tmp_path / "mark").exists()


def test_a_refused_name_is_told(data):
    folder = write_python(data, "cifar-10")
    (folder / "test_batch").write_bytes(attacks(data / "mark")["os.system"])
    with pytest.raises(BenchError, match=r"it asks for (posix|nt)\.system, which no CIFAR file"):
        CIFAR10().load()


def test_what_stands_in_for_numpy_cannot_be_called_into_anything(data):
    """A legal name with foreign arguments gives a dead thing, and then an error."""
    folder = write_python(data, "cifar-10")
    legal = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n\x85R."
    (folder / "data_batch_1").write_bytes(legal)
    with pytest.raises(BenchError, match="data_batch_1 holds other things"):
        CIFAR10().load()


# ---- broken files

PIXELS = np.zeros((4, 3072), np.uint8)
CONTENTS = {
    "a list": [1, 2, 3],
    "no data": {b"labels": [0, 1, 2, 3]},
    "no labels": {b"data": PIXELS},
    "fine labels": {b"data": PIXELS, b"fine_labels": [0, 1, 2, 3]},
    "too few labels": {b"data": PIXELS, b"labels": [0, 1, 2]},
    "half labels": {b"data": PIXELS, b"labels": [0.5, 1.0, 2.0, 3.0]},
    "names for labels": {b"data": PIXELS, b"labels": [b"a", b"b", b"c", b"d"]},
    "small images": {b"data": PIXELS[:, :768], b"labels": [0, 1, 2, 3]},
    "no images": {b"data": PIXELS[:0], b"labels": []},
    "bytes for an array": {b"data": PIXELS.tobytes(), b"labels": [0, 1, 2, 3]},
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())
def test_a_pickle_of_other_things_is_named(data, content):
    folder = write_python(data, "cifar-10")
    dump(folder / "data_batch_2", content)
    with pytest.raises(BenchError, match=f"{folder}/data_batch_2 holds other things.*delete it"):
        CIFAR10().load()


@pytest.mark.parametrize("wrong", [10, -1])
def test_a_label_without_a_class_is_named(data, wrong):
    folder = write_python(data, "cifar-10")
    dump(folder / "test_batch", {b"data": PIXELS, b"labels": [0, 1, 2, wrong]})
    with pytest.raises(BenchError, match=r"test_batch holds labels -?\d to \d+, not of 0 to 9"):
        CIFAR10().load()


def test_names_that_are_none_are_an_error(data):
    folder = write_python(data, "cifar-10")
    dump(folder / "batches.meta", {b"label_names": 3})
    with pytest.raises(BenchError, match=r"batches.meta holds no `label_names`"):
        CIFAR10().load()


@pytest.mark.parametrize("component", BOTH)
@pytest.mark.parametrize("version", WRITERS)
@pytest.mark.parametrize("keep", [0, 1, 1000, -1])
def test_a_file_cut_short_is_named(data, component, version, keep):
    folder = WRITERS[version](data, component.name)
    path = sorted(p for p in folder.iterdir() if p.name.startswith("test"))[0]
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BenchError, match=f"{path} (holds|is no pickle).*delete it and get it"):
        component.load()


def test_an_array_whose_bytes_are_too_few_is_named(data):
    folder = write_python(data, "cifar-10")
    path = folder / "test_batch"
    whole = path.read_bytes()
    size = struct.pack("<i", 10 * 3072)
    at = whole.index(b"T" + size) + 5
    path.write_bytes(whole[: at - 4] + struct.pack("<i", 9 * 3072) + whole[at + 3072 :])
    with pytest.raises(BenchError, match="27648 bytes of 10 x 3072"):
        CIFAR10().load()


def test_both_keep_the_contract(data, monkeypatch):
    write_binary(data, "cifar-10")
    write_python(data, "cifar-100")
    for component in BOTH:
        verdicts = run_checks(checks_for("dataset", component))
        assert [v for v in verdicts if v.status != "passed"] == []
