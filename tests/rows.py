"""Rows of a table as statistics see them: drawn at random, or with given figures."""

from __future__ import annotations

import numpy as np

from bench.report.statistics import Row


def row(name, bits, **also):
    bits = np.asarray(bits, dtype=np.int8)
    return Row(name, dict(enumerate(bits.mean(1).tolist())), bits, **also)


def figures(name, values, **also):
    return Row(name, dict(enumerate(values)), **also)


def drawn(rng, seeds, images, rate=0.0, of_seed=0.3, of_image=1.5, shared=None):
    """Bits of a student that depend on seeds and images: [S, P]."""
    by_image = shared if shared is not None else of_image * rng.standard_normal(images)
    logits = rate + of_seed * rng.standard_normal((seeds, 1)) + by_image
    return (rng.random((seeds, images)) < 1 / (1 + np.exp(-logits))).astype(np.int8)
