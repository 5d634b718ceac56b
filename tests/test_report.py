"""Pages: the whole text of a small board, and that nothing but results can change a byte."""

import random

import numpy as np
import pytest

from bench.leaderboard import Board
from bench.records import pack
from bench.report import check, render, write_files

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
            "right": {"better": "higher", "rate": True},
            "distance": {"better": "lower", "rate": False},
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


def records():
    made = [
        record("alpha", 1, "none", 0, "11111110"),
        record("alpha", 1, "none", 1, "11111100"),
        record("alpha", 1, "weak", 0, "11110000", flags=["stronger than it should be"]),
        record("alpha", 1, "weak", 1, "11110000"),
        record("alpha", 1, "strong", 0, "00111100"),
        record("alpha", 1, "strong", 1, "00110000"),
        *(record("beta", 1, a, s, "") for a in BOARD.attacks for s in BOARD.seeds),
        *(record("dice", 1, "none", s, "11111100") for s in BOARD.seeds),
        record("dice", 1, "weak", 0, "11110000"),
        *(record("alpha", 10, "none", s, "11111111") for s in BOARD.seeds),
        *(record("beta", 10, "none", s, "11111110") for s in BOARD.seeds),
        *(record("all", 0, "none", s, "11111111", size=1797) for s in BOARD.seeds),
    ]
    for one in made:
        if one["method"] == "alpha" and one["ipc"] == 10:
            one["parameters"] = {"method": {"lam": 3.0, "teacher": "guarded"}, "teacher": {"k": 2}}
            one["metrics"]["distance"] = 12.3456 + one["seed"]
    return made


README = """\
"""

TABLE = """\
"""


def test_a_small_board_has_this_page():
    assert render(BOARD, records(), "toy")["README.md"] == README


def test_a_small_board_has_this_table():
    assert render(BOARD, records(), "toy")["table.csv"] == TABLE
