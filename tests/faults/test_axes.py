"""A board that has lost any value of any axis shows what is left, and nothing of what is gone."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest
from support import a_result, write_board

from bench.display import show_tables
from bench.records.files import read, write
from bench.records.result import Result
from bench.report.folder import stale, write_tables

AXES: dict[str, list[Any]] = {
    "datasets": ["data-a", "data-b"],
    "methods": ["method-a", "method-b"],
    "controls": ["control-a"],
    "ceiling": ["ceiling-a"],
    "ipc": [11, 17],
    "labels": ["hard", "soft"],
    "architectures": ["net-a", "net-b"],
    "attacks": ["clean", "attack-a"],
    "metrics": ["metric-a", "metric-b"],
    "seeds": [0, 1],
}
SCALES = {name: {"better": "higher", "unit": "fraction"} for name in AXES["metrics"]}


def results() -> list[Result]:
    """One result for each cell of the whole board; every attack but the first moves images."""
    sets = [*product((*AXES["methods"], *AXES["controls"]), AXES["ipc"])]
    sets += [(name, 0) for name in AXES["ceiling"]]
    axes = ("datasets", "labels", "architectures", "attacks", "seeds")
    found = []
    for (method, ipc), *rest in product(sets, *(AXES[name] for name in axes)):
        dataset, labels, architecture, attack, seed = rest
        name = "|".join(map(str, (method, ipc, *rest)))
        where = {"dataset": dataset, "labels": labels, "architecture": architecture}
        moved = {"norm": "linf", "eps": 0.1} if attack != "clean" else {}
        found.append(
            a_result(
                **where,
                **moved,
                method=method,
                ipc=ipc,
                attack=attack,
                seed=seed,
                metrics=dict.fromkeys(AXES["metrics"], 0.5),
                scales=SCALES,
                content={"set": name, "student": name, "probe": name},
                about={"method": f"about {method}", "dataset": f"about {dataset}"},
                attack_search="white-box" if moved else "",
                attack_family="one" if moved else "",
            )
        )
    return found


def board(folder: Path, **changes: Any) -> Path:
    return write_board(folder, **{**AXES, "recipe": None, "probe": None, **changes})


EACH = [(axis, value) for axis, values in AXES.items() for value in values]


@pytest.mark.parametrize(("axis", "value"), EACH)
def test_what_a_board_has_lost_is_on_no_page_and_in_all_records(
    tmp_path: Path, axis: str, value: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    left = [other for other in AXES[axis] if other != value]
    folder = board(tmp_path, **{axis: left or None})
    write(folder, results())
    write_tables(folder)
    assert [line for line in stale(folder) if "/images/" not in line] == []
    show_tables(folder)
    assert len(read(folder)) == len(results())
    table = (folder / "table.csv").read_text()
    assert table.count("\n") > 1
    pages = (folder / "README.md").read_text() + table + capsys.readouterr().out
    if axis == "labels":
        assert f"{value} labels" not in pages
        assert f"{left[0]} labels" in pages
    elif axis == "seeds":
        assert "n = 1" in pages or "one seed" in pages
        assert "n = 2" not in pages
    else:
        assert str(value) not in pages
        assert all(str(other) in pages for other in left)
