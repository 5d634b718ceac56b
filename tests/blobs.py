"""Results of a board that is made up, whose images are right as the tests say."""

import numpy as np
from support import as_result

from bench.records.result import pack
from bench.report.numbers import Board

BOARD = Board(
    title="Toy",
    track="classification",
    datasets=("blobs", "rings"),
    methods=("alpha", "beta"),
    controls=("dice",),
    ceiling=("all",),
    ipc=(1, 10),
    labels=("hard", "soft"),
    architectures=("small", "large"),
    attacks=("none", "weak", "strong", "round"),
    metrics=("right", "distance"),
    seeds=(0, 1, 2),
)
BALLS = {"none": ("", None), "weak": ("linf", 8 / 255), "strong": ("linf", 8 / 255)}


def record(bits="1110", attack="none", **changes):
    """A record whose images are right where `bits` is 1."""
    correct = np.array([bit == "1" for bit in bits])
    norm, eps = BALLS.get(attack, ("l2", 0.5))
    found = {
        "dataset": "blobs",
        "method": "alpha",
        "ipc": 1,
        "labels": "hard",
        "architecture": "small",
        "attack": attack,
        "seed": 0,
        "status": "ok",
        "reason": "",
        "metrics": {"right": float(correct.mean()), "distance": 2.0},
        "scales": {
            "right": {"better": "higher", "unit": "fraction"},
            "distance": {"better": "lower"},
        },
        "correct": pack(correct),
        "images": len(bits),
        "images_hash": "abc",
        "norm": norm,
        "eps": eps,
        "bytes": {"images": 60, "labels": 4},
        "size": 2,
    }
    return as_result(found | changes)
