"""`bench new`: a plugin to start from, which keeps the contract before a word of it is changed."""

from __future__ import annotations

import keyword
import re
from importlib import resources
from pathlib import Path

from bench.contract.errors import BenchError
from bench.contract.fields import suggest
from bench.contract.files import write_text
from bench.contract.kinds import KINDS, LONGEST_NAME, NAME

PROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "bench-{name}"
version = "0.1.0"
dependencies = ["condensation-bench"]

[project.entry-points.bench]
{module} = "bench_{module}"

[tool.setuptools]
py-modules = ["bench_{module}"]
"""

TEST = """\
import pytest

from bench.checks import checks_for
from bench_{module} import {cls}


@pytest.mark.parametrize("check", checks_for("{kind}", {cls}()), ids=str)
def test_{module}_keeps_the_contract(check):
    check.run()
"""


def new(kind: str, name: str, into: Path | None) -> Path:
    """Write a package with one component; its folder. Raises BenchError for a name that is none."""
    folder = into or Path(f"bench-{name}")
    found = files(kind, name)
    if folder.exists() and (folder.is_file() or any(folder.iterdir())):
        raise BenchError(f"{folder} holds something; name a new folder with --into")
    for file, text in found.items():
        write_text(folder / file, text)
    return folder


def files(kind: str, name: str) -> dict[str, str]:
    """The files of a package with one component, by name."""
    if kind not in KINDS:
        raise BenchError(f"there is no kind '{kind}'{suggest(kind, KINDS)}")
    if not NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        raise BenchError(
            f"the name {name!r} is none; expected a-z, 0-9, and . + - but not first; at most "
            f"{LONGEST_NAME} characters"
        )
    module = re.sub(r"[^a-z0-9]+", "_", name).strip("_")
    cls = "".join(part.capitalize() for part in module.split("_"))
    if not cls.isidentifier() or keyword.iskeyword(cls):
        cls = f"The{cls}"
    words = {"kind": kind, "name": name, "module": module, "cls": cls}
    text = re.sub(r"\bExample\b", cls, template(kind)).replace('"example"', f'"{name}"')
    return {
        "pyproject.toml": PROJECT.format(**words),
        f"bench_{module}.py": text,
        f"test_{module}.py": TEST.format(**words),
    }


def template(kind: str) -> str:
    """The module of a kind, whose class is `Example` and whose component is "example"."""
    return resources.files("bench.commands").joinpath("templates", f"{kind}.py").read_text("utf-8")
