"""The methods on a board, as a user runs them: with the board's backbone and no teacher."""

import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.records.files import read

BOARD = """
title = "Matching in miniature"
track = "classification"
datasets = ["digits"]
methods = ["dc", "dsa", "dm"]
controls = ["random"]
ipc = [1]
labels = ["hard"]
architectures = ["convnet-8"]
attacks = ["clean"]
metrics = ["accuracy"]
seeds = [0]
backbone = "convnet-8"
[recipe]
steps = 60
lr = 0.05
[define.convnet-8]
architecture = "convnet"
width = 8
depth = 2
[[set]]
where = { method = ["dc", "dsa", "dm"] }
iterations = 3
method.batch = 16
"""


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("board")
    (folder / "matrix.toml").write_text(BOARD)
    arguments = ["run", str(folder), "--store", str(folder / "store"), "--jobs", "2"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return {result.method: result for result in read(folder)}


@pytest.mark.slow
def test_sets_are_made_with_the_backbone_of_the_board(records):
    for method in ("dc", "dsa", "dm"):
        assert records[method].parameters["backbone"]["width"] == 8
        assert records[method].passes["set"].backward > 0
    assert "backbone" not in records["random"].parameters


@pytest.mark.slow
def test_students_learn_from_them(records):
    for method in ("dc", "dsa", "dm"):
        assert records[method].metrics["accuracy"] > 0.3  # of ten classes
