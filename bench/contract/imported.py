"""The code that this process has imported, held against the code that a key speaks of.

Keys are made when a run is planned. An edit, a `git pull` or a `pip install -U` while it goes on
must not have the new code's results kept under the old code's keys, not even if the files are put
back before the result is published. So a worker keeps the digest of the source that it compiled.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from bench.contract.code import Code, parsed, release, source_digest
from bench.contract.errors import BenchError
from bench.contract.files import stamp


class Recorder(SourceFileLoader):
    """Compiles a module from its source and keeps the digest of that.

    A .pyc is not read: it passes for that of another source of the same size and second.
    """

    digest = ""

    def get_code(self, fullname: str) -> CodeType:
        source = self.get_data(self.path)
        compiled: CodeType = self.source_to_code(source, self.path)
        self.digest = parsed(source, Path(self.path), fullname)[0]
        return compiled


class Recording(MetaPathFinder):
    """Finds the modules of some packages as others do, and has a Recorder load them."""

    def __init__(self, packages: Collection[str]) -> None:
        self.packages = frozenset(packages)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.split(".")[0] not in self.packages:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        found = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next(filter(None, found), None)
        if spec and type(spec.loader) is SourceFileLoader:
            spec.loader = Recorder(fullname, spec.loader.path)
        return spec


def record(packages: Collection[str]) -> None:
    """From now on, keep the digests of what this process imports of some top-level packages."""
    if not any(isinstance(finder, Recording) for finder in sys.meta_path):  # as when it was forked
        sys.meta_path.insert(0, Recording(packages))


def check_code(code: Code) -> None:
    """Raise BenchError if this process has imported other code than that.

    A module that is not imported has not run. Of one that was not recorded, its file must be
    what it was; of a library, its version. Files that no import tells of have not been written.
    """
    for name, expected in code.modules.items():
        if name in sys.modules and _digest_of(name) != expected:
            raise BenchError(f"the code of {name} changed while the run went on; run again")
    for name, expected in code.requires.items():
        if (found := release(name)) != expected:
            raise BenchError(
                f"{name} changed from {expected} to {found} while the run went on, or the first "
                "lies in the current folder, where no worker looks; run again, from another folder"
            )
    for path, then in code.files.items():
        if stamp(path) != then:
            raise BenchError(f"{path} was written while the run went on; run again")


def _digest_of(name: str) -> str:
    loader = getattr(getattr(sys.modules[name], "__spec__", None), "loader", None)
    if isinstance(loader, Recorder):
        return loader.digest
    try:
        return source_digest(name)
    except (OSError, ValueError, SyntaxError):  # gone, or in the middle of an edit
        return ""
