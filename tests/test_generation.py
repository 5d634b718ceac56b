"""A board of the generation track, from its matrix to its page."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from generation_toys import Asks, Broken, Noted, Ranks, RanksItself, Straight
from msgspec.structs import replace
from torch import nn
from toyplug import Seen

from bench.board.check import resolve
from bench.board.components import Components, downloads
from bench.board.matrix import Matrix, parse
from bench.contract.errors import BenchError
from bench.contract.registry import registry_of
from bench.engine.executor import Slot
from bench.engine.results import Ran, chosen_cells, run
from bench.engine.scheduler import Engine
from bench.records.files import split_valid
from bench.records.record import Passes
from bench.records.result import Result
from bench.report import pictures
from bench.report.markdown import rendered
from bench.report.numbers import board_of
from bench.report.page import build
from bench.report.verify import disagreements
from bench.store.store import Store
from bench.training import toy

BOARD: dict[str, Any] = {
    "title": "Toys, generated",
    "track": "generation",
    "datasets": ["toy-data"],
    "methods": ["toy-means"],
    "controls": ["asks"],
    "ceiling": ["toy-full", "toy-real"],
    "ipc": [1],
    "architectures": ["toy-denoiser"],
    "samplers": ["toy-sampler"],
    "metrics": ["toy-distance", "seen"],
    "seeds": [0, 1],
    "backbone": "toy-convnet",
    "denoiser": "toy-denoiser",
    "recipe": {"steps": 12, "checkpoints": [4], "batch": 16, "lr": 0.05},
    "probe": {"images": 80},
}


@dataclass(frozen=True)
class Fetched(toy.ToyTeacher):
    """A teacher that fetches its weights."""

    name: str = "fetched"

    def download(self) -> None:
        raise NotImplementedError


@dataclass(frozen=True)
class Untold:
    """A network that does not say what it is."""

    name: str = "untold"

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        return toy.ToyConvNet().build(shape, classes)


@dataclass(frozen=True)
class OfSet(toy.ToyDistance):
    """A metric of the set alone."""

    name: str = "of-set"
    of: ClassVar[str] = "set"


@dataclass(frozen=True)
class OfStudent(toy.ToyDistance):
    """A metric of the student."""

    name: str = "of-student"
    of: ClassVar[str] = "student"


RANKING = (Ranks(), Ranks("ranks-hard", hardest=True), RanksItself())

REGISTRY = registry_of(
    {
        **toy.COMPONENTS,
        "teacher": (*toy.COMPONENTS["teacher"], Fetched()),
        "architecture": (*toy.COMPONENTS["architecture"], Untold()),
        "method": (*toy.COMPONENTS["method"], Asks(), Noted(), *RANKING),
        "sampler": (*toy.COMPONENTS["sampler"], Straight(), Broken()),
        "metric": (*toy.COMPONENTS["metric"], Seen(), OfSet(), OfStudent()),
    }
)


def matrix(**changes: Any) -> Matrix:
    return parse({k: v for k, v in (BOARD | changes).items() if v is not None})


def resolved(**changes: Any) -> Components:
    return resolve(matrix(**changes), REGISTRY)


def ran(store: Path, only: dict[str, Any] | None = None, **changes: Any) -> tuple[Matrix, Ran]:
    components = resolved(**changes)
    engine = Engine(components, Store(store), (Slot(),) * 2)
    cells = chosen_cells(components.matrix, (), only)
    return components.matrix, run(engine, engine.plan(cells))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Matrix, Ran, Path]:
    store = tmp_path_factory.mktemp("generation") / "store"
    return *ran(store), store


def stages(store: Path, kind: str) -> int:
    return len([*store.glob(f"{kind}/*/done.json")])


def test_its_cells_are_samplers_and_checkpoints(whole: Any) -> None:
    board, found, _ = whole
    assert not found.failures
    sound, refused = split_valid(found.records)
    assert not refused
    assert len(sound) == len(board.cells()) == 4 * 2 * 2
    assert {r.column for r in sound} == {"toy-sampler @ 4", "toy-sampler"}
    assert sound[0].coordinate == board.cells()[0].coordinate
    assert (sound[0].attack, sound[0].norm, sound[0].correct) == ("", "", b"")


def test_a_student_is_trained_once_for_all_its_checkpoints_and_none_for_real_images(
    whole: Any,
) -> None:
    *_, store = whole
    # "asks" makes the set of "toy-means": another way to the same content runs nothing again
    assert stages(store, "train") == 2 * 2  # sets with students, by seeds
    assert stages(store, "sample") == 2 * 2 * 2 + 2  # checkpoints, too; real images once a seed
    assert stages(store, "squeeze") == 2 + 1  # a scorer a seed; one classifier for the board


def test_no_two_figures_have_one_name_and_none_of_a_set_is_found_twice(whole: Any) -> None:
    board, _, store = whole
    components = resolved(metrics=["of-set", "of-student"])
    plan = Engine(components, Store(store)).plan(board.cells())
    titles = [stage.title for stage in plan.stages if stage.kind == "measure"]
    assert len(titles) == len(set(titles))
    assert len([title for title in titles if title.startswith("of-set")]) == 4 * 2
    assert len([title for title in titles if title.startswith("of-student")]) == 3 * 2 * 2


def test_what_a_row_has_cost_is_counted(whole: Any) -> None:
    _, found, _ = whole
    by_cell = {(r.method, r.step): r for r in found.records if not r.seed}
    student = by_cell["toy-means", 0].passes["student"]
    assert student == Passes(forward=12 * 16, backward=12 * 16)
    assert by_cell["toy-means", 4].passes["student"].forward == 4 * 16
    assert by_cell["asks", 0].passes["scorer"].forward > 0
    assert "student" not in by_cell["toy-real", 0].passes
    assert by_cell["toy-means", 0].passes["probe"] == Passes(forward=4 * 80)


def test_a_survey_is_made_once_for_all_budgets_and_methods_that_ask_alike(tmp_path: Path) -> None:
    store = tmp_path / "store"
    methods = [method.name for method in RANKING]
    changes = {"controls": None, "ceiling": None, "ipc": [1, 2], "metrics": ["toy-distance"]}
    board, found = ran(store, methods=methods, **changes)
    assert not found.failures
    assert stages(store, "survey") == 2  # seeds
    assert stages(store, "condense") == 3 * 2 * 2
    known = {(r.method, r.ipc, r.seed): r for r in found.records if not r.step}
    (data,) = (one for one in toy.COMPONENTS["dataset"] if one.name == "toy-data")
    images = len(data.load().train.labels)
    for ipc in (1, 2):
        asked, itself = (known[name, ipc, 0] for name in ("ranks", "ranks-itself"))
        assert asked.passes["survey"].forward == itself.passes["set"].forward == images
        assert asked.passes["set"].forward == 0
        assert asked.metrics == itself.metrics  # the same draws, so the same set
        assert asked.content["survey"] == known["ranks-hard", 3 - ipc, 0].content["survey"]
    assert "survey" not in known["ranks-itself", 1, 0].passes
    page = rendered(build(board_of(board), found.records))
    assert "A survey of the data is made once for all sets whose methods ask alike." in page
    assert "| Survey |" in re.sub(" +", " ", page)


def test_real_images_are_the_best_that_can_be_had(whole: Any) -> None:
    _, found, _ = whole
    means: dict[str, float] = {}
    for record in found.records:
        if not record.step:
            means.setdefault(record.method, record.metrics["toy-distance"])
    assert means["toy-real"] == min(means.values())


def test_the_network_that_a_metric_looks_with_is_one_and_named(whole: Any) -> None:
    board, found, _ = whole
    names = {record.scales["seen"].features for record in found.records}
    assert len(names) == 1
    (name,) = names
    assert name.startswith("toy-convnet-")
    assert len(name) == len("toy-convnet-") + 8
    assert not found.records[0].scales["toy-distance"].features
    page = rendered(build(board_of(board), found.records))
    assert f"## seen-{name} (lower is better)" in page


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"features": "toy-convnet-00000000"}, "looked at by toy-convnet-00000000"),
        ({"measured_by": "another"}, "measured by another version of seen"),
    ],
)
def test_a_figure_that_was_found_otherwise_says_so(
    whole: Any, change: dict[str, str], words: str
) -> None:
    board, found, _ = whole
    first, *others = found.records
    scale = replace(first.scales["seen"], **change)
    mixed = [replace(first, scales={**first.scales, "seen": scale}), *others]
    page = rendered(build(board_of(board), mixed))
    whole_page = rendered(build(board_of(board), found.records))
    assert words not in whole_page
    distance, seen = page.split("## seen-")
    assert words in seen
    assert words not in distance  # which is another metric's section
    assert re.findall("## seen-.* percent", page) == re.findall("## seen-.* percent", whole_page)


@pytest.mark.slow
def test_two_data_sets_have_a_network_each(tmp_path: Path) -> None:
    board, found = ran(
        tmp_path / "store", {}, datasets=["toy-data", "toy-color"], seeds=[0], methods=["toy-means"]
    )
    names = {record.scales["seen"].features for record in found.records}
    assert len(names) == 2
    page = rendered(build(board_of(board), found.records))
    assert f"## seen-{' / '.join(sorted(names))} (lower is better)" in page
    assert "looked at by" not in page


def test_its_page_has_a_column_a_checkpoint_and_no_labels(whole: Any) -> None:
    board, found, _ = whole
    page = rendered(build(board_of(board), found.records))
    assert "### toy-data · toy-denoiser\n" in page
    assert "| toy-sampler @ 4 |" in page.replace("   ", " ").replace("  ", " ")
    assert "Scorer" in page
    assert "hard labels" not in page


def test_a_picture_shows_samples_of_every_class(whole: Any, tmp_path: Path) -> None:
    board, found, store = whole
    at = Store(store)
    kept = {
        record.coordinate: at.folder(probe.stage, probe.key) / "pictures.safetensors"
        for record, probe in found.probes
    }
    pictures.write(tmp_path, board_of(board), found.records, kept)
    drawn = sorted(path.name for path in (tmp_path / "images").iterdir())
    assert len(drawn) == 4  # a row each
    assert not pictures.missing(tmp_path, board_of(board), found.records)


def test_a_board_recomputed_elsewhere_says_the_same(whole: Any, tmp_path: Path) -> None:
    _, found, _ = whole
    _, again = ran(tmp_path / "store", {"method": ["toy-means", "toy-real"], "seed": ["1"]})
    assert len(again.records) == 2 * 2
    assert disagreements(found.records, again.records) == []
    wrong = [replace(r, metrics={**r.metrics, "toy-distance": 0.9}) for r in found.records]
    assert len(disagreements(wrong, again.records)) == 4


def elsewhere(records: Iterable[Result], **metrics: float) -> list[Result]:
    """As another machine has them: its networks round differently."""
    found = []
    for record in records:
        other = replace(record.scales["seen"], features="toy-convnet-00000000")
        changes = {
            "environment": {**record.environment, "cpu": "another"},
            "content": dict.fromkeys(record.content, "another"),
            "scales": {**record.scales, "seen": other},
            "metrics": {**record.metrics, **metrics},
        }
        found.append(replace(record, **changes))
    return found


def test_a_board_recomputed_on_another_machine_may_look_with_another_network(whole: Any) -> None:
    _, found, _ = whole
    assert disagreements(found.records, elsewhere(found.records)) == []
    far = disagreements(found.records, elsewhere(found.records, **{"toy-distance": 0.99}))
    assert len(far) == len(found.records)
    assert "toy-distance is" in far[0]
    here = [replace(r, environment=found.records[0].environment) for r in elsewhere(found.records)]
    assert (
        "its content is not what is recomputed; its scales is"
        in (disagreements(found.records, here)[0])
    )


SMALL: dict[str, Any] = {"methods": ["toy-means"], "controls": None, "ceiling": None}
SMALL |= {"seeds": [0], "metrics": ["toy-distance"]}


def test_a_sampler_may_decline_a_path_and_one_that_is_broken_leaves_no_record(whole: Any) -> None:
    *_, store = whole
    board, found = ran(store, samplers=["toy-sampler", "straight", "broken"], **SMALL)
    by_column = {record.column: record for record in found.records}
    assert {name: r.status for name, r in by_column.items()} == {
        "toy-sampler @ 4": "ok",
        "toy-sampler": "ok",
        "straight @ 4": "unsupported",
        "straight": "unsupported",
    }
    assert by_column["straight"].reason == "it walks straight paths, not cosine ones"
    assert found.cells_failed == 2
    assert "sample() returned float32 [79, 1, 8, 8]; expected float32 [80" in (
        found.failures[0].reason
    )
    page = rendered(build(board_of(board), found.records))
    assert "n/a [" in page
    assert "] it walks straight paths, not cosine ones" in page


def test_the_notes_of_a_set_are_kept_and_weigh_nothing(whole: Any) -> None:
    *_, store = whole
    _, found = ran(store, **{**SMALL, "methods": ["toy-means", "noted"]})
    plain, noted = (r for r in found.records if not r.step)
    assert noted.bytes == plain.bytes
    assert noted.metrics == plain.metrics


def test_a_class_without_images_enough_is_named_and_costs_its_own_row_alone(whole: Any) -> None:
    *_, store = whole
    changes = {**SMALL, "ceiling": ["toy-real"], "probe": None}
    board = {"define": {"poor": {"dataset": "toy-data", "train": 10}}, "datasets": ["poor"]}
    _, found = ran(store, **changes, **board)
    assert {record.method for record in found.records} == {"toy-means"}
    [failure] = found.failures
    assert (
        "class 0 has 10 images in the set, 20 are to be drawn; expected as many" in failure.reason
    )


def test_a_new_metric_samples_nothing_again(whole: Any) -> None:
    *_, store = whole
    before = stages(store, "sample"), stages(store, "train")
    ran(store, metrics=["toy-distance"])
    assert (stages(store, "sample"), stages(store, "train")) == before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labels": ["soft"]}, "labels are ['soft'] on a generation board; expected none given"),
        ({"attacks": ["toy-step"]}, "on a generation board; expected samplers"),
        ({"architectures": ["toy-convnet"]}, "belongs to the classification track"),
        ({"metrics": ["toy-accuracy"]}, "belongs to the classification track"),
        ({"denoiser": None}, "add denoiser = "),
        ({"backbone": None}, "metric 'seen' looks at images with a network of teacher"),
        ({"recipe": {"epochs": 3}}, "recipe has an unknown key 'epochs'"),
        ({"recipe": {"steps": 4, "checkpoints": [4]}}, "ends at step 4, which is always sampled"),
        ({"recipe": {"checkpoints": [4, 2]}}, "expected steps in rising order"),
        (
            {"set": [{"where": {"ipc": 1}, "recipe": {"checkpoints": [2]}}]},
            "the recipe has no field 'checkpoints'",
        ),
        ({"set": [{"where": {"attack": "x"}, "steps": 4}]}, "unknown key 'attack'"),
    ],
)
def test_a_bad_board_is_refused_before_any_work(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BenchError) as caught:
        resolved(**changes)
    assert said in str(caught.value)


def test_a_row_that_trains_nothing_has_no_recipe(whole: Any) -> None:
    _, found, _ = whole
    for record in found.records:
        assert bool(record.recipe) == (record.method != "toy-real")
        assert "checkpoints" not in record.recipe  # an axis of the board


def test_what_a_metric_looks_with_is_fetched_for_every_row() -> None:
    components = resolved(set=[{"where": {"metric": "seen"}, "features": "fetched"}])
    cells = [cell for cell in components.matrix.cells() if cell.method == "toy-full"]
    assert Fetched() in downloads(components, cells)


@pytest.mark.parametrize(
    ("features", "words"),
    [
        ("nope", "there is no teacher 'nope'"),
        ("toy-diffusion", "metric 'seen': teacher 'toy-diffusion' belongs to the generation track"),
        ("", "metric 'seen': features is set to ''; expected the name of a teacher"),
    ],
)
def test_what_a_metric_looks_with_is_checked_where_it_is_set(features: str, words: str) -> None:
    with pytest.raises(BenchError) as caught:
        resolved(set=[{"where": {"metric": "seen"}, "features": features}])
    assert words in str(caught.value)


def test_a_network_that_does_not_say_what_it_is_is_no_denoiser() -> None:
    for changes, words in (
        ({"architectures": ["untold"]}, "'untold' does not say that it is a denoiser; add track"),
        ({"denoiser": "untold"}, "denoiser 'untold' is no generation network"),
    ):
        with pytest.raises(BenchError, match=words):
            resolved(**changes)


def test_a_sampler_and_the_recipe_of_a_budget_can_be_set() -> None:
    components = resolved(
        define={"long": {"sampler": "toy-sampler", "steps": 9}},
        samplers=["long"],
        set=[
            {"where": {"sampler": "long", "dataset": "toy-data"}, "steps": 7},
            {"where": {"ipc": 0}, "recipe": {"steps": 40}},
        ],
    )
    assert components.get("sampler", "long", dataset="toy-data").steps == 7
    where: dict[str, Any] = {"dataset": "toy-data", "labels": "hard", "architecture": "x"}
    assert [components.recipe(ipc=ipc, **where).steps for ipc in (0, 1)] == [40, 12]


def test_real_images_have_no_place_on_a_classification_board() -> None:
    changes = {
        **dict.fromkeys(("track", "samplers", "recipe", "denoiser")),
        "attacks": ["toy-clean"],
        "architectures": ["toy-convnet"],
        "metrics": ["toy-accuracy"],
        "controls": ["toy-first"],
    }
    with pytest.raises(BenchError, match="'toy-real' gives images in the place of samples"):
        resolved(**changes)


def names(cells: Iterable[Any]) -> set[str]:
    return {cell.sampler for cell in cells}


def test_part_of_its_axes_can_be_run() -> None:
    board = matrix()
    assert {c.step for c in chosen_cells(board, (), {"step": ["4"]})} == {4}
    assert names(chosen_cells(board, ["toy-means"], {"sampler": ["toy-sampler"]})) == {
        "toy-sampler"
    }
    with pytest.raises(BenchError, match="--only attack: there is no such axis"):
        chosen_cells(board, (), {"attack": ["x"]})
