"""How long do the tables of 10,000 records take? `python tests/speed/tables.py`

Makes a board of 10,000 records (500 test images each) in a temporary folder and times what
`bench leaderboard --check` does, with the import of pandas. Target: under 3 s in all. Times are
of the processor, since other work on the machine would stretch those of the wall clock.
"""

import tempfile
import time
from itertools import pairwise
from pathlib import Path

started = time.process_time()

import numpy as np  # noqa: E402

from bench.records import record
from bench.report import numbers, page  # noqa: E402

imported = time.process_time()

IMAGES = 500
BOARD = numbers.Board(
    title="Ten thousand records",
    track="classification",
    datasets=("one", "two"),
    methods=tuple(f"method-{k}" for k in range(22)),
    controls=("control-1", "control-2", "control-3", "control-4"),
    ceiling=("all",),
    ipc=(1, 10, 50),
    labels=("hard", "soft"),
    architectures=("narrow", "wide"),
    attacks=("none", "weak", "strong", "strongest"),
    metrics=("right", "loss"),
    seeds=(0, 1, 2, 3),
)


def make() -> list[record.Record]:
    rng = np.random.default_rng(0)
    rows = [(m, ipc) for m in (*BOARD.methods, *BOARD.controls) for ipc in BOARD.ipc]
    made = []
    for method, ipc in [*rows, ("all", 0)]:
        for dataset in BOARD.datasets:
            for architecture in BOARD.architectures:
                for labels in BOARD.labels:
                    for seed in BOARD.seeds:
                        for k, attack in enumerate(BOARD.attacks):
                            bits = rng.random(IMAGES) < 0.9 - 0.2 * k
                            cell = (dataset, method, ipc, labels, architecture, attack, seed)
                            made.append(record(cell, bits, k > 0))
    return made[:10_000]


def record(cell: tuple[str | int, ...], bits: np.ndarray, in_ball: bool) -> record.Record:
    seconds = dict.fromkeys(("squeeze", "condense", "train", "probe"), 1.234567)
    return {
        **dict(zip(record.COORDINATE, cell, strict=True)),
        "status": "ok",
        "reason": "",
        "metrics": {"right": float(bits.mean()), "loss": 1.0 - float(bits.mean())},
        "scales": {
            "right": {"better": "higher", "rate": True},
            "loss": {"better": "lower", "rate": False},
        },
        "correct": record.pack(bits),
        "images": IMAGES,
        "images_hash": "0123456789abcdef",
        "norm": "linf" if in_ball else "",
        "eps": 8 / 255 if in_ball else 0.0,
        "perturbation": {
            "linf": {"mean": 0.03 * in_ball, "max": 0.0314 * in_ball},
            "l2": {"mean": 1.0 * in_ball, "max": 2.0 * in_ball},
        },
        "bytes": {"images": 30_000, "labels": 400, "weights": 0, "extras": 0},
        "size": 100,
        "cost": {"seconds": seconds, "peak_mb": 512.5},
        "parameters": {"method": {"lam": 3.0}, "teacher": {}, "attack": {}},
        "about": {"method": "A method (Someone et al., 2024).", "attack": "An attack."},
        "recipe": {f"knob_{k}": 0.1 * k for k in range(20)},
        "versions": {f"distribution-{k}": "1.2.3" for k in range(8)},
        "code": dict.fromkeys(("method", "teacher", "attack"), "0123456789abcdef"),
        "data": {"digest": "0123456789abcdef", "classes": "0123456789abcdef"},
        "content": dict.fromkeys(("teacher", "set", "student", "probe"), "0123456789abcdef"),
        "flags": [],
        "environment": {"device": "cpu", "threads": 1, "machine": "x86_64", "system": "Linux"},
    }


def main() -> None:
    made = make()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        at = [time.process_time()]
        record.write(folder, made)
        at.append(time.process_time())
        found = record.read(folder)
        at.append(time.process_time())
        files = page.render(BOARD, found)
        at.append(time.process_time())
        page.write_files(folder, files)
        assert page.check(folder, files) == []
        assert len(found) == len(made)
        size = sum(path.stat().st_size for path in (folder / "records").iterdir()) / 2**20
    print(f"{len(found):,} records, {size:.1f} MiB; page of {len(files['README.md']):,} characters")
    write, read, render = (b - a for a, b in pairwise(at))
    startup = imported - started
    print(f"import {startup:.2f} s, write {write:.2f} s, read {read:.2f} s, render {render:.2f} s")
    print(f"import + read + render: {startup + read + render:.2f} s")


if __name__ == "__main__":
    main()
