"""Which distributions may be imported here: the first import of each is made by a child.

A plugin that hangs, crashes or ends its process when it is imported would do that to every
command. So a child imports it first, and calls its hooks. What came of it is remembered by the
digest of the distribution's files, so that the next command pays nothing.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from bench.contract.errors import BenchError
from bench.contract.files import write_text
from bench.contract.limits import hangs

SECONDS = 60.0
"""For the import of one distribution: torch from a cold network disk takes half of that."""

CACHE = "BENCH_CACHE"  # the variable that names another folder for what is remembered
KEPT = 500  # verdicts that are remembered, the latest: an edit makes a new one
START = """\
import json, sys
sys.path[:], work = json.loads(sys.argv[1])
from bench.contract.first_import import main
main(work)
"""

Points = Mapping[str, Sequence[EntryPoint]]  # by the name of the distribution


def refused(points: Points, *, again: bool = False) -> dict[str, str]:
    """The distributions that must not be imported here, and why, in a sentence each.

    `again` asks once more about those that were refused before. Raises BenchError if no child
    can be started.
    """
    known = _remembered()
    keys = {name: _key(name, own) for name, own in points.items()}
    reasons = {name: known[key] for name, key in keys.items() if key in known}
    new = {n: own for n, own in points.items() if n not in reasons or (again and reasons[n])}
    if new:
        reasons |= _first_imports(new)
        _remember({keys[name]: reasons[name] for name in new})
    return {name: reason for name, reason in reasons.items() if reason}


def by_distribution(points: Iterable[EntryPoint]) -> dict[str, list[EntryPoint]]:
    """The entry points of each distribution, each once, in a fixed order."""
    distinct = {
        (p.dist.name if p.dist else "unknown distribution", p.name, p.value): p for p in points
    }
    found: dict[str, list[EntryPoint]] = {}
    for (name, _, _), point in sorted(distinct.items()):
        found.setdefault(name, []).append(point)
    return found


def installed_packages() -> frozenset[str]:
    """The top-level packages of all distributions with plugins that are installed."""
    return top_levels(list(entry_points(group="bench")))


def top_levels(points: Sequence[EntryPoint]) -> frozenset[str]:
    """The top-level packages of distributions: those of entry points, and all that they list."""
    tops = {re.split(r"[.:\s]", point.value)[0] for point in points}
    for dist in {point.dist.name: point.dist for point in points if point.dist}.values():
        tops |= set((dist.read_text("top_level.txt") or "").split())
        listed = (file.parts[0] for file in dist.files or () if file.suffix == ".py")
        tops |= {top.removesuffix(".py") for top in listed}
    return frozenset(top for top in tops if top.isidentifier())


# ---- the child


def _first_imports(points: Points) -> dict[str, str]:
    """The reason against each, or ""; a child goes on after one that a plugin has ended."""
    found: dict[str, str] = {}
    while left := {name: own for name, own in points.items() if name not in found}:
        with _child(left) as lines:
            if _reason(next(lines)) is None:
                raise BenchError(
                    f"plugins cannot be tried: {sys.executable} cannot import bench; expected "
                    '`python -P -c "import bench"` to work'
                )
            for name in left:
                line = next(lines)
                reason = _reason(line)
                found[name] = f"the import of {name} {line}" if reason is None else reason
                if reason is None:
                    break
    return found


def _reason(line: str) -> str | None:
    """What the child says; None for what it cannot have said."""
    try:
        said = json.loads(line)
    except ValueError:
        return None
    return said if isinstance(said, str) else None


@contextmanager
def _child(points: Points) -> Iterator[Iterator[str]]:
    """A child at work, and the lines that it writes; how it ended is the last one."""
    work = [(name, [(p.name, p.value) for p in own]) for name, own in points.items()]
    path = [str(folder) for folder in sys.path if folder]  # "" is the current folder
    sent = json.dumps((path, work))
    with subprocess.Popen(
        [sys.executable, "-P", "-W", "ignore", "-c", START, sent],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for us; and what it has started goes with it
    ) as process:
        try:
            yield _lines(process)
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)


def _lines(process: subprocess.Popen[bytes]) -> Iterator[str]:
    assert process.stdout
    pipe, buffer = process.stdout.fileno(), b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        since = time.monotonic()
        while True:
            while b"\n" in buffer:
                line, _, buffer = buffer.partition(b"\n")
                yield line.decode(errors="replace")
                since = time.monotonic()
            while not selector.select(1.0):
                if hangs(process.pid, gone := time.monotonic() - since, SECONDS):
                    yield f"did not end within {gone:.0f} s"
                    return
            if not (more := os.read(pipe, 65536)):
                yield _end(process)
                return
            buffer += more


def _end(process: subprocess.Popen[bytes]) -> str:
    try:
        code = process.wait(1)
    except subprocess.TimeoutExpired:
        return "closed the files of its process"
    if code < 0:
        return f"crashed its process ({signal.Signals(-code).name})"
    return f"ended its process with exit code {code}"


# ---- what is remembered


def _key(name: str, points: Sequence[EntryPoint]) -> str:
    """Digest of a distribution's files, its entry points, this Python, and what is installed.

    What it imports from elsewhere counts by its version alone.
    """
    told = hashlib.sha256(json.dumps([sys.version, name, _installed()]).encode())
    told.update(json.dumps([(p.name, p.value) for p in points]).encode())
    for top in sorted(top_levels(points)):
        for root in _places(top):
            for path in _files(root):
                told.update(f"\n{path.relative_to(root.parent)}\n".encode(errors="replace"))
                with suppress(OSError):
                    told.update(hashlib.sha256(path.read_bytes()).digest())
    return told.hexdigest()[:32]


def _places(top: str) -> list[Path]:
    """Where the code of a top-level package lies, found without importing it."""
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):  # a module made by hand
        return []
    if spec is None:
        return []
    if spec.submodule_search_locations is not None:
        return [Path(place) for place in spec.submodule_search_locations]
    return [Path(spec.origin)] if spec.origin else []


def _files(root: Path) -> Iterator[Path]:
    """What can be imported of a file or a folder, in a fixed order."""
    if root.is_file():
        yield root
    for folder, inner, names in os.walk(root):
        inner[:] = sorted(n for n in inner if not n.startswith((".", "__pycache__")))
        yield from (Path(folder, n) for n in sorted(names) if n.endswith(_CODE))


_CODE = (".py", *EXTENSION_SUFFIXES)


def _installed() -> list[str]:
    """Names and versions of what is installed, as the folders of their metadata have them."""
    found: set[str] = set()
    for folder in filter(None, map(str, sys.path)):
        with suppress(OSError):
            found |= {n for n in os.listdir(folder) if n.endswith((".dist-info", ".egg-info"))}
    return sorted(found)


def _file() -> Path:
    if own := os.environ.get(CACHE):
        return Path(own, "plugins.json")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "condensation-bench", "plugins.json")


def _remembered() -> dict[str, str]:
    """Reasons by key; none where the file is damaged or cannot be read, which costs time alone."""
    try:
        found = json.loads(_file().read_bytes())
    except (OSError, ValueError, RuntimeError):  # RuntimeError: no home folder, too deep
        return {}
    if not isinstance(found, dict):
        return {}
    return {key: reason for key, reason in found.items() if isinstance(reason, str)}


def _remember(new: Mapping[str, str]) -> None:
    """Add to the file, or leave it. Of two runs that add at once, one may ask again later."""
    old = {key: reason for key, reason in _remembered().items() if key not in new}
    latest = list({**old, **new}.items())[-KEPT:]
    with suppress(OSError, RuntimeError):
        write_text(_file(), json.dumps(dict(latest)))
