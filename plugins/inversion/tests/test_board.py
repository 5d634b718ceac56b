"""The rows of `leaderboards/imagenette-64` in miniature, as a user runs them; and that it plans."""

import dataclasses
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.board.check import resolve
from bench.board.matrix import read as read_matrix
from bench.cli import app
from bench.contract.registry import discover
from bench.records.files import read

PHOTOGRAPHS = Path(__file__).parents[3] / "leaderboards" / "imagenette-64"
STARTS = ("sre2l-random", "wmdd-nearest")
RECOVERED = ("sre2l-from-random", "wmdd-from-nearest")

BOARD = """
title = "Starts in miniature"
track = "classification"
datasets = ["digits"]
methods = [
  "rded", "rded-whole", "sre2l-from-random", "sre2l-random", "wmdd-from-nearest", "wmdd-nearest",
]
controls = ["random"]
ipc = [2]
labels = ["hard", "teacher"]
architectures = ["convnet-8"]
attacks = ["clean"]
metrics = ["accuracy", "first-opinion", "second-opinion", "from-real", "share-from-real"]
seeds = [0]
backbone = "convnet-8"
teacher = "patient"
[recipe]
steps = 40
lr = 0.05
[define.convnet-8]
architecture = "convnet-bn"
width = 8
depth = 2
[[set]]
where = { teacher = "patient" }
epochs = 2
rounds = 2
[[set]]
where = { metric = "second-opinion" }
features = "patient"
[[set]]
where = { base = [
  "rded", "rded-whole", "sre2l-from-random", "sre2l-random", "wmdd-from-nearest", "wmdd-nearest",
] }
method.teacher = "patient"
[[set]]
where = { base = ["sre2l-from-random", "wmdd-from-nearest"] }
iterations = 20
roll = 1
"""


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("board")
    (folder / "matrix.toml").write_text(BOARD)
    arguments = ["run", str(folder), "--store", str(folder / "store"), "--jobs", "1"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return {(result.method, result.labels): result for result in read(folder)}


@pytest.mark.slow
def test_every_row_has_every_figure(records):
    assert len(records) == 14
    for result in records.values():
        assert 0 <= result.metrics["second-opinion"] <= 1
        assert result.metrics["accuracy"] > 0.15, result.method


@pytest.mark.slow
def test_a_start_lies_nowhere_from_real_images_and_its_recovery_does(records):
    for start, recovered in zip(STARTS, RECOVERED, strict=True):
        assert records[start, "hard"].metrics["from-real"] == 0
        assert 0 < records[recovered, "hard"].metrics["from-real"] < 0.2
        assert records[recovered, "hard"].metrics["share-from-real"] > 0


@pytest.mark.slow
def test_the_start_of_sre2l_is_the_control(records):
    for labels in ("hard", "teacher"):
        start, control = (records[name, labels].metrics for name in ("sre2l-random", "random"))
        assert start["second-opinion"] == control["second-opinion"]
        assert start["accuracy"] == control["accuracy"]


@pytest.fixture(scope="module")
def photographs():
    return resolve(read_matrix(PHOTOGRAPHS), discover())


def method(photographs, name, ipc=10):
    return photographs.get("method", name, dataset="imagenette-64", ipc=ipc)


@pytest.mark.parametrize(("start", "recovered"), [*zip(STARTS, RECOVERED, strict=True)])
def test_each_start_on_photographs_is_that_of_the_recovery_beside_it(photographs, start, recovered):
    one, other = method(photographs, start), method(photographs, recovered)
    assert (one.init, one.teacher, one.iterations) == (other.init, "patient", 0)
    assert other.iterations == 500


def test_recoveries_on_photographs_have_one_budget(photographs):
    matrix = photographs.matrix
    found = [method(photographs, name) for name in matrix.methods]
    recoveries = [m for m in found if getattr(m, "init", "") and getattr(m, "lam", 0)]
    steps = {m.iterations for m in recoveries if m.iterations}
    assert len(recoveries) == 18
    assert steps == {500}


def test_recoveries_as_published_start_from_noise(photographs):
    for name in ("sre2l", "cda", "wmdd"):
        made = method(photographs, name)
        assert (made.init, made.lr) == ("noise", 0.25)


def test_metrics_look_with_a_teacher_of_the_same_training(photographs):
    metric = photographs.get("metric", "second-opinion", dataset="imagenette-64")
    where = {"dataset": "imagenette-64", "method": "", "ipc": 0}
    looking = photographs.get("teacher", metric.features, **where)
    labelling = photographs.get("teacher", "patient", **{**where, "method": "wmdd", "ipc": 10})
    assert dataclasses.asdict(looking) == dataclasses.asdict(labelling)
