"""Finished stages, on disk, by the hash of what went into them: resume is nothing more.

`<root>/<stage>/<key>/` holds `*.safetensors` and `done.json`. A stage is written into a temp
folder and renamed into place, so that a folder under its key is always whole, whenever the
process dies. Any number of runs may share a store: a lock a key keeps them from doing one thing
twice. Where locks fail them, they do, to the same bytes: that costs time, is counted, and no more.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.contract.errors import BenchError, refusal
from bench.contract.keys import digest
from bench.store.locks import Lock, held, locked

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

DONE = "done.json"
LEASES = "leases"  # a file of a store whose runs take leases, not locks of the file system
DOUBLED = "doubled.txt"  # a line for each result that was there when it was to be written
LEFT = 3600  # seconds until a temporary folder without a living writer is removed


def place(given: Path | None) -> Path:
    """The folder of the store: as `--store` says, or `$BENCH_STORE`; else `.bench`."""
    return given or Path(os.environ.get("BENCH_STORE") or ".bench")


def check_store(root: Path) -> None:
    """Make a folder for a store. Raises BenchError for one that cannot be written to, or in which
    a folder cannot: what a group shares may have parts that one of it has made for itself."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        writable = os.access(root, os.W_OK)
        parts = [path for path in sorted(root.iterdir()) if path.is_dir()] if writable else []
    except OSError:
        writable = False
    if not writable:
        raise BenchError(f"--store {root} is no folder that can be written to; name another")
    for path in parts:
        if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            raise BenchError(
                f"{path} cannot be read and written; expected a store whose folders you may write "
                f"to; let its owner run `chmod -R g+rwX {root}`, or name another with --store"
            )


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
        """The finished stage, or None. What is damaged counts as not there, and is made again.

        Raises BenchError for a folder that is there and may not be read.
        """
        folder = self.folder(stage, key)
        try:
            text = (folder / DONE).read_text(encoding="utf-8")
            found = Finished(**json.loads(text))
            right = (found.stage, found.key) == (stage, key) and found.content == content_of(
                found.files, found.value
            )
            if right and all((folder / name).exists() for name in found.files):
                return found
        except (FileNotFoundError, NotADirectoryError):
            return None
        except IsADirectoryError:
            pass
        except OSError as error:
            raise BenchError(
                f"{folder} cannot be read ({error.strerror}); expected a store that you may read; "
                f"let its owner run `chmod -R g+rwX {self.root}`, or name another with --store"
            ) from None
        except (ValueError, TypeError):
            pass
        sys.stderr.write(f"{folder} is damaged: it is made again\n")
        return None

    def read(self, finished: Finished, name: str = "result") -> dict[str, Tensor]:
        """The tensors of a finished stage, checked against their hash.

        Raises BenchError if the file is gone or has changed since it was written; then the stage
        is forgotten, so that another run makes it again.
        """
        from safetensors.torch import load

        return load(self._blob(finished, name))

    def arrays(self, finished: Finished, name: str = "result") -> dict[str, NDArray[Any]]:
        """The same as arrays: torch is not loaded for them."""
        from safetensors.numpy import load

        return load(self._blob(finished, name))

    def _blob(self, finished: Finished, name: str) -> bytes:
        folder = self.folder(finished.stage, finished.key)
        try:
            blob = (folder / f"{name}.safetensors").read_bytes()
        except (FileNotFoundError, IsADirectoryError):
            self.remove(finished)
            raise BenchError(
                f"{folder}/{name}.safetensors is gone; run again to make it anew"
            ) from None
        except OSError as error:
            raise BenchError(refusal(error)) from None
        if hashlib.sha256(blob).hexdigest() != finished.files.get(f"{name}.safetensors"):
            self.remove(finished)
            raise BenchError(
                f"{folder}/{name}.safetensors was changed after it was written, and "
                + (
                    "cannot be deleted; let its owner do that, and run again to make it anew"
                    if folder.exists()
                    else "is deleted; run again to make it anew"
                )
            )
        return blob

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
        try:
            with self._temporary(stage) as temporary:
                files = _written(temporary, tensors)
                finished = Finished(
                    stage,
                    key,
                    content_of(files, value),
                    value,
                    files,
                    inputs=inputs or {},
                    cost=cost or {},
                    environment=environment or {},
                )
                text = json.dumps(asdict(finished), indent=1, sort_keys=True)
                (temporary / DONE).write_text(text)
                return self._move_in(temporary, finished)
        except OSError as error:
            raise _told(error, self.root) from None

    @contextmanager
    def _temporary(self, stage: str) -> Iterator[Path]:
        """A folder to write into, locked as long as its writer lives, and gone afterwards."""
        folder = self.root / "tmp" / f"{stage}-{secrets.token_hex(8)}"
        folder.mkdir(parents=True)  # by the umask: a group may share a store
        lock = None
        with suppress(OSError):  # a file system without locks: then nothing is swept, either
            lock = locked(folder, os.O_RDONLY)
            _sweep(folder.parent)
        try:
            yield folder
        finally:
            if lock:
                lock.release()
            shutil.rmtree(folder, ignore_errors=True)

    def _move_in(self, temporary: Path, finished: Finished) -> Finished:
        target = self.folder(finished.stage, finished.key)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(temporary, target)
        except OSError:
            already = self.find(finished.stage, finished.key)
            if already:  # another run was faster, with the same inputs
                with suppress(OSError), open(self.root / DOUBLED, "a") as file:
                    file.write(f"{finished.stage} {finished.key}\n")
                return already
            shutil.rmtree(target, ignore_errors=True)  # half a folder, from a disk that failed
            os.rename(temporary, target)
        return finished

    def remove(self, finished: Finished) -> None:
        """Forget a stage whose inputs have changed behind its key: files of a data set."""
        shutil.rmtree(self.folder(finished.stage, finished.key), ignore_errors=True)

    @property
    def leases(self) -> bool:
        """Do its runs take leases? Locks of some shared file systems hold on one machine alone."""
        return (self.root / LEASES).exists()

    def lock(self, stage: str, key: str) -> Lock | None:
        """A held lock on a key, or None if another run holds it. It goes when its holder dies.

        Raises BenchError where nothing can be written.
        """
        path = self.root / "locks" / f"{stage}-{key}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return held(path, os.O_RDWR | os.O_CREAT, leases=self.leases)
        except OSError as error:
            raise BenchError(
                f"{path} cannot be locked ({error.strerror or error}); expected a file that you "
                "may write; name another store with --store"
            ) from None

    @property
    def doubled(self) -> int:
        """How many results were there when they were to be written: work that was done twice."""
        with suppress(OSError):
            return (self.root / DOUBLED).read_text().count("\n")
        return 0

    def log(self, stage: str, key: str) -> Path:
        """Where the worker of a stage writes what it prints."""
        (self.root / "logs").mkdir(parents=True, exist_ok=True)
        return self.root / "logs" / f"{stage}-{key}.txt"

    def partial(self, stage: str, key: str) -> Path:
        """Where a running stage keeps what it needs to go on after a kill."""
        return self.root / "partial" / f"{stage}-{key}.safetensors"

    def finished(self) -> Iterator[Finished]:
        """Everything that is finished: what `--dry-run` prices new stages by."""
        for path in self.root.glob(f"*/*/{DONE}"):
            found = self.find(path.parent.parent.name, path.parent.name)
            if found:
                yield found


def _written(folder: Path, tensors: Mapping[str, Mapping[str, Tensor]]) -> dict[str, str]:
    """Write tensors, by file name, without a copy of them; the SHA-256 of each file."""
    files = {}
    for name, content in tensors.items():
        from safetensors import SafetensorError  # they bring torch: not for what has no tensors
        from safetensors.torch import save_file

        path = folder / f"{name}.safetensors"
        try:
            save_file(_apart(content), path)
        except SafetensorError as error:  # it says so of a full disk
            raise OSError(str(error)) from None
        path.chmod(folder.stat().st_mode & 0o666)  # by the umask, as the folder
        with open(path, "rb") as file:
            files[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return files


def _apart(content: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, no two of which share memory: safetensors refuses those."""
    found, taken = {}, set()
    for name, tensor in content.items():
        one = tensor.contiguous()
        place = one.untyped_storage().data_ptr()
        found[name] = one.clone() if place in taken else one
        taken.add(place)
    return found


def _sweep(folder: Path) -> None:
    """Remove what writers have left that were killed."""
    for left in folder.iterdir():
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > LEFT and (lock := locked(left, os.O_RDONLY)):
                shutil.rmtree(left, ignore_errors=True)
                lock.release()


def content_of(files: Mapping[str, str], value: Mapping[str, Any]) -> str:
    """The name of what came out of a stage."""
    return digest({"files": files, "value": value})


def _told(error: OSError, root: Path) -> BenchError:
    """What a failed write is, with the place: an error of a full disk names none."""
    place = error.filename2 or error.filename or root
    return BenchError(
        f"{place} cannot be written ({error.strerror or error}); expected room and the right to "
        f"write in {root}; make room there, or name another store with --store"
    )
