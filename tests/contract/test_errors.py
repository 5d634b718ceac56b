"""What a plugin says is cleaned and cut once, where it enters."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.contract.errors import LONGEST, said


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("plain words, é and 3 < 4", "plain words, é and 3 < 4"),
        ("two\nlines\tand  spaces ", "two lines and spaces"),
        ("\x1b[31mred\x1b[0m", "[31mred[0m"),
        ("turned \u202eround\u202c", "turned round"),
        ("half \ud83d of a pair", "half \N{REPLACEMENT CHARACTER} of a pair"),
        ("a line\u2028separator", "a line separator"),
        ("bell\x07 and null\x00", "bell and null"),
        ("", ""),
    ],
)
def test_what_is_said_is_one_clean_line(text: str, clean: str) -> None:
    assert said(text) == clean


def test_a_text_of_200_kb_is_cut() -> None:
    assert said("x" * 200_000) == "x" * (LONGEST - 1) + "…"
    assert said("x" * LONGEST) == "x" * LONGEST


def test_an_exception_that_cannot_be_shown_is_said_all_the_same() -> None:
    class Silent(Exception):
        def __str__(self) -> str:
            raise ValueError("no words")

    assert said(Silent()) == "(Silent that cannot be shown: ValueError)"


@settings(deadline=None, derandomize=True)
@given(st.text(st.characters(), max_size=60))
def test_whatever_is_said_can_be_printed_and_written(text: str) -> None:
    clean = said(text, 20)
    assert len(clean) <= 20
    clean.encode("utf-8")
    assert not {unicodedata.category(c) for c in clean} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert said(clean, 20) == clean
