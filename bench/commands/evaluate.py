"""`bench.evaluate`: what a board says of a condensed set that somebody has in memory.

The set becomes a file, the file a method of a copy of the board, and that method is run as `bench
run` would run it: same stages, store, recipe and records.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from msgspec import structs

from bench.commands.given import Given, given
from bench.contract.errors import BenchError
from bench.contract.files import write_bytes, write_text

if TYPE_CHECKING:
    from bench.board.matrix import Cell
    from bench.contract.registry import Registry
    from bench.engine.results import Ran

HEAD = "# Written by bench.evaluate: a board, and one more method.\n\n"
KEPT = "given"  # folder of a store: sets that were given, by their hash
PEERS = ["dataset", "architecture", "labels", "column", "metric"]


def evaluate(
    images: Any,
    labels: Any,
    board: str | Path,
    *,
    classes: Any = None,
    name: str = "mine",
    dataset: str | None = None,
    seeds: Sequence[int] | None = None,
    jobs: int = 0,
    device: str = "cpu",
    store: str | Path | None = None,
    into: str | Path | None = None,
) -> pd.DataFrame:
    """Judge a condensed set on a board's protocol; its rows among those that the board has.

    `images` [N, C, H, W] are float in [0, 1] (rounded to eight bits, as all sets are) or uint8,
    `labels` int [N] or probabilities [N, K], of numpy or torch. As many of each class are
    expected: that is the IPC. Where soft labels lean to other classes, `classes` [N] says what the
    images stand for.

    `name` is that of the row, `dataset` the board's first by default, `seeds` all of the board.
    `jobs` and `device` are those of `bench run`; so is `store`, the folder where finished stages
    are kept (`.bench`), so that a second call trains no teacher again. The board is only read;
    `into` names a new folder for a copy of it with the records and the page of this run.

    The frame has the columns of `bench.table`, the best first among those that are compared, and
    the full set where the board has it. Raises BenchError for a set that the board cannot judge.
    """
    from bench.board.matrix import read
    from bench.engine.results import chosen_cells
    from bench.store.store import place

    _check(name, seeds, jobs)
    folder, one = Path(board), given(images, labels, classes)
    matrix = read(folder)
    if matrix.frozen:
        raise BenchError(f"{folder} is frozen: {matrix.frozen}; name a board that is run")
    root = place(Path(store) if store else None).absolute()
    limits = {
        "ipc": [str(one.ipc)],
        "dataset": [dataset or matrix.datasets[0]],
        **({"seed": [str(seed) for seed in seeds]} if seeds is not None else {}),
    }
    with _home(into) as home:
        registry = _copied(folder, home, name, one, root)
        cells = chosen_cells(read(home), [name], limits)
        ran = _run(registry, folder, home, cells, one, root, (device, jobs))
        return _judged(folder, home, cells[0], ran)


def _check(name: Any, seeds: Any, jobs: Any) -> None:
    if not isinstance(name, str) or not name:
        raise BenchError(f"name is {name!r}; expected the name of the row, a text")
    if seeds is not None and (isinstance(seeds, str) or not isinstance(seeds, Iterable)):
        raise BenchError(f"seeds are {seeds!r}; expected a list, as in [0, 1, 2]")
    if not isinstance(jobs, int) or jobs < 0:
        raise BenchError(f"jobs is {jobs!r}; expected 0 (a stage for each core) or more")


def _judged(folder: Path, home: Path, cell: Cell, ran: Ran) -> pd.DataFrame:
    """Records written beside those of the board, and the rows that stand together."""
    from bench.board.matrix import read
    from bench.records.files import read_all, split_valid
    from bench.report.folder import add_results, write_tables
    from bench.report.frames import table
    from bench.report.numbers import board_of, scales

    valid, refused = split_valid(ran.records)
    for sentence in refused:
        raise BenchError(sentence)
    beside = [
        structs.replace(record, pictured=False)  # pictures stay with the board
        for record in read_all(folder).results
        if (record.dataset, record.ipc) in ((cell.dataset, cell.ipc), (cell.dataset, 0))
    ]
    mine = [structs.replace(record, pictured=False) for record in valid]
    results = add_results(home, [*beside, *mine])
    write_tables(home)
    frame = table(home)
    frame = frame[(frame["dataset"] == cell.dataset) & frame["ipc"].isin([cell.ipc, 0])]
    better = {name: s.better for name, s in scales(board_of(read(home)), results).items()}
    signs = [-1.0 if better[metric] == "lower" else 1.0 for metric in frame["metric"]]
    group = frame.groupby(PEERS, sort=False).ngroup()
    ranked = frame.assign(group=group, merit=signs * frame["mean"]).sort_values(
        ["group", "merit"], ascending=[True, False], kind="stable"
    )
    return ranked[frame.columns].reset_index(drop=True)


def _run(
    registry: Registry,
    folder: Path,
    home: Path,
    cells: Sequence[Cell],
    one: Given,
    root: Path,
    where: tuple[str, int],
) -> Ran:
    """Run the cells of the set. Raises BenchError where one fails, or is declined."""
    from bench import display
    from bench.board.check import resolve
    from bench.board.matrix import read
    from bench.engine import devices
    from bench.engine.prices import learned
    from bench.engine.results import run
    from bench.engine.scheduler import Engine
    from bench.store.store import Store, check_store

    components = resolve(read(home), registry, folder)
    slots, dataset = devices.slots(*where), cells[0].dataset
    check_store(root)
    with display.following() as listen:
        engine = Engine(components, Store(root), slots, listen, home)
        loaded, lost = engine.load([dataset])
        if lost:
            raise BenchError(f"dataset '{dataset}' cannot be loaded: {lost[dataset].reason}")
        one.check_fits(loaded[dataset].facts, dataset)
        write_bytes(_file(root, one), one.blob)
        plan = engine.plan(cells)
        listen.expect(plan.stages, learned(engine.store.finished(), ()), len(slots))
        ran = run(engine, plan)
    if ran.interrupted:
        raise KeyboardInterrupt
    said = [failure.reason for failure in ran.failures]
    if all(record.reason for record in ran.records):  # a network or an attack may, for itself
        said += [record.reason for record in ran.records]
    if said:
        raise BenchError(f"the set cannot be judged: {said[0]}")
    return ran


# ---- the copy of a board


@contextmanager
def _home(into: str | Path | None) -> Iterator[Path]:
    """The folder for the copy of a board: one that goes afterwards, if none is named."""
    if into is None:
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            yield Path(name)
        return
    home = Path(into)
    if home.exists() and (home.is_file() or any(home.iterdir())):
        raise BenchError(f"into {home} holds something; expected a new folder, or an empty one")
    yield home


def _copied(folder: Path, home: Path, name: str, one: Given, root: Path) -> Registry:
    """Make `home` a copy of a board with one more method; what is installed."""
    from bench.board import networks
    from bench.contract.registry import discover
    from bench.contract.typed import toml

    registry = discover()
    document = toml(folder / "matrix.toml", "a board is a folder with a matrix.toml")
    taken = {*document.get("define", {}), *registry.of("method")}
    taken |= {n for key in ("methods", "controls", "ceiling") for n in _listed(document, key)}
    if name in taken:
        raise BenchError(f"name '{name}' stands for something else on this board; choose another")
    file = {"path": str(_file(root, one)), "sha256": one.sha256}
    document["methods"] = [*document.get("methods", ()), name]
    document["ipc"] = list(dict.fromkeys([*document.get("ipc", ()), one.ipc]))
    document["define"] = {
        **document.get("define", {}),
        name: {"method": _reader(registry), **file},
    }
    for path in (folder / networks.FOLDER).glob("*"):
        if path.is_file():
            write_bytes(home / networks.FOLDER / path.name, path.read_bytes())
    lines = (f"{_key(key)} = {_value(value)}\n" for key, value in document.items())
    write_text(home / "matrix.toml", HEAD + "".join(lines))
    return registry


def _file(root: Path, one: Given) -> Path:
    return root / KEPT / f"{one.sha256}.safetensors"


def _reader(registry: Registry) -> str:
    """The name of the installed method that reads sets from files."""
    from bench.contract.kinds import fact

    methods = registry.of("method").items()
    found = [name for name, e in methods if fact("method", e.component, "from_file")]
    if not found:
        raise BenchError(
            "no installed method reads sets from files; expected one that says `from_file = True`; "
            "try: pip install -r ci/plugins.txt"
        )
    return found[0]


def _listed(document: Mapping[str, Any], key: str) -> list[str]:
    found = document.get(key, [])
    return [found] if isinstance(found, str) else list(found)


def _key(name: str) -> str:
    return name if re.fullmatch("[A-Za-z0-9_-]+", name) else _value(name)


def _value(value: Any) -> str:
    """A value of TOML in one line."""
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_key(k)} = {_value(v)}' for k, v in value.items())} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, float):  # "inf" and "nan" are what TOML says, too
        return repr(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
