"""A process of its own that says what a network gives for images: one that no attack has seen.

What an attack or a student leaves behind in the process where images are made (a patched forward,
a cache of what was asked) is not there. It is forked before either has run, so it costs
milliseconds.
"""

from __future__ import annotations

import os
import struct
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, Pipe
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from bench.contract.errors import BenchError, sentence

Says = Callable[[Tensor], Tensor]
"""Logits [B, K] for images [B, C, H, W], both float32 on the CPU."""

FORM = struct.Struct("!4I")
DEAD = "the process that judges adversarial images has ended; its log says why"


@contextmanager
def judging(network: Callable[[], nn.Module], device: str) -> Iterator[Says]:
    """What `network()`, made in a process of its own, says of images.

    Where a GPU is in use already, no process can be forked: then a network of its own must do.
    """
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        yield _saying(network(), device)
        return
    here, there = Pipe()
    child = os.fork()
    if not child:
        here.close()
        _judge(network, device, there)
    there.close()
    try:
        yield lambda images: _asked(here, images)
    finally:
        here.close()
        os.waitpid(child, 0)


def _saying(network: nn.Module, device: str) -> Says:
    @torch.no_grad()
    def says(images: Tensor) -> Tensor:
        logits: Tensor = network(images.to(device))
        return logits.float().cpu()

    return says


def _asked(judge: Connection, images: Tensor) -> Tensor:
    """Raises BenchError with what the judge's network has raised."""
    try:
        judge.send_bytes(FORM.pack(*images.shape) + images.float().cpu().numpy().tobytes())
        answer = judge.recv_bytes()
    except (EOFError, OSError):
        raise BenchError(DEAD) from None
    kind, rest = answer[:1], answer[1:]
    if kind == b"E":
        raise BenchError(rest.decode())
    return torch.from_numpy(np.frombuffer(rest, np.float32).reshape(len(images), -1).copy())


def _judge(network: Callable[[], nn.Module], device: str, asker: Connection) -> NoReturn:
    """Answer until the asker is gone. Nothing of this process outlives it."""
    try:
        says = None
        while True:
            asked = asker.recv_bytes()
            pixels = np.frombuffer(asked[FORM.size :], np.float32).copy()
            images = torch.from_numpy(pixels.reshape(FORM.unpack(asked[: FORM.size])))
            try:
                says = says or _saying(network(), device)
                logits = says(images).numpy().astype(np.float32)
                asker.send_bytes(b"L" + logits.tobytes())
            except Exception as error:
                traceback.print_exc()
                asker.send_bytes(b"E" + sentence(error).encode())
    except (EOFError, OSError):  # nothing more is asked
        pass
    finally:
        sys.stderr.flush()
        os._exit(0)
