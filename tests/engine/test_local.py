"""A worker fails alone, is held to its limits, and leaves nothing behind."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.contract.errors import UNWORDED, BenchError, sentence
from bench.contract.limits import Limits
from bench.engine import fork, logs
from bench.engine.executor import Done, Event, Failed, Job, Progress, Slot
from bench.engine.local import Local

sys.path.insert(0, str(Path(__file__).parent))  # so that a forked process finds them, too
jobs = importlib.import_module("worker_jobs")

LIMITS = Limits(seconds=20, memory_gb=1)


def events(*bundles: Sequence[Job], limits: Limits = LIMITS, workers: int = 2) -> list[Event]:
    """All that happens until every bundle has ended."""
    waiting, happened = list(bundles), []
    with Local([Slot()] * workers, limits) as pool:
        while waiting or pool.free < workers:
            while waiting and pool.free:
                pool.start(waiting.pop(0))
            happened += pool.events()
        return happened + pool.events(0)


def outcomes(*bundles: Sequence[Job], **options: Any) -> list[Any]:
    return [e for e in events(*bundles, **options) if not isinstance(e, Progress)]


def outcome(job: Job, limits: Limits = LIMITS) -> Any:
    (only,) = outcomes([job], limits=limits)
    return only


def reason(job: Job, limits: Limits = LIMITS) -> str:
    failed = outcome(job, limits)
    assert isinstance(failed, Failed)
    assert not failed.unsupported
    return failed.reason


def comes_true(claim: Callable[[], bool], seconds: float = 20) -> bool:
    until = time.monotonic() + seconds
    while not claim() and time.monotonic() < until:
        time.sleep(0.02)
    return claim()


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


# ---- outcomes


def test_every_job_gets_the_value_of_its_own_call() -> None:
    done = outcomes(*([Job(str(i), jobs.double, (i,))] for i in range(8)))
    assert {d.id: d.value for d in done} == {str(i): 2 * i for i in range(8)}


def test_a_bundle_runs_in_order_in_one_process() -> None:
    done = outcomes([Job(f"{i}", jobs.process_id) for i in range(4)])
    assert [d.id for d in done] == ["0", "1", "2", "3"]
    assert len({d.value for d in done}) == 1


def test_no_process_serves_two_bundles() -> None:
    done = outcomes(*([Job(str(i), jobs.process_id)] for i in range(4)), workers=1)
    assert len({d.value for d in done}) == 4


def test_the_same_job_gives_the_same_value_in_any_process() -> None:
    one, two = outcomes([Job("one", jobs.optimize)], [Job("two", jobs.optimize)])
    assert one.value == two.value


def test_progress_is_thinned_out_but_its_end_arrives() -> None:
    *progress, done = events([Job("count", jobs.count, (100_000,))])
    assert progress[-1] == Progress("count", 100_000, 100_000)
    assert isinstance(done, Done)
    assert len(progress) <= 2 + done.value / 0.1  # the first, the last, ten a second


# ---- failures


def test_an_exception_is_told_in_one_line_with_its_place() -> None:
    told = reason(Job("x", jobs.fail, ("no\nsuch thing",)))
    assert told.startswith("ValueError: no such thing (worker_jobs.py, line ")


def test_an_exception_inside_torch_is_placed_where_torch_was_called() -> None:
    told = reason(Job("x", jobs.fail_in_torch))
    assert told.startswith("RuntimeError: mat1 and mat2")
    assert "(worker_jobs.py, line " in told


def test_a_long_message_is_cut() -> None:
    told = reason(Job("x", jobs.fail, ("y" * 10_000,)))
    assert len(told) < 400
    assert "…" in told


def test_an_error_of_the_bench_needs_no_class_and_no_place() -> None:
    assert reason(Job("x", jobs.reject)) == "ipc is 0; expected at least 1"


def test_a_component_may_decline() -> None:
    declined = outcome(Job("x", jobs.decline))
    assert isinstance(declined, Failed)
    assert declined.unsupported
    assert declined.reason == "needs BatchNorm; convnet-in has none"


@pytest.mark.parametrize(
    ("function", "arguments", "told"),
    [
        (jobs.abort, (), "the process died of SIGABRT"),
        (jobs.segfault, (), "the process died of SIGSEGV"),
        (jobs.kill_itself, (), "the process died of SIGKILL (out of memory?)"),
        (jobs.leave, (3,), "the process exited with code 3 before the job was done"),
        (jobs.leave, (0,), "the process exited with code 0 before the job was done"),
        (jobs.leave_politely, (3,), "the process exited with code 3 before the job was done"),
    ],
)
def test_a_process_that_ends_early_fails_its_job(
    function: Callable[..., object], arguments: tuple[int, ...], told: str
) -> None:
    assert reason(Job("x", function, arguments)) == told


def test_arguments_that_cannot_be_pickled_fail_their_job_alone() -> None:
    failed, done = outcomes(
        [Job("bad", jobs.double, (lambda: None,)), Job("good", jobs.double, (1,))]
    )
    assert "cannot be sent to a process of its own" in failed.reason
    assert done == Done("good", 2)


def test_a_bundle_that_cannot_be_sent_takes_no_worker() -> None:
    with Local([Slot()], LIMITS) as pool:
        pool.start([Job("bad", jobs.double, (lambda: None,))])
        assert pool.free == 1
        assert [e.id for e in pool.events()] == ["bad"]


def test_a_result_that_is_not_plain_data_fails_its_job_alone() -> None:
    failed, done = outcomes([Job("bad", jobs.not_plain), Job("good", jobs.double, (1,))])
    assert failed.reason.startswith("the result cannot be sent back: Object of type PosixPath is")
    assert done.value == 2


def test_what_a_worker_sends_is_data_and_never_code() -> None:
    noise, done = outcomes([Job("noise", jobs.send_noise), Job("good", jobs.double, (1,))])
    assert noise == Done("noise", "said")
    assert done.value == 2


def test_the_jobs_after_a_crash_go_on_in_another_process() -> None:
    bundle = [
        Job("before", jobs.process_id),
        Job("crash", jobs.abort),
        Job("between", jobs.process_id),
        Job("leave", jobs.leave, (1,)),
        Job("after", jobs.process_id),
    ]
    ended = outcomes(bundle, workers=1)
    assert [e.id for e in ended] == [j.id for j in bundle]
    assert [type(e) for e in ended] == [Done, Failed, Done, Failed, Done]
    assert len({e.value for e in ended if isinstance(e, Done)}) == 3


# ---- limits


def test_a_hung_job_ends_at_its_time_limit_and_its_log_says_where(tmp_path: Path) -> None:
    log = tmp_path / "log"
    hung, after = outcomes(
        [Job("hung", jobs.hang, (), log), Job("after", jobs.double, (1,))],
        limits=Limits(seconds=2, memory_gb=1),
    )
    assert hung.reason == "exceeded its time limit of 2 s"
    assert after.value == 2
    assert "before" in log.read_text()
    assert "worker_jobs.py" in log.read_text()
    assert "in hang" in log.read_text()


def test_each_job_of_a_bundle_has_the_whole_time() -> None:
    bundle = [Job(str(i), jobs.eat, (0, 1.2)) for i in range(3)]
    ended = outcomes(bundle, limits=Limits(seconds=3, memory_gb=1))
    assert [type(e) for e in ended] == [Done, Done, Done]


def test_a_job_that_eats_too_much_is_ended() -> None:
    limits = Limits(seconds=20, memory_gb=0.3)
    assert reason(Job("x", jobs.eat, (0.4, 15)), limits) == "exceeded its memory limit of 0.3 GB"


def test_the_memory_that_the_server_has_is_not_charged() -> None:
    limits = Limits(seconds=20, memory_gb=0.15)  # torch alone is more
    assert isinstance(outcome(Job("x", jobs.eat, (0.05, 1)), limits), Done)


def test_memory_that_helpers_share_is_charged_once() -> None:
    limits = Limits(seconds=20, memory_gb=0.8)
    assert isinstance(outcome(Job("x", jobs.share, (0.3, 4)), limits), Done)


# ---- surroundings


def test_a_process_is_set_up_for_reproducible_work() -> None:
    before = dict(os.environ)
    (done,) = outcomes([Job("x", jobs.surroundings)])
    found = done.value
    assert found["threads"] == 1
    assert found["environment"]["OMP_NUM_THREADS"] == "1"
    assert found["environment"]["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert found["environment"]["PYTHONHASHSEED"] == "0"
    assert dict(os.environ) == before


def test_a_process_may_have_children_and_leaves_interrupts_to_us() -> None:
    (done,) = outcomes([Job("x", jobs.surroundings)])
    assert not done.value["daemon"]
    assert done.value["interrupts ignored"]
    assert done.value["group"] == os.getpgrp()  # so that killing the group kills all


def test_what_a_job_and_its_helpers_print_goes_to_its_log(tmp_path: Path) -> None:
    spoken, quiet, crash = tmp_path / "logs" / "spoken", tmp_path / "quiet", tmp_path / "crash"
    outcomes(
        [
            Job("spoken", jobs.speak, (), spoken),
            Job("quiet", jobs.double, (1,), quiet),
            Job("crash", jobs.abort, (), crash),
        ]
    )
    for text in ("from python", "to stderr, no newline", "from a helper"):
        assert text in spoken.read_text()
    assert not quiet.exists()
    assert crash.read_text().startswith("last words\nFatal Python error: Aborted")


def test_the_traceback_of_a_failure_is_in_its_log(tmp_path: Path) -> None:
    outcome(Job("x", jobs.fail, ("no",), tmp_path / "log"))
    text = (tmp_path / "log").read_text()
    assert text.startswith("Traceback (most recent call last)")
    assert text.endswith("ValueError: no\n")


def test_a_log_that_cannot_be_written_fails_its_job_alone(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    bad, good = outcomes(
        [Job("bad", jobs.double, (1,), tmp_path / "file" / "log"), Job("good", jobs.double, (1,))]
    )
    assert isinstance(bad, Failed)
    assert good.value == 2


# ---- the pool


def test_a_pool_without_workers_is_refused() -> None:
    with pytest.raises(BenchError, match="expected at least 1"):
        Local([], LIMITS)


def test_a_busy_pool_refuses_more() -> None:
    with Local([Slot()], LIMITS) as pool:
        pool.start([Job("x", jobs.hang)])
        assert pool.free == 0
        with pytest.raises(RuntimeError, match="busy"):
            pool.start([Job("y", jobs.hang)])


def test_an_idle_pool_has_no_events() -> None:
    assert Local([Slot()], LIMITS).events(timeout=3600) == []


# ---- nothing is left behind


@pytest.fixture
def note(tmp_path: Path) -> Iterator[Path]:
    """Where a job writes the ids of processes; whatever it wrote is ended after the test."""
    path = tmp_path / "note"
    yield path
    for pid in map(int, path.read_text().split() if path.exists() else ()):
        if not is_gone(pid):
            os.kill(pid, signal.SIGKILL)


def test_closing_ends_a_process_and_what_it_started(note: Path) -> None:
    with Local([Slot()], LIMITS) as pool:
        pool.start([Job("x", jobs.hang_with_helper, (note,))])
        assert comes_true(note.exists)
    assert pool.free == 1
    assert comes_true(lambda: all(is_gone(int(pid)) for pid in note.read_text().split()))


def test_a_helper_does_not_outlive_a_job_that_is_done() -> None:
    (done,) = outcomes([Job("x", jobs.leave_helper)])
    assert comes_true(lambda: is_gone(done.value))


def test_a_helper_does_not_outlive_a_crash(note: Path) -> None:
    assert reason(Job("x", jobs.crash_beside_helper, (note,))) == "the process died of SIGABRT"
    assert comes_true(lambda: is_gone(int(note.read_text())))


def test_a_detached_helper_does_not_outlive_a_job_that_is_done(note: Path) -> None:
    assert isinstance(outcome(Job("x", jobs.detach, (note,))), Done)
    assert comes_true(lambda: is_gone(int(note.read_text())))


def test_a_detached_helper_does_not_outlive_a_crash(note: Path) -> None:
    assert reason(Job("x", jobs.detach, (note, True))) == "the process died of SIGABRT"
    assert comes_true(lambda: is_gone(int(note.read_text())))


SCRIPT = """
    import sys
    sys.path.insert(0, {folder!r})
    from pathlib import Path
    import worker_jobs
    from bench.contract.limits import Limits
    from bench.engine.executor import Job, Slot
    from bench.engine.local import Local

    sys.stdout.write("main runs\\n")
    with Local([Slot()], Limits(seconds=60)) as pool:  # not under `if __name__ == "__main__"`
        pool.start([Job("easy", worker_jobs.double, (21,))])
        while not (events := pool.events()):
            pass
        sys.stdout.write(f"{{events[0].value}} {{'torch' in sys.modules}}\\n")
        sys.stdout.flush()
        pool.start([Job("hard", worker_jobs.hang_with_helper, (Path({note!r}),))])
        while True:
            pool.events()
"""


@contextmanager
def script(
    folder: Path, torch: str = "def set_num_threads(n): pass"
) -> Iterator[subprocess.Popen[str]]:
    """A script that uses workers, in a process group of its own, to be sent signals.

    A stand-in for torch lets the server start at once: this is about processes.
    """
    (folder / "torch.py").write_text(torch)
    (folder / "safetensors.py").touch()
    text = SCRIPT.format(folder=str(Path(__file__).parent), note=str(folder / "note"))
    (folder / "script.py").write_text(textwrap.dedent(text))
    with subprocess.Popen(
        [sys.executable, folder / "script.py"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{Path(__file__).parents[2]}"},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_nothing_outlives_a_parent_that_is_killed(tmp_path: Path, note: Path) -> None:
    with script(tmp_path) as parent:
        assert comes_true(note.exists)
        family = psutil.Process(parent.pid).children(recursive=True)
        assert {int(pid) for pid in note.read_text().split()} <= {p.pid for p in family}
        parent.kill()
    assert comes_true(lambda: all(is_gone(p.pid) for p in family))


def test_an_interrupt_is_told_by_the_parent_alone(tmp_path: Path, note: Path) -> None:
    with script(tmp_path) as parent:
        assert comes_true(note.exists)
        family = psutil.Process(parent.pid).children(recursive=True)
        os.killpg(parent.pid, signal.SIGINT)
        out, err = parent.communicate(timeout=30)
    assert err.count("Traceback") == 1
    assert err.endswith("KeyboardInterrupt\n")
    assert comes_true(lambda: all(is_gone(p.pid) for p in family))
    assert out == "main runs\n42 False\n"  # once, not again in each worker; and without torch


def test_a_server_that_cannot_load_torch_is_explained(tmp_path: Path) -> None:
    with script(tmp_path, torch="raise RuntimeError('no driver')") as parent:
        err = parent.communicate(timeout=30)[1]
    assert "no driver" in err
    assert "BenchError: no process could be forked" in err


# ---- servers


def loaded(*wanted: Job) -> list[str]:
    return [event.value for event in outcomes(*([job] for job in wanted), workers=1)]


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`modules(name=source)` writes modules that servers find from now on."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(**sources: str) -> None:
        for name, source in sources.items():
            (tmp_path / f"{name}.py").write_text(source)

    return write


Write = Callable[..., None]


def test_a_process_has_the_modules_of_its_own_distributions_and_of_no_others(
    modules: Write,
) -> None:
    modules(pre_mine="", pre_other="")
    both = ("pre_mine", "pre_other")
    mine = Job("1", jobs.loaded, (both,), None, ("mine",), ("pre_mine",))
    other = Job("2", jobs.loaded, (both,), None, ("other",), ("pre_other",))
    with Local([Slot()], LIMITS) as pool:
        found = []
        for job in (other, mine, other):
            pool.start([job])
            while not (events := pool.events()):
                pass
            found += [event.value for event in events if isinstance(event, Done)]
    assert found == [["pre_other"], ["pre_mine"], ["pre_other"]]


def test_a_patch_of_builtins_reaches_no_server_but_its_own(modules: Write) -> None:
    modules(pre_patch="import builtins; builtins.pre_patched = 1", pre_plain="")
    names = ("pre_patched",)
    mine = Job("1", jobs.builtins_named, names, None, ("mine",), ("pre_patch",))
    other = Job("2", jobs.builtins_named, names, None, ("other",), ("pre_plain",))
    none = Job("3", jobs.builtins_named, names)
    assert loaded(mine, other, none) == [["pre_patched"], [], []]


def test_a_server_imports_a_module_once_for_all_its_workers(modules: Write, tmp_path: Path) -> None:
    modules(pre_count=f"open({str(tmp_path / 'count')!r}, 'a').write('x')")
    job = Job("x", jobs.loaded, (("pre_count",),), None, ("mine",), ("pre_count",))
    assert loaded(job, job) == [["pre_count"], ["pre_count"]]
    assert (tmp_path / "count").read_text() == "x"


def test_what_a_distribution_has_imported_is_there_for_it_beside_others(
    modules: Write, tmp_path: Path
) -> None:
    modules(pre_count=f"open({str(tmp_path / 'count')!r}, 'a').write('x')", pre_more="")
    both = ("pre_count", "pre_more")
    one = Job("1", jobs.loaded, (both,), None, ("mine",), both[:1])
    two = Job("2", jobs.loaded, (both,), None, ("mine", "more"), both)
    assert loaded(one, two, one) == [["pre_count"], [*both], ["pre_count"]]
    assert (tmp_path / "count").read_text() == "x"


def test_a_module_that_cannot_be_imported_fails_nobody(modules: Write) -> None:
    modules(pre_fine="", pre_raises="raise RuntimeError('no')", pre_leaves="raise SystemExit(1)")
    wanted = ("pre_raises", "pre_leaves", "pre_none", "pre_fine")
    assert loaded(Job("x", jobs.loaded, (wanted,), None, ("mine",), wanted)) == [["pre_fine"]]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import time; time.sleep(60)", "did not finish its import within 2 s"),
        ("while True: pass", "did not finish its import within 3 s"),
        ("import os; os.abort()", "ended the process that imported it"),
    ],
    ids=["hangs", "loops", "aborts"],
)
def test_an_import_that_hangs_or_crashes_costs_its_own_distribution(
    modules: Write, source: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.contract.limits.PATIENCE", 1.5)
    modules(pre_bad=source)
    bad = [Job(f"bad{n}", jobs.double, (n,), None, ("bad",), ("pre_bad",)) for n in range(2)]
    good = Job("good", jobs.double, (1,), None, ("good",), ())
    since = time.monotonic()
    limits = Limits(seconds=2, memory_gb=1)
    ended = {e.id: e for e in outcomes(*([job] for job in (*bad, good)), limits=limits)}
    assert ended["good"] == Done("good", 2)
    for failed in (ended["bad0"], ended["bad1"]):
        assert isinstance(failed, Failed)
        assert failed.reason.startswith(f"the module pre_bad of no known distribution {told}; ")
    assert time.monotonic() - since < 40


def test_an_import_that_is_slow_since_it_computes_is_waited_for(
    modules: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.contract.limits.PATIENCE", 100)  # whatever else the machine does
    modules(pre_slow="import time\nwhile time.process_time() < 1: pass")
    job = Job("x", jobs.loaded, (("pre_slow",),), None, ("slow",), ("pre_slow",))
    limits = Limits(seconds=0.5, memory_gb=1)
    assert [e.value for e in outcomes([job], limits=limits)] == [["pre_slow"]]


def test_a_server_that_is_killed_is_replaced_and_its_jobs_run_once_more(tmp_path: Path) -> None:
    lines: list[str] = []
    job = Job("x", jobs.kill_server_once, (tmp_path / "killed",), None, ("mine",))
    with Local([Slot()], LIMITS, say=lines.append) as pool:
        pool.start([job])
        while not (events := pool.events()):
            pass
    assert events == [Done("x", "lives")]
    assert lines == ["the server for mine was killed; what ran there is tried once more"]


def test_a_job_whose_server_is_killed_twice_fails() -> None:
    with Local([Slot()], LIMITS, say=lambda _: None) as pool:
        pool.start([Job("x", jobs.kill_server)])
        while not (events := pool.events()):
            pass
    assert isinstance(events[0], Failed)
    assert events[0].reason.startswith("its server was killed, and so was the next one")


def test_a_base_that_is_killed_is_replaced() -> None:
    assert isinstance(outcome(Job("x", jobs.double, (1,))), Done)
    fork._bases[0].process.kill()
    assert outcome(Job("x", jobs.double, (2,))) == Done("x", 4)


def test_a_module_in_the_current_folder_is_run_only_if_pythonpath_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, named = tmp_path / "here", tmp_path / "named"
    for folder in (here, named):
        folder.mkdir()
    for name in ("random", "numbers", "torch", "pre_here"):
        (here / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    (named / "pre_named.py").touch()
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", ["", str(here), *sys.path])
    paths = filter(None, (str(named), os.environ.get("PYTHONPATH", "")))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    if fork._bases:  # it has loaded what it needs long ago
        fork._drop_base()
    wanted = ("random", "numbers", "torch", "pre_here", "pre_named")
    try:
        found = outcome(Job("x", jobs.files_of, (wanted,), None, ("mine",), wanted)).value
    finally:
        fork._drop_base()
    assert found.pop("pre_named") == str(named / "pre_named.py")
    assert found.pop("pre_here") == ""
    assert all(found.values())
    assert not any(file.startswith(str(tmp_path)) for file in found.values())
    assert not (tmp_path / "ran").exists()


def test_a_long_temporary_folder_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("a" * 120)  # longer than the path of a socket may be
    deep.mkdir()
    monkeypatch.setenv("TMPDIR", str(deep))
    assert outcome(Job("x", jobs.double, (2,))) == Done("x", 4)
    assert list(deep.iterdir()) == []


@pytest.mark.parametrize(
    ("visible", "seen"), [("", ["0", "1"]), ("3,GPU-5a", ["3", "GPU-5a"])], ids=["all", "some"]
)
def test_a_job_learns_the_device_of_its_slot_and_sees_no_other(
    visible: str, seen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with Local([Slot("cuda:0"), Slot("cuda:1"), Slot("cpu")], LIMITS) as pool:
        for name in ("a", "b", "c"):
            pool.start([Job(name, jobs.device_of)])
        found: dict[str, Any] = {}
        while len(found) < 3:
            found |= {e.id: e.value for e in pool.events() if isinstance(e, Done)}
    assert found == {"a": ["cuda", seen[0]], "b": ["cuda", seen[1]], "c": ["cpu", visible]}


def test_a_long_log_keeps_both_its_ends(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert isinstance(outcome(Job("x", jobs.babble, (30,), log)), Done)
    text = log.read_bytes()
    assert len(text) < logs.LOG
    assert text.startswith(b"first")
    assert text.rstrip().endswith(b"last")
    assert b" bytes are cut here: a log holds 10000000]" in text


def test_a_sentence_for_a_reader_is_never_cut_and_a_stranger_s_is() -> None:
    long = "what to do stands at the end " * 40
    assert sentence(BenchError(long)).endswith("at the end")
    assert len(sentence(ValueError(long))) < 2 * UNWORDED
