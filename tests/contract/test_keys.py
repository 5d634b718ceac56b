"""Keys follow content, seeds follow law 6, and a component's identity follows its code."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.contract import code, keys


@pytest.mark.parametrize("value", [math.nan, math.inf, [-math.inf], {"a": {"b": math.nan}}])
def test_what_json_cannot_say_has_no_key(value) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        keys.digest(value)


TEXT = st.text(st.characters(codec="latin-1"), max_size=4)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=8,
)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.dictionaries(TEXT, JSON))
def test_a_digest_does_not_depend_on_the_order_of_keys(value) -> None:
    assert keys.digest(value) == keys.digest(dict(reversed(value.items())))


@settings(deadline=None, derandomize=True, max_examples=60)
@given(JSON, JSON)
def test_values_have_equal_digests_only_if_their_json_is_equal(one, two) -> None:
    assert (keys.digest(one) == keys.digest(two)) is (keys.canonical(one) == keys.canonical(two))


def test_a_digest_is_the_same_in_another_process() -> None:
    code = "from bench.contract.keys import digest; print(digest({'b': [1, 0.1], 'a': 'ü'}))"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert out.strip() == keys.digest({"a": "ü", "b": [1, 0.1]})


def test_a_seed_depends_on_stage_dataset_architecture_and_seed_and_on_nothing_else() -> None:
    assert list(inspect.signature(keys.seed_of).parameters) == [
        "stage",
        "dataset",
        "architecture",
        "seed",
    ]
    base = ("train", "toy-data", "toy-convnet", 0)
    others = [("probe", *base[1:]), ("train", "x", *base[2:]), (*base[:2], "x", 0), (*base[:3], 1)]
    assert len({keys.seed_of(*base), *(keys.seed_of(*o) for o in others)}) == 5


def test_a_seed_fits_into_what_torch_takes() -> None:
    seeds = [keys.seed_of("train", "d", "a", s) for s in range(200)]
    assert all(0 <= s < 2**63 for s in seeds)
    assert max(seeds) > 2**61  # and uses the room


def test_protocol_torch_and_the_type_of_device_are_in_every_key() -> None:
    cpu = keys.platform("cpu")
    assert set(cpu) == {"protocol", "torch", "device"}
    assert cpu["protocol"] == keys.PROTOCOL
    assert keys.platform("cuda:1") == keys.platform("cuda:0") != cpu


@dataclass(frozen=True)
class Component:
    name: str = "component"
    rate: float = 0.5
    shape: tuple[int, ...] = (1, 2)


def test_the_name_is_no_part_of_a_component_s_identity_and_its_fields_are() -> None:
    one = code.identity(Component(), ())
    assert one == code.identity(Component("other"), ())
    assert one != code.identity(Component(rate=0.25), ())
    assert one["class"].endswith(":Component")


def test_fields_are_said_as_json_gives_them_back() -> None:
    assert keys.parameters(Component()) == {"rate": 0.5, "shape": [1, 2]}
    assert keys.plain(((1, 2), (3,))) == [[1, 2], [3]]


# ---- the digest of code

Digest = Callable[..., str]


@pytest.fixture
def digest_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Digest]:
    """Write modules (a dot in the name: in a package), and digest the first of them."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def forget() -> None:
        for function in (
            code._closure,
            code._source,
            code._parsed,
            code._data_digest,
            code._data_stamps,
        ):
            function.cache_clear()
        for name in set(sys.modules) - before:
            if name.split(".")[0].startswith("plug"):
                del sys.modules[name]
        importlib.invalidate_caches()

    def digest(modules: dict[str, str], packages: tuple[str, ...] = ("plug", "pluglib")) -> str:
        for name, source in modules.items():
            path = tmp_path / (name.replace(".", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            for package in path.parents[: name.count(".")]:
                (package / "__init__.py").touch()
            path.write_text(source)
        forget()
        return code.code_digest(next(iter(modules)), packages)

    yield digest
    forget()


CODE = '''"""A module."""
class A:
    """A class."""
    x = 1
    def f(self, y):
        """A method."""
        return self.x + y
'''


@pytest.mark.parametrize(
    "variant",
    [
        CODE.replace("x = 1", "x = 1  # a comment"),
        CODE.replace("self.x + y", "(self.x\n            +  y)"),
        CODE.replace("A module", "Another docstring").replace('"""A class."""', "'''One.'''"),
        CODE.replace('        """A method."""\n', ""),
        CODE.replace("    def f", "\n\n\n    def f"),
    ],
    ids=["a comment", "formatting", "docstrings", "no docstring", "empty lines"],
)
def test_code_is_the_same_but_for(variant: str, digest_of: Digest) -> None:
    assert variant != CODE
    assert digest_of({"plug": variant}) == digest_of({"plug": CODE})


@pytest.mark.parametrize(
    "variant",
    [
        CODE.replace("x = 1", "x = 2"),
        CODE.replace("self.x + y", "self.x - y"),
        CODE.replace("self.x + y", "y + self.x"),
        CODE + "z = 1\n",
        CODE.replace("return", '"""A method."""; "no docstring"; return'),
    ],
    ids=["a constant", "an operator", "the order", "a statement", "a string that is none"],
)
def test_code_differs_by(variant: str, digest_of: Digest) -> None:
    assert digest_of({"plug": variant}) != digest_of({"plug": CODE})


IMPORTS = {
    "import pluglib": "pluglib",
    "import pluglib.deep": "pluglib.deep",
    "from pluglib import deep": "pluglib.deep",
    "from pluglib.deep import value": "pluglib.deep",
    "from pluglib.deep import *": "pluglib.deep",
    "def verb():\n    from pluglib.deep import value\n    return value": "pluglib.deep",
    "try:\n    import pluglib.deep as d\nexcept ImportError:\n    d = None": "pluglib.deep",
}


@pytest.mark.parametrize("source", IMPORTS, ids=lambda s: " ".join(s.split()))
def test_code_that_is_imported_from_a_plugin_package_counts(source: str, digest_of: Digest) -> None:
    module = IMPORTS[source]
    one = digest_of({"plug": source, module: "value = 1\n"})
    two = digest_of({"plug": source, module: "value = 2\n"})
    assert one != two


RELATIVE = {
    "from . import part": "plug.part",
    "from .part import value": "plug.part",
    "from .deep import part": "plug.deep.part",
}


@pytest.mark.parametrize("source", RELATIVE)
def test_relative_imports_are_followed(source: str, digest_of: Digest) -> None:
    modules = {"plug.main": source, RELATIVE[source]: "value = 1\n"}
    one = digest_of(modules)
    assert one != digest_of({**modules, RELATIVE[source]: "value = 2\n"})


def test_relative_imports_go_up_too(digest_of: Digest) -> None:
    modules = {"plug.deep.main": "from ..part import value", "plug.part": "value = 1\n"}
    one = digest_of(modules)
    assert one != digest_of({**modules, "plug.part": "value = 2\n"})


def test_files_that_a_package_has_beside_its_code_count(digest_of: Digest, tmp_path: Path) -> None:
    modules = {"plug.main": "from pluglib.deep import value", "pluglib.deep": "value = 1\n"}
    plain = digest_of(modules)
    (tmp_path / "pluglib" / "py.typed").touch()
    assert digest_of(modules) == plain
    weights = tmp_path / "pluglib" / "data" / "weights.json"
    weights.parent.mkdir()
    weights.write_text("[1]")
    first = digest_of(modules)
    weights.write_text("[2]")
    assert len({plain, first, digest_of(modules)}) == 3


def test_files_beside_a_module_that_is_no_package_are_nobodys(
    digest_of: Digest, tmp_path: Path
) -> None:
    plain = digest_of({"plug": CODE})
    (tmp_path / "notes.json").write_text("[1]")
    assert digest_of({"plug": CODE}) == plain


def test_an_import_in_the_init_of_a_package_is_relative_to_the_package(digest_of: Digest) -> None:
    modules = {"pluglib.__init__": "from .part import value", "pluglib.part": "value = 1\n"}
    main = {"plug": "from pluglib import value"}
    one = digest_of(main | modules)
    assert one != digest_of(main | modules | {"pluglib.part": "value = 2\n"})


def test_imports_are_followed_at_any_depth_and_round_a_circle(digest_of: Digest) -> None:
    chain = {"plug.a": "from plug import b", "plug.b": "from plug import c"}
    chain["plug.c"] = "import plug.a"
    one = digest_of(chain)
    assert one != digest_of({**chain, "plug.c": "import plug.a\nx = 1"})


def test_the_init_of_a_package_counts_where_something_of_its_own_is_imported(
    digest_of: Digest,
) -> None:
    source = "from pluglib import EPSILON, part"
    modules = {"plug": source, "pluglib.__init__": "EPSILON = 1\n", "pluglib.part": ""}
    one = digest_of(modules)
    assert one != digest_of(modules | {"pluglib.__init__": "EPSILON = 2\n"})


@pytest.mark.parametrize(
    "source", ["from pluglib.part import value", "from pluglib import part", "import pluglib.part"]
)
def test_the_init_of_a_package_does_not_count_where_a_module_is_imported(
    source: str, digest_of: Digest
) -> None:
    modules = {"plug": source, "pluglib.__init__": "x = 1\n", "pluglib.part": "value = 1\n"}
    one = digest_of(modules)
    assert one == digest_of(modules | {"pluglib.__init__": "x = 2\n"})


def test_code_outside_of_plugin_packages_does_not_count(digest_of: Digest) -> None:
    source = "import plugother, json, torch\n"
    one = digest_of({"plug": source, "plugother": "value = 1\n"})
    assert one == digest_of({"plug": source, "plugother": "value = 2\n"})


def test_a_module_that_is_not_imported_does_not_count(digest_of: Digest) -> None:
    one = digest_of({"plug.a": "x = 1", "plug.b": "y = 1"})
    assert one == digest_of({"plug.a": "x = 1", "plug.b": "y = 2"})


def test_digesting_code_runs_none_of_it(digest_of: Digest) -> None:
    digest_of(
        {
            "plug": "def verb():\n    from pluglib.heavy import load, absent",
            "pluglib.heavy": "raise SystemExit('this must not run')",
        }
    )
    assert not {"plug", "pluglib", "pluglib.heavy"} & set(sys.modules)


def test_the_versions_of_the_libraries_that_code_imports_belong_to_its_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "needylib.py").write_text("import os, torch\ndef verb():\n    import filelock\n")
    importlib.invalidate_caches()
    found = code.requirements("needylib", {"needylib"})
    assert found == {"filelock": importlib.metadata.version("filelock")}
