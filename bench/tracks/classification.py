"""Students that classify: trained on labels, attacked, scored image by image."""

from __future__ import annotations

from bench.records.result import COORDINATES
from bench.tracks.track import Track
from bench.training.recipe import Recipe

CLASSIFICATION = Track(
    name="classification",
    recipe=Recipe,
    coordinate=COORDINATES["classification"],
    probes="attacks",
    other_probes="samplers",
    labels=True,
)
