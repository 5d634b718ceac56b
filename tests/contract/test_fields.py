"""One sentence says what a value is and what was expected."""

from __future__ import annotations

import pytest

from bench.contract.errors import BenchError
from bench.contract.fields import choice, expect


def test_a_sentence_names_the_value_and_what_was_expected() -> None:
    expect(True, "its name", "x", "a name")
    with pytest.raises(BenchError, match=r"^its name is 'x'; expected a number$"):
        expect(False, "its name", "x", "a number")


@pytest.mark.parametrize(
    ("words", "said"),
    [("", "norm is 'l7'; expected 'l2' or ''"), ("a ball", "norm is 'l7'; expected a ball")],
)
def test_a_value_that_is_none_of_the_choices_is_refused(words: str, said: str) -> None:
    choice("norm", "l2", ("l2", ""), words)
    with pytest.raises(BenchError, match=f"^{said}$"):
        choice("norm", "l7", ("l2", ""), words)
