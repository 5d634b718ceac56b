"""Boards held against those of another commit: what CI asks of a pull request.

Nothing of the submission is run: its records and tables are read, and git is asked for the others.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.contract.errors import BenchError
from bench.contract.files import resolved
from bench.report.model import Section


@dataclass(frozen=True)
class Held:
    """What holding boards against a commit has found: sentences, and what a reviewer sees.

    `readable` are the boards whose folders hold nothing strange.
    """

    wrong: tuple[str, ...]
    changes: tuple[Section, ...]
    readable: tuple[Path, ...]


def held(boards: Sequence[Path], ref: str, again: Sequence[str] = ()) -> Held:
    """Hold boards against those of a commit; `again` names methods that were measured again.

    Boards beside them that the commit has must be there, too. Raises BenchError where git does not
    know the commit, and for what cannot be read.
    """
    from bench.report import against

    wrong: list[str] = []
    changes, readable = [], []
    for board in dict.fromkeys([*boards, *_gone(boards, ref)]):
        if strange := against.strange(board):
            wrong += strange  # nothing of it is read
            continue
        said, section = _held(board, ref, again)
        wrong += said
        changes += [section] if section else []
        readable += [board] if (board / "matrix.toml").is_file() else []
    return Held(tuple(wrong), tuple(changes), tuple(readable))


def _held(board: Path, ref: str, again: Sequence[str]) -> tuple[list[str], Section | None]:
    from bench.report import against, published, review

    with at(board, ref) as folder:
        base, here = against.side(folder), against.side(board)
        said = against.refused(str(board), base, here, again)
        if here.board is None:
            return said, None
        in_print = published.read(board, here.board)
        section = review.section(str(board), base, here, in_print, again)
        return [*said, *against.unnamed(board)], section


def review_of(found: Held, wrong: Sequence[str], ref: str) -> str:
    """What a reviewer sees, as Markdown: for a comment on the pull request.

    `wrong` is all that does not hold, also of what `held` does not ask.
    """
    from bench.report import markdown, model
    from bench.report.model import Items, Page, Paragraph

    said = (
        "This does not hold:" if wrong else "The records hold, as far as they tell by themselves."
    )
    blocks: list[model.Block] = [Paragraph((said,))]
    blocks += [Items(tuple((one,) for one in wrong))] if wrong else []
    blocks += [] if found.changes else [Paragraph(("No board changes.",))]
    nothing = model.Frame((), ())
    page = Page(f"Boards, held against {ref}", tuple(blocks), found.changes, (), nothing)
    return markdown.rendered(page, lines=10**6).replace(
        "@", "@\N{ZERO WIDTH SPACE}"
    )  # nobody is called


# ---- git


def commit_of(board: Path, ref: str) -> str:
    """The hash of a commit. Raises BenchError where git does not know it."""
    try:
        return _git(
            _inside(board), "rev-parse", "--verify", "--end-of-options", f"{ref}^{{commit}}"
        )
    except BenchError as error:
        raise BenchError(
            f"--against {ref} is no commit of the repository that holds {board} ({error}); "
            "expected a branch, a tag or a hash, as in --against origin/main"
        ) from None


@contextmanager
def at(board: Path, ref: str) -> Iterator[Path]:
    """A folder with the files of a board as a commit has them; an empty one if it has none."""
    commit, inside = commit_of(board, ref), _inside(board)
    top = Path(_git(inside, "rev-parse", "--show-toplevel"))
    name = resolved(board).relative_to(resolved(top)).as_posix()
    with tempfile.TemporaryDirectory(prefix="bench-base-") as root:
        if _git(top, "ls-tree", commit, "--", name):
            packed = _bytes(top, "archive", "--format=tar", commit, "--", name)
            with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
                archive.extractall(root, filter="data")
        yield Path(root) / name


def _gone(boards: Sequence[Path], ref: str) -> Iterator[Path]:
    """Boards of a commit, beside those that are given, whose folder or matrix is not there."""
    for parent in dict.fromkeys(board.parent for board in boards):
        commit, inside = commit_of(parent, ref), _inside(parent)
        top = Path(_git(inside, "rev-parse", "--show-toplevel"))
        name = resolved(parent).relative_to(resolved(top)).as_posix()
        listed = _git(top, "ls-tree", "-r", "--name-only", "-z", commit, "--", f"{name}/")
        for path in map(Path, listed.split("\0")):
            lies = path.name == "matrix.toml" and path.parent.parent.as_posix() == name
            board = parent / path.parent.name
            if lies and not (board / "matrix.toml").is_file():
                yield board


def _inside(path: Path) -> Path:
    """The nearest folder that is there."""
    folder = resolved(path)
    while not folder.is_dir():
        folder = folder.parent
    return folder


def _git(folder: Path, *arguments: str) -> str:
    return _bytes(folder, *arguments).decode(errors="surrogateescape").strip("\n")


def _bytes(folder: Path, *arguments: str) -> bytes:
    command = ["git", "-C", str(folder), *arguments]
    try:
        return subprocess.run(command, capture_output=True, check=True).stdout
    except OSError as error:
        raise BenchError(f"git cannot be run ({error.strerror})") from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines() or ["git failed"]
        raise BenchError(said[-1].removeprefix("fatal: ")) from None
