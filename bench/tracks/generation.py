"""Students that generate: trained as denoisers, sampled from, judged by their samples."""

from __future__ import annotations

from bench.records.result import COORDINATES
from bench.tracks.track import Track
from bench.training.recipe import DiffusionRecipe

GENERATION = Track(
    name="generation",
    recipe=DiffusionRecipe,
    coordinate=COORDINATES["generation"],
    probes="samplers",
    other_probes="attacks",
    labels=False,
)
