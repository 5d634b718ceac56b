"""What a submission does to a board: its records and files held against those of the base branch.

A row belongs to those who submitted it, and no machine knows who that is. So the rule is plain:
what the base branch has stays, to the last digit, unless its method is named as measured again;
what is new stands on the board, under the protocol of today, on the data of the other rows.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import unified_diff
from pathlib import Path
from typing import Any

from bench.board import networks, sets
from bench.board.carried import Entry
from bench.board.components import DEPENDS_ON
from bench.board.matrix import read as read_matrix
from bench.contract.fields import suggest
from bench.contract.keys import PROTOCOL
from bench.records import checked
from bench.records.files import read_all
from bench.records.result import Result
from bench.report import pictures
from bench.report.numbers import Board, board_of, on_board

WRITTEN = ("matrix.toml", "published.toml")  # by hand
NIGHTLY = checked.FILE  # by the nightly check
TABLES = (f"{networks.FOLDER}/{networks.TABLE}", f"{sets.FOLDER}/{sets.TABLE}")
WORD = "[A-Za-z0-9_][A-Za-z0-9._+-]*"  # of which names of files are made: no blanks, no Markdown
NAMES = re.compile(
    r"matrix\.toml|published\.toml|checked\.jsonl|README\.md|table\.csv|table\.tex"
    rf"|records/{WORD}\.jsonl"
    rf"|{pictures.FOLDER}/({WORD}\.png|{pictures.SUMS})|{'|'.join(map(re.escape, TABLES))}"
    rf"|({networks.FOLDER}|{sets.FOLDER})/{WORD}\.safetensors"
)
FOR_ALL = ("recipe", "architecture", "attack", "sampler")  # what methods have no part in
LARGEST = sets.HEAVIEST  # bytes of a file
PNG = b"\x89PNG\r\n\x1a\n"
SHOWN = 3  # of many, those that a sentence names


@dataclass(frozen=True)
class Side:
    """A board at one commit; without a title where it is not there.

    `carried` are the entries of its tables, by what each stands for, with the components that have
    made its file.
    """

    board: Board | None = None
    results: tuple[Result, ...] = ()
    carried: Mapping[str, tuple[Entry, frozenset[str]]] = field(default_factory=dict)
    written: Mapping[str, str] = field(default_factory=dict)  # the text of files, by name

    @property
    def shown(self) -> dict[tuple[str | int, ...], Result]:
        """The results on its axes, by coordinate."""
        found = on_board(self.board, self.results) if self.board else ()
        return {one.coordinate: one for one in found}


def side(folder: Path) -> Side:
    """A board as it stands in a folder. Raises BenchError for what cannot be read."""
    if not (folder / "matrix.toml").is_file():
        return Side()
    carried: dict[str, tuple[Entry, frozenset[str]]] = {
        **{f"set {one.file}": (one, frozenset({one.method})) for one in sets.read(folder)},
        **{
            f"network {one.file}": (one, frozenset({one.teacher, one.network}))
            for one in networks.read(folder)
        },
    }
    return Side(
        board_of(read_matrix(folder)),
        tuple(read_all(folder).results),
        carried,
        {
            name: (folder / name).read_text(errors="replace")
            for name in (*WRITTEN, NIGHTLY)
            if (folder / name).is_file()
        },
    )


def strange(folder: Path) -> list[str]:
    """One sentence for each file of a folder that no board has, before any of them is read."""
    found = []
    inside = sorted(folder.rglob("*"))
    for path in (folder, *inside) if folder.is_symlink() else inside:
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found.append(f"{path} is a link; expected a file of the board's own; delete it")
        elif path.is_dir():
            continue
        elif not NAMES.fullmatch(name):
            said = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(path))
            found.append(f"{said} is no file of a board (docs/boards.md lists them); delete it")
        elif (size := path.stat().st_size) > LARGEST:
            found.append(f"{path} has {size:,} bytes; expected at most {LARGEST:,}")
        elif not _is_what_it_says(path):
            found.append(f"{path} holds something else than its name says; delete it")
    return found


def _is_what_it_says(path: Path) -> bool:
    """Does a file begin as files of its kind do?"""
    with path.open("rb") as file:
        head = file.read(8)
        if path.suffix == ".png":
            return head == PNG
        if path.suffix != ".safetensors":
            return True
        length = int.from_bytes(head, "little")
        try:
            return length <= LARGEST and isinstance(json.loads(file.read(length)), dict)
        except (ValueError, RecursionError):
            return False


def unnamed(folder: Path) -> list[str]:
    """One sentence for each file beside a table that does not name it."""
    tables = ((networks.FOLDER, networks), (sets.FOLDER, sets))
    return [
        f"{path} is named by no entry of {name}/{kind.TABLE}; delete it"
        for name, kind in tables
        for path in sorted((folder / name).glob("*.safetensors"))
        if path.name not in {one.file for one in kind.read(folder)}
    ]


def new(base: Side, here: Side) -> list[Result]:
    """The results that a submission adds, or says differently."""
    known = {one.coordinate: one for one in base.results}
    return [one for one in here.results if known.get(one.coordinate) != one]


def refused(where: str, base: Side, here: Side, again: Iterable[str] = ()) -> list[str]:
    """One sentence for whatever a submission must not do to a board.

    `again` are methods (of networks: teachers) that are named as measured again: their records
    and files may change and vanish.
    """
    free = {*again}
    if here.board is None:
        return [f"{where} is gone; put it back"] if base.board else []
    added = new(base, here)
    return [
        *_lost(where, base, here, free),
        *_foreign(where, here, added),
        *_frozen(where, base, here, added),
        *_other_protocol(where, added),
        *_other_data(where, base, added),
        *_other_settings(where, base, added, free),
        *_carried(where, base, here, free),
        *_nightly(where, base, here),
    ]


def _lost(where: str, base: Side, here: Side, free: set[str]) -> list[str]:
    """Rows of the base that vanish from the page, and records that change."""
    shown, records = here.shown, {one.coordinate: one for one in here.results}
    by_method: dict[str, Counter[str]] = defaultdict(Counter)
    first: dict[str, str] = {}
    for at, old in base.shown.items():
        now = records.get(at)
        if at in shown and now == old:
            continue
        kind = "vanish" if now is None else "leave the page" if at not in shown else "differ"
        by_method[old.method][kind] += 1
        changed = "" if now is None else _differences(old, now)
        first.setdefault(old.method, f"{_cell(old)}{changed}")
    return [
        f"{where}: records of {method} are not those of the base "
        f"({', '.join(f'{n} {kind}' for kind, n in sorted(kinds.items()))}; the first: "
        f"{first[method]}); put them back, or have {method} named as measured again"
        for method, kinds in by_method.items()
        if method not in free
    ]


def _differences(old: Result, now: Result) -> str:
    names = [n for n in Result.__struct_fields__ if getattr(old, n) != getattr(now, n)]
    return f": its {', '.join(names[:SHOWN])}{' and more' if len(names) > SHOWN else ''}"


def _foreign(where: str, here: Side, added: Sequence[Result]) -> list[str]:
    shown, board = here.shown, here.board
    off = [one for one in added if one.coordinate not in shown]
    if not off or board is None:
        return []
    names = board.every_method
    hint = "" if off[0].method in names else suggest(off[0].method, names)
    said = f"{_count(off)} {'is' if len(off) == 1 else 'are'} not on the board"
    return [f"{where}: {said}, as {_cell(off[0])}{hint}"]


def _frozen(where: str, base: Side, here: Side, added: Sequence[Result]) -> list[str]:
    boards = [one.board for one in (base, here) if one.board and one.board.frozen]
    if not boards or not added:
        return []
    said = f"takes no new records, as {_cell(added[0])}"
    return [f"{where} is frozen, and {said} (frozen: {boards[0].frozen})"]


def _other_protocol(where: str, added: Sequence[Result]) -> list[str]:
    other = [one for one in added if one.protocol != PROTOCOL]
    if not other:
        return []
    said = f"{_count(other)} of protocol {other[0].protocol}, as {_cell(other[0])}"
    return [f"{where}: {said}; expected {PROTOCOL}, that of this harness; measure them again"]


def _other_data(where: str, base: Side, added: Sequence[Result]) -> list[str]:
    """New records of other pixels, classes or test images than the rows beside them."""
    known: dict[str, Result] = {}
    found: dict[tuple[str, str], str] = {}
    for one in (*(one for one in base.shown.values() if one.ok), *(r for r in added if r.ok)):
        first = known.setdefault(one.dataset, one)
        for name, what in (
            ("data", "data (their digest, or the order of classes)"),
            ("images_hash", "test images"),
            ("images", "number of test images"),
        ):
            if getattr(first, name) != getattr(one, name):
                found.setdefault(
                    (one.dataset, name),
                    f"{where}: {_cell(one)} is of other {what} than {_cell(first)}; "
                    f"measure it on the {one.dataset} of the board",
                )
    return [*found.values()]


def _other_settings(where: str, base: Side, added: Sequence[Result], free: set[str]) -> list[str]:
    """New records of other settings than the rows beside them, in what no method may change."""
    stand = [one for one in base.shown.values() if one.method not in free]
    known: dict[Any, list[tuple[Any, Result]]] = defaultdict(list)
    for one in stand:
        for place, settings in _settings(one):
            known[place].append((settings, one))
    found: dict[Any, str] = {}
    for one in added:
        for place, settings in _settings(one):
            if (beside := known[place]) and all(settings != other for other, _ in beside):
                found.setdefault(
                    place,
                    f"{where}: {_cell(one)} has another {place[0]} than {_cell(beside[0][1])}; "
                    "measure it with the settings of the board",
                )
    return [*found.values()]


def _settings(one: Result) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """The settings behind a record that `matrix.toml` gives to all methods alike, each with what
    they may depend on. A row without a student has none."""
    for kind in FOR_ALL:
        there = one.recipe if kind == "recipe" else kind in one.code or kind in one.parameters
        if one.ok and there:
            settings = one.recipe if kind == "recipe" else one.parameters.get(kind, {})
            yield (kind, *(getattr(one, name) for name in sorted(DEPENDS_ON[kind]))), settings


def _carried(where: str, base: Side, here: Side, free: set[str]) -> list[str]:
    """Files that vanish or change, and what is said of them: rows cost what their teachers did."""
    found = []
    for name, (entry, by) in base.carried.items():
        now, _ = here.carried.get(name, (None, ()))
        if now == entry or by & free:
            continue
        changed = "described otherwise" if now and now.sha256 == entry.sha256 else "another file"
        found.append(
            f"{where}: the {name} is {changed if now else 'gone'}; put it back, or have "
            f"{' or '.join(sorted(by))} named as measured again"
        )
    return found


def _nightly(where: str, base: Side, here: Side) -> list[str]:
    if here.written.get(NIGHTLY) == base.written.get(NIGHTLY):
        return []
    return [f"{where}/{NIGHTLY} is not that of the base; put it back: the nightly check writes it"]


def _count(some: Sequence[Result]) -> str:
    return f"{len(some)} new record{'s' if len(some) > 1 else ''}"


def _cell(one: Result) -> str:
    return one.words.removeprefix("record of ")


# ---- what a reviewer is told, right or wrong


def told(base: Side, here: Side, again: Iterable[str] = ()) -> list[str]:
    """One sentence for each thing that a submission changes."""
    if here.board is None:
        return []
    old = {one.coordinate for one in base.results}
    added, free = new(base, here), {*again}
    fresh = Counter(one.method for one in added if one.coordinate not in old)
    other = Counter(one.method for one in added if one.coordinate in old)
    gone = Counter(o.method for o in base.results if o.coordinate not in here.shown)
    said = [] if base.board else ["a new board"]
    for word, counts in (("adds", fresh), ("changes", other), ("takes away", gone)):
        said += [
            f"{word} {n} record{'s' * (n > 1)} of {name}" for name, n in sorted(counts.items())
        ]
    said += [f"{name} is named as measured again" for name in sorted(free & {*other, *gone})]
    said += [f"adds the {name}" for name in here.carried if name not in base.carried]
    return said + [
        f"changes {name}" if name in base.written else f"adds {name}"
        for name in WRITTEN
        if here.written.get(name, "") != base.written.get(name, "")
    ]


def edits(base: Side, here: Side) -> str:
    """The lines of what is written by hand that a submission changes, as a diff."""
    lines: list[str] = []
    for name in WRITTEN:
        old, now = (one.written.get(name, "").splitlines() for one in (base, here))
        lines += unified_diff(old, now, f"base/{name}", name, lineterm="", n=1)
    return "\n".join(lines)
