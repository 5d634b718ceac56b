"""Where data files are: in `$BENCH_DATA`, or else in `data` below the current folder.

Nothing here fetches a file unasked: `bench run --download` calls `download` of the components
that have one.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from bench import BenchError, Missing


def folder() -> Path:
    """The folder of all data files."""
    return Path(os.environ.get("BENCH_DATA") or "data").expanduser()


LITTER = ("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r")


def is_litter(name: str) -> bool:
    """Is a file or folder hidden, or what a file manager or an archiver has left behind?"""
    return name.startswith(".") or name.lower() in LITTER


def passed_over(choices: Iterable[str], found: Path) -> list[Path]:
    """What comes before `found` among some paths: were it there, it would be read instead."""
    paths = [(folder() / choice).absolute() for choice in choices]
    return paths[: paths.index(found)] if found in paths else paths


def find(what: str, choices: Iterable[str], get: str) -> Path:
    """The first of some paths that exists; each is absolute, or below the data folder.

    Raises Missing, which says what is missing, where it is expected, and how to `get` it.
    """
    paths = [folder() / choice for choice in choices]
    for path in paths:
        if path.exists():
            return path
    where = " or ".join(str(path.absolute()) for path in paths)
    raise Missing(f"{what} is not here; expected {where}; {get}")


def find_all(
    what: str, layouts: Mapping[str, Sequence[str]], get: str, endings: Sequence[str] = ("",)
) -> list[Path]:
    """The files of the first layout that is whole, as absolute paths.

    `layouts` maps a folder (absolute, or below the data folder) to the names expected in it, each
    with one of `endings`. Raises Missing, as `find` does.
    """
    expected: dict[str, list[str]] = {}  # names -> folders
    gaps = ""
    for place, names in layouts.items():
        root = (folder() / place).absolute()
        choices = [[root / f"{name}{ending}" for ending in endings] for name in names]
        found = [next((path for path in paths if path.is_file()), None) for paths in choices]
        whole = [path for path in found if path]
        if len(whole) == len(names):
            return whole
        expected.setdefault(", ".join(names), []).append(str(root))
        if whole:
            lacking = [name for name, path in zip(names, found, strict=True) if not path]
            gaps += f" ({root} lacks {', '.join(lacking)})"
    also = "".join(f" (or *{ending})" for ending in endings if ending)
    where = "; or ".join(
        f"{names}{also} in {' or '.join(roots)}" for names, roots in expected.items()
    )
    raise Missing(f"{what} is not here; expected {where}{gaps}; {get}")


def looked_into(layouts: Iterable[str], found: Sequence[Path]) -> list[str]:
    """The files that `find_all` has found, and the folders that it has looked into for them.

    They are the sources of a data set: another file in one of them may be read instead.
    """
    roots = [(folder() / place).absolute() for place in layouts]
    return list(map(str, (*found, *roots[: roots.index(found[0].parent) + 1])))


def read(path: Path, *, unpack: bool = True) -> bytes:
    """All bytes of a file, unpacked if its name ends in ".gz". Raises BenchError."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise BenchError(
            f"{path} cannot be read ({error.strerror}); expected a file that you may read; check "
            "its permissions and the disk"
        ) from error
    if path.suffix != ".gz" or not unpack:
        return raw
    try:
        return gzip.decompress(raw)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise damaged(path, f"cannot be unpacked: {error}") from error


def damaged(path: Path, fault: str) -> BenchError:
    """The error of a file that is not what was published: what is wrong, and what to do."""
    return BenchError(
        f"{path} {fault}; the file is cut short, or another one: delete it and get it again "
        "(`bench run BOARD --download` does so)"
    )


def fetch(what: str, urls: Sequence[str], md5: str, into: Path, unpack: str = "") -> None:
    """Put the file of that checksum, from the first of `urls` that gives it, into a folder.

    With `unpack`, it is an archive, and what stands in its folder `unpack` is put there. Files
    arrive whole or not at all. Raises BenchError, which says what failed and what to do by hand.
    """
    from http.client import HTTPException
    from tempfile import TemporaryDirectory

    from torchvision.datasets.utils import download_url

    failures = []
    for url in urls:
        try:
            into.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(prefix=".download-", dir=into) as scratch:
                download_url(url, scratch, md5=md5)
                [arrived] = Path(scratch).iterdir()
                if unpack:
                    extract(arrived, Path(scratch))
                for path in (Path(scratch) / unpack).iterdir() if unpack else [arrived]:
                    if not (into / path.name).is_dir():  # one that is here arrived whole
                        path.replace(into / path.name)
            return
        except (OSError, RuntimeError, HTTPException) as error:
            failures.append(f"{url}: {str(error).rstrip('.') or type(error).__name__}")
    with suppress(OSError):
        into.rmdir()  # if it is empty
    raise BenchError(
        f"{what} could not be downloaded ({'; '.join(failures)}); expected a file whose MD5 is "
        f"{md5}; try again, or get it by hand and put "
        f"{f'what is in its folder {unpack}' if unpack else 'it'} into {into.absolute()}"
    )


def extract(archive: Path, into: Path) -> None:
    """Unpack a tar archive, however it is compressed; nothing in it may lead out of the folder.

    Raises BenchError, with the archive's path, for a member that does, or a broken archive.
    """
    import tarfile

    try:
        with tarfile.open(archive) as file:
            file.extractall(into, filter="data")
    except tarfile.FilterError as error:
        raise BenchError(
            f"{archive.name} holds a member that leads out of its folder or is no plain file "
            f"({error}); expected files and folders; do not unpack it, get it from its authors"
        ) from None
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise damaged(archive, f"cannot be unpacked: {error}") from error


def sha256(path: Path) -> str:
    """The SHA-256 of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
