"""The arrays of a file that somebody else's code has written, by where they stand in it.

A pickle (.pt, .pth) is read in a process of its own, by torch's reader that makes tensors and plain
values and runs nothing else.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.contract.errors import BenchError

Array = NDArray[Any]

PICKLES, SUFFIXES = (".pt", ".pth"), (".pt", ".pth", ".npz", ".npy", ".safetensors")
SECONDS = 600
READER = """
import sys

import numpy as np
import torch

core = np._core.multiarray
plain = [np.dtype, np.ndarray, *(type(np.dtype(c)) for c in "?bBhHiIlLqQefd")]
for where in ("numpy.core.multiarray", "numpy._core.multiarray"):
    plain += [(core.scalar, where + ".scalar"), (core._reconstruct, where + "._reconstruct")]
torch.serialization.add_safe_globals(plain)
found = {}


def walk(value, place):
    if isinstance(value, torch.Tensor):
        value = value.detach()
        found[place] = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    elif isinstance(value, np.ndarray) and value.dtype.kind in "iufb":
        found[place] = value
    elif isinstance(value, dict):
        for name, part in value.items():
            walk(part, place + "/" + str(name))
    elif isinstance(value, (list, tuple)):
        for number, part in enumerate(value):
            walk(part, place + "/" + str(number))


walk(torch.load(sys.argv[1], map_location="cpu", weights_only=True), "")
np.savez(sys.argv[2], **{(name or "/")[1:] or "whole": array for name, array in found.items()})
"""


def arrays(path: Path) -> dict[str, Array]:
    """The arrays of a .pt, .npz, .npy or safetensors file. Raises BenchError for what is none."""
    if not path.is_file():
        raise BenchError(f"{path} does not exist; expected a file that holds a condensed set")
    try:
        if path.suffix in PICKLES:
            return _unpickled(path)
        if path.suffix == ".safetensors":
            from safetensors.numpy import load_file

            return {**load_file(path)}
        if path.suffix in (".npz", ".npy"):
            found = np.load(io.BytesIO(path.read_bytes()))  # no pickles: numpy refuses them
            return {path.stem: found} if isinstance(found, np.ndarray) else {**found}
    except BenchError:
        raise
    except Exception as error:  # what libraries raise for files of other forms is many things
        raise BenchError(
            f"{path} cannot be read: {str(error).splitlines()[0]}; expected a whole file of arrays"
        ) from None
    raise BenchError(f"{path} is no {', '.join(SUFFIXES)}; expected one of these, or a folder")


def _unpickled(path: Path) -> dict[str, Array]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "arrays.npz"
        command = [sys.executable, "-P", "-c", READER, str(path.absolute()), str(out)]
        try:
            ended = subprocess.run(
                command, capture_output=True, text=True, timeout=SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise BenchError(f"{path} was not read in {SECONDS} s") from None
        if ended.returncode:
            lines = [line for line in ended.stderr.splitlines() if line.strip()]
            said = next((one for one in lines if "GLOBAL" in one or "Unsupported" in one), "")
            raise BenchError(
                f"{path} is refused: {(said or (lines or ['its reader died'])[-1]).strip()}; "
                "expected tensors, numbers and text in lists and dicts, for anything else may run "
                "code; where you trust it, store images and labels alone, as .npz or safetensors"
            )
        with np.load(out) as found:
            return {**found}
