"""A small board, and its records as JSON values."""

import numpy as np

from bench.records.result import pack
from bench.report.numbers import Board

BOARD = Board(
    title="Toy <board>",
    track="classification",
    datasets=("blobs",),
    methods=("alpha", "beta"),
    controls=("dice",),
    ceiling=("all",),
    ipc=(1, 10),
    labels=("hard",),
    architectures=("small",),
    attacks=("none", "weak", "strong"),
    metrics=("right", "distance"),
    seeds=(0, 1),
)

ABOUT = {
    "alpha": "Alpha | the first (Author, 2020).",
    "beta": "Beta.",
    "dice": "Real images by chance.",
    "none": "No attack.",
    "weak": "One step.",
    "strong": "Many\n steps.",
}


def record(method, ipc, attack, seed, bits, **changes):
    """A record whose images are right where `bits` is 1."""
    correct = np.array([bit == "1" for bit in bits])
    shared = {
        "dataset": "blobs",
        "method": method,
        "ipc": ipc,
        "labels": "hard",
        "architecture": "small",
        "attack": attack,
        "seed": seed,
        "about": {"method": ABOUT.get(method, ""), "attack": ABOUT.get(attack, ""), "other": "?"},
        "parameters": {"method": {}, "attack": {"steps": 100} if attack == "strong" else {}},
    }
    if not bits:
        return shared | {"status": "unsupported", "reason": "needs <BatchNorm>"} | changes
    measured = {
        "status": "ok",
        "reason": "",
        "metrics": {"right": float(correct.mean())},
        "scales": {
            "right": {"better": "higher", "unit": "fraction"},
            "distance": {"better": "lower"},
        },
        "correct": pack(correct),
        "images": len(bits),
        "images_hash": "abc",
        "norm": "" if attack == "none" else "linf",
        "eps": None if attack == "none" else 8 / 255,
        "bytes": {"images": 1000 * ipc, "labels": 234},
        "size": 2 * ipc,
        "flags": [],
    }
    return shared | measured | changes
