"""The first import of a distribution is made by a child, which alone pays for what it does."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.contract import vetting
from bench.contract.errors import BenchError
from bench.contract.registry import Registry, discover

GOOD = """
from dataclasses import dataclass
from bench import hookimpl

@dataclass(frozen=True)
class Method:
    name: str = "{name}"
    def condense(self, task): ...

@hookimpl
def bench_methods(): return [Method()]
"""
HOOK = "from bench import hookimpl\n@hookimpl\ndef bench_methods():\n    "

Site = Callable[..., list[importlib.metadata.EntryPoint]]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """`site(bad="source")`: installs distributions; returns the entry points of all so far."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv(vetting.CACHE, str(tmp_path / "cache"))
    monkeypatch.setattr(vetting, "SECONDS", 20.0)
    before = set(sys.modules)

    def write(**sources: str) -> list[importlib.metadata.EntryPoint]:
        for name, source in sources.items():
            (folder / f"{name}.py").write_text(source)
            info = folder / f"{name}-1.0.dist-info"
            info.mkdir(exist_ok=True)
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
            (info / "entry_points.txt").write_text(f"[bench]\n{name} = {name}\n")
        importlib.invalidate_caches()
        found = importlib.metadata.distributions(path=[str(folder)])
        return [p for d in found for p in d.entry_points if p.group == "bench"]

    yield write
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(folder)):
            del sys.modules[name]


def good(name: str) -> str:
    return GOOD.format(name=name)


def only_reason(registry: Registry) -> str:
    (broken,) = registry.broken
    return broken.reason


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The distributions that children have been asked about, a list for each time."""
    heard: list[list[str]] = []
    real = vetting._first_imports

    def listening(points: vetting.Points) -> dict[str, str]:
        heard.append(sorted(points))
        return real(points)

    monkeypatch.setattr(vetting, "_first_imports", listening)
    return heard


# ---- what a plugin does to its process costs itself alone

FATAL = {
    "import os\nos._exit(3)": "the import of bad ended its process with exit code 3",
    "import os\nos._exit(0)": "the import of bad ended its process with exit code 0",
    "import os\nos.abort()": "the import of bad crashed its process (SIGABRT)",
    "import ctypes\nctypes.string_at(0)": "the import of bad crashed its process (SIGSEGV)",
    "raise KeyboardInterrupt": "the import of bad raised KeyboardInterrupt",
    "class Odd(BaseException): ...\nraise Odd": "the import of bad raised Odd",
    "print('hello')": "the import of bad prints 'hello'; expected silence",
    "import sys\nsys.stderr.write('oh')": "the import of bad prints 'oh'; expected silence",
    "import os\nos.write(1, b'\\x1b[31mC')": "the import of bad prints '[31mC'; expected silence",
    "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()": (
        "starts a thread that keeps every command from ending"
    ),
    HOOK + "print('hook')\n    return []": "the import of bad prints 'hook'; expected silence",
    HOOK + "raise KeyboardInterrupt": "the import of bad raised KeyboardInterrupt",
    HOOK + "import os; os._exit(7)": "the import of bad ended its process with exit code 7",
    "import os\nos.closerange(3, 100)\nimport time\ntime.sleep(60)": (
        "the import of bad closed the files of its process"
    ),
}


@pytest.mark.parametrize("source", FATAL)
def test_an_import_that_harms_its_process_costs_that_distribution_alone(
    source: str, site: Site, capfd: pytest.CaptureFixture[str]
) -> None:
    registry = discover(site(anterior=good("first"), bad=source, other=good("last")))
    assert [entry.name for entry in registry.entries] == ["first", "last"]
    (broken,) = registry.broken
    assert broken.distribution == "bad"
    assert FATAL[source] in broken.reason
    assert "bad" not in sys.modules
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("source", "seconds"),
    [("import time\ntime.sleep(600)", "[34]"), (HOOK + "while True: pass", "[56]")],
    ids=["waits", "computes"],
)
def test_an_import_that_hangs_is_given_up_and_what_it_started_ends(
    source: str, seconds: str, site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(vetting, "SECONDS", 3.0)
    monkeypatch.setattr("bench.contract.limits.PATIENCE", 1.5)
    pid = tmp_path / "pid"
    source = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(pid)!r}, 'w').write(str(child.pid))\n{source}"
    )
    registry = discover(site(bad=source, other=good("last")))
    assert [entry.name for entry in registry.entries] == ["last"]
    told = f"the import of bad did not end within {seconds} s"
    assert re.fullmatch(told, only_reason(registry))
    until = time.monotonic() + 20
    while _runs(int(pid.read_text())):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_an_import_that_is_slow_since_it_computes_is_waited_for(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vetting, "SECONDS", 0.5)
    monkeypatch.setattr("bench.contract.limits.PATIENCE", 100)  # whatever else the machine does
    slow = "import time\nwhile time.process_time() < 2: pass\n" + good("slow")
    assert [entry.name for entry in discover(site(slow=slow)).entries] == ["slow"]


def _runs(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("raise SystemExit('no licence')", "SystemExit: no licence"),
        ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'"),
        (
            "raise RuntimeError('\\x1b[2J\\u202eX\\ud800' * 90_000)",
            "entry point bad = bad of bad: RuntimeError: [2JX\N{REPLACEMENT CHARACTER}[2JX",
        ),
        ("input()", "EOFError"),
    ],
)
def test_an_exception_at_import_is_told_in_one_clean_sentence(
    source: str, words: str, site: Site
) -> None:
    reason = only_reason(discover(site(bad=source)))
    assert words in reason
    assert len(reason) <= 2000
    assert reason.isprintable()


def test_code_in_the_current_folder_is_not_run(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = site(acme=good("good"))
    here = tmp_path / "here"
    here.mkdir()
    for name in ("json", "selectors", "pluggy", "random"):
        (here / f"{name}.py").write_text(f"open({str(here / 'ran')!r}, 'w')\n1 / 0\n")
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    assert vetting.refused(vetting.by_distribution(points)) == {}
    assert not (here / "ran").exists()


def test_what_an_import_changes_of_our_process_is_put_back(site: Site, tmp_path: Path) -> None:
    source = f"""
import builtins, gc, locale, os, signal, socket, sys, warnings
socket.setdefaulttimeout(0.001)
builtins.sorted = builtins.print = lambda *given, **named: 1 / 0
sys.setrecursionlimit(sys.getrecursionlimit() - 7)
gc.disable()
os.umask(0o777)
os.environ["ACME"] = "1"
os.environ.pop("HOME", None)
os.chdir({str(tmp_path)!r})
sys.path.insert(0, "/nowhere")
sys.stdout = sys.stderr = None
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGINT, signal.SIG_IGN)
warnings.simplefilter("ignore")
locale.setlocale(locale.LC_ALL, "C")
{good("good")}"""

    def state() -> list[object]:
        import gc
        import locale
        import socket
        import warnings

        os.umask(mask := os.umask(0))
        own = [
            print,
            sorted,
            sys.getrecursionlimit(),
            gc.isenabled(),
            mask,
            socket.getdefaulttimeout(),
        ]
        handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
        streams = [sys.stdin, sys.stdout, sys.stderr]
        rest = [dict(os.environ), list(sys.path), list(warnings.filters), locale.setlocale(6)]
        return [os.getcwd(), *own, *handlers, *streams, *rest]

    points = site(acme=source)
    before = state()
    registry = discover(points)
    assert [entry.name for entry in registry.entries] == ["good"]
    assert state() == before


# ---- what is remembered


def test_a_distribution_is_imported_by_a_child_once(site: Site, asked: list[list[str]]) -> None:
    points = site(acme=good("good"), bad="print(1)")
    first = discover(points)
    assert discover(points) == first
    assert asked == [["acme", "bad"]]


def test_an_edit_asks_again_about_that_distribution_alone(
    site: Site, asked: list[list[str]]
) -> None:
    discover(site(acme=good("good"), bad="print(1)"))
    assert discover(site(bad=good("mended"))).broken == ()
    assert asked == [["acme", "bad"], ["bad"]]


def test_an_edit_of_a_module_beside_asks_again(
    site: Site, asked: list[list[str]], tmp_path: Path
) -> None:
    points = site(acme=good("good"))
    info = tmp_path / "site" / "acme-1.0.dist-info"
    (info / "RECORD").write_text("acme.py,,\nhelper/__init__.py,,\nacme-1.0.dist-info/RECORD,,\n")
    (tmp_path / "site" / "helper").mkdir()
    for text in ("", "x = 1", "x = 1"):
        (tmp_path / "site" / "helper" / "__init__.py").write_text(text)
        discover(points)
    assert asked == [["acme"], ["acme"]]


def test_what_was_refused_is_tried_again_when_asked(site: Site, asked: list[list[str]]) -> None:
    points = site(acme=good("good"), bad="print(1)")
    discover(points)
    discover(points, again=True)
    assert asked == [["acme", "bad"], ["bad"]]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"[" * 100_000, b'{"x": 5}', b"\xff\xfe", b'{"x": {"y": []}}']
)
def test_a_damaged_cache_costs_time_alone(
    content: bytes, site: Site, tmp_path: Path, asked: list[list[str]]
) -> None:
    (tmp_path / "cache").mkdir()
    file = tmp_path / "cache" / "plugins.json"
    file.write_bytes(content)
    points = site(acme=good("good"))
    assert discover(points) == discover(points)
    assert asked == [["acme"]]
    assert list(json.loads(file.read_text()).values()) == [""]
    assert list((tmp_path / "cache").iterdir()) == [file]


def test_a_cache_that_cannot_be_written_costs_time_alone(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[list[str]]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(vetting.CACHE, str(tmp_path / "file" / "cache"))
    points = site(acme=good("good"))
    assert discover(points) == discover(points)
    assert len(asked) == 2


def test_the_cache_lies_where_the_user_has_caches(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(vetting.CACHE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert vetting._file() == tmp_path / "condensation-bench" / "plugins.json"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert vetting._file() == tmp_path / ".cache" / "condensation-bench" / "plugins.json"


def test_the_cache_does_not_grow_for_ever(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vetting, "KEPT", 3)
    for number in range(5):
        vetting._remember({str(number): ""})
    assert list(vetting._remembered()) == ["2", "3", "4"]


def test_a_python_that_cannot_import_bench_is_named(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = site(acme=good("good"))
    monkeypatch.setattr(vetting, "START", "1 / 0")
    with pytest.raises(BenchError, match=r"plugins cannot be tried: .* cannot import bench"):
        discover(points)


def test_the_child_loads_no_torch() -> None:
    import subprocess

    code = "import sys, bench.contract.first_import; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
