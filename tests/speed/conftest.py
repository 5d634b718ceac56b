"""What the suites share: CPU seconds, one thread, peak memory, and a note under the tables.

CPU seconds, since other work on the machine stretches those of the wall clock. Both sides of a
pair have the allocator settings of the harness's workers: large blocks and their pages stay.
"""

import ctypes
import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from threadpoolctl import threadpool_limits

LINUX, LIBC = sys.platform == "linux", ctypes.CDLL(None)
NAMED = "numpy ot pandas prdc pyautoattack scipy sklearn torch torch_fidelity torchattacks"
NAMED += " torchvision"


def pytest_configure(config: pytest.Config) -> None:
    config.option.benchmark_timer = "time.process_time"
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    threadpool_limits(1)  # NumPy is loaded already
    for option in (-1, -3) if LINUX else ():  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
        LIBC.mallopt(option, 2_000_000_000)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any, config: Any) -> None:
    """Under the tables: the machine, the libraries in use, and what is not a time."""
    session, say = config._benchmarksession, terminalreporter.write_line
    if not session.benchmarks:
        return
    facts, homes = session.get_machine_info(), packages_distributions()
    used = (homes[name][0] for name in NAMED.split() if name in sys.modules)
    terminalreporter.section("CPU seconds, or wall clock where a group says so; n rounds")
    say(f"{facts['cpu'].get('brand_raw', facts['machine'])}, {os.cpu_count()} cores, one thread;")
    say(f"Python {facts['python_version']}, {', '.join(f'{d} {version(d)}' for d in used)}")
    for bench in session.benchmarks:
        info = {"n =": len(bench.stats.data), **bench.extra_info}
        texts = (f"{k} {v:,.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in info.items())
        say(f"{bench.name}: {'; '.join(texts)}")


@pytest.fixture
def memory(benchmark: BenchmarkFixture) -> Callable[[], AbstractContextManager[None]]:
    """`with memory():` notes how far the memory of the process rises above its start."""

    @contextmanager
    def measured() -> Iterator[None]:
        gc.collect()
        LIBC.malloc_trim(0)  # free memory goes back, or it would hide what is taken
        before = resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        yield
        benchmark.extra_info["peak memory in MB"] = round(resident("VmHWM") - before)

    return measured if LINUX else nullcontext


def resident(what: str) -> float:
    """Megabytes of this process: "VmRSS" now, "VmHWM" at the peak."""
    return int(Path("/proc/self/status").read_text().split(f"{what}:")[1].split()[0]) / 1024
