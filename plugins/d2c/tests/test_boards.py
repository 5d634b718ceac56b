"""The board at paper scale: it reads, says what the paper says, and its path runs in miniature."""

import hashlib
import tomllib
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file

from bench.board.check import resolve
from bench.board.matrix import parse, read
from bench.contract.registry import discover
from bench.engine import results
from bench.engine.scheduler import Engine
from bench.report import published
from bench.report.numbers import board_of
from bench.store.store import Store

BOARD = Path(__file__).parents[3] / "leaderboards" / "imagenet-1k-generation"
PAPER = "https://arxiv.org/abs/2507.05914"
ATTACHED = {"d2c-select", "random-attach"}


def tables_of(board):
    """What its `published.toml` has in print."""
    return published.read(board, board_of(read(board))).tables


@pytest.fixture(scope="module")
def registry():
    return discover()


@pytest.fixture(scope="module")
def components(registry):
    return resolve(read(BOARD), registry)


@pytest.mark.parametrize(("ipc", "interval"), [(10, 96), (50, 16), (100, 10)])
def test_images_are_chosen_at_the_published_intervals(components, ipc, interval):
    for name in ("d2c-select", "d2c-select-only"):
        method = components.get("method", name, dataset="imagenet-1k", ipc=ipc)
        assert (method.choose, method.interval) == ("interval", interval)


def test_students_are_dit_and_sit_trained_alike(components):
    where = {"dataset": "imagenet-1k", "ipc": 10, "labels": "hard"}
    dit, sit = (
        components.recipe(architecture=a, **where) for a in ("latent-dit-l", "latent-sit-l")
    )
    differing = {f for f in vars(dit) if getattr(dit, f) != getattr(sit, f)}
    assert differing == {"noise", "prediction"}
    assert (sit.noise, sit.prediction) == ("straight", "velocity")
    assert (dit.batch, dit.lr, dit.steps, dit.checkpoints) == (128, 1e-4, 300_000, (100_000,))
    scorer = components.get(
        "teacher", "diffusion", method="d2c-select", dataset="imagenet-1k", ipc=10
    )
    assert (scorer.noise, scorer.prediction) == (dit.noise, dit.prediction)


def test_select_and_attach_stand_there_one_without_the_other(components):
    """What the paper's tables leave to be asked: how far does either go alone?"""
    matrix = components.matrix
    found = {}
    for name in (*matrix.methods, *matrix.controls):
        method = components.get("method", name, dataset="imagenet-1k", ipc=10)
        scored = bool(getattr(method, "scorer", ""))
        found[name] = (scored, bool(getattr(method, "text", "") and method.visual))
    assert found["d2c-select"] == (True, True)
    assert found["d2c-select-only"] == (True, False)
    assert found["random-attach"] == (False, True)
    assert found["random"] == (False, False)


# ---- what is in print


def test_what_the_article_claims_stands_apart_from_what_the_paper_says():
    *tables, claimed = tables_of(BOARD)
    assert claimed.title.startswith("CONTRADICTED")
    assert "None of these occurs in the paper" in claimed.note
    assert claimed.rows["D2C, 1 %"][:2] == ((3.89,), (248.1,))
    values = {v for t in tables for row in t.rows.values() for value in row for v in value}
    assert not values & {3.2, 3.89, 4.52, 256.4, 248.1}
    assert not any("CONTRADICTED" in table.title for table in tables)


def test_no_table_of_the_paper_has_recall():
    tables = tables_of(BOARD)[:-1]
    assert [t.url != PAPER for t in tables if "recall" in t.columns] == [True]  # GADC's
    assert sum(table.url == PAPER for table in tables) >= 8


def test_the_paper_s_main_table_is_there():
    [dit, sit, *_] = tables_of(BOARD)
    assert dit.rows["D2C"][0] == (4.2,)
    assert dit.rows["Random"][:2] == ((35.86,), (4.19,))
    assert sit.rows["K-Center"][-1] == (39.08,)
    assert not dit.rate


# ---- the path, in miniature


@pytest.fixture
def small(tmp_path, monkeypatch):
    """The board on 8x8 digits, with an autoencoder and texts of that size."""
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    torch.manual_seed(0)
    AutoencoderKL(
        in_channels=1,
        out_channels=1,
        block_out_channels=(4, 4),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        latent_channels=2,
        norm_num_groups=2,
    ).save_pretrained(tmp_path / "mini")
    texts = tmp_path / "imagenet-1k-flan-t5-xl.safetensors"
    save_file({"class.text": torch.rand(10, 16, 8)}, texts)
    text = (BOARD / "matrix.toml").read_text()
    text = text.replace('"torchvision-imagenet"', '"standard"').replace('"imagenet-1k"', '"digits"')
    document = tomllib.loads(text)
    document |= {"ipc": [10], "probe": {"images": 20}, "metrics": ["sample-accuracy"]}
    document["set"] = [
        one
        for one in document["set"]
        if one["where"].get("ipc", [10]) == [10] and not {"size", "features"} & {*one}
    ]
    document["recipe"] |= {"steps": 4, "checkpoints": [2], "batch": 8}
    sizes = {"width": 16, "depth": 2, "heads": 2, "projected_from": 1, "autoencoder": "mini"}
    sha256, weights = (
        hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (texts, tmp_path / "mini" / "diffusion_pytorch_model.safetensors")
    )
    sizes["sha256"] = weights
    document["set"] += [
        {"where": {"architecture": ["latent-dit-l", "latent-sit-l"]}, **sizes},
        {"where": {"architecture": "resnet18"}, "width": 4},
        {"where": {"sampler": ["ddpm", "euler-250"]}, "steps": 2},
        {"where": {"teacher": "diffusion"}, "steps": 2, "batch": 8},
        {"where": {"teacher": "standard"}, "epochs": 1},
        {"where": {"method": [*ATTACHED]}, "grid": 2, "sha256": sha256},
        {"where": {"method": ["d2c-select", "d2c-select-only"]}, "times": 2},
        {"where": {"method": "sre2l"}, "iterations": 1},
    ]
    return parse(document)


@pytest.mark.slow
def test_its_path_goes_all_the_way(small, registry, tmp_path):
    engine = Engine(resolve(small, registry), Store(tmp_path / "store"))
    methods = ("d2c-select", "d2c-select-only", "random-attach", "random", "sre2l")
    made = results.run(engine, engine.plan([c for c in small.cells() if c.method in methods]))
    assert [str(failure) for failure in made.failures] == []
    own = {"latent-dit-l": "ddpm", "latent-sit-l": "euler-250"}
    assert len(made.records) == 5 * 2 * 2 * 2  # methods, networks, samplers, checkpoints
    for record in made.records:
        walks = own[record.architecture] == record.sampler
        assert record.ok == walks, record.reason
    walked = [r for r in made.records if r.ok]
    attached = {r.method for r in walked if r.bytes["extras"]}
    assert attached == ATTACHED
    scored = {r.method for r in walked if "scorer" in r.passes}
    assert scored == {"d2c-select", "d2c-select-only"}
    assert {r.passes["set"].forward for r in walked if r.method == "random"} == {0}


@pytest.mark.slow
def test_a_learnt_pool_goes_all_the_way_on_either_track(registry, tmp_path):
    """Its texts, too: on boards of generators alone, for no classifier has a use for them."""
    common = {
        "title": "Learnt",
        "datasets": ["digits"],
        "methods": ["d2c"],
        "ipc": [1],
        "backbone": "convnet-bn",
        "denoiser": "dit-8",
        "seeds": [0],
        "probe": {"images": 20},
        "define": {"dit-8": {"architecture": "dit-nano", "patch": 2}},
        "set": [
            {"where": {"method": "d2c"}, "outer": 2, "pairs": 2, "warmup": 4, "age": 6},
        ],
    }
    generation = {
        "track": "generation",
        "architectures": ["dit-8"],
        "samplers": ["ddim"],
        "metrics": ["denoising-loss"],
        "recipe": {"steps": 4, "batch": 8, "lr": 1e-3},
    }
    classification = {
        "track": "classification",
        "architectures": ["convnet-bn"],
        "attacks": ["clean"],
        "metrics": ["accuracy"],
        "recipe": {"steps": 4, "batch": 8},
    }
    for track in (generation, classification):
        document = parse(common | track)
        engine = Engine(resolve(document, registry), Store(tmp_path / "store"))
        made = results.run(engine, engine.plan(document.cells()))
        assert [str(failure) for failure in made.failures] == []
        (record,) = made.records
        assert record.ok, record.reason
        assert record.bytes["extras"] > 0
