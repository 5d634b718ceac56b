"""What a plugin says is cleaned and cut once, where it enters."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.contract.errors import LONGEST, refusal, said, sentence


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


def test_what_the_system_refuses_is_the_file_what_is_wrong_and_what_to_do(tmp_path: Path) -> None:
    loop, file = tmp_path / "loop", tmp_path / "file"
    loop.symlink_to(loop)
    file.write_text("")
    refused = {
        loop.stat: f"{loop}: it is a link that leads back to itself; delete it",
        (file / "below").stat: f"{file / 'below'}: a part of it is a file; expected folders",
        (tmp_path / "gone").stat: f"{tmp_path / 'gone'}: it is not there; name another",
        tmp_path.read_bytes: f"{tmp_path}: it is a folder; expected a file",
    }
    for ask, words in refused.items():
        with pytest.raises(OSError, match=r"\[Errno") as caught:
            ask()
        assert refusal(caught.value).startswith(words)
        assert words in sentence(caught.value)  # of a stage that has failed
        assert "[Errno" not in sentence(caught.value)
    assert refusal(OSError("no room for it")) == "no room for it"
    with pytest.raises(OSError, match="loop") as caught:
        os.scandir(os.fsencode(loop))
    assert refusal(caught.value).startswith(str(loop))
