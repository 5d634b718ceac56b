"""The numeric state of a stage: what decides, beside code, data and seed, which bits come out."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.overrides import _get_current_function_mode_stack
from torch.utils import deterministic
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from bench.contract.errors import BenchError
from bench.training.loop import seed_torch


@dataclass(frozen=True)
class Setting:
    """A part of the state: how it is read and set, and what it is in every stage."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], object]
    value: Any


def _of(name: str, owner: Any, attribute: str, value: Any) -> Setting:
    return Setting(
        name,
        lambda: getattr(owner, attribute),
        lambda wanted: setattr(owner, attribute, wanted),
        value,
    )


def _autocast(device: str, dtype: torch.dtype) -> tuple[Setting, ...]:
    return (
        Setting(
            f"autocast on {device}",
            lambda: torch.is_autocast_enabled(device),
            lambda wanted: torch.set_autocast_enabled(device, wanted),
            False,
        ),
        Setting(
            f"the dtype of autocast on {device}",
            lambda: torch.get_autocast_dtype(device),
            lambda wanted: torch.set_autocast_dtype(device, wanted),
            dtype,
        ),
    )


def _sdp(name: str) -> Setting:
    cuda = torch.backends.cuda  # which these are named for, though CPUs have them as well
    return Setting(
        f"{name} attention",
        getattr(cuda, f"{name}_sdp_enabled"),
        getattr(cuda, f"enable_{name}_sdp"),
        True,
    )


def _modes() -> int:
    functions = _get_current_function_mode_stack()  # type: ignore[no-untyped-call]
    return len(functions) + len(_get_current_dispatch_mode_stack())


SETTINGS = (
    Setting("the number of threads", torch.get_num_threads, torch.set_num_threads, 1),
    Setting("the default dtype", torch.get_default_dtype, torch.set_default_dtype, torch.float32),
    Setting(
        "the default device",
        lambda: torch.get_default_device().type,
        lambda _: torch.set_default_device(None),
        "cpu",
    ),
    Setting("a mode that intercepts torch's functions", _modes, lambda _: None, 0),
    Setting("grad mode", torch.is_grad_enabled, torch.set_grad_enabled, True),
    Setting("inference mode", torch.is_inference_mode_enabled, lambda _: None, False),
    Setting(
        "anomaly detection", torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly, False
    ),
    *_autocast("cpu", torch.bfloat16),
    *_autocast("cuda", torch.float16),
    Setting(
        "the cache of autocast",
        torch.is_autocast_cache_enabled,
        torch.set_autocast_cache_enabled,
        True,
    ),
    Setting(
        "the precision of float32 products",
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
        "highest",
    ),
    Setting(
        "deterministic algorithms",
        torch.are_deterministic_algorithms_enabled,
        # `use_deterministic_algorithms` imports a compiler, for 1.2 s, to tell it the same; the
        # environment of a worker tells it
        lambda _: torch.set_deterministic_debug_mode("error"),
        True,
    ),
    # slow, and it would hide a read of memory that is not initialised
    _of("the filling of new memory", deterministic, "fill_uninitialized_memory", False),
    Setting("mkldnn", torch._C._get_mkldnn_enabled, torch._C._set_mkldnn_enabled, True),
    _of("determinism of mkldnn", torch.backends.mkldnn, "deterministic", False),
    _of("cudnn", torch.backends.cudnn, "enabled", True),
    _of("determinism of cudnn", torch.backends.cudnn, "deterministic", False),
    _of("the benchmarks of cudnn", torch.backends.cudnn, "benchmark", False),
    _of("TF32 in cudnn", torch.backends.cudnn, "allow_tf32", False),
    _of("TF32 in products", torch.backends.cuda.matmul, "allow_tf32", False),
    *map(_sdp, ("flash", "mem_efficient", "math")),
)


def begin(seed: int, device: str = "cpu") -> None:
    """Law 5: same inputs and seed, same bytes, whatever code ran in this process before.

    Raises BenchError for what cannot be set to the value that it has in every stage.
    """
    for setting in SETTINGS:
        setting.write(setting.value)
    torch.set_flush_denormal(False)
    np.seterr(divide="warn", over="warn", under="ignore", invalid="warn")
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  (a plugin may still draw from it)
    seed_torch(seed, device)
    for setting in SETTINGS:
        if (found := setting.read()) != setting.value:
            raise BenchError(
                f"{setting.name} is {found} before the stage begins, and cannot be set; expected "
                f"{setting.value}; a module that the stage imports must not change it"
            )
