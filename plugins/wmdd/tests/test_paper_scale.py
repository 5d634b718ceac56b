"""The boards of the published protocol: they read, and their path runs on small trees."""

import io
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.board.check import resolve
from bench.board.matrix import read
from bench.contract.registry import discover
from bench.report import published
from bench.report.numbers import board_of
from bench_standard.datasets.imagenette import ImageNette

BOARDS = Path(__file__).parents[3] / "leaderboards"
PAPER = ("imagenette", "tiny-imagenet", "imagenet-1k")

RUN = """
import json, sys
from pathlib import Path
from bench.engine import results
from bench.board.check import resolve
from bench.engine.scheduler import Engine
from bench.board.matrix import parse
from bench.contract.registry import discover
from bench.store.store import Store

if __name__ == "__main__":
    components = resolve(parse(json.loads(sys.argv[2])), discover())
    engine = Engine(components, Store(Path(sys.argv[1])))
    cells = [
        cell
        for cell in components.matrix.cells()
        if cell.method in sys.argv[3:]
        and (cell.ipc, cell.seed, cell.architecture) in ((0, 0, "resnet18"), (1, 0, "resnet18"))
    ]
    made = results.run(engine, engine.plan(cells))
    found = [[r.method, r.status, r.images, r.size, r.bytes] for r in made.records]
    print(json.dumps([found, [str(failure) for failure in made.failures]]))
"""


def tables_of(board):
    """What its `published.toml` has in print."""
    return published.read(board, board_of(read(board))).tables


@pytest.mark.parametrize("board", PAPER)
def test_a_board_of_the_published_protocol_has_all_its_components_and_what_is_in_print(board):
    components = resolve(read(BOARDS / board), discover())
    assert len(components.matrix.cells()) > 300
    method = components.get("method", "wmdd", dataset=components.matrix.datasets[0], ipc=10)
    assert (method.iterations, method.roll, method.teacher) == (2000, 32, "standard-imagenet")
    tables = tables_of(BOARDS / board)
    assert any("WMDD" in row for table in tables for row in table.rows)


def photograph(random, side=24):
    file = io.BytesIO()
    pixels = random.integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def small(board):
    """The board with its settings, but few images and steps, and ResNets of width 4."""
    document = tomllib.loads((BOARDS / board / "matrix.toml").read_text())
    document["recipe"]["epochs"] = 1
    document |= {"ipc": [1], "probe": {"images": 20}, "partial": True}
    document["set"] += [
        {"where": {"method": ["wmdd", "wmdd-uniform", "sre2l", "cda"]}, "iterations": 1},
        {"where": {"architecture": "resnet18"}, "width": 4},
        {"where": {"teacher": "standard-imagenet"}, "epochs": 1},
        {"where": {"ipc": 0}, "recipe": {"epochs": 1}},
    ]
    return document


def run_on(data, store, document, *methods):
    """What comes of the cells of these methods with ResNet-18, IPC 1 or the full set, seed 0."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(store), json.dumps(document), *methods],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "BENCH_DATA": str(data)},
    )
    assert done.returncode == 0, done.stderr
    found, failures = json.loads(done.stdout.splitlines()[-1])
    assert failures == []
    return found


@pytest.mark.slow
def test_every_method_of_the_imagenette_board_goes_all_the_way(tmp_path):
    random = np.random.default_rng(0)
    for name in ImageNette.classes:
        for split, count in (("train", 3), ("val", 2)):
            for number in range(count):
                path = tmp_path / "imagenette2" / split / name / f"{name}_{number}.JPEG"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(photograph(random))
    board = small("imagenette")
    methods = [*board["methods"], *board["controls"], board["ceiling"]]
    found = run_on(tmp_path, tmp_path / "store", board, *methods)
    assert {(method, status) for method, status, *_ in found} == {(m, "ok") for m in methods}
    assert {method: size for method, _, _, size, _ in found} == dict.fromkeys(methods, 10) | {
        "full": 30
    }


@pytest.mark.slow
def test_a_set_of_imagenet_1k_s_shape_goes_all_the_way(tmp_path):
    """1,000 classes of one image each, 224 pixels."""
    random = np.random.default_rng(0)
    some = [photograph(random) for _ in range(20)]
    for k in range(1000):
        for split, name in (("train", "1.JPEG"), ("val", f"ILSVRC2012_val_{k:08}.JPEG")):
            path = tmp_path / "imagenet" / split / f"n{1440764 + 13 * k:08}" / name
            path.parent.mkdir(parents=True)
            path.write_bytes(some[k % 20])
    [found] = run_on(tmp_path, tmp_path / "store", small("imagenet-1k"), "wmdd")
    method, status, images, size, weights = found
    assert (method, status, images, size) == ("wmdd", "ok", 20, 1000)
    assert weights["images"] == 1000 * 3 * 224 * 224  # uint8
