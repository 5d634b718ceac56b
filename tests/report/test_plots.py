"""Plots: which are drawn, what they hold, and that nothing else can change a byte."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest
from support import as_result, changed

from bench.records.record import Scale
from bench.report import matched, plots, plotted
from bench.report.figures import tidy
from bench.report.model import Plot
from bench.report.numbers import Board, on_board

pytest.importorskip("altair")

BOARD = Board(
    title="Plots",
    track="classification",
    datasets=("blobs",),
    methods=("alpha", "beta"),
    controls=("dice",),
    ceiling=("all",),
    ipc=(1, 10),
    labels=("hard",),
    architectures=("small",),
    attacks=("none", "weak", "strong"),
    metrics=("right",),
    seeds=(0, 1),
)
RADII = {"none": None, "weak": 4 / 255, "strong": 8 / 255}


def record(method: str, ipc: int, attack: str, seed: int, right: float) -> Any:
    eps = RADII[attack]
    return as_result(
        {
            "dataset": "blobs",
            "method": method,
            "ipc": ipc,
            "labels": "hard",
            "architecture": "small",
            "attack": attack,
            "seed": seed,
            "images": 100,
            "metrics": {"right": right},
            "norm": "linf" if eps else "",
            "eps": eps,
            "scales": {"right": Scale(better="higher", unit="fraction")},
            "size": ipc or 100,
            "bytes": {"images": 1000 * (ipc or 100) + len(method)},
            "content": {"set": f"{method} {ipc} {seed}"},
            "passes": {"set": {"forward": 10 * ipc, "backward": 5 * ipc + len(method)}},
        }
    )


def made(ipcs: tuple[int, ...] = (1, 10), attacks: tuple[str, ...] = BOARD.attacks) -> list[Any]:
    return [
        record(method, ipc, attack, seed, 0.5 + ipc / 40 - i / 10 - k / 7 + seed / 30)
        for i, method in enumerate(("alpha", "beta", "dice"))
        for ipc in ipcs
        for k, attack in enumerate(attacks)
        for seed in (0, 1)
    ] + [record("all", 0, "none", 0, 0.95)]


RANKS = {"alpha": (1, 2), "beta": (2, 3), "dice": (3, 3), "all": (None, None)}


def drawn(records: list[Any], *, ranked: bool = False, **given: Any) -> list[Plot]:
    shown = on_board(BOARD, records)
    table = tidy(BOARD, shown)
    if ranked:
        low, high = zip(*map(RANKS.get, table["method"]), strict=True)
        table = table.assign(rank_low=low, rank_high=high)
    found = plots.sections(BOARD, shown, table, **given)
    return [plot for section in found for plot in section.blocks if isinstance(plot, Plot)]


def values(plot: Plot) -> list[dict[str, Any]]:
    """The rows of a chart's own data."""
    return list(plot.spec["data"]["values"])


def test_a_board_has_curves_radii_two_fronts_and_a_heat_map() -> None:
    captions = ["".join(map(str, plot.caption)) for plot in drawn(made())]
    starts = ("Right under none against images", "The lowest right", "Right under none against by")
    starts += ("Right under none against images through", "Right of methods under attacks")
    assert len(captions) == len(starts)
    assert all(c.startswith(s) for c, s in zip(captions, starts, strict=True)), captions


def test_figures_and_whiskers_are_those_of_the_table() -> None:
    [row] = [r for r in values(drawn(made())[0]) if (r["method"], r["ipc"]) == ("alpha", 10)]
    sd = (1 / 30) / 2**0.5
    assert row["mean"] == pytest.approx(0.75 + 1 / 60, abs=1e-3)
    assert row["high"] - row["mean"] == pytest.approx(sd, abs=1e-3)
    assert all(v == float(f"{v:.4g}") for v in row.values() if isinstance(v, float))


def test_intervals_of_the_table_take_the_place_of_the_standard_deviation() -> None:
    shown = on_board(BOARD, made())
    table = tidy(BOARD, shown).assign(low=0.125, high=0.875)
    [section] = plots.sections(BOARD, shown, table)
    first = section.blocks[0]
    assert isinstance(first, Plot)
    assert {(row["low"], row["high"]) for row in values(first)} == {(0.125, 0.875)}
    assert "95 % intervals" in str(first.caption)


def test_the_radii_begin_at_the_clean_images() -> None:
    rows = values(drawn(made())[1])
    assert {row["radius"] for row in rows} == {0.0, 0.01569, 0.03137}
    assert {row["place"] for row in rows} == {
        "blobs · small · hard labels, IPC 1",
        "blobs · small · hard labels, IPC 10",
    }


def test_a_front_has_what_nothing_cheaper_beats() -> None:
    front = {row["text"] for row in values(drawn(made())[2]) if row["front"]}
    assert front == {"beta 1", "alpha 1", "beta 10", "alpha 10"}  # dice weighs as much as beta


def test_a_board_of_one_seed_has_points_without_whiskers() -> None:
    """Its frame has nothing where others have a standard deviation."""
    shown = on_board(BOARD, [r for r in made() if r.seed == 0])
    table = tidy(BOARD, shown)
    table = table.assign(sd=pd.Series([None] * len(table), dtype=object), low=None, high=None)
    [section] = plots.sections(BOARD, shown, table)
    assert all(row["low"] == row["mean"] for row in values(section.blocks[0]))


def test_what_says_nothing_is_left_out() -> None:
    assert drawn([]) == []
    assert drawn([record("alpha", 1, "none", 0, 0.5)]) == []
    captions = [str(plot.caption) for plot in drawn(made((1,), ("none",)))]
    assert not any("images per class;" in c and "against images per" in c for c in captions)


def test_the_order_of_the_records_changes_no_byte() -> None:
    one, other = drawn(made()), drawn(made()[::-1])
    assert [json.dumps(p.spec) for p in one] == [json.dumps(p.spec) for p in other]


def test_a_chart_has_no_more_than_twenty_lines_and_keeps_the_best() -> None:
    rows = [{"method": f"m{k}", "mean": k / 100} for k in range(30)]
    for better, kept in (("higher", range(10, 30)), ("lower", range(20))):
        shown = plotted.Figures(BOARD, Scale(better=better), rows, False)
        few, _ = plotted.best_few(shown, rows)
        assert {row["method"] for row in few} == {f"m{k}" for k in kept}


def test_rank_intervals_stand_in_the_order_of_the_ranks() -> None:
    [plot] = [p for p in drawn(made(), ranked=True) if "Rank" in p.instead]
    assert plot.instead == (
        "Rank intervals by right under none: blobs · small · hard labels. "
        "IPC 1: alpha 1 to 2; beta 2 to 3; dice 3 to 3. IPC 10: alpha 1 to 2; beta 2 to 3; "
        "dice 3 to 3."
    )
    assert ("IPC 1", "beta", 2) in {(r["place"], r["method"], r["rank_low"]) for r in values(plot)}


def test_values_in_print_stand_beside_the_measured_with_their_difference() -> None:
    rows = {"alpha": {"1": (0.5,), "10": (0.8, 0.01)}, "beta": {"1": (0.3,)}}
    place = {"dataset": "blobs", "architecture": "small", "labels": "hard", "attack": "none"}
    entry = matched.Printed(source="A table", url="https://a.b", metric="right", rows=rows, **place)
    plot = drawn(made(), in_print=(entry,))[-1]
    assert "alpha IPC 1: +4.2; alpha IPC 10: -3.3; beta IPC 1: +14.2" in plot.instead
    assert len(values(plot)) == 6


def test_without_altair_a_board_has_no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "alt", None)
    assert drawn(made()) == []


def test_a_renderer_takes_every_plot() -> None:
    convert = pytest.importorskip("vl_convert")
    for plot in drawn(made(), ranked=True):
        assert convert.vegalite_to_svg(dict(plot.spec)).startswith("<svg")


def test_a_frame_without_figures_has_no_plots() -> None:
    empty = pd.DataFrame(columns=list(tidy(BOARD, [])))
    assert plots.sections(BOARD, [], empty) == ()


def test_a_board_of_samples_has_the_distance_after_so_many_images_shown() -> None:
    """At each checkpoint, with its interval; beside each budget the students of the full set."""
    sampled_from = {"track": "generation", "samplers": ("walk",), "checkpoints": (100,)}
    board = Board(**{**vars(BOARD), "attacks": (), **sampled_from})
    sampled = [
        changed(
            record(method, ipc, "none", seed, 0.0),
            attack="",
            sampler="walk",
            step=step,
            metrics={"right": figure + seed / 100},
            passes={"student": {"forward": images, "backward": images}},
            content={"student": f"{method} {ipc} {seed}"},
            scales={"right": {"better": "lower"}},
        )
        for method, ipc, last in (("alpha", 1, 0.2), ("alpha", 10, 0.1), ("all", 0, 0.3))
        for seed in (0, 1)
        for step, images, figure in ((100, 6400, 3.0), (0, 12800, last))
    ]
    shown = on_board(board, sampled)
    table = tidy(board, shown).assign(low=-1.0, high=9.0)
    (found,) = [
        plot
        for section in plots.sections(board, shown, table)
        for plot in section.blocks
        if isinstance(plot, Plot) and "has been shown" in str(plot.caption)
    ]
    assert "95 % intervals, cut where they leave a logarithmic axis" in str(found.caption)
    drawn = [(r["place"][-6:], r["method"], r["shown"], r["mean"]) for r in values(found)]
    assert drawn == [
        *((" IPC 1", "alpha", 6400, 3.005), (" IPC 1", "alpha", 12800, 0.205)),
        *(("IPC 10", "alpha", 6400, 3.005), ("IPC 10", "alpha", 12800, 0.105)),
        *((" IPC 1", "all", 6400, 3.005), ("IPC 10", "all", 6400, 3.005)),
        *((" IPC 1", "all", 12800, 0.305), ("IPC 10", "all", 12800, 0.305)),
    ]
    assert all(0 < row["low"] < row["mean"] for row in values(found))
