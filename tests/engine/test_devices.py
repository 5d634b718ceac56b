"""`--device` and `--jobs` give slots, or one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.contract.errors import BenchError
from bench.engine import devices
from bench.engine.devices import cores, slots
from bench.engine.executor import Slot


@pytest.fixture
def present(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every device that is asked for is there."""
    monkeypatch.setattr(devices, "_there", lambda found, _: found)


def test_a_cpu_has_a_slot_a_core_unless_told_otherwise() -> None:
    assert slots("cpu") == (Slot("cpu"),) * cores()
    assert slots("cpu", 3) == (Slot("cpu"),) * 3


@pytest.mark.usefixtures("present")
def test_another_device_has_one_slot_and_more_are_dealt_in_turn() -> None:
    assert slots("cuda") == (Slot("cuda"),)
    assert slots("cuda:0,cuda:1") == slots("cuda:0,1") == (Slot("cuda:0"), Slot("cuda:1"))
    assert [s.device for s in slots("cuda:2, cuda:0", 3)] == ["cuda:2", "cuda:0", "cuda:2"]


@pytest.mark.usefixtures("present")
@pytest.mark.parametrize(
    ("device", "jobs", "said"),
    [
        ("gpu", 0, "--device gpu cannot be used: 'gpu' is no device; expected cpu, cuda"),
        ("", 0, "'' is no device"),
        ("cuda:٣", 0, "'cuda:٣' is no device"),
        ("cuda:0,", 0, "'' is no device"),
        ("cuda:0,cuda:0", 0, "names cuda:0 twice; --jobs 2"),
        ("cpu,cuda:0", 0, "cpu and cuda round differently; name devices of one type"),
        ("cuda,cuda:1", 0, "which of them cuda is, is not said"),
        ("cuda:0,cuda:1", 1, "--jobs 1 leaves cuda:1 of --device cuda:0,cuda:1 without work"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_sentence(device: str, jobs: int, said: str) -> None:
    with pytest.raises(BenchError, match=r"^--") as told:
        slots(device, jobs)
    assert said in str(told.value)
    assert "\n" not in str(told.value)


def test_a_device_that_is_not_there_is_refused_without_loading_torch() -> None:
    code = """
import sys
from bench.contract.errors import BenchError
from bench.engine.devices import slots
try:
    slots("cuda:77")
except BenchError as error:
    print(error)
print("torch" in sys.modules)
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    refused, loaded = ended.stdout.splitlines()
    assert refused.startswith("--device cuda:77 cannot be used here: cuda:77: ")
    assert loaded == "False"


FAKE = """
class cuda:
    device_count = staticmethod(lambda: 3)
def zeros(size, device):
    if device == "cuda:7":
        raise RuntimeError("invalid device ordinal")
"""


@pytest.mark.parametrize(
    ("device", "jobs", "found"),
    [
        ("cuda", 0, ["cuda:0", "cuda:1", "cuda:2"]),
        ("cuda", 5, ["cuda:0", "cuda:1", "cuda:2", "cuda:0", "cuda:1"]),
        ("cuda:1", 0, ["cuda:1"]),
        ("cuda:2,0", 0, ["cuda:2", "cuda:0"]),
    ],
)
def test_cuda_is_all_gpus_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, jobs: int, found: list[str]
) -> None:
    (tmp_path / "torch.py").write_text(FAKE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert [slot.device for slot in slots(device, jobs)] == found
    with pytest.raises(BenchError, match=r"cannot be used here: cuda:7: invalid device ordinal;"):
        slots("cuda:7")
    with pytest.raises(BenchError, match="--jobs 2 leaves cuda:2 of --device cuda without work"):
        slots("cuda", 2)


def test_a_job_of_a_cluster_has_its_cores_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    here = cores()
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "1")
    assert cores() == 1
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "999")
    assert cores() == here


@given(st.text(), st.integers(0, 8))
def test_no_text_ends_in_anything_but_slots_or_a_sentence(text: str, jobs: int) -> None:
    there, devices._there = devices._there, lambda found, _: [*found]
    try:
        found = slots(text, jobs)
    except BenchError:
        return
    finally:
        devices._there = there
    assert len(found) >= max(1, jobs)
