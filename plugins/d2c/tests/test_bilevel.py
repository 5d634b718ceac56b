"""The bilevel method: what it returns, keeps and refuses, and that a learnt pool teaches more."""

from __future__ import annotations

import hashlib
import itertools
import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bench import BenchError, Task, TensorSplit, Unsupported
from bench.checks import checks_for, run_checks
from bench.training import diffusion, toy
from bench.training.classifier import Examples
from bench.training.denoiser import fit
from bench.training.loop import generator_of
from bench.training.recipe import DiffusionRecipe
from bench_d2c.attach import hashed_text
from bench_d2c.bilevel import D2C
from bench_d2c.pool import begin
from bench_standard.architectures.dit import DIT_NANO


@dataclass(frozen=True)
class MLP:
    """A residual MLP that is told time, class and text; its last layer sees the input, too."""

    name: str = "mlp"
    width: int = 64
    track: ClassVar[str] = "generation"

    def build(self, shape: Any, classes: int, extras: Any) -> nn.Module:
        width, size = self.width, math.prod(shape)

        class Network(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.enter, self.time = nn.Linear(size, width), nn.Linear(16, width)
                self.label = nn.Embedding(classes + 1, width)
                rows = extras.get("class.text")
                self.text = nn.Linear(math.prod(rows), width) if rows else None
                self.leave = nn.Linear(width + size, size)

            def forward(self, x, t, labels, extras):
                angles = t.to(x)[:, None] * math.pi / 2 * 2 ** torch.arange(8).to(x)
                hidden = self.enter(x.flatten(1)) + self.label(labels)
                hidden = hidden + self.time(torch.cat([angles.sin(), angles.cos()], 1))
                if self.text is not None:
                    of_class = extras["class.text"][labels.clamp(max=classes - 1)].flatten(1)
                    hidden = hidden + self.text(of_class) * (labels < classes)[:, None]
                return self.leave(torch.cat([F.silu(hidden), x.flatten(1)], 1)).view_as(x)

        return Network()


def task(data=None, ipc=2, seed=0, architecture=None, schedule=diffusion.COSINE):
    data, calls = data or toy.GRAY.load(), itertools.count()

    def fresh(extras=None):
        with torch.random.fork_rng():
            torch.manual_seed(1000 * seed + next(calls))
            shape, classes = data.shape, len(data.classes)
            return diffusion.build(architecture or MLP(), shape, classes, schedule, extras)

    facts = (data.train, data.classes, data.shape, data.mean, data.std, data.flip)
    networks = {"denoiser": fresh, "scorer": fresh}
    return Task(*facts, ipc, seed, networks=networks)


SHORT = {
    "outer": 3,
    "pairs": 2,
    "warmup": 4,
    "real_batch": 4,
    "batch": 4,
    "inner": 2,
    "steps": 2,
    "score": "uniform",
}


def short(**fields):
    return replace(D2C(**SHORT), **fields)


@pytest.mark.slow
def test_it_keeps_the_contract_of_a_method():
    verdicts = run_checks(checks_for("method", D2C()))
    assert [v for v in verdicts if v.status != "passed"] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        {"hypergrad": "gm"},
        {"hypergrad": "unroll"},
        {"hypergrad": "head"},
        {"objective": "loss"},
        {"objective": "loss", "hypergrad": "unroll"},
        {"objective": "loss", "hypergrad": "head"},
        {"distance": "layerwise", "start": "kmeans", "choose": "systematic"},
        {"distance": "l2", "score": "norm", "text": False},
        {"score": "uniform", "distribution": 0.0, "pull": 0.0},
        {"denoisers": "real", "hypergrad": "gm", "variation": 0.1},
        {"scorer": "diffusion", "score": "ratio"},
        {"stratified": True, "real_batch": 8, "pool_batch": 4},
        {"averaged": 2, "kept": 1, "hypergrad": "gm"},
    ],
    ids=str,
)
def test_each_of_its_ways_moves_images_and_texts(fields):
    method = short(**fields)
    found, again = (method.condense(task()) for _ in range(2))
    first, _ = begin(task(), method.start, generator_of(0, "d2c"))
    assert torch.equal(found.images, again.images)
    assert (found.images - first).abs().amax((1, 2, 3)).max() > 0.005
    assert found.images.dtype == torch.float32
    assert 0 <= found.images.min() <= found.images.max() <= 1
    assert found.labels.argmax(1).tolist() == [k for k in range(8) for _ in range(2)]
    if method.text:
        names = toy.GRAY.load().classes
        assert torch.equal(found.extras["class.text"], again.extras["class.text"])
        assert (found.extras["class.text"] - hashed_text(names, 8, 32)).abs().max() > 0.005
    assert ("class.text" in found.extras) == method.text


def test_it_leaves_a_record_of_its_work():
    method = short(outer=20, timesteps=4, score="ratio")
    notes = method.condense(task()).notes
    assert notes["times.grid"].shape == notes["times.score"].shape == (20,)
    assert {*notes["times.chosen"].tolist()} <= {*notes["times.grid"].tolist()}
    assert len(notes["times.chosen"]) == 4
    assert len(notes["loss"]) == 20
    assert notes["loss"].isfinite().all()
    steps = notes["gradients.step"]
    assert (steps[0], steps[-1]) == (0, 20)
    assert notes["gradients.real"].shape == notes["gradients.pool"].shape == (len(steps), 8, 2)
    assert (notes["gradients.real"] == notes["gradients.real"][0]).all()
    assert (notes["gradients.pool"][-1] - notes["gradients.pool"][0]).abs().max() > 1e-3


def test_its_notes_say_how_far_the_pool_has_moved():
    made = short(outer=4).condense(task())
    first, _ = begin(task(), "random", generator_of(0, "d2c"))
    away = (made.images - first).abs()
    assert float(made.notes["moved.mean"]) == pytest.approx(float(away.mean()), rel=1e-4)
    assert made.notes["moved.asked"].sum() == 4 * (2 * 2 + 2)  # pairs and the inner bank
    still = short(outer=4, pull=2.0).condense(task()).notes  # farther back than any step leads
    assert float(still["moved.untouched"]) == 1.0
    assert int(still["moved.asked"].sum()) > 0


def test_stratified_steps_ask_about_every_image_alike():
    fields = {"outer": 8, "pairs": 4, "hypergrad": "gm", "real_batch": 4}
    asked = [
        short(**fields, stratified=even).condense(task(ipc=3)).notes["moved.asked"]
        for even in (False, True)
    ]
    assert asked[0].sum() == asked[1].sum()
    assert asked[1].max() - asked[1].min() <= 1 < asked[0].max() - asked[0].min()


def test_a_pair_may_have_more_real_images_than_of_the_pool(monkeypatch):
    import bench_d2c.learning as learning

    seen, plain = [], learning.matched

    def watched(denoiser, pair, *args, **options):
        seen.append((len(pair.real), len(pair.bank.items), len(pair.shared[0])))
        return plain(denoiser, pair, *args, **options)

    monkeypatch.setattr(learning, "matched", watched)
    short(real_batch=8, pool_batch=4).condense(task())
    assert {*seen} == {(8, 4, 8)}


def test_a_step_by_several_denoisers_is_their_mean(monkeypatch):
    from bench_d2c.learning import Problem

    found, steps, plain, move = [], [], Problem.gradient, Problem.move

    def asked(self, denoiser, *args):
        found.append((denoiser, plain(self, denoiser, *args)[1][0]))
        return torch.zeros(()), [found[-1][1]]

    def moving(self, adam, pool, parts, *args):
        steps.append(parts[0])
        return move(self, adam, pool, [parts[0], *pool[1:]][: len(pool)], *args)

    monkeypatch.setattr(Problem, "gradient", asked)
    monkeypatch.setattr(Problem, "move", moving)
    short(outer=2, averaged=2, hypergrad="gm", text=False).condense(task())
    assert len(found) == 4
    assert len({id(denoiser) for denoiser, _ in found}) == 2
    for k, step in enumerate(steps):
        assert torch.allclose(step, (found[2 * k][1] + found[2 * k + 1][1]) / 2)


def test_bfloat16_gives_nearly_the_same_step():
    def step(**fields):
        made = short(outer=1, pull=0.0, real_batch=16, hypergrad="gm", **fields).condense(task())
        return (made.images - begin(task(), "random", generator_of(0, "d2c"))[0]).flatten()

    exact, rounded = step(), step(bf16=True)
    assert not torch.equal(exact, rounded)
    assert float(F.cosine_similarity(exact, rounded, dim=0)) > 0.8


def test_each_image_may_have_an_embedding_of_its_own():
    made = short(embeddings=True, outer=6).condense(task(architecture=DIT_NANO))
    own, text = made.extras["image.text"], made.extras["class.text"]
    assert own.shape == (16, *text.shape[1:])
    assert own.flatten(1).abs().amax(1).gt(1e-4).sum() > 8
    pairs = own.view(8, 2, *own.shape[1:])
    assert torch.allclose(pairs.sum(1), torch.zeros_like(text), atol=1e-6)
    one = short(embeddings=True).condense(task(architecture=DIT_NANO, ipc=1))
    assert not one.extras["image.text"].any()  # all that an only image is told is of its class


def test_a_student_is_trained_with_embeddings_and_asked_without(monkeypatch):
    made = short(embeddings=True).condense(task(architecture=DIT_NANO))
    rows = diffusion.rows_of(made.extras)
    labels = made.labels.argmax(1)
    examples = Examples(TensorSplit(made.images, labels), torch.arange(16), labels)
    recipe = DiffusionRecipe(steps=30, batch=8, lr=0.01, ema=0.0)
    found = []
    for own in (made.extras["image.text"], -50 * made.extras["image.text"]):
        torch.manual_seed(0)
        student = diffusion.build(DIT_NANO, (1, 8, 8), 8, extras=rows)
        fit(student, examples, recipe, seed=0, extras={**made.extras, "image.text": own})
        asked = torch.randn(2, 1, 8, 8), torch.tensor([0.5, 0.5]), torch.tensor([3, 8])
        with torch.no_grad():
            found.append(student(*asked, diffusion.of_classes(made.extras)))
    assert found[0].isfinite().all()
    assert not torch.allclose(found[0], found[1])


def test_texts_may_begin_as_those_of_a_file(tmp_path, monkeypatch):
    from safetensors.torch import save_file

    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    table = torch.randn(8, 3, 5)
    save_file({"class.text": table}, tmp_path / "words.safetensors")
    sha256 = hashlib.sha256((tmp_path / "words.safetensors").read_bytes()).hexdigest()
    made = short(vectors="words.safetensors", sha256=sha256, pull=2.0).condense(task())
    assert torch.equal(made.extras["class.text"], table)
    with pytest.raises(BenchError, match=sha256):
        short(vectors="words.safetensors").condense(task())


def test_gradients_of_the_pool_move_onto_the_real_ones():
    notes = short(outer=25, hypergrad="gm", pairs=8, real_batch=16, steps=10).condense(task()).notes
    off = (notes["gradients.pool"] - notes["gradients.real"]).norm(dim=2).mean(1)
    assert off[-1] < 0.8 * off[0]


def test_only_the_chosen_times_are_ever_matched(monkeypatch):
    import bench_d2c.matching as matching

    asked = []
    plain = matching.losses

    def watched(denoiser, x, labels, time, noise, extras):
        asked.extend(time.tolist())
        return plain(denoiser, x, labels, time, noise, extras)

    monkeypatch.setattr(matching, "losses", watched)
    for fields in ({}, {"objective": "loss"}, {"hypergrad": "unroll"}):
        asked.clear()
        notes = short(timesteps=3, **fields).condense(task()).notes
        assert asked
        assert {*asked} <= {*notes["times.chosen"].tolist()}


@pytest.mark.parametrize("prediction", ["image", "velocity"])
def test_another_schedule_is_followed(prediction):
    schedule = diffusion.Schedule("straight", prediction, 40)
    for fields in ({"timesteps": 4}, {"hypergrad": "head", "objective": "loss", "text": False}):
        made = short(**fields).condense(task(schedule=schedule))
        assert made.images.isfinite().all()
        assert made.notes["times.chosen"].max() < 40


def test_texts_stay_where_they_are_pulled_to():
    start = hashed_text(toy.GRAY.load().classes, 8, 32)
    free, pulled = (
        short(outer=12, pull=pull).condense(task()).extras["class.text"] - start
        for pull in (0.0, 0.5)
    )
    assert pulled.norm() < 0.7 * free.norm()
    assert not short(pull=2.0).condense(task()).extras["class.text"].sub(start).any()


def test_a_black_background_stays_black():
    """Pixels at the end of their range can move one way only, and chance would move them there."""
    first, _ = begin(task(), "random", generator_of(0, "d2c"))
    dark = first < 0.02

    def risen(**fields):
        made = short(outer=12, hypergrad="gm", text=False, **fields).condense(task())
        return float((made.images - first)[dark].mean())

    assert 0 <= risen() < 0.7 * risen(pull=0.0)


@pytest.mark.parametrize("shown", ["pool", "real"])
def test_denoisers_are_trained_on_what_is_asked_for_and_renewed(monkeypatch, shown):
    import bench_d2c.learning as learning

    seen, plain = [], learning.fit

    def watched(denoiser, examples, recipe, **options):
        seen.append((denoiser, len(examples), recipe.steps, recipe.lr))
        return plain(denoiser, examples, recipe, **options)

    monkeypatch.setattr(learning, "fit", watched)
    short(outer=6, kept=1, age=4, steps=2, denoisers=shown, lr_network=0.01).condense(task())
    _, *trained = seen  # the first is the one that times are scored by
    count = len(task().train.labels) if shown == "real" else 16
    assert [s[1:] for s in trained] == [(count, 2, 0.01)] * 6
    assert [len({id(s[0]) for s in trained[k : k + 2]}) for k in (0, 2, 4)] == [1, 1, 1]
    assert len({id(s[0]) for s in trained}) == 3


def test_a_transformer_can_be_matched_and_told_texts():
    made = short().condense(task(architecture=DIT_NANO))
    assert made.images.isfinite().all()
    assert made.extras["class.text"].shape[0] == 8


def test_a_denoiser_without_a_last_linear_layer_has_no_head():
    class Unlinear(toy.ToyDenoiser):
        pass

    with pytest.raises(Unsupported, match="ends in a linear layer"):
        short(hypergrad="head", text=False).condense(task(architecture=Unlinear()))


def test_a_denoiser_that_has_no_use_for_texts_declines():
    with pytest.raises(Unsupported, match=r"class\.text"):
        short().condense(task(architecture=toy.ToyDenoiser()))


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"hypergrad": "newton"}, "hypergrad is 'newton'"),
        ({"timesteps": 0}, "timesteps is 0"),
        ({"timesteps": 21}, "at most 20"),
        ({"spacing": 2.0}, "spacing is 2.0"),
        ({"damping": 0.0}, "damping is 0.0"),
        ({"batch": 1}, "pairs of noise"),
        ({"denoisers": "both"}, "denoisers is 'both'; expected 'pool' or 'real'"),
        ({"lr_network": 0.0}, "lr_network is 0.0"),
        ({"kept": 0}, "kept is 0"),
        ({"averaged": 0}, "averaged is 0"),
        ({"pool_batch": 1}, "pool_batch is 1"),
        ({"text": False, "embeddings": True}, "embeddings is True; expected nothing where text"),
        ({"text": False, "vectors": "a.safetensors"}, "vectors is 'a.safetensors'"),
        ({"lr": math.inf}, "lr is inf"),
        ({"objective": "loss", "hypergrad": "gm"}, "does not depend on the pool"),
    ],
)
def test_a_bad_field_is_named(fields, fault):
    with pytest.raises(BenchError, match=fault):
        D2C(**fields)


def test_a_scorer_of_other_times_is_refused():
    given, schedule = task(), diffusion.Schedule(timesteps=10)
    other = diffusion.build(MLP(), given.shape, len(given.classes), schedule)
    known = {**given.networks, "scorer": lambda: other}
    with pytest.raises(BenchError, match="knows 10 points in time of 'cosine' noise"):
        short(scorer="diffusion").condense(replace(given, networks=known))


def test_a_class_without_images_is_named():
    given = task()
    rows = (given.train.labels != 3).nonzero().squeeze(1)
    few = TensorSplit(given.train.images(rows), given.train.labels[rows])
    with pytest.raises(BenchError, match=f"class '{given.classes[3]}' has no training images"):
        short().condense(replace(given, train=few))


def test_what_no_step_asks_for_stays_as_it_is():
    """It is not smoothed for want of an objective."""
    method = short(outer=1, pairs=1, hypergrad="gm", variation=0.1)
    found, (first, _) = (
        method.condense(task()).images,
        begin(task(), "random", generator_of(0, "d2c")),
    )
    moved = (found - first).abs().amax((1, 2, 3)) > 1e-4
    assert 0 < moved.sum() <= 2  # of the one class


def test_divergence_says_what_to_lower(monkeypatch):
    import bench_d2c.learning as learning

    monkeypatch.setattr(
        learning, "hypergradient", lambda *a: (torch.tensor(math.nan), [0 * p for p in a[2]])
    )
    with pytest.raises(BenchError, match=r"diverged.*lower lr"):
        short().condense(task())


# ---- what it is for


def held_out(images, labels, data, seed):
    """The denoising loss on images that no one has seen, of a denoiser trained on a set."""
    with torch.random.fork_rng():
        torch.manual_seed(77 + seed)
        denoiser = diffusion.build(MLP(), data.shape, len(data.classes))
    recipe = DiffusionRecipe(steps=400, batch=64)
    fit(
        denoiser,
        Examples(TensorSplit(images, labels), torch.arange(len(labels)), labels),
        recipe,
        seed=seed,
    )
    count = len(data.test.labels)
    x = 2 * data.test.images(torch.arange(count)) - 1
    generator = torch.Generator().manual_seed(5)
    time = torch.randint(1000, (count,), generator=generator)
    noise = torch.randn(x.shape, generator=generator)
    with torch.no_grad():
        return float(diffusion.losses(denoiser, x, data.test.labels, time, noise, {}).mean())


@pytest.mark.slow
def test_a_learnt_pool_teaches_more_than_as_many_real_images():
    from bench_standard.datasets.digits import Digits

    data = Digits().load()
    order = torch.randperm(len(data.train.labels), generator=torch.Generator().manual_seed(0))
    parts = [
        TensorSplit(data.train.images(i), data.train.labels[i]) for i in (order[400:], order[:400])
    ]
    data = replace(data, train=parts[0], test=parts[1])
    given = task(data)
    method = D2C(text=False, outer=40, warmup=60)
    learnt, real = (m.condense(given) for m in (method, replace(method, outer=1, lr=1e-9)))
    found = [
        sum(held_out(m.images, m.labels.argmax(1), data, seed) for seed in (0, 1)) / 2
        for m in (learnt, real)
    ]
    assert found[0] < 0.93 * found[1]
