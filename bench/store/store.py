"""Finished stages, on disk, by the hash of what went into them: resume is nothing more.

`<root>/<stage>/<key>/` holds `*.safetensors` and `done.json`. A stage is written into a temp
folder and renamed into place, so that a folder under its key is always whole, whenever the
process dies. Two runs may share a store: a lock a key keeps them from doing one thing twice.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from bench.contract.errors import BenchError
from bench.contract.keys import digest

if TYPE_CHECKING:
    from torch import Tensor

DONE = "done.json"


LEFT = 3600  # seconds until a temporary folder without a living writer is removed


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Inside, the lock on a folder itself. Raises OSError if it is held, or cannot be had."""
    number = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(number)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """As `_locked`, but goes on without where a file system has no such locks."""
    with ExitStack() as stack:
        with suppress(OSError):
            stack.enter_context(_locked(folder))
        yield


@dataclass(frozen=True)
class Finished:
    """What `done.json` says of a finished stage.

    `content` names what came out (files and value) and nothing else, so that stages below are
    keyed by the result and not by how it was made.
    """

    stage: str
    key: str
    content: str
    value: Mapping[str, Any]  # JSON: the small part of the result
    files: Mapping[str, str] = field(default_factory=dict)  # name: SHA-256
    inputs: Mapping[str, Any] = field(default_factory=dict)  # for people: what the key is made of
    cost: Mapping[str, float] = field(default_factory=dict)  # seconds, peak_mb
    environment: Mapping[str, Any] = field(default_factory=dict)  # the machine

    @property
    def unsupported(self) -> str:
        """Why a component declined; "" for a result. The same inputs would be declined again."""
        return str(self.value.get("unsupported", ""))


@dataclass(frozen=True)
class Store:
    """Finished stages under a folder. Holds no state; any number of processes may use one."""

    root: Path

    def folder(self, stage: str, key: str) -> Path:
        return self.root / stage / key

    def find(self, stage: str, key: str) -> Finished | None:
        """The finished stage, or None. A folder that cannot be read counts as not there."""
        try:
            text = (self.folder(stage, key) / DONE).read_text()
            found = Finished(**json.loads(text))
        except (OSError, ValueError, TypeError):
            return None
        return found if (found.stage, found.key) == (stage, key) else None

    def read(self, finished: Finished, name: str = "result") -> dict[str, Tensor]:
        """The tensors of a finished stage, checked against their hash.

        Raises BenchError if the file is gone or has changed since it was written.
        """
        from safetensors.torch import load

        folder = self.folder(finished.stage, finished.key)
        try:
            blob = (folder / f"{name}.safetensors").read_bytes()
        except OSError as error:
            raise BenchError(f"{error}; delete {folder} and run again") from None
        if hashlib.sha256(blob).hexdigest() != finished.files.get(f"{name}.safetensors"):
            raise BenchError(f"{folder}/{name}.safetensors was changed; delete the folder")
        return load(blob)

    def publish(
        self,
        stage: str,
        key: str,
        tensors: Mapping[str, Mapping[str, Tensor]],
        value: Mapping[str, Any],
        *,
        inputs: Mapping[str, Any] | None = None,
        cost: Mapping[str, float] | None = None,
        environment: Mapping[str, Any] | None = None,
    ) -> Finished:
        """Write a stage's result: `tensors` by file name, and a JSON `value`. All or nothing."""
        with self._temporary(stage) as temporary:
            files = {}
            for name, content in tensors.items():
                from safetensors.torch import save  # brings torch: not for what has no tensors

                # clones, since safetensors refuses tensors that share memory
                blob = save({k: v.contiguous().clone() for k, v in content.items()})
                (temporary / f"{name}.safetensors").write_bytes(blob)
                files[f"{name}.safetensors"] = hashlib.sha256(blob).hexdigest()
            content_hash = digest({"files": files, "value": value})
            finished = Finished(
                stage,
                key,
                content_hash,
                value,
                files,
                inputs=inputs or {},
                cost=cost or {},
                environment=environment or {},
            )
            (temporary / DONE).write_text(json.dumps(asdict(finished), indent=1, sort_keys=True))
            return self._move_in(temporary, finished)

    @contextmanager
    def _temporary(self, stage: str) -> Iterator[Path]:
        """A folder to write into, locked as long as its writer lives, and gone afterwards."""
        (self.root / "tmp").mkdir(parents=True, exist_ok=True)
        for left in (self.root / "tmp").iterdir():
            with suppress(OSError), _locked(left):  # its writer is dead
                if time.time() - left.stat().st_mtime > LEFT:
                    shutil.rmtree(left, ignore_errors=True)
        path = Path(tempfile.mkdtemp(prefix=f"{stage}-", dir=self.root / "tmp"))
        try:
            with _held(path):
                yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def _move_in(self, temporary: Path, finished: Finished) -> Finished:
        target = self.folder(finished.stage, finished.key)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(temporary, target)
        except OSError:
            already = self.find(finished.stage, finished.key)
            if already:  # another run was faster, with the same inputs
                return already
            shutil.rmtree(target, ignore_errors=True)  # half a folder, from a disk that failed
            os.rename(temporary, target)
        return finished

    def remove(self, finished: Finished) -> None:
        """Forget a stage whose inputs have changed behind its key: files of a data set."""
        shutil.rmtree(self.folder(finished.stage, finished.key), ignore_errors=True)

    def lock(self, stage: str, key: str) -> FileLock | None:
        """A held lock on a key, or None if another run holds it. It goes when its holder dies."""
        lock = self.waiting_lock(stage, key)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return None
        return lock

    def waiting_lock(self, what: str, key: str) -> FileLock:
        """A lock to be taken with `with`, which waits for whoever holds it."""
        (self.root / "locks").mkdir(parents=True, exist_ok=True)
        return FileLock(self.root / "locks" / f"{what}-{key}")

    def log(self, stage: str, key: str) -> Path:
        """Where the worker of a stage writes what it prints."""
        (self.root / "logs").mkdir(parents=True, exist_ok=True)
        return self.root / "logs" / f"{stage}-{key}.txt"

    def finished(self) -> Iterator[Finished]:
        """Everything that is finished: what `--dry-run` prices new stages by."""
        for path in self.root.glob(f"*/*/{DONE}"):
            found = self.find(path.parent.parent.name, path.parent.name)
            if found:
                yield found
