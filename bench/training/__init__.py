"""Networks, sets and trainers: the library of the harness and of plugins.

`PUBLIC` are the modules and the names in them that plugins may import; CONTRIBUTING.md has a
table of them. They import torch, this does not.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import MappingProxyType, ModuleType

PUBLIC: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "augment": ("Units", "dsa", "resized_crop"),
        "classifier": ("Examples", "Hook", "fit"),
        "denoiser": ("fit",),
        "diffusion": ("Denoiser", "Schedule", "losses", "of_classes", "rows_of"),
        "gates": ("check_condensed",),
        "loading": ("batches", "probed_images", "read"),
        "loop": ("generator_of",),
        "networks": ("evaluating", "features", "load", "predict", "state", "units_of"),
        "recipe": ("DSA_OPERATIONS", "DiffusionRecipe", "Recipe"),
        "toy": ("COMPONENTS",),
    }
)

__all__ = list(PUBLIC)


def __getattr__(name: str) -> ModuleType:
    """Import a public module when it is first asked for."""
    if name in PUBLIC:
        return importlib.import_module(f"bench.training.{name}")
    raise AttributeError(f"module 'bench.training' has no attribute {name!r}")
