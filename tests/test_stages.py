"""Stages are pure: the same inputs and seed give the same bytes, and nothing faulty passes."""

from __future__ import annotations

import functools
import random
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toyplug
from hypothesis import given
from hypothesis import strategies as st
from support import BOARD
from torch import Tensor, nn
from torch.utils import deterministic

from bench import networks, stages, toy
from bench.components import resolve
from bench.engine import Engine
from bench.keys import seed_of
from bench.matrix import parse
from bench.plan import STAGES, Stage, Work
from bench.recipe import Recipe
from bench.records import unpack
from bench.registry import registry_of
from bench.store import Finished, Store
from bench.types import (
    BenchError,
    CondensedSet,
    Data,
    Selection,
    Split,
    Subset,
    Task,
    TensorSplit,
    digest_of_tensors,
)

DATA = toy.GRAY.load()
CLASSES = len(DATA.classes)


@pytest.fixture(autouse=True)
def as_found() -> Iterator[None]:
    """Stages set the whole process up to be deterministic; tests after these are not to know."""
    strict = torch.are_deterministic_algorithms_enabled()
    fill, threads = deterministic.fill_uninitialized_memory, torch.get_num_threads()
    with torch.random.fork_rng():
        yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(strict)
    deterministic.fill_uninitialized_memory = fill


def pixels(split: Split) -> Tensor:
    assert isinstance(split, TensorSplit)
    return split.pixels


def task(**changes: Any) -> Task:
    facts = {name: getattr(DATA, name) for name in ("shape", "classes", "mean", "std")}
    made = {"backbone": lambda: stages._built(toy.ToyLinear(), facts, 5)}
    whole = Task(**facts, train=DATA.train, flip=False, ipc=2, seed=5, networks=made)
    return replace(whole, **changes)


# ---- condensed sets, at rest


@st.composite
def condensed_sets(draw: st.DrawFn) -> CondensedSet:
    count, classes = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    images: Any = torch.rand(count, 1, 2, 3, generator=generator)
    match draw(st.sampled_from(("float", "uint8", "selection", "strided"))):
        case "uint8":
            images = (images * 255).to(torch.uint8)
        case "selection":
            images = Selection(torch.randperm(50, generator=generator)[:count])
        case "strided":
            images = images.transpose(2, 3).contiguous().transpose(2, 3)
    if draw(st.booleans()):
        labels = torch.rand(count, classes, generator=generator).softmax(1)
    else:
        labels = torch.eye(classes)[torch.arange(count) % classes]
    extras = {"image.code": torch.rand(count, 2), "class.text": torch.arange(classes)}
    return CondensedSet(
        images,
        labels,
        weights=torch.rand(count, generator=generator) + 0.1 if draw(st.booleans()) else None,
        extras={name: extras[name] for name in draw(st.sets(st.sampled_from(sorted(extras))))},
    )


@given(condensed_sets())
def test_a_condensed_set_comes_back_from_its_tensors(condensed: CondensedSet) -> None:
    tensors = stages.set_to_tensors(condensed)
    assert all(tensor.is_contiguous() for tensor in tensors.values())
    back = stages.set_from_tensors(tensors)
    if isinstance(condensed.images, Selection):
        assert isinstance(back.images, Selection)
        assert torch.equal(back.images.indices, condensed.images.indices)
    else:
        assert isinstance(back.images, Tensor)
        assert back.images.dtype == condensed.images.dtype
        assert torch.equal(back.images, condensed.images)
    assert back.labels.dtype == torch.float32
    assert torch.equal(back.labels, condensed.labels)
    if condensed.weights is None:
        assert back.weights is None
    else:
        assert back.weights is not None
        assert torch.equal(back.weights, condensed.weights)
    assert set(back.extras) == set(condensed.extras)
    assert all(torch.equal(back.extras[k], v) for k, v in condensed.extras.items())


@given(condensed_sets())
def test_a_set_weighs_what_is_stored(condensed: CondensedSet) -> None:
    tensors = stages.set_to_tensors(condensed)
    weighed = stages.set_bytes(tensors)
    stored = sum(t.numel() * t.element_size() for k, t in tensors.items() if k != "classes")
    assert sum(weighed.values()) == stored


def test_hard_labels_and_real_images_take_eight_bytes_each() -> None:
    selected = CondensedSet(Selection(torch.arange(20)), torch.eye(10).repeat(2, 1))
    assert stages.set_bytes(stages.set_to_tensors(selected)) == {
        "images": 20 * 8,
        "labels": 20 * 8,
        "weights": 0,
        "extras": 0,
    }
    soft = replace(selected, labels=torch.full((20, 10), 0.1))
    assert stages.set_bytes(stages.set_to_tensors(soft))["labels"] == 20 * 10 * 4


# ---- validation


@pytest.fixture(scope="module")
def carved() -> Data:
    return stages.carved(DATA)


def rows(images: Tensor) -> set[bytes]:
    return {row.numpy().tobytes() for row in images}


def test_validation_takes_a_fifth_of_every_training_class(carved: Data) -> None:
    assert torch.bincount(carved.test.labels).tolist() == [8] * CLASSES
    assert torch.bincount(carved.train.labels).tolist() == [32] * CLASSES


def test_validation_and_training_images_are_disjoint_and_all_there_is(carved: Data) -> None:
    train, held = rows(pixels(carved.train)), rows(pixels(carved.test))
    assert not train & held
    assert train | held == rows(pixels(DATA.train))
    assert not held & rows(pixels(DATA.test))


def test_validation_images_keep_their_labels(carved: Data) -> None:
    known = {
        image.numpy().tobytes(): int(label)
        for image, label in zip(pixels(DATA.train), DATA.train.labels, strict=True)
    }
    for split in (carved.train, carved.test):
        for image, label in zip(pixels(split), split.labels, strict=True):
            assert known[image.numpy().tobytes()] == int(label)


def test_carving_is_deterministic_and_leaves_the_random_state_alone(carved: Data) -> None:
    state = torch.get_rng_state()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    again = stages.carved(DATA)
    assert torch.equal(torch.get_rng_state(), before)
    torch.set_rng_state(state)
    assert torch.equal(pixels(again.test), pixels(carved.test))
    assert again.digest == carved.digest


def test_validation_is_other_data(carved: Data) -> None:
    assert carved.digest != DATA.digest
    assert (carved.classes, carved.shape, carved.mean) == (DATA.classes, DATA.shape, DATA.mean)


def test_images_on_disk_are_carved_by_index() -> None:
    on_disk = toyplug.Closed().load()
    held = stages.load(toyplug.Closed(), "validation")
    assert isinstance(held.train, Subset)
    assert isinstance(held.test, Subset)
    assert torch.equal(held.test.images(torch.arange(4)), pixels(stages.carved(DATA).test)[:4])
    with pytest.raises(RuntimeError, match="the test split was opened"):
        on_disk.test.images(torch.arange(1))


def test_a_closed_test_split_is_opened_by_a_test_board_alone() -> None:
    stages.load(toyplug.Closed(), "validation")
    with pytest.raises(RuntimeError, match="the test split was opened"):
        stages.load(toyplug.Closed(), "test")


# ---- which test images


@given(st.integers(1, 160), st.integers(1, 160), st.integers(0, 2**48 - 1))
def test_fewer_probed_images_are_a_prefix_of_more(one: int, other: int, content: int) -> None:
    digest = f"{content:012x}0000"
    few, many = sorted((one, other))
    longest = stages.probed_images(DATA.test, digest, many)
    assert torch.equal(stages.probed_images(DATA.test, digest, few), longest[:few])
    assert len(set(longest.tolist())) == many
    every = stages.probed_images(DATA.test, digest, 0)
    assert sorted(every.tolist()) == list(range(160))
    assert torch.equal(every[:many], longest)


def test_other_data_are_probed_in_another_order() -> None:
    orders = [stages.probed_images(DATA.test, f"{k:012x}0000", 0).tolist() for k in range(5)]
    assert len({tuple(order) for order in orders}) == 5


# ---- squeeze and condense


def test_a_teacher_is_the_state_of_the_tasks_network() -> None:
    state = stages.squeeze(toy.ToyTeacher(steps=5), task())
    networks.load(task().network(), state)
    again = stages.squeeze(toy.ToyTeacher(steps=5), task())
    assert all(torch.equal(again[name], tensor) for name, tensor in state.items())


@dataclass(frozen=True)
class Returning:
    """A teacher, or a method, that returns what it is told."""

    what: Callable[[Task], Any]
    name: str = "returning"

    def squeeze(self, given: Task) -> Any:
        return self.what(given)

    def condense(self, given: Task) -> Any:
        return self.what(given)


def filled(network: nn.Module, value: float) -> nn.Module:
    with torch.no_grad():
        next(network.parameters()).fill_(value)
    return network


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (lambda task: nn.Linear(3, 2), "the saved state has"),
        (lambda task: toy.ToyConvNet().build(task.shape, 8), "the saved state has"),
        (lambda task: toy.ToyLinear().build(task.shape, 7), "of shape"),
        (lambda task: task.network().state_dict(), "squeeze() returned OrderedDict; expected"),
        (lambda task: None, "squeeze() returned NoneType; expected the network"),
        (lambda task: filled(task.network(), float("nan")), "are NaN or infinite"),
    ],
    ids=["linear", "architecture", "classes", "state", "nothing", "nan"],
)
def test_a_teacher_that_is_not_the_tasks_network_is_refused(
    what: Callable[[Task], Any], said: str
) -> None:
    with pytest.raises(BenchError) as caught:
        stages.squeeze(Returning(what), task())
    assert said in str(caught.value)


def test_fresh_networks_differ_by_call_and_a_seed_decides_which(tmp_path: Path) -> None:
    board = engine(tmp_path, methods=["toy-soft"], controls=None, backbone="toy-linear", ipc=[1])
    done = executed(board, ("squeeze",))
    of_seed = [work for work, made in done.values() if made.stage == "squeeze"]
    assert len(of_seed) == 2

    def fresh(work: Work) -> list[str]:
        given = stages._task(work, board.store, lambda done, total: None, ipc=0)
        torch.rand(3)  # whatever a teacher has drawn in between
        states = [networks.state(given.network()) for _ in range(2)]
        return [digest_of_tensors(*state.values()) for state in states]

    one, other = map(fresh, of_seed)
    assert fresh(of_seed[0]) == one
    assert len({*one, *other}) == 4


def test_a_condensed_set_goes_through_its_gate() -> None:
    assert len(stages.condense(toy.ToyMeans(), task())) == 2 * CLASSES
    faulty = Returning(lambda given: toy.ToyMeans().condense(replace(given, ipc=3)))
    with pytest.raises(BenchError, match="has 24 images; at most 16 are allowed"):
        stages.condense(faulty, task())
    assert len(stages.condense(toy.ToyFull(), task())) == 320


# ---- what a method is given


def engine(folder: Path, **changes: Any) -> Engine:
    document = {k: v for k, v in {**BOARD, **changes}.items() if v is not None}
    components = resolve(parse(document), registry_of(toyplug.COMPONENTS))
    return Engine(components, Store(folder), jobs=1)


def executed(engine: Engine, kinds: tuple[str, ...] = ()) -> dict[str, tuple[Work, Finished]]:
    """The stages of a board, run in this process, by title: what each was given and gave."""
    from bench.plan import Dataset, key_of, load_stage, plan

    done: dict[str, tuple[Work, Finished]] = {}
    keys: dict[str, str] = {}
    found: dict[str, Finished] = {}

    def run(stage: Stage) -> Finished:
        contents = {role: found[above.id].content for role, above in stage.above.items()}
        keys[stage.id] = key_of(stage, contents, engine.device)
        work = engine.work(stage, keys[stage.id], keys)
        found[stage.id] = stages.execute(work, progress=lambda done, total: None)
        done[stage.title] = (work, found[stage.id])
        return found[stage.id]

    matrix = engine.components.matrix
    datasets = {}
    for name in matrix.datasets:
        first = load_stage(engine.components, name)
        loaded = run(first)
        datasets[name] = Dataset(name, first.parts["dataset"], loaded.key, loaded.value)
    for stage in plan(engine.components, datasets, matrix.cells()).stages:
        if not kinds or stage.kind in kinds:
            run(stage)
    return done


def reachable(root: Any) -> list[Any]:
    """Whatever can be reached through fields, entries, closures and bound arguments."""
    seen: dict[int, Any] = {}
    waiting = [root]
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, type | types.ModuleType | str | int | float):
            continue
        seen[id(one)] = one
        if isinstance(one, Mapping):
            waiting += one.values()
        elif isinstance(one, tuple | list | set | frozenset):
            waiting += one
        elif isinstance(one, functools.partial):
            waiting += [one.func, one.args, one.keywords]
        elif isinstance(one, types.FunctionType):
            waiting += [cell.cell_contents for cell in one.__closure__ or ()]
        elif isinstance(one, nn.Module):
            continue
        elif is_dataclass(one):
            waiting += [getattr(one, f.name) for f in fields(one)]
        if not isinstance(one, Tensor):
            waiting += getattr(one, "__dict__", {}).values()
    return list(seen.values())


def test_a_method_cannot_reach_the_test_split_through_its_task(tmp_path: Path) -> None:
    board = engine(tmp_path, methods=["toy-soft"], controls=None, backbone="toy-linear")
    done = executed(board, ("squeeze", "condense"))
    work, _ = next(pair for title, pair in done.items() if title.startswith("toy-soft, ipc 1"))
    given = stages._task(work, board.store, lambda done, total: None, ipc=1)
    assert isinstance(given.teacher, nn.Module)  # loaded: it must not bring the split along
    tensors = [one for one in reachable(given) if isinstance(one, Tensor)]
    held = rows(pixels(DATA.test))
    images = [t for t in tensors if t.ndim == 4 and t.shape[1:] == DATA.shape]
    assert any(rows(t) == rows(pixels(DATA.train)) for t in images)  # the search does find splits
    assert not any(rows(t) & held for t in images)
    assert not any(isinstance(one, Data) for one in reachable(given))
    assert not [name for name in dir(given) if "test" in name or "recipe" in name]
    assert not any(isinstance(one, Recipe) for one in reachable(given))


# ---- train


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the students of this process are trained from, and on which rows in which order."""
    from bench import train

    seen: list[Any] = []
    order, fit = train._order, stages.fit

    def watched_order(*arguments: Any) -> Any:
        for found in order(*arguments):
            seen[-1][1].append(found.tolist())
            yield found

    def watched_fit(network: nn.Module, *arguments: Any, **options: Any) -> nn.Module:
        seen.append((digest_of_tensors(*networks.state(network).values()), []))
        return fit(network, *arguments, **options)

    monkeypatch.setattr(train, "_order", watched_order)
    monkeypatch.setattr(stages, "fit", watched_fit)
    return seen


def test_one_seed_trains_the_students_of_all_methods_alike(
    tmp_path: Path, batches: list[Any]
) -> None:
    changes = {"ceiling": None, "ipc": [2], "attacks": ["toy-clean"], "seeds": [0, 1]}
    recipe = {"steps": 5, "batch": 4}
    executed(engine(tmp_path, **changes, recipe=recipe), ("condense", "train"))
    assert len(batches) == 4  # two methods, two seeds
    weights = [weight for weight, _ in batches]
    orders = [str(order) for _, order in batches]
    assert len(set(weights)) == len(set(orders)) == 2
    for seeds in (weights, orders):
        assert sorted(map(seeds.count, set(seeds))) == [2, 2]
    assert all(len(order) == 5 for _, order in batches)


def test_a_stage_run_again_gives_the_same_bytes(tmp_path: Path) -> None:
    changes = {
        "methods": ["drawing", "toy-soft"],
        "controls": None,
        "ceiling": None,
        "ipc": [1],
        "labels": ["teacher"],
        "architectures": ["toy-convnet"],
        "attacks": ["noted-step"],
        "seeds": [0],
        "backbone": "toy-convnet",
        "teacher": "toy-teacher",
        "recipe": {"steps": 5, "crop": 1, "cutmix": 1.0},
    }
    one = executed(engine(tmp_path / "one", **changes))
    for draw in (torch.rand, np.random.rand):  # whatever has been drawn before
        draw(7)
    random.random()
    other = executed(engine(tmp_path / "other", **changes))
    assert {work.kind for work, _ in one.values()} == set(STAGES)
    assert {title: (made.key, made.content) for title, (_, made) in one.items()} == {
        title: (made.key, made.content) for title, (_, made) in other.items()
    }


def test_the_seed_of_a_stage_knows_no_method() -> None:
    assert seed_of("train", "d", "a", 0) == seed_of("train", "d", "a", 0)
    others = [("train", "d", "a", 1), ("train", "d", "b", 0), ("train", "e", "a", 0)]
    others += [("probe", "d", "a", 0)]
    assert len({seed_of("train", "d", "a", 0), *(seed_of(*o) for o in others)}) == 5


# ---- probe


STUDENT = networks.build(toy.ToyLinear(), DATA.shape, CLASSES, DATA.mean, DATA.std).eval()
INDEX = torch.arange(0, 160, 5)


@dataclass(frozen=True)
class Attack:
    """An attack that does what it is told."""

    what: Callable[[nn.Module, Tensor, Tensor], Any]
    name: str = "told"
    eps: float = 0.1
    norm: str = "linf"

    def perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Any:
        return self.what(model, images, labels)


def probe(attack: Any, student: nn.Module = STUDENT, **options: Any) -> Any:
    return stages.probe(attack, student, DATA.test, INDEX, seed=0, device="cpu", **options)


def test_a_probe_keeps_logits_and_says_who_is_right() -> None:
    tensors, value = probe(Attack(lambda model, images, labels: (images + 0.1).clamp(0, 1)))
    kept = tensors["result"]
    images, labels = DATA.test.images(INDEX), DATA.test.labels[INDEX]
    with torch.no_grad():
        clean, attacked = STUDENT(images), STUDENT((images + 0.1).clamp(0, 1))
    torch.testing.assert_close(kept["clean_logits"], clean)
    torch.testing.assert_close(kept["logits"], attacked)
    assert torch.equal(kept["index"], INDEX)
    right = (clean.argmax(1) == labels) & (attacked.argmax(1) == labels)
    assert unpack(value["correct"], len(INDEX)).tolist() == right.tolist()
    assert value["images"] == len(INDEX)
    assert value["perturbation"]["linf"]["max"] == pytest.approx(0.1, abs=1e-6)


def test_the_size_of_a_block_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = probe(toy.ToyStep())
    monkeypatch.setattr(stages, "BLOCK", 7)
    told: list[tuple[int, int]] = []
    parts = probe(toy.ToyStep(), progress=lambda done, total: told.append((done, total)))
    assert told == [(n, 5) for n in range(1, 6)]
    torch.testing.assert_close(parts[0]["result"]["logits"], whole[0]["result"]["logits"])
    assert parts[1]["correct"] == whole[1]["correct"]
    for norm in ("linf", "l2"):
        mine, theirs = parts[1]["perturbation"][norm], whole[1]["perturbation"][norm]
        assert mine == pytest.approx(theirs, abs=2e-6)


def spoil(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        next(model.parameters()).mul_(1.01)
    return images


def leave_gradients(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    model(images).sum().backward()
    return images


def leave_training(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    model.train()
    return images


def in_place(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return images.add_(0.5).clamp_(0, 1)  # would look like no change, were it the same tensor


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (spoil, "the attack changed the model: its weights or buffers"),
        (leave_gradients, "the attack changed the model: its gradients"),
        (leave_training, "the attack changed the model: its train or eval mode"),
        (in_place, "its ball has radius 0.1"),
        (lambda model, images, labels: images + 1, "expected [0, 1]"),
        (lambda model, images, labels: images[:3], "perturb() returned float32 [3, 1, 8, 8]"),
        (lambda model, images, labels: images * float("nan"), "hold NaN"),
        (lambda model, images, labels: model(images), "the adversarial images have shape [32, 8]"),
        (lambda model, images, labels: None, "the adversarial images are NoneType"),
    ],
)
def test_an_attack_that_breaks_the_rules_has_no_result(what: Any, said: str) -> None:
    student = networks.build(toy.ToyLinear(), DATA.shape, CLASSES, DATA.mean, DATA.std).eval()
    with pytest.raises(BenchError) as caught:
        probe(Attack(what), student)
    assert said in str(caught.value)


class Broken(nn.Module):
    """A student whose logits are not finite."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, :CLASSES] / 0


def test_logits_that_are_not_finite_have_no_result() -> None:
    with pytest.raises(BenchError, match="logits hold NaN or infinity"):
        probe(toy.ToyClean(), Broken().eval())


def test_a_graph_that_hangs_on_the_images_is_let_go() -> None:
    def keep_graph(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        return (images.requires_grad_() + 0.01).clamp(0, 1)

    tensors, _ = probe(Attack(keep_graph))
    assert not tensors["result"]["logits"].requires_grad
