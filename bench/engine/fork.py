"""Links to processes that are forked from a warm server, and the first of these servers.

`base` has torch loaded. A server of a set of distributions is forked from it, or from the server
of a part of them, and a worker from that server: each is there in milliseconds and shares the
pages of those above. This module loads no torch, and what comes over a link is JSON: nothing that
a worker sends can run code here.
"""

from __future__ import annotations

import atexit
import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.contract.errors import BenchError

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",  # or the order of a set of strings differs between two runs
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # cuBLAS is deterministic only with a fixed workspace
    "TORCHINDUCTOR_DETERMINISTIC": "1",
    # glibc returns large blocks to the kernel at once, and each batch pays the page faults again
    "MALLOC_MMAP_THRESHOLD_": "2000000000",
    "MALLOC_TRIM_THRESHOLD_": "4000000000",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",  # a fork copies half as many tables of pages
}
"""What servers and all that they fork have in their environment, whatever we have in ours."""

LARGEST = 1 << 26  # bytes of a message; a longer one is noise
PATIENCE = 20  # seconds in which a server must take a request

# -P: neither the current folder nor that of a script is searched for modules, but for `bench`
START = (
    "import sys; sys.path.insert(0, sys.argv[2]); import bench; del sys.path[0]; "
    "from bench.engine.server import main; main(int(sys.argv[1]))"
)


HOME = str(Path(__file__).parents[2])


class Link:
    """One end of a socket between two processes. Messages are JSON, with bytes after them.

    With a request goes a socket, the link to the process that is to be forked.
    """

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self.ended = False  # the other side is gone
        self._unread = b""

    def fileno(self) -> int:
        return self.socket.fileno()

    def ask(self, message: Any, data: bytes = b"") -> Link:
        """Have a process forked; the link to it. Raises OSError if nothing takes the request."""
        here, there = socket.socketpair()
        with there:
            self.socket.settimeout(PATIENCE)
            try:
                socket.send_fds(self.socket, [b"F"], [there.fileno()])
                self.socket.sendall(_framed(json.dumps(message).encode()) + _framed(data))
            except OSError:
                here.close()
                raise
            finally:
                self.socket.settimeout(None)
        return Link(here)

    def asked(self) -> tuple[Any, bytes, socket.socket] | None:
        """The next request: message, data, and the link to go with it. None if there is no more."""
        with suppress(OSError, EOFError):
            byte, files, _, _ = socket.recv_fds(self.socket, 1, 1)
            if byte:
                end = socket.socket(fileno=files[0])
                return json.loads(self._frame()), self._frame(), end
        return None

    def say(self, *message: Any) -> None:
        """Raises TypeError or ValueError for what is not JSON."""
        self.socket.sendall(_framed(json.dumps(message).encode()))

    def heard(self) -> list[list[Any]]:
        """The messages that have come in whole; does not wait. Sets `ended`."""
        with suppress(BlockingIOError):
            while not self.ended:
                try:
                    piece = self.socket.recv(1 << 16, socket.MSG_DONTWAIT)
                except ConnectionError:
                    piece = b""
                self._unread += piece
                self.ended = not piece or len(self._unread) > LARGEST
        found = []
        while len(self._unread) >= 4:
            end = 4 + struct.unpack_from("!I", self._unread)[0]
            if end > LARGEST:
                self.ended = True
            if end > LARGEST or len(self._unread) < end:
                break
            with suppress(ValueError, RecursionError):  # noise
                message = json.loads(self._unread[4:end])
                if isinstance(message, list) and message:
                    found.append(message)
            self._unread = self._unread[end:]
        return found

    def close(self) -> None:
        self.ended = True
        self.socket.close()

    def _frame(self) -> bytes:
        (length,) = struct.unpack("!I", self._exactly(4))
        return self._exactly(length)

    def _exactly(self, length: int) -> bytes:
        found = bytearray()
        while len(found) < length:
            piece = self.socket.recv(length - len(found))
            if not piece:
                raise EOFError
            found += piece
        return bytes(found)


def _framed(data: bytes) -> bytes:
    return struct.pack("!I", len(data)) + data


NO_SERVER = (
    "no process could be forked; expected a server that imports torch; "
    'try `python -P -c "import torch._dynamo"`'
)


@dataclass(frozen=True)
class _Base:
    process: subprocess.Popen[bytes]
    link: Link


_bases: list[_Base] = []  # at most one: it serves all executors of this process


def serve(modules: Sequence[str], above: Link | None = None) -> Link:
    """A new server, which finds modules, variables and files where we find them now.

    It has what the server `above` has imported, or torch alone, and will import `modules`, those
    of torch at once. Modules of the current folder are found only if PYTHONPATH or an installation
    names it. Raises BenchError if there is nothing to fork from.
    """
    asked = {"folder": os.getcwd(), "path": sys.path, "environment": _environment()}
    request = {"serve": asked, "modules": list(modules)}
    if above:
        with suppress(OSError):
            return above.ask(request)
    for _ in range(2):  # the base may have been killed a moment ago
        with suppress(OSError):
            return _base().link.ask(request)
        _drop_base()
    raise BenchError(NO_SERVER)


def base_failed() -> bool:
    """Has the base ended by itself, as another one would? One that was killed is replaced."""
    if not _bases:
        return False
    with suppress(subprocess.TimeoutExpired):  # its sockets close a moment before it is dead
        return _bases[0].process.wait(1) >= 0
    return False


def _environment() -> dict[str, str]:
    """Ours with `ENVIRONMENT`, and with what PYTHONPATH names: an empty part, as in ":/home/lib",
    is left by an unset variable, and would mean the current folder."""
    found = os.environ | ENVIRONMENT
    if parts := [part for part in found.pop("PYTHONPATH", "").split(os.pathsep) if part]:
        found["PYTHONPATH"] = os.pathsep.join(parts)
    return found


def begin() -> None:
    """Have torch loaded, by what `serve` will fork from, while this process does other things."""
    _base()


def _base() -> _Base:
    """The server that has torch loaded; it starts when it is first asked for, and ends with us."""
    if _bases and _bases[0].process.poll() is not None:
        _drop_base()
    if not _bases:
        here, there = socket.socketpair()
        with there:
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", START, str(there.fileno()), HOME],
                stdin=subprocess.DEVNULL,
                env=_environment(),
                pass_fds=[there.fileno()],
            )
        _bases.append(_Base(process, Link(here)))
        atexit.register(process.kill)  # or it would load torch, and then see that we are gone
    return _bases[0]


def _drop_base() -> None:
    old = _bases.pop()
    old.link.close()
    old.process.kill()
    old.process.wait()
