"""Networks, sets and trainers: the library of the harness and of plugins.

`PUBLIC` are the modules and the names in them that plugins may import; CONTRIBUTING.md has a
table of them. They import torch, this does not.
"""

from __future__ import annotations

import importlib
from types import MappingProxyType, ModuleType

_TABLE = """\
augment: dsa resized_crop
classifier: Examples Hook fit generator_of
denoiser: fit
diffusion: Denoiser Schedule losses of_classes rows_of
gates: check_condensed
loading: batches probed_images read
networks: evaluating features load predict state
recipe: DSA_OPERATIONS DiffusionRecipe Recipe
toy: COMPONENTS
"""
_ROWS = (line.split(": ") for line in _TABLE.splitlines())
PUBLIC = MappingProxyType({module: tuple(names.split()) for module, names in _ROWS})

__all__ = list(PUBLIC)


def __getattr__(name: str) -> ModuleType:
    """Import a public module when it is first asked for."""
    if name in PUBLIC:
        return importlib.import_module(f"bench.training.{name}")
    raise AttributeError(f"module 'bench.training' has no attribute {name!r}")
