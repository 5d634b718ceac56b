"""The laws of the harness that no single module can keep on its own."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import pytest

import bench
from bench import checks, cli, training

ROOT = Path(__file__).parents[1]
BENCH = Path(bench.__file__).parent
SOURCES = sorted(BENCH.rglob("*.py"))
PLUGIN_SOURCES = sorted((ROOT / "plugins").glob("*/src/**/*.py"))
HEAVY = (
    *("torch", "torchvision", "diffusers", "timm", "torchattacks", "ot", "sklearn"),
    *("cv2", "imagecorruptions", "numba", "PIL", "skimage"),
)
LIGHT = ("contract", "store", "records", "tracks", "board", "report")
NOT_THERE = (*HEAVY, "psutil", "multiprocessing")  # what the light rooms do not load


def outcome(code: str, *arguments: str) -> Any:
    """What a fresh process prints on its last line, as JSON."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


RUN = """
import json, sys
from bench.cli import main
try:
    main()
    code = 0
except SystemExit as error:
    code = error.code or 0
print()
print(json.dumps([code, sorted({name.split(".")[0] for name in sys.modules})]))
"""


def loaded_by(*arguments: str) -> set[str]:
    """Top-level modules that a command has loaded when it ends well."""
    code, modules = outcome(RUN, *arguments)
    assert code == 0
    return set(modules)


@pytest.fixture(scope="module")
def installed() -> dict[str, list[str]]:
    """Names of components and packages of the plugins that are installed here."""
    code = """
import json
from bench.contract.registry import discover
found = discover()
names = sorted({entry.name for entry in found.entries})
print(json.dumps({"names": names, "packages": sorted(found.packages)}))
"""
    found: dict[str, list[str]] = outcome(code)
    if not found["names"]:
        pytest.skip("no plugin is installed")
    return found


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(path.read_bytes())))


@pytest.fixture(scope="module", autouse=True)
def _forgotten() -> Iterator[None]:
    """Trees are parsed once for all laws, and not kept for the tests of other files."""
    yield
    nodes.cache_clear()


def offenders(
    paths: Iterable[Path], found: Callable[[Path], Collection[str]]
) -> dict[str, list[str]]:
    """What breaks a law, by the file that it stands in: {} if nothing does."""
    assert paths
    told = {path.relative_to(ROOT).as_posix(): sorted(found(path)) for path in paths}
    return {path: what for path, what in told.items() if what}


def imported(path: Path) -> set[str]:
    found = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def strings(path: Path) -> set[str]:
    return {
        node.value
        for node in nodes(path)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


# ---- 1: bench names nobody


def test_bench_names_no_installed_component(installed: dict[str, list[str]]) -> None:
    # A teacher has the first name; here it is the key of kept pictures, and part of a probe's
    # content. A method has the second, which is a function of ours; metrics have the next two,
    # which are English. The others are modules of ours.
    words = {"adversarial", "dsa", "is", "score", *(source.stem for source in SOURCES)}
    named = {*installed["names"], *installed["packages"]} - words
    assert offenders(SOURCES, lambda path: strings(path) & named) == {}


def test_bench_imports_no_plugin(installed: dict[str, list[str]]) -> None:
    foreign = {*installed["packages"], *HEAVY} - {
        "torch",
        "PIL",  # what draws the pictures of a board
        "scipy",  # what tests figures, inside functions: the light rooms do not load it
    }
    assert offenders(SOURCES, lambda path: imported(path) & foreign) == {}
    # nor does it name a module of theirs that a server of workers should import
    named = offenders(SOURCES, lambda path: {t.split(".")[0] for t in strings(path)} & foreign)
    assert named == {}


# ---- 7: imports run down one way, and discovery is light


def test_imports_run_down_one_way() -> None:
    pytest.importorskip("importlinter")
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


def modules(root: Path) -> dict[str, Path]:
    """The modules below a folder, by name."""
    named = {p: p.relative_to(root).with_suffix("").parts for p in root.rglob("*.py")}
    return {".".join(parts).removesuffix(".__init__"): path for path, parts in named.items()}


def running(node: ast.AST) -> Iterator[ast.AST]:
    """What is below a node, but for what only type checkers read."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.If) or "TYPE_CHECKING" not in ast.unparse(child.test):
            yield child
            yield from running(child)


def imports_of(paths: dict[str, Path]) -> dict[str, set[str]]:
    """Which modules import which, also inside functions."""
    found: dict[str, set[str]] = {name: set() for name in paths}
    for name, path in paths.items():
        for node in running(ast.parse(path.read_bytes())):
            if isinstance(node, ast.ImportFrom):
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                found[name] |= (inner & paths.keys()) or ({str(node.module)} & paths.keys())
            elif isinstance(node, ast.Import):
                found[name] |= {alias.name for alias in node.names} & paths.keys()
    return {name: imports - {name} for name, imports in found.items()}


HOUSES = [ROOT, *sorted((ROOT / "plugins").glob("*/src"))]


@pytest.mark.parametrize(
    "root", HOUSES, ids=lambda p: p.parent.name if p.name == "src" else "bench"
)
def test_no_imports_go_round_in_a_circle(root: Path) -> None:
    paths = {n: p for n, p in modules(root).items() if root != ROOT or BENCH in p.parents}
    assert [*TopologicalSorter(imports_of(paths)).static_order()]


def test_the_scan_for_circles_sees(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("def verb():\n    import two\n")
    (tmp_path / "two.py").write_text("from one import verb\n")
    with pytest.raises(CycleError):
        TopologicalSorter(imports_of(modules(tmp_path))).prepare()


LONGEST = 60  # lines of a function, with its docstring


def long_functions(path: Path) -> list[str]:
    functions = (n for n in nodes(path) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    return [f.name for f in functions if (f.end_lineno or 0) - f.lineno >= LONGEST]


def test_no_function_is_longer_than_a_screen() -> None:
    assert offenders([*SOURCES, *PLUGIN_SOURCES], long_functions) == {}


@pytest.mark.parametrize(("lines", "found"), [(59, []), (60, ["f"])])
def test_the_scan_for_long_functions_counts_all_lines(
    lines: int, found: list[str], tmp_path: Path
) -> None:
    (tmp_path / "it.py").write_text("def f():\n" + "    pass\n" * lines)
    assert long_functions(tmp_path / "it.py") == found


def test_every_room_stands_on_a_floor() -> None:
    contracts = (ROOT / "pyproject.toml").read_text().split("[tool.importlinter]")[1]
    rooms = {p.stem for p in BENCH.glob("*.py")} | {p.parent.name for p in BENCH.glob("*/*.py")}
    rooms -= {"__init__", "__main__"}
    homeless = {r for r in rooms if f"bench.{r} " not in contracts.replace('"', " ")}
    assert homeless == set()


def test_few_doors_and_no_module_beside_the_rooms() -> None:
    doors = {"__init__.py", "__main__.py", "cli.py", "display.py"}
    assert {path.name for path in BENCH.glob("*.py")} == doors


def test_the_light_rooms_load_no_heavy_library() -> None:
    modules = [
        f"bench.{'.'.join(path.relative_to(BENCH).with_suffix('').parts)}"
        for room in LIGHT
        for path in sorted((BENCH / room).glob("*.py"))
        if path.stem != "__init__"
    ]
    code = f"""
import importlib, json, sys
import bench
heavy = {{"bench": [m for m in {NOT_THERE!r} if m in sys.modules]}}
for name in {modules!r}:
    importlib.import_module(name)
    heavy[name] = [m for m in {NOT_THERE!r} if m in sys.modules]
print(json.dumps(heavy))
"""
    found = outcome(code)
    assert len(found) > 15
    assert {name for name, heavy in found.items() if heavy} == set()


@pytest.mark.parametrize("room", LIGHT)
def test_a_light_room_loads_no_torch_no_processes_and_no_plugin(
    room: str, installed: dict[str, list[str]]
) -> None:
    paths = sorted((BENCH / room).glob("*.py"))
    modules = [f"bench.{room}", *(f"bench.{room}.{p.stem}" for p in paths if p.stem[0] != "_")]
    code = f"""
import importlib, json, sys
for name in {modules!r}:
    importlib.import_module(name)
print(json.dumps(sorted({{name.split(".")[0] for name in sys.modules}})))
"""
    forbidden = {"torch", "psutil", "multiprocessing", *installed["packages"]}
    assert set(outcome(code)) & forbidden == set()


@pytest.mark.parametrize("package", ["bench", "bench.checks", "bench.training"])
def test_what_authors_import_loads_no_torch(package: str) -> None:
    code = f"import json, sys, {package}; print(json.dumps(sorted(sys.modules)))"
    assert not {name.split(".")[0] for name in outcome(code)} & set(HEAVY)


def test_a_plan_is_shown_without_torch(tmp_path: Path, installed: dict[str, list[str]]) -> None:
    if "digits" not in installed["names"]:
        pytest.skip("the demo's plugins are not installed")
    store = ("--store", str(tmp_path / "store"))
    loaded = loaded_by("run", str(ROOT / "leaderboards" / "demo"), "--dry-run", *store)
    assert not loaded & set(HEAVY)


PUBLIC = {"bench": set(bench.__all__), "bench.checks": set(checks.__all__)} | {
    f"bench.training.{module}": set(names) for module, names in training.PUBLIC.items()
}


def private(path: Path) -> set[str]:
    """What a source imports of `bench` beside its public names, as "module:name"."""
    found, modules = set(), {}
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name.split(".")[0] == "bench"}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "bench":
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in PUBLIC:
                    modules[alias.asname or alias.name] = PUBLIC[inner]
                elif alias.name not in PUBLIC.get(str(node.module), set()):
                    found.add(f"{node.module}:{alias.name}")
    for node in nodes(path):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            names = modules.get(node.value.id)
            if names is not None and node.attr not in names:
                found.add(f"{node.value.id}:{node.attr}")
    return found


def test_our_plugins_import_what_every_author_may() -> None:
    assert offenders(PLUGIN_SOURCES, private) == {}


@pytest.mark.parametrize(
    "source",
    [
        "import bench.stages.probing",
        "from bench.stages.probing import probe",
        "from bench.training import sets",
        "from bench.training.networks import build",
        "def verb():\n    from bench.training import networks\n    networks.build(1)",
    ],
)
def test_the_scan_for_private_names_sees(source: str, tmp_path: Path) -> None:
    (tmp_path / "it.py").write_text(source)
    assert private(tmp_path / "it.py")


def test_discovery_loads_no_heavy_library(installed: dict[str, list[str]]) -> None:
    loaded = loaded_by("plugins")
    assert set(installed["packages"]) <= loaded
    assert not loaded & set(HEAVY)


# ---- 8: the table path


def test_tables_are_made_without_torch_and_plugins(
    tmp_path: Path, installed: dict[str, list[str]]
) -> None:
    (tmp_path / "matrix.toml").write_text(
        'title = "Empty"\ndatasets = ["d"]\nmethods = ["m"]\nipc = [1]\n'
        'architectures = ["a"]\nattacks = ["x"]\nmetrics = ["y"]\n'
    )
    loaded = loaded_by("leaderboard", str(tmp_path))
    assert "pandas" in loaded
    assert not loaded & {*HEAVY, *installed["packages"]}
    assert (tmp_path / "table.csv").exists()


# ---- 10: nothing from outside is unpickled

OWN_PIPE = {"local.py", "worker.py"}  # pickles go to and from processes that we have started
HARMLESS = [p for p in PLUGIN_SOURCES if p.match("bench_standard/datasets/cifar.py")]
UNPICKLERS = {
    "pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
    "jsonpickle",
}
BUILTINS = {"eval", "exec", "compile", "__import__"}


def unsafe(tree: Iterable[ast.AST]) -> list[str]:
    """Whatever runs code out of data, by the name that it is called by."""
    found = []
    for node in tree:
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.split(".")[0] in UNPICKLERS]
        elif isinstance(node, ast.ImportFrom):
            found += [node.module] if (node.module or "").split(".")[0] in UNPICKLERS else []
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if isinstance(node.func, ast.Name) and called in BUILTINS:
                found.append(called)
            if called in ("torch.load", "torch.jit.load", "yaml.load") or "read_pickle" in called:
                tensors_alone = any(ast.unparse(k) == "weights_only=True" for k in node.keywords)
                found += [] if called == "torch.load" and tensors_alone else [called]
            if any(k.arg == "allow_pickle" for k in node.keywords):
                found.append("allow_pickle")
    return found


def test_nothing_from_outside_is_unpickled() -> None:
    allowed = {BENCH / "engine" / name for name in OWN_PIPE} | {*HARMLESS}

    def opened(path: Path) -> set[str]:
        return {*unsafe(nodes(path))} - ({"pickle"} if path in allowed else set())

    assert offenders([*SOURCES, *PLUGIN_SOURCES], opened) == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "import torch\ntorch.load(path)",
        "eval(text)",
        "exec(text)",
        "np.load(path, allow_pickle=True)",
        "pd.read_pickle(path)",
    ],
)
def test_the_scan_for_unpickling_sees(source: str) -> None:
    assert unsafe(ast.walk(ast.parse(source)))


@pytest.mark.parametrize(
    "source", ["model.eval()", "re.compile(x)", "np.load(path)", "json.load(f)"]
)
def test_the_scan_for_unpickling_leaves_alone(source: str) -> None:
    assert not unsafe(ast.walk(ast.parse(source)))


def test_pickles_are_read_off_the_pipe_alone() -> None:
    """What is unpickled are the bytes that a process of ours has sent, never a file."""
    reads = {}
    for name in OWN_PIPE:
        calls = [n for n in nodes(BENCH / "engine" / name) if isinstance(n, ast.Call)]
        reads[name] = [ast.unparse(c) for c in calls if "pickle.load" in ast.unparse(c.func)]
    assert reads == {
        "local.py": [],  # what workers send is JSON
        "worker.py": ["pickle.loads(data)", "pickle.loads(payload)"],
    }


@pytest.mark.parametrize("path", HARMLESS, ids=lambda p: p.name)
def test_a_foreign_pickle_is_read_by_an_unpickler_that_knows_its_names(path: Path) -> None:
    """Its one use of pickle is a subclass whose `find_class` gives a stand-in, or raises."""
    used = {ast.unparse(n) for n in nodes(path) if ast.unparse(n).startswith("pickle.")}
    assert used <= {"pickle.Unpickler", "pickle.UnpicklingError"} | {
        u for u in used if u.startswith("pickle.UnpicklingError(")
    }
    [reader] = [
        n
        for n in nodes(path)
        if isinstance(n, ast.ClassDef) and n.bases and ast.unparse(n.bases[0]) == "pickle.Unpickler"
    ]
    [find] = [n for n in reader.body if isinstance(n, ast.FunctionDef)]
    returned = [ast.unparse(n.value) for n in ast.walk(find) if isinstance(n, ast.Return)]
    assert (find.name, returned) == ("find_class", ["_Part"])


# ---- the command line


def test_the_verbs_are_few_and_frozen() -> None:
    verbs = [c.name or getattr(c.callback, "__name__", "") for c in cli.app.registered_commands]
    assert verbs == [
        *(
            "plugins",
            "show",
            "check",
            "run",
            "leaderboard",
            "submit",
            "audit",
            "site",
            "row",
            "export",
        ),
        *("import", "new", "convert", "store"),
    ]
    assert cli.app.registered_groups == []


def test_bench_exports_what_an_author_imports() -> None:
    assert set(bench.__all__) >= {"CondensedSet", "Selection", "Task", "Trial", "Unsupported"}
    assert "hookimpl" in bench.__all__
    assert all(hasattr(bench, name) for name in bench.__all__)
