"""One sentence says what a value is and what was expected."""

from __future__ import annotations

import pytest

from bench.contract.errors import BenchError
from bench.contract.fields import expect


def test_a_sentence_names_the_value_and_what_was_expected() -> None:
    expect(True, "its name", "x", "a name")
    with pytest.raises(BenchError, match=r"^its name is 'x'; expected a number$"):
        expect(False, "its name", "x", "a number")
