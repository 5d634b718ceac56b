"""The figures of a page as CSV: any of them, exactly, and what is not known is empty."""

from __future__ import annotations

import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from bench.report.csv import rendered
from bench.report.model import Frame


def test_numbers_have_six_decimals_and_counts_none() -> None:
    frame = Frame(("name", "n", "mean", "sd"), (("a,b", 3, 0.25, None), ('"c"', 0, 1e-9, 2.0)))
    assert rendered(frame) == ('name,n,mean,sd\n"a,b",3,0.250000,\n"""c""",0,0.000000,2.000000\n')


def test_no_figures_leave_the_head() -> None:
    assert rendered(Frame(("a", "b"), ())) == "a,b\n"


TEXTS = st.text(st.characters(exclude_characters="\r"))  # Python 3.11 does not quote a lone one


@given(st.lists(st.tuples(TEXTS, st.integers(), st.none() | st.floats(-1e6, 1e6))))
def test_any_figure_can_be_read_back(rows: list[tuple[str, int, float | None]]) -> None:
    text = rendered(Frame(("name", "n", "mean"), tuple(rows)))
    _, *found = csv.reader(io.StringIO(text, newline=""))
    for (name, n, mean), (name_read, n_read, mean_read) in zip(rows, found, strict=True):
        assert (name, str(n)) == (name_read, n_read)
        assert (mean is None) == (mean_read == "")
        assert mean is None or abs(float(mean_read) - mean) < 1e-6
