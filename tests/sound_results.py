"""Sound results, and boards of them in which one line is wrong."""

import json

import numpy as np
from hypothesis import strategies as st
from support import as_result

from bench.records.result import pack


def alpha(**changes):
    """A sound result of three images, two of them right."""
    sound = {
        "dataset": "blobs",
        "method": "alpha",
        "ipc": 1,
        "labels": "hard",
        "architecture": "small",
        "attack": "none",
        "seed": 0,
        "metrics": {"right": 2 / 3, "distance": 12.5, "curvature": 3.25},
        "scales": {
            "right": {"better": "higher", "unit": "fraction"},
            "distance": {"better": "lower"},
            "curvature": {"better": "lower", "of": "student"},
        },
        "correct": pack(np.array([True, True, False])),
        "images": 3,
        "images_hash": "abc",
        "perturbation": {"linf": {"mean": 0.0, "max": 0.0}},
        "bytes": {"images": 64, "labels": 4, "weights": 0, "extras": 0},
        "size": 2,
        "seconds": {"train": 1.23456789},
        "peak_mb": 10.0,
        "parameters": {"method": {"lam": 3.0}, "attack": {"steps": 5}},
        "about": {"method": "Alpha.", "attack": "Nothing."},
        "recipe": {"steps": 300, "lr": 0.01},
        "versions": {"plugin": "1.0"},
        "code": {"method": "d1"},
        "data": {"digest": "d2", "classes": "d3"},
        "content": {"set": "d4", "student": "d5", "probe": "d6"},
        "passes": {
            "set": {"forward": 5},
            "student": {"forward": 9, "backward": 9},
            "probe": {"forward": 3},
        },
        "environment": {"device": "cpu"},
    }
    return as_result(sound | changes)


DESCRIBED = (
    *("dataset", "method", "ipc", "labels", "architecture", "attack", "seed"),
    *("parameters", "about", "recipe", "versions", "code", "data"),
)


def unsupported(**changes):
    described = {name: getattr(alpha(), name) for name in DESCRIBED}
    return as_result(described | {"reason": "needs BatchNorm"} | changes)


def variants(min_size=0):
    """Results of different cells."""
    one = st.builds(
        lambda dataset, method, ipc, attack, seed, value: alpha(
            dataset=dataset,
            method=method,
            ipc=ipc,
            attack=attack,
            seed=seed,
            metrics={"right": value, "distance": value},
        ),
        st.sampled_from(["blobs", "rings-2", "rings-10"]),
        st.sampled_from(["alpha", "beta", "x1", "x01"]),
        st.sampled_from([1, 2, 10]),
        st.sampled_from(["none", "a-9", "a-10"]),
        st.integers(0, 2),
        st.floats(0, 1),
    )
    return st.lists(one, min_size=min_size, unique_by=lambda result: result.coordinate)


def files(folder):
    return {path.name: path.read_bytes() for path in (folder / "records").iterdir()}


def lines(folder):
    return (folder / "records" / "alpha.jsonl").read_text().splitlines()


def put(folder, at, change):
    """Change one line of alpha.jsonl: its fields (None takes one away), or all of its text."""
    rows = [*lines(folder), ""]
    if isinstance(change, dict):
        record = {**json.loads(rows[at]), **change}
        text = json.dumps(
            {k: v for k, v in record.items() if v is not None or k in ("size", "eps")}
        )
        change = text.replace('"1e999"', "1e999")
    rows[at] = change
    text = "\n".join(rows[:-1] if not rows[-1] else rows) + "\n"
    (folder / "records" / "alpha.jsonl").write_text(text)
