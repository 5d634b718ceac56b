"""The identity of a component: its class, its fields, and the code that it runs."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.machinery import PathFinder
from importlib.metadata import Distribution, distribution, packages_distributions, version
from pathlib import Path
from typing import Any

from bench.contract.files import stamp
from bench.contract.keys import digest, parameters

OURS = {"bench", "torch", ""}  # PROTOCOL and `platform` speak for these
CODE = {".py", ".pyi", ".pyc", ".pyo", ".md", ".rst"}  # what is parsed, and what is only read
METADATA = {"METADATA", "PKG-INFO"}  # of wheels and of eggs
NO_DATA = {"py.typed", ".DS_Store"}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def code_digest(module: str, packages: Collection[str]) -> str:
    """Digest of the source of `module` and of what it imports from `packages`, at any depth.

    `packages` are the top-level packages of plugin distributions. Comments, formatting and
    docstrings do not count, so that only code that can change a result changes a key; nor does
    the `__init__` of a package whose modules are imported, since it lists all components. Files
    that a package has beside its code (weights, statistics) count whole.
    """
    return digest(_closure(module, frozenset(packages))[0])


def requirements(module: str, packages: Collection[str]) -> dict[str, str]:
    """The distributions outside `packages` that the code of `module` imports: their versions.

    An attack that a library computes is another attack when the library changes.
    """
    return {name: _release(name) for name in _libraries(module, frozenset(packages))}


def _libraries(module: str, packages: frozenset[str]) -> list[str]:
    return sorted({name for top in _closure(module, packages)[1] for name in owners(top)})


def release(name: str) -> str:
    """The version of an installed distribution, as Python finds it now.

    Where PYTHONPATH puts other files in its place, or an editable installation does, a version
    says little: a digest of the source of these follows it.
    """
    files = _instead(distribution(name))
    if not files:
        return version(name)
    content = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    return f"{version(name)}+{digest(content)}"


def _instead(installed: Distribution) -> list[Path]:
    """The source files that Python finds in the place of those of an installed distribution."""
    home = Path(str(installed.locate_file(""))).resolve()
    tops = {*(installed.read_text("top_level.txt") or "").split()} or {
        file.parts[0].removesuffix(".py") for file in installed.files or () if file.suffix == ".py"
    }
    found = {path for top in tops if (path := _source(top)) and home not in path.parents}
    return [
        file
        for path in sorted(found)
        for file in ([path] if path.name != "__init__.py" else sorted(path.parent.rglob("*.py")))
    ]


@cache
def _release(name: str) -> str:
    _library_stamps(name)  # before they are read: a change in between is seen
    return release(name)


@cache
def _library_stamps(name: str) -> Mapping[str, list[Any]]:
    """Stamps of the files that tell what a library is: an installer writes its metadata anew."""
    installed = distribution(name)
    about = (Path(str(f.locate())) for f in installed.files or () if f.name in METADATA)
    return {str(path): stamp(str(path)) for path in (*about, *_instead(installed))}


def owners(top: str) -> tuple[str, ...]:
    """The distributions that provide a top-level package; none for the standard library."""
    return tuple(dict.fromkeys(_owners().get(top, ())))


@dataclass(frozen=True)
class Code:
    """The code that a key speaks of: digests of modules, and versions of what they import.

    `files` are stamps of what may be read at any time, unseen: data beside the code, libraries.
    """

    modules: Mapping[str, str] = field(default_factory=dict)
    requires: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, list[Any]] = field(default_factory=dict)


def code_of(modules: Iterable[str], packages: Collection[str]) -> Code:
    """What `code_digest` and `requirements` have seen of some modules, but for what is ours."""
    return _code_of(tuple(sorted(set(modules))), frozenset(packages))


@cache
def _code_of(modules: tuple[str, ...], packages: frozenset[str]) -> Code:
    found: dict[str, str] = {}
    requires: dict[str, str] = {}
    files: dict[str, list[Any]] = {}
    for module in modules:
        closure = _closure(module, packages)[0]
        found |= closure
        requires |= requirements(module, packages)
        for name in _libraries(module, packages):
            files |= _library_stamps(name)
        for top in {name.split(".")[0] for name in closure} & packages:
            files |= _data_stamps(top)
    return Code({m: d for m, d in found.items() if m.split(".")[0] not in OURS}, requires, files)


@cache
def _owners() -> Mapping[str, list[str]]:
    return packages_distributions()


@cache
def _closure(module: str, packages: frozenset[str]) -> tuple[Mapping[str, str], frozenset[str]]:
    """(digests of the code by module, top-level packages that it imports from elsewhere)."""
    found: dict[str, str] = {}
    outside: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        top = name.split(".")[0]
        if name in found:
            continue
        if top not in packages and name != module:
            outside |= {top} - OURS
            continue
        path = _source(name)
        if path is None:
            continue
        tree, imports = _parsed(path, name)
        found[name] = tree
        if top in packages and (data := _data_digest(top)):
            found[f"{top}, data"] = data
        for choices in imports:
            inside = (c for c in choices if c.split(".")[0] in packages and _source(c))
            waiting.append(next(inside, choices[0]))
    return found, frozenset(outside)


@cache
def _data_digest(package: str) -> str:
    """Digest of the files in a package that are no code; "" if it has none, or is ours."""
    init = _source(package)
    files = [Path(path) for path in _data_stamps(package)]
    if init is None or not files:
        return ""
    return digest({path.relative_to(init.parent).as_posix(): _content(path) for path in files})


@cache
def _data_stamps(package: str) -> Mapping[str, list[Any]]:
    """Stamps of the files in a package that are no code, by their paths."""
    init = _source(package)
    if package in OURS or init is None or init.name != "__init__.py":
        return {}
    return {
        str(path): stamp(str(path))
        for path in sorted(init.parent.rglob("*"))
        if path.is_file() and path.suffix not in CODE and path.name not in NO_DATA
    }


def _content(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def _source(module: str) -> Path | None:
    """The source file of a module, found without importing its package."""
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # a module made by hand
        return None
    name = top
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:  # a function, not a module
            return None
        name = f"{name}.{part}"
        spec = PathFinder.find_spec(name, spec.submodule_search_locations)
    origin = spec.origin if spec else None
    return Path(origin).resolve() if origin and origin.endswith(".py") else None


def source_digest(module: str) -> str:
    """Digest of the source of a module as it lies on the disk now; "" if there is none."""
    path = _source(module)
    return parsed(path.read_bytes(), path, module)[0] if path else ""


@cache
def _parsed(path: Path, module: str) -> tuple[str, tuple[tuple[str, ...], ...]]:
    return parsed(path.read_bytes(), path, module)


def parsed(source: bytes, path: Path, module: str) -> tuple[str, tuple[tuple[str, ...], ...]]:
    """(digest of the syntax tree without docstrings, what each import may mean: first that is)."""
    tree = ast.parse(source)
    is_package = path.name == "__init__.py"
    imports: list[tuple[str, ...]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [(alias.name,) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")
                parents = parents[: len(parents) - node.level + is_package]
                base = ".".join([*parents, base] if base else parents)
            imports += [(f"{base}.{alias.name}", base) for alias in node.names]
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
    text = ast.dump(tree, annotate_fields=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16], tuple(imports)


def identity(component: Any, packages: Collection[str]) -> dict[str, Any]:
    """What a component is, for keys: its class, its fields without the name, its code's digest.

    The name is left out on purpose: two names for one thing share their work.
    """
    kind = type(component)
    return {
        "class": f"{kind.__module__}:{kind.__qualname__}",
        "fields": parameters(component),
        "code": code_digest(kind.__module__, packages),
        "requires": requirements(kind.__module__, packages),
    }
