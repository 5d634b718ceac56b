"""The same call in another process, with another hash seed: same seed, same bytes?

One helper process imports torch once and forks for every call, so that a call costs hundredths
of a second, starts clean, and takes nothing along when it crashes.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import importlib.util
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cache
from typing import Any

from bench.contract.errors import BenchError, require
from bench.contract.fields import tuples

REMEDY = (
    "seed every generator by the task, and let neither the clock, nor `hash`, nor the order of "
    "a set of strings decide"
)


def elsewhere(function: Callable[[Any], Any], component: Any, *then: Callable[[Any], Any]) -> Any:
    """`function(component)`, in another process, as JSON; with `then`, what that makes of it.

    Code and fields are named, not pickled. Raises BenchError with what was raised over there.
    """
    named: tuple[Any, ...] = (type(component), function, *then)
    request = {
        "named": [[one.__module__, one.__qualname__, inspect.getfile(one)] for one in named],
        "fields": {f.name: getattr(component, f.name) for f in fields(component)},
        "path": sys.path,
        "environment": {k: v for k, v in os.environ.items() if k != "PYTHONHASHSEED"},
    }
    helper = _helper()
    assert helper.stdin
    assert helper.stdout
    helper.stdin.write(json.dumps(request) + "\n")
    helper.stdin.flush()
    line = helper.stdout.readline()
    if not line:
        _helper.cache_clear()
        raise BenchError("the helper process of the contract kit has died; run the check again")
    answer = json.loads(line)
    require("value" in answer, f"in another process it failed: {answer.get('error')}")
    return answer["value"]


def check_same(here: Mapping[str, Any], there: Mapping[str, Any]) -> None:
    """Raise BenchError unless two processes made the same of every case."""
    for case in sorted({*here, *there}):
        require(
            here.get(case) == there.get(case),
            f"on {case}: two processes with the same seed made different results "
            f"({here.get(case)} and {there.get(case)}); expected the same bytes; {REMEDY}",
        )


@cache
def _helper() -> subprocess.Popen[str]:
    one = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    path = os.pathsep.join(filter(None, sys.path))
    helper = subprocess.Popen(
        [sys.executable, "-c", "from bench.checks.determinism import serve; serve()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **one, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
    )
    atexit.register(_end, helper)
    return helper


def _end(helper: subprocess.Popen[str]) -> None:
    helper.kill()
    helper.communicate()


def serve() -> None:
    """The helper: a request a line, an answer a line."""
    gc.disable()  # what is imported stays: there is no garbage to look for
    import torch
    import torch._dynamo  # the first optimiser would load it, in every fork

    gc.freeze()
    gc.enable()
    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a component prints is no answer
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            answers.write(json.dumps(_answer(json.loads(line))) + "\n")
            answers.flush()
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code:
            answers.write(json.dumps({"error": f"the process ended with code {code}"}) + "\n")
            answers.flush()


def _answer(request: Mapping[str, Any]) -> dict[str, Any]:
    sys.path[:] = request["path"]
    os.environ.update(request["environment"])
    try:
        cls, *functions = (_named(*one) for one in request["named"])
        value = cls(**{name: tuples(one) for name, one in request["fields"].items()})
        for function in functions:
            value = function(value)
        return {"value": value}
    except BaseException as error:
        return {"error": f"{type(error).__name__}: {error}"}


def _named(module: str, name: str, file: str) -> Any:
    """The function or class; from its file where pytest has hidden the module from the path."""
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError:
        spec = importlib.util.spec_from_file_location(module, file)
        if spec is None or spec.loader is None:
            raise
        sys.modules[module] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[module])
        return getattr(sys.modules[module], name)
