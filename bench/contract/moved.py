"""Where the names are now that plugins imported from other modules. Until 0.2.0."""

from __future__ import annotations

MOVED = {
    "bench.types": "bench",
    "bench.keys": "bench.contract.keys",
    "bench.registry": "bench.contract.registry",
    "bench.condensed_set": "bench.training.sets",
    "bench.counting": "bench.training.passes",
    "bench.train": "bench.training.classifier",
    "bench.train_diffusion": "bench.training.denoiser",
    "bench.augment": "bench.training.augment",
    "bench.diffusion": "bench.training.diffusion",
    "bench.gates": "bench.training.gates",
    "bench.loading": "bench.training.loading",
    "bench.networks": "bench.training.networks",
    "bench.recipe": "bench.training.recipe",
    "bench.toy": "bench.training.toy",
}


def moved(error: BaseException) -> str:
    """The sentence for an import from an old place of `bench`, or from none, or ""."""
    name = error.name if isinstance(error, ImportError) else None
    if name in MOVED:
        return f"{name} has moved; import from {MOVED[name]} instead"
    if name and name.startswith("bench.") and isinstance(error, ModuleNotFoundError):
        return f"there is no {name}; CONTRIBUTING.md lists what a plugin may import of bench"
    return ""
