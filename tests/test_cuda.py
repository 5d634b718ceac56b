"""A GPU gives what a CPU gives, for every installed method, attack and metric."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support import Shell, records, write_board

from bench.contract.fields import values_of
from bench.contract.registry import discover

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

WORLD: dict[str, Any] = {
    "title": "On a GPU",
    "datasets": ["digits"],
    "methods": ["herding"],
    "controls": ["random"],
    "ceiling": None,
    "ipc": [2],
    "labels": ["hard", "teacher"],
    "architectures": ["small"],
    "attacks": ["clean"],
    "metrics": ["accuracy"],
    "seeds": [0],
    "backbone": "small",
    "teacher": "standard",
    "recipe": {"steps": 100, "batch": 16, "lr": 0.02},
    "probe": {"images": 200},
}


def quick(kind: str) -> dict[str, dict[str, Any]]:
    """Every installed component of a kind, with the fields set that make it quick: definitions."""
    installed = discover().of(kind).values()
    return {
        f"quick-{entry.name}": {kind: entry.name} | dict(getattr(entry.component, "quick", {}))
        for entry in installed
        if getattr(entry.component, "track", "classification") == "classification"
        and "sha256" not in values_of(entry.component)  # it reads a file
        and entry.name != "full"  # a ceiling
    }


@pytest.mark.parametrize("kind", ["method", "attack", "metric"])
def test_every_installed_component_gives_on_a_gpu_what_it_gives_on_a_cpu(
    kind: str, shell: Shell, tmp_path: Path
) -> None:
    components = quick(kind)
    define = {"small": {"architecture": "convnet-bn", "width": 16, "depth": 2}} | components
    world = WORLD | {f"{kind}s": [*WORLD[f"{kind}s"], *components]}
    found = {}
    for device in ("cpu", "cuda"):
        board = write_board(tmp_path / device, **world, define=define)
        ended = shell("run", board, "--device", device, "--store", tmp_path / "store")
        assert "Traceback" not in ended.err, ended.err
        found[device] = {
            (r["method"], r["attack"], r["labels"]): r.get("metrics") or {} for r in records(board)
        }
    assert found["cpu"], ended.err
    assert found["cuda"].keys() == found["cpu"].keys(), ended.err
    for cell, metrics in found["cpu"].items():
        for name, value in metrics.items():
            assert found["cuda"][cell][name] == pytest.approx(value, abs=0.1, rel=0.2), cell
