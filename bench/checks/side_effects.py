"""What a verb must leave alone: the process, its inputs, and the network.

A stage runs in a process of its own, seeded by the harness; but a plugin's tests, a notebook and
the next check do not. So global generators are to be left as found by every verb except
`build`, whose initial weights come from torch's by custom.
"""

from __future__ import annotations

import random
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn

from bench.checks.check import Claims
from bench.contract.data import digest_of_tensors
from bench.contract.errors import BenchError, require
from bench.training import untouched


@dataclass(frozen=True)
class Shared:
    """Something that the whole process shares."""

    name: str
    get: Callable[[], Any]
    put: Callable[[Any], Any]
    instead: str  # what a component does that needs another value


SHARED = (
    Shared(
        "torch's global generator",
        torch.get_rng_state,
        torch.set_rng_state,
        "draw from a torch.Generator seeded for the task, or inside torch.random.fork_rng()",
    ),
    Shared(
        "numpy's global generator",
        np.random.get_state,
        np.random.set_state,
        "draw from np.random.default_rng(seed)",
    ),
    Shared(
        "the generator of `random`",
        random.getstate,
        random.setstate,
        "draw from random.Random(seed)",
    ),
    Shared(
        "torch's default dtype", torch.get_default_dtype, torch.set_default_dtype, "pass dtype="
    ),
    Shared(
        "grad mode",
        torch.is_grad_enabled,
        torch.set_grad_enabled,
        "use torch.no_grad() or torch.enable_grad() in a with statement",
    ),
    Shared(
        "the number of threads",
        torch.get_num_threads,
        torch.set_num_threads,
        "leave it: the harness counts on one thread a worker",
    ),
    Shared(
        "torch's deterministic mode",
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
        "leave it on: same inputs and seed, same bytes",
    ),
)


@dataclass(frozen=True, eq=False)
class Watched:
    """One call of a verb: what came back, and what it did on the way (sentences)."""

    case: str  # on what it was called
    result: Any
    process: tuple[str, ...]
    inputs: tuple[str, ...]
    network: tuple[str, ...]


def watch(
    case: str,
    verb: Callable[[], Any],
    *,
    seed: int = 0,
    tensors: Mapping[str, Tensor] | None = None,
    models: Mapping[str, nn.Module] | None = None,
    draws: bool = False,
) -> Watched:
    """Call a verb as a stage would, with seeded generators, and look on.

    `tensors` and `models` are its inputs, by the name that the author knows them by. `draws`
    allows torch's global generator to move. Afterwards the process is put back as it was.
    """
    tensors, models = tensors or {}, models or {}
    with _put_back():
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True)
        modules = len(sys.modules)
        states = [shared.get() for shared in SHARED]
        digests = {name: digest_of_tensors(tensor) for name, tensor in tensors.items()}
        prints = {name: untouched.fingerprint(model) for name, model in models.items()}
        with _offline() as tried:
            try:
                result = verb()
            except Exception as error:
                if tried:
                    raise BenchError(f"on {case}: it {tried[0]}") from error
                raise
            process = _moved(states, draws)
            inputs = _touched(tensors, digests, models, prints)
            if process and len(sys.modules) > modules:
                # Some libraries draw when they are imported, which happens once: look again.
                for shared, state in zip(SHARED, states, strict=True):
                    shared.put(state)
                verb()
                process = _moved(states, draws)
    return Watched(case, result, tuple(process), tuple(inputs), tuple(tried))


def _moved(states: Sequence[Any], draws: bool) -> list[str]:
    return [
        f"it changed {shared.name}; expected as found; {shared.instead}"
        for shared, before in zip(SHARED, states, strict=True)
        if not equal(before, shared.get()) and not (draws and shared is SHARED[0])
    ]


def _touched(
    tensors: Mapping[str, Tensor],
    digests: Mapping[str, str],
    models: Mapping[str, nn.Module],
    prints: Mapping[str, tuple[Any, ...]],
) -> list[str]:
    faults = [
        f"it changed {name} in place; expected as found; work on a clone"
        for name, before in digests.items()
        if digest_of_tensors(tensors[name]) != before
    ]
    for name, before in prints.items():
        try:
            untouched.check_untouched(before, models[name], "it")
        except BenchError as error:
            faults.append(f"{error} ({name}); expected as found; put it back, or work on a copy")
    return faults


def claims(watched: Callable[[], Sequence[Watched]]) -> Claims:
    """What every verb of every kind claims."""
    return {
        "leaves the process as found: generators, dtype, grad mode": lambda: check_none(
            {w.case: w.process for w in watched()}
        ),
        "leaves its inputs as found": lambda: check_none({w.case: w.inputs for w in watched()}),
        "does not reach for the network": lambda: check_none(
            {w.case: w.network for w in watched()}
        ),
    }


def check_none(faults: Mapping[str, Sequence[str]]) -> None:
    """Raise BenchError with the first fault, and the case that it was seen on."""
    for case, sentences in faults.items():
        require(not sentences, f"on {case}: {' and '.join(sentences)}")


@contextmanager
def _put_back() -> Iterator[None]:
    found = [(shared, shared.get()) for shared in SHARED]
    try:
        yield
    finally:
        for shared, value in found:
            shared.put(value)


@contextmanager
def _offline() -> Iterator[list[str]]:
    """No connection to another machine can be opened inside; what was tried is listed."""
    tried: list[str] = []

    def refuse(address: Any) -> None:
        tried.append(
            f"tried to reach {address!r}; expected no network in a verb; "
            "let a data set name its files, and raise Unsupported where they are missing"
        )
        raise OSError(f"the contract kit allows no network, and {address!r} was asked for")

    def guarded(real: Any) -> Any:
        def to(self: socket.socket, address: Any, /) -> Any:
            if self.family != getattr(socket, "AF_UNIX", None):  # processes of one machine
                refuse(address)
            return real(self, address)

        return to

    def lookup(host: Any, *args: Any, **kwargs: Any) -> Any:
        refuse(host)

    with (
        patch.object(socket.socket, "connect", guarded(socket.socket.connect)),
        patch.object(socket.socket, "connect_ex", guarded(socket.socket.connect_ex)),
        patch.object(socket, "getaddrinfo", lookup),
    ):
        yield tried


def equal(before: Any, after: Any) -> bool:
    """Are two states of something shared the same?"""
    if isinstance(before, Tensor):
        return torch.equal(before, after)
    if isinstance(before, tuple):
        return all(equal(a, b) for a, b in zip(before, after, strict=True))
    return bool(np.array_equal(before, after))
