"""Sets as codes of the field write them become files of `prebuilt`, with the same images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bench.commands.imported import Asked, Data, imported
from bench.contract.errors import BenchError

torch = pytest.importorskip("torch")

K, SIDE = 3, 8
MEAN, STD = np.array([0.4, 0.5, 0.3]), np.array([0.2, 0.25, 0.3])


def smooth(count: int, seed: int) -> np.ndarray:
    """Images [N, 3, SIDE, SIDE] of bytes over 255, whose neighbours are alike."""
    draws = np.random.default_rng(seed)
    steps = draws.normal(0, 0.08, (2, count, 3, SIDE, SIDE))  # walks along rows and columns
    images = 0.5 + (steps[0].cumsum(2) + steps[1].cumsum(3)) / 2
    return (np.rint(images.clip(0, 1) * 255) / 255).astype(np.float32)


IMAGES, LABELS = smooth(2 * K, 0), np.arange(2 * K) % K
TRAIN = smooth(400, 1)
DATA = Data("toy", (3, SIDE, SIDE), ("a", "b/c", "d"), MEAN, STD, lambda: TRAIN)


def normalised(images: np.ndarray = IMAGES) -> np.ndarray:
    return ((images - MEAN.reshape(-1, 1, 1)) / STD.reshape(-1, 1, 1)).astype(np.float32)


def whitened() -> np.ndarray:
    """As kornia's ZCAWhitening does, which MTT's code calls."""
    flat = torch.from_numpy(normalised(TRAIN)).flatten(1).double()
    centred = flat - flat.mean(0)
    u, s, _ = torch.linalg.svd(centred.T @ centred / (len(flat) - 1))
    change = u @ torch.diag(1 / torch.sqrt(s + 0.1)) @ u.T
    own = torch.from_numpy(normalised()).flatten(1).double() - flat.mean(0)
    return (own @ change).view(IMAGES.shape).float().numpy()


def tensors(*arrays: np.ndarray) -> list[object]:
    return [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]


def dc(folder: Path) -> list[Path]:
    scores = {"ConvNet": [np.float64(0.5)]}  # as their code keeps them
    torch.save({"data": [tensors(normalised(), LABELS)], "accs_all_exps": scores}, folder / "d.pt")
    return [folder / "d.pt"]


def mtt(folder: Path) -> list[Path]:
    for name, array in (("images_best", normalised()), ("labels_best", LABELS)):
        torch.save(*tensors(array), folder / f"{name}.pt")
    return [folder]


def pair(folder: Path) -> list[Path]:
    torch.save(tuple(tensors(IMAGES, LABELS)), folder / "pair.pt")
    return [folder / "pair.pt"]


def npz(folder: Path) -> list[Path]:
    np.savez(folder / "s.npz", x=np.rint(IMAGES * 255).transpose(0, 2, 3, 1), y=LABELS)
    return [folder / "s.npz"]


def pictures(names: tuple[str, ...]) -> Callable[[Path], list[Path]]:
    def write(folder: Path) -> list[Path]:
        for number, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
            place = folder / names[label]
            place.mkdir(parents=True, exist_ok=True)
            array = np.rint(image * 255).astype(np.uint8).transpose(1, 2, 0)
            Image.fromarray(array).save(place / f"{number}.png")
        return [folder]

    return write


WAYS: dict[str, Callable[[Path], list[Path]]] = {
    "a dict with lists, normalised (DC, DSA, DM)": dc,
    "two files, normalised (MTT, DATM)": mtt,
    "a tuple": pair,
    "npz, bytes as float, channels last": npz,
    "folders by number (SRe2L)": pictures(("new000", "new001", "new002")),
    "folders by WordNet ID (RDED)": pictures(("n01440764", "n02102040", "n02979186")),
    "folders by name": pictures(("a", "b_c", "d")),
}


SLOW = ("two files, normalised (MTT, DATM)", "a tuple")  # torch is loaded for each file


@pytest.mark.parametrize(
    "way", [pytest.param(way, marks=pytest.mark.slow if way in SLOW else ()) for way in WAYS]
)
def test_a_set_of_this_form_has_its_images_and_labels(way: str, tmp_path: Path) -> None:
    found = imported(WAYS[way](tmp_path), Asked(), DATA)
    images = found.set.images / (255 if found.set.images.dtype == np.uint8 else 1)
    order = np.argsort(LABELS, kind="stable") if "folders" in way else np.arange(2 * K)
    np.testing.assert_allclose(images, IMAGES[order], atol=1e-5)
    assert found.set.labels.tolist() == LABELS[order].tolist()
    assert found.set.ipc == 2
    assert found.told


def test_what_looks_whitened_is_asked_about_and_undone(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", images=whitened(), labels=LABELS)
    with pytest.raises(BenchError, match="--stored zca"):
        imported([tmp_path / "w.npz"], Asked(), DATA)
    found = imported([tmp_path / "w.npz"], Asked(stored="zca"), DATA)
    np.testing.assert_allclose(found.set.images, IMAGES, atol=1e-3)


@pytest.mark.slow
def test_several_sets_are_asked_about(tmp_path: Path) -> None:
    both = [tensors(IMAGES, LABELS), tensors(IMAGES[::-1], LABELS[::-1])]
    torch.save({"data": both}, tmp_path / "two.pt")
    with pytest.raises(BenchError, match=r"there are 2 sets: .*; say --which"):
        imported([tmp_path / "two.pt"], Asked(), DATA)
    found = imported([tmp_path / "two.pt"], Asked(which=1), DATA)
    np.testing.assert_array_equal(found.set.images, IMAGES[::-1])
    assert found.set.labels.tolist() == LABELS[::-1].tolist()
    with pytest.raises(BenchError, match="--which is 2; expected 0 to 1"):
        imported([tmp_path / "two.pt"], Asked(which=2), DATA)


def test_logits_become_probabilities_where_that_is_said(tmp_path: Path) -> None:
    logits = np.eye(K, dtype=np.float32)[LABELS] * 5
    np.savez(tmp_path / "l.npz", images=IMAGES, labels=logits)
    with pytest.raises(BenchError, match="labels are no probabilities"):
        imported([tmp_path / "l.npz"], Asked(), DATA)
    labels = imported([tmp_path / "l.npz"], Asked(logits=True), DATA).set.labels
    np.testing.assert_allclose(labels.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(labels.max(1), np.exp(5) / (np.exp(5) + K - 1), atol=1e-6)


class Harmful:
    """What a pickle may hold."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_that_runs_code_is_refused_and_runs_none(tmp_path: Path) -> None:
    harm = Harmful(tmp_path / "ran")
    torch.save({"images": torch.from_numpy(IMAGES), "x": harm}, tmp_path / "evil.pt")
    with pytest.raises(BenchError, match=r"is refused: .*GLOBAL"):
        imported([tmp_path / "evil.pt"], Asked(), DATA)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("broken.pt", b"nothing", "is refused"),
        ("broken.npz", b"PK nothing", "cannot be read"),
        ("a.txt", b"", "expected one of these, or a folder"),
    ],
)
def test_what_is_no_file_of_arrays_is_one_sentence(
    name: str, content: bytes, said: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BenchError, match=said):
        imported([tmp_path / name], Asked(), DATA)


def test_what_does_not_fit_the_data_is_said(tmp_path: Path) -> None:
    np.savez(tmp_path / "small.npz", images=IMAGES[..., :4], labels=LABELS)
    with pytest.raises(BenchError, match=r"expected \[N, 3, 8, 8\], as those of toy are"):
        imported([tmp_path / "small.npz"], Asked(), DATA)
    np.savez(tmp_path / "few.npz", images=IMAGES[:4], labels=np.arange(4) % 2)
    with pytest.raises(BenchError, match="labels go up to 1; expected all 3 classes of toy"):
        imported([tmp_path / "few.npz"], Asked(), DATA)
    np.savez(tmp_path / "none.npz", pictures=IMAGES)
    with pytest.raises(BenchError, match=r"no images .* with labels"):
        imported([tmp_path / "none.npz"], Asked(), DATA)
    for name in ("zebra", "a"):
        (tmp_path / "odd" / name).mkdir(parents=True)
    with pytest.raises(BenchError, match="a folder is named 'zebra'"):
        imported([tmp_path / "odd"], Asked(), DATA)
    with pytest.raises(BenchError, match="--stored is 'grey'; expected one of pixels, bytes"):
        Asked(stored="grey")


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_normalising_and_coming_back_changes_no_byte(seed: int) -> None:
    import tempfile

    images = smooth(K, seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "n.npz"
        np.savez(path, images=normalised(images), labels=np.arange(K))
        found = imported([path], Asked(stored="normalised"), DATA).set.images
    np.testing.assert_array_equal(np.rint(found * 255), np.rint(images * 255))
