"""What a track is: facts alone, which other rooms ask for instead of its name."""

from __future__ import annotations

from dataclasses import dataclass

from bench.training.recipe import DiffusionRecipe, Recipe


@dataclass(frozen=True)
class Track:
    """One of the two kinds of boards."""

    name: str
    recipe: type[Recipe] | type[DiffusionRecipe]  # by which students are trained
    coordinate: tuple[str, ...]  # the axes of a cell, as records name them
    probes: str  # the key of a board that says what is done to students
    other_probes: str  # that of the other track
    labels: bool  # may a board choose the labels that students see?
