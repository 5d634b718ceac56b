"""Before a stage, the numeric state is the same whatever was imported, or it is refused."""

from __future__ import annotations

import subprocess
import sys

import pytest

CHANGES = {
    "threads": "torch.set_num_threads(2)",
    "dtype": "torch.set_default_dtype(torch.float64)",
    "device": "torch.set_default_device('meta')",
    "grad": "torch.set_grad_enabled(False)",
    "anomaly": "torch.autograd.set_detect_anomaly(True)",
    "autocast": "torch.set_autocast_enabled('cpu', True)",
    "autocast dtype": "torch.set_autocast_dtype('cpu', torch.float16)",
    "precision": "torch.set_float32_matmul_precision('medium')",
    "algorithms": "torch.use_deterministic_algorithms(False)",
    "mkldnn": "torch._C._set_mkldnn_enabled(False)",
    "mkldnn flags": "torch.backends.mkldnn.set_flags(False)",
    "cudnn": "torch.backends.cudnn.enabled = False",
    "benchmark": "torch.backends.cudnn.benchmark = True",
    "tf32": "torch.backends.cuda.matmul.allow_tf32 = True; torch.backends.cudnn.allow_tf32 = True",
    "attention": "torch.backends.cuda.enable_flash_sdp(False)",
    "denormal": "torch.set_flush_denormal(True)",
    "seeds": "import random, numpy; random.seed(5); numpy.random.seed(5); torch.manual_seed(5)",
}

STAGE = """
def stage():
    import random, numpy
    numeric.begin(7)
    x = torch.rand(4, 3, 8, 8, requires_grad=True)
    y = torch.nn.functional.conv2d(x, torch.rand(2, 3, 3, 3)).square().mean()
    y.backward()
    tiny = torch.full((2,), 1e-40).mul(0.5)
    return [str(v) for v in (y.dtype, y.device, y.tolist(), x.grad.sum().tolist(), tiny.tolist(),
            random.random(), numpy.random.rand(), *(s.read() for s in numeric.SETTINGS))]
"""


def ran(code: str) -> str:
    text = f"import torch\nfrom bench.stages import numeric\n{STAGE}\n{code}"
    return subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=True
    ).stdout


def test_whatever_an_import_changes_a_stage_begins_in_the_same_state() -> None:
    each = "\n".join(
        f"{change}\nif stage() != clean: print({name!r})" for name, change in CHANGES.items()
    )
    assert ran(f"clean = stage()\n{each}\nprint('end')") == "end\n"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("mode = torch.inference_mode(); mode.__enter__()", "inference mode is True"),
        (
            (
                "class Mode(torch.overrides.TorchFunctionMode):\n"
                "    def __torch_function__(self, function, types, arguments=(), options=None):\n"
                "        return function(*arguments, **(options or {}))\n"
                "Mode().__enter__()"
            ),
            "a mode that intercepts torch's functions is 1",
        ),
    ],
    ids=["inference", "mode"],
)
def test_what_cannot_be_set_is_refused_in_one_sentence(change: str, said: str) -> None:
    code = f"from bench.contract.errors import BenchError\n{change}\n"
    told = ran(f"{code}try: stage()\nexcept BenchError as error: print(error)")
    assert told.startswith(f"{said} before the stage begins, and cannot be set; expected ")
    assert told.count("\n") == 1
