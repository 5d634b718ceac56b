"""Stages are pure: the same inputs and seed give the same bytes, and nothing faulty passes."""

from __future__ import annotations

import functools
import random
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import toyplug
from support import BOARD
from torch import Tensor, nn
from torch.utils import deterministic

from bench.board.check import resolve
from bench.board.matrix import parse
from bench.contract.data import Data, Split, TensorSplit, digest_of_tensors
from bench.contract.errors import BenchError
from bench.contract.keys import seed_of
from bench.contract.registry import registry_of
from bench.contract.task import CondensedSet, Selection, Task
from bench.engine.scheduler import Engine
from bench.stages.condense import Condense, condense
from bench.stages.execute import execute
from bench.stages.io import Desk, built, examples_of
from bench.stages.load import Load
from bench.stages.squeeze import Squeeze, squeeze
from bench.stages.stage import STAGES, Dataset, Stage, Work
from bench.store.store import Finished, Store
from bench.training import networks, toy
from bench.training.passes import Passes
from bench.training.recipe import Recipe

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


def rows(images: Tensor) -> set[bytes]:
    return {row.numpy().tobytes() for row in images}


def task(**changes: Any) -> Task:
    facts = {name: getattr(DATA, name) for name in ("shape", "classes", "mean", "std")}
    known = Dataset("toy-data", toy.ToyData(), "", {**facts, "digest": "d", "flip": False})
    made = {"backbone": lambda: built(toy.ToyLinear(), known, 5)}
    whole = Task(**facts, train=DATA.train, flip=False, ipc=2, seed=5, networks=made)
    return replace(whole, **changes)


# ---- squeeze and condense


def test_a_teacher_is_the_state_of_the_tasks_network() -> None:
    state = networks.state(squeeze(toy.ToyTeacher(steps=5), task()))
    networks.load(task().network(), state)
    again = networks.state(squeeze(toy.ToyTeacher(steps=5), task()))
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
        squeeze(Returning(what), task())
    assert said in str(caught.value)


def test_fresh_networks_differ_by_call_and_a_seed_decides_which(tmp_path: Path) -> None:
    board = engine(tmp_path, methods=["toy-soft"], controls=None, backbone="toy-linear", ipc=[1])
    done = executed(board, ("squeeze",))
    of_seed = [work for work, made in done.values() if made.stage == "squeeze"]
    assert len(of_seed) == 2

    def fresh(work: Work) -> list[str]:
        assert isinstance(work.stage, Squeeze)
        given = desk(board).task(work.stage, 0, backbone=work.stage.architecture)
        torch.rand(3)  # whatever a teacher has drawn in between
        states = [networks.state(given.network()) for _ in range(2)]
        return [digest_of_tensors(*state.values()) for state in states]

    one, other = map(fresh, of_seed)
    assert fresh(of_seed[0]) == one
    assert len({*one, *other}) == 4


def test_a_condensed_set_goes_through_its_gate() -> None:
    assert len(condense(toy.ToyMeans(), task())) == 2 * CLASSES
    faulty = Returning(lambda given: toy.ToyMeans().condense(replace(given, ipc=3)))
    with pytest.raises(BenchError, match="has 24 images; at most 16 are allowed"):
        condense(faulty, task())
    assert len(condense(toy.ToyFull(), task())) == 320


@dataclass(frozen=True)
class Floats(toy.ToyMeans):
    """Class means that are not to be rounded."""

    name: str = "floats"
    float_images: ClassVar[bool] = True


def test_sets_are_stored_in_eight_bits_unless_their_method_asks_for_floats() -> None:
    made = toy.ToyMeans().condense(task())
    rounded, floats = condense(toy.ToyMeans(), task()).images, condense(Floats(), task()).images
    assert isinstance(made.images, Tensor)
    assert isinstance(rounded, Tensor)
    assert isinstance(floats, Tensor)
    assert torch.equal(rounded, (made.images * 255).round().to(torch.uint8))
    assert torch.equal(floats, made.images)


def test_a_method_that_selects_has_to_say_so() -> None:
    unsaid = Returning(lambda given: toy.ToyFirst().condense(given))
    with pytest.raises(BenchError, match="expected `selects: ClassVar"):
        condense(unsaid, task())
    assert isinstance(condense(toy.ToyFirst(), task()).images, Selection)


def test_an_output_in_company_is_counted_as_it_is_alone() -> None:
    """As that of a denoiser that projects: the prediction, and what it makes of attachments."""

    class Pair(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            return 2 * x, {"image.features": x[:1]}

    pair, passes = Pair(), Passes()
    passes.count(pair)
    pair(torch.rand(5, 3, requires_grad=True))[0].sum().backward()
    pair(torch.rand(2, 3))
    assert passes.as_json() == {"forward": 7, "backward": 5}


# ---- what a method is given


def engine(folder: Path, **changes: Any) -> Engine:
    document = {k: v for k, v in {**BOARD, **changes}.items() if v is not None}
    components = resolve(parse(document), registry_of(toyplug.COMPONENTS))
    return Engine(components, Store(folder))


def desk(engine: Engine) -> Desk:
    return Desk(engine.store, engine.device, lambda done, total: None)


def executed(engine: Engine, kinds: tuple[str, ...] = ()) -> dict[str, tuple[Work, Finished]]:
    """The stages of a board, run in this process, by title: what each was given and gave."""
    from bench.stages.plan import load_stage, plan

    done: dict[str, tuple[Work, Finished]] = {}
    keys: dict[str, str] = {}
    found: dict[str, Finished] = {}

    def run(stage: Stage) -> Finished:
        contents = {above.id: found[above.id].content for above in stage.above.values()}
        keys[stage.id] = engine.key_of(stage, contents)
        work = engine.work(stage, keys, contents)
        told = execute(work, device="cpu", progress=lambda done, total: None)
        found[stage.id] = Finished(**told)
        done[stage.title] = (work, found[stage.id])
        return found[stage.id]

    matrix = engine.components.matrix
    datasets = {}
    for name in matrix.datasets:
        first = load_stage(engine.components, name)
        loaded = run(first)
        datasets[name] = Dataset(name, first.component, loaded.key, loaded.value, first.evaluate)
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
    assert isinstance(work.stage, Condense)
    given = desk(board).task(work.stage, 1, {"teacher": work.stage.teacher})
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
    from bench.training import classifier

    seen: list[Any] = []
    order, fit = classifier._order, classifier.fit

    def watched_order(*arguments: Any) -> Any:
        for found in order(*arguments):
            seen[-1][1].append(found.tolist())
            yield found

    def watched_fit(network: nn.Module, *arguments: Any, **options: Any) -> nn.Module:
        seen.append((digest_of_tensors(*networks.state(network).values()), []))
        return fit(network, *arguments, **options)

    monkeypatch.setattr(classifier, "_order", watched_order)
    monkeypatch.setattr(classifier, "fit", watched_fit)
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


def test_with_soft_labels_real_images_have_the_distributions_of_the_board_s_teacher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.training import classifier

    seen: list[Tensor] = []
    fit = classifier.fit

    def watched_fit(network: nn.Module, examples: Any, *arguments: Any, **options: Any) -> Any:
        if "regime" in options:  # a student, no teacher
            seen.append(examples.labels)
        return fit(network, examples, *arguments, **options)

    monkeypatch.setattr(classifier, "fit", watched_fit)
    changes = {
        "methods": ["toy-first"],
        "controls": None,
        "ceiling": None,
        "ipc": [2],
        "seeds": [0],
    }
    board = engine(
        tmp_path,
        **changes,
        labels=["soft"],
        teacher="toy-teacher",
        backbone="toy-convnet",
        recipe={"steps": 3, "batch": 4},
    )
    done = executed(board, ("squeeze", "condense", "train"))
    made = {work.stage.kind: (work, finished) for work, finished in done.values()}
    work, finished = made["train"]
    teacher = desk(board).network(work.stage.teacher, work.stage.dataset)
    index = desk(board).condensed(work.stage.set).images.indices
    with torch.no_grad():
        expected = teacher(DATA.train.images(index)).softmax(1)
    torch.testing.assert_close(seen[0], expected)
    assert finished.value["bytes"] == {"labels": 2 * CLASSES * CLASSES * 4}
    assert made["condense"][1].value["bytes"]["images"] == 2 * CLASSES * 64
    assert made["condense"][1].value["index"] == 2 * CLASSES * 8


def test_hard_labels_are_the_classes_of_the_images_whatever_soft_ones_lean_to() -> None:
    labels, classes = torch.full((8, 8), 0.1), torch.arange(8)
    labels[:, 0] = 0.3
    leaning = CondensedSet(torch.rand(8, *DATA.shape), labels, classes=classes)
    assert torch.equal(examples_of(leaning, DATA.train, "hard").labels, classes)
    assert torch.equal(examples_of(leaning, DATA.train, "soft").labels, labels)


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
    assert {work.stage.kind for work, _ in one.values()} == {*STAGES} - {
        "grade",
        "survey",
        "attack",
        "sample",
    }
    assert {title: (made.key, made.content) for title, (_, made) in one.items()} == {
        title: (made.key, made.content) for title, (_, made) in other.items()
    }


def test_the_seed_of_a_stage_knows_no_method() -> None:
    assert seed_of("train", "d", "a", 0) == seed_of("train", "d", "a", 0)
    others = [("train", "d", "a", 1), ("train", "d", "b", 0), ("train", "e", "a", 0)]
    others += [("probe", "d", "a", 0)]
    assert len({seed_of("train", "d", "a", 0), *(seed_of(*o) for o in others)}) == 5


# ---- checkpoints


@dataclass(frozen=True)
class Dying:
    """A teacher that dies at a step of its training, once."""

    name: str = "dying"
    marker: str = ""  # a file: it has died already

    def squeeze(self, task: Task) -> nn.Module:
        from bench.training.classifier import Examples, fit

        def progress(done: int, total: int) -> None:
            if done == 8 and self.marker and not Path(self.marker).exists():
                Path(self.marker).touch()
                raise MemoryError

        labels = task.train.labels
        return fit(
            task.network(),
            Examples(task.train, torch.arange(len(labels)), labels),
            Recipe(steps=10, batch=16, crop=1),
            classes=len(task.classes),
            seed=task.seed,
            checkpoint=task.checkpoint,
            progress=progress,
        )


def test_a_stage_that_dies_late_goes_on_and_gives_the_same_bytes_and_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.stages.execute.INTERVAL", 0.0)
    store = Store(tmp_path / "store")

    def run(stage: Stage, key: str) -> Finished:
        done = execute(Work(stage, key, str(store.root)), device="cpu", progress=lambda d, t: None)
        return Finished(**done)

    load = Load(Dataset("toy-data", toy.GRAY, "", {}), 0, toy.GRAY, "test", "")
    found = run(load, "2" * 16)
    loaded = Dataset("toy-data", toy.GRAY, found.key, found.value)

    def squeezed(teacher: Dying, key: str) -> Finished:
        return run(Squeeze(loaded, 0, teacher, toy.ToyConvNet()), key)

    whole = squeezed(Dying(), "0" * 16)
    dying = Dying(marker=str(tmp_path / "died"))
    with pytest.raises(MemoryError):
        squeezed(dying, "1" * 16)
    assert store.partial("squeeze", "1" * 16).exists()
    again = squeezed(dying, "1" * 16)

    assert again.files == whole.files
    assert again.value["passes"] == whole.value["passes"]
    assert not store.partial("squeeze", "1" * 16).exists()
