"""A board is read whole, or refused with one clear sentence."""

from __future__ import annotations

import copy
import datetime
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.board.check import resolve
from bench.board.matrix import NO_BUDGET, Matrix, parse, read
from bench.contract.errors import BenchError
from bench.contract.registry import registry_of
from bench.training import toy

BOARD: dict[str, Any] = {
    "title": "Toys",
    "track": "classification",
    "datasets": ["toy-data"],
    "methods": ["toy-means", "soft-2"],
    "controls": ["toy-first"],
    "ceiling": "toy-full",
    "ipc": [1, 2],
    "labels": ["hard", "teacher"],
    "architectures": ["toy-convnet"],
    "attacks": ["toy-clean", "toy-step"],
    "metrics": ["toy-accuracy"],
    "seeds": [0, 1],
    "backbone": "toy-convnet",
    "teacher": "toy-teacher",
    "evaluate": "validation",
    "recipe": {"steps": 5, "lr": 0.1, "milestones": [0.5], "resized_crop": [0.2, 1.0]},
    "probe": {"images": 8},
    "limits": {"seconds": 10, "memory_gb": 1.5},
    "define": {"soft-2": {"method": "toy-means", "teacher": "toy-teacher"}},
    "set": [
        {"where": {"teacher": "toy-teacher", "ipc": [2]}, "steps": 3},
        {"where": {"dataset": "toy-data"}, "recipe": {"lr": 0.2}},
    ],
}

GENERATION: dict[str, Any] = {
    "title": "Toys, generated",
    "track": "generation",
    "datasets": ["toy-data"],
    "methods": ["scored"],
    "controls": ["toy-first"],
    "ceiling": ["toy-full", "toy-real"],
    "ipc": [1, 2],
    "architectures": ["toy-denoiser"],
    "samplers": ["toy-sampler", "long"],
    "metrics": ["toy-distance"],
    "seeds": [0, 1],
    "denoiser": "toy-denoiser",
    "recipe": {"steps": 9, "checkpoints": [2, 4], "lr": 0.1, "noise": "straight"},
    "probe": {"images": 80},
    "define": {
        "long": {"sampler": "toy-sampler", "steps": 9},
        "scored": {"method": "toy-scored", "scorer": "toy-diffusion"},
    },
    "set": [
        {"where": {"sampler": "long", "dataset": "toy-data"}, "steps": 12},
        {"where": {"ipc": [0]}, "recipe": {"steps": 12}},
    ],
}

NOTHING = object()


def board(**changes: Any) -> Matrix:
    document = {k: v for k, v in (BOARD | changes).items() if v is not NOTHING}
    return parse(document)


def refusal(**changes: Any) -> str:
    with pytest.raises(BenchError) as caught:
        board(**changes)
    return str(caught.value)


def test_a_whole_board_is_read() -> None:
    matrix = board()
    assert matrix.datasets == ("toy-data",)
    assert matrix.ceiling == ("toy-full",)
    assert matrix.baseline == ""
    assert board(baseline="toy-means").baseline == "toy-means"
    assert matrix.seeds == (0, 1)
    assert matrix.evaluate == "validation"
    assert matrix.recipe == {
        "steps": 5,
        "lr": 0.1,
        "milestones": (0.5,),
        "resized_crop": (0.2, 1.0),
    }
    assert matrix.probe.images == 8
    assert (matrix.limits.seconds, matrix.limits.memory_gb) == (10.0, 1.5)
    assert matrix.define[("method", "soft-2")] == {
        "base": "toy-means",
        "fields": {"teacher": "toy-teacher"},
    }
    first, second = matrix.overrides
    assert first.where == {"teacher": ("toy-teacher",), "ipc": (2,)}
    assert first.values == {"": {"steps": 3}}
    assert second.values == {"recipe": {"lr": 0.2}}
    assert resolve(matrix, registry_of(toy.COMPONENTS))  # the tests below change what is sound


LEAST = {
    "title": "Least",
    "datasets": ["d"],
    "methods": ["m"],
    "ipc": [1],
    "architectures": ["a"],
    "attacks": ["clean"],
    "metrics": ["accuracy"],
}


def test_what_is_left_out_has_a_default() -> None:
    matrix = parse(LEAST)
    assert matrix.track == "classification"
    assert matrix.labels == ("hard",)
    assert matrix.seeds == (0,)
    assert matrix.evaluate == "test"
    assert matrix.probe.images == 0
    assert matrix.backbone == matrix.teacher == ""
    assert matrix.controls == matrix.ceiling == ()


@pytest.mark.parametrize("key", sorted(LEAST.keys() - {"title"}))
def test_what_a_board_cannot_do_without_is_asked_for(key: str) -> None:
    with pytest.raises(BenchError, match=key):
        parse({k: v for k, v in LEAST.items() if k != key})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        # keys
        ({"dataset": ["x"]}, "unknown key 'dataset'; did you mean 'datasets'?"),
        ({"overrides": []}, "unknown key 'overrides'"),
        ({"zzz": 1}, "matrix.toml has an unknown key 'zzz'; expected one of: architectures, "),
        # texts
        ({"title": NOTHING}, "title is missing; expected a text, as in title = "),
        ({"title": "  "}, "title is ' '; expected a text"),
        ({"title": 3}, "title is 3; expected a text"),
        ({"backbone": ["toy-convnet"]}, "backbone is ['toy-convnet']; expected a text"),
        ({"teacher": 1}, "teacher is 1; expected a text"),
        # choices
        ({"track": "clasification"}, "'clasification'; did you mean 'classification'?"),
        ({"track": ["generation"]}, "track is ['generation']"),
        ({"evaluate": "train"}, "evaluate is 'train'; expected 'test' or 'validation'"),
        ({"labels": ["smooth"]}, "labels holds 'smooth'; did you mean 'soft'?"),
        ({"labels": [["hard"]]}, "labels holds ['hard']"),
        # axes
        ({"datasets": []}, "datasets is []; expected at least one entry"),
        ({"methods": []}, "methods is []; expected at least one entry"),
        ({"controls": []}, "controls is []; expected at least one entry"),
        ({"labels": []}, "labels is []; expected at least one entry"),
        ({"seeds": []}, "seeds is []; expected at least one entry"),
        ({"datasets": "toy-data"}, "expected a list, as in datasets = [...]"),
        ({"ipc": 1}, "ipc is 1; expected a list, as in ipc = [...]"),
        ({"metrics": {"a": 1}}, "metrics is {'a': 1}; expected a list"),
        ({"metrics": [1]}, "metrics holds 1; expected names"),
        ({"methods": [""]}, "methods holds ''; expected names"),
        ({"attacks": [["toy-clean"]]}, "attacks holds ['toy-clean']; expected names"),
        ({"ipc": [0]}, "ipc holds 0; expected 1 or more"),
        ({"ipc": [-1]}, "ipc holds -1"),
        ({"ipc": [True]}, "ipc holds True"),
        ({"ipc": [1.0]}, "ipc holds 1.0"),
        ({"ipc": ["1"]}, "ipc holds '1'"),
        ({"ipc": [datetime.date(2026, 1, 1)]}, "ipc holds datetime.date"),
        ({"seeds": [-1]}, "seeds holds -1; expected 0 or more"),
        ({"seeds": [False]}, "seeds holds False"),
        ({"ipc": [1, 1]}, "ipc: 1 stands there twice; name it once"),
        ({"attacks": ["toy-step", "toy-step"]}, "attacks: 'toy-step' stands there twice"),
        ({"controls": ["toy-means"]}, "methods, controls and ceiling: 'toy-means' stands there"),
        ({"ceiling": ["toy-means"]}, "'toy-means' stands there twice"),
        (
            {"methods": NOTHING, "controls": NOTHING, "ceiling": NOTHING},
            "no methods, controls or ceiling; name at least one",
        ),
        ({"baseline": 3}, "baseline is 3; expected a text"),
        ({"baseline": "toy-meens"}, "none of the board's controls and methods; did you mean 'toy-"),
        ({"baseline": "toy-full"}, "baseline 'toy-full' is none of the board's controls"),
        ({"twin": "../other"}, "twin is '../other'; expected the name of a folder beside that of"),
        ({"starts": 3}, "starts is 3; expected a table"),
        ({"starts": {"toy-means": "toy-meens"}}, "starts 'toy-meens' is none of the board's contr"),
        (
            {"starts": {"toy-full": "toy-means"}},
            "starts 'toy-full' is none of the board's controls",
        ),
        ({"starts": {"toy-means": "toy-means"}}, "starts names 'toy-means' as its own start"),
        # tracks
        ({"samplers": ["toy-sampler"]}, "on a classification board; expected attacks"),
        ({"track": "generation", "samplers": ["s"]}, "on a generation board; expected samplers"),
        ({"labels": ["teacher"], "backbone": NOTHING}, 'labels "teacher" need a backbone; add'),
        # tables
        ({"recipe": 3}, "recipe is 3; expected a table, as in [recipe]"),
        ({"recipe": {"step": 3}}, "recipe has an unknown key 'step'; did you mean 'steps'?"),
        ({"recipe": {"steps": 3, "epochs": 2}}, "recipe has steps = 3 and epochs = 2; give one"),
        ({"recipe": {"lr": -1.0}}, "recipe.lr is -1.0; expected more than 0"),
        ({"recipe": {"lr": math.inf}}, "recipe.lr is inf; expected a number, more than 0"),
        ({"recipe": {"lr": "0.1"}}, "recipe.lr is '0.1'; expected a number, more than 0"),
        ({"recipe": {"optimizer": "lion"}}, "recipe.optimizer is 'lion'; expected 'sgd' or"),
        ({"recipe": {"milestones": ["a"]}}, "recipe.milestones holds 'a'; expected frac"),
        ({"recipe": {"resized_crop": ["a", "b"]}}, "recipe.resized_crop is ['a', 'b']"),
        ({"probe": {"image": 3}}, "probe has an unknown key 'image'; did you mean 'images'?"),
        ({"probe": {"images": -1}}, "probe.images is -1; expected 0 or more"),
        ({"seeds": [2**53 + 1]}, "seeds holds 9007199254740993; expected at most 9007199254740992"),
        (
            {"partial": ["toy-dat"]},
            "partial names 'toy-dat', which is no data set of this board; did",
        ),
        ({"probe": {"images": True}}, "probe.images is True; expected a whole number, 0 or more"),
        ({"probe": {"images": 2.5}}, "probe.images is 2.5; expected a whole number"),
        ({"probe": []}, "probe is []; expected a table"),
        ({"limits": {"hours": 3}}, "limits has an unknown key 'hours'; expected one of: mem"),
        ({"limits": {"seconds": 0}}, "limits.seconds is 0; expected a number, more than 0"),
        ({"limits": {"memory_gb": -1}}, "limits.memory_gb is -1; expected a number, more than 0"),
        ({"limits": {"seconds": math.nan}}, "limits.seconds is nan; expected more than 0"),
        ({"limits": {"seconds": "1h"}}, "limits.seconds is '1h'; expected a number, more than 0"),
        # definitions
        ({"define": ["x"]}, "define is ['x']; expected a table"),
        ({"define": {"x": 3}}, "[define.x] does not say what it derives; add e.g. attack ="),
        ({"define": {"x": {"archtecture": "y"}}}, "it derives; add e.g. architecture = "),
        ({"define": {"x": {"eps": 0.1}}}, "[define.x] does not say what it derives"),
        ({"define": {"x": {"defence": "y"}}}, "[define.x] does not say what it derives"),
        ({"define": {"x": {"attack": 3}}}, "[define.x] attack is 3; expected the name of a"),
        ({"define": {"../x": {"method": "toy-means"}}}, "[define.../x]: a name must be lower-c"),
        ({"define": {"X": {"method": "toy-means"}}}, "[define.X]: a name must be lower-case"),
        # overrides
        ({"set": {"lam": 1}}, "set is {'lam': 1}; expected tables, as in [[set]]"),
        ({"set": [3]}, "set is [3]; expected tables"),
        ({"set": [{"lam": 3.0}]}, "[[set]] number 1 has no where; expected e.g. where = {"),
        ({"set": [{"where": {}, "lam": 3.0}]}, "[[set]] number 1 has no where"),
        ({"set": [{"where": "toy-means", "lam": 3.0}]}, "[[set]] number 1 has no where"),
        ({"set": [{"where": {"ipc": 1}}]}, "[[set]] number 1 sets nothing; add a field"),
        ({"set": [{"where": {"ipc": 1}, "recipe": {}}]}, "[[set]] number 1 sets nothing"),
        ({"set": [{"where": {"ipc": []}, "lr": 1.0}]}, "where ipc = [] selects no cell"),
        (
            {"set": [BOARD["set"][0], {"where": {"methods": "x"}, "lam": 1}]},
            "[[set]] number 2 where has an unknown key 'methods'; did you mean 'method'?",
        ),
        (
            {"set": [{"where": {"ipc": 1}, "recipes": {"lr": 1.0}}]},
            "[[set]] number 1 has an unknown key 'recipes'; did you mean 'recipe'?",
        ),
    ],
)
def test_a_bad_board_is_refused_with_one_clear_sentence(
    changes: dict[str, Any], words: str
) -> None:
    said = refusal(**changes)
    assert words in said
    assert "\n" not in said


# ---- files


def write(folder: Path, text: str | bytes) -> Path:
    (folder / "matrix.toml").write_bytes(text.encode() if isinstance(text, str) else text)
    return folder


def test_a_board_is_read_from_its_folder(tmp_path: Path) -> None:
    lines = [f"{key} = {value!r}" for key, value in LEAST.items()]
    assert read(write(tmp_path, "\n".join(lines))) == parse(LEAST)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("title = ", "not TOML: Invalid value (at end of document)"),
        ("title = 'a'\ntitle = 'b'", "not TOML: Cannot overwrite a value"),
        (b"title = '\xff'", "byte 9 is not UTF-8; save the file as UTF-8"),
        ("title = 'a'\nmethod = ['x']", "unknown key 'method'; did you mean 'methods'?"),
        ("", "no methods, controls or ceiling"),
    ],
)
def test_a_bad_file_is_refused_by_its_path(tmp_path: Path, text: str | bytes, words: str) -> None:
    with pytest.raises(BenchError) as caught:
        read(write(tmp_path, text))
    assert str(tmp_path / "matrix.toml") in str(caught.value)
    assert words in str(caught.value)


def test_a_missing_file_says_what_a_board_is(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"No such file.*a board is a folder with a matrix\.toml"):
        read(tmp_path / "absent")


def test_a_file_in_place_of_a_board_says_what_a_board_is(tmp_path: Path) -> None:
    file = write(tmp_path, "") / "matrix.toml"
    with pytest.raises(BenchError, match=r"Not a directory; a board is a folder"):
        read(file)


# ---- whatever stands in the file

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([10**400, 2**63])
    | st.floats()
    | st.sampled_from(["", "toy-means", "toy-teacher", "toy-convnet", "toy-step", "hard", "../x"])
    | st.dates()
)
KEYS = st.sampled_from(
    [
        *BOARD,
        "where",
        "method",
        "attack",
        "ipc",
        "lr",
        "steps",
        "eps",
        "name",
        "shape",
        "sampler",
        "checkpoints",
        "scorer",
        "x",
    ]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=5,
)


def paths(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where one may change a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, child in inner:
        found.append((*above, key))
        if isinstance(child, dict | list):
            found += paths(child, (*above, key))
    return found


@st.composite
def nearly_boards(draw: st.DrawFn, sound: dict[str, Any] = BOARD) -> dict[str, Any]:
    """A sound board with up to three things changed, taken away, or added."""
    document = copy.deepcopy(sound)
    for _ in range(draw(st.integers(1, 3))):
        *above, last = draw(st.sampled_from(paths(document)))
        at = document
        for key in above:
            at = at[key]
        if isinstance(at, dict) and draw(st.booleans()):
            at[draw(KEYS)] = draw(VALUES)
        elif draw(st.booleans()) and len(at) > 1:
            del at[last]
        else:
            at[last] = draw(VALUES)
    return document


@dataclass(frozen=True)
class Scored(toy.ToyMeans):
    """A method that may have a scorer."""

    name: str = "toy-scored"
    scorer: str = ""


TOYS = registry_of({**toy.COMPONENTS, "method": (*toy.COMPONENTS["method"], Scored())})


def is_read_or_refused(document: dict[str, Any]) -> None:
    try:
        matrix = parse(document)
        components = resolve(matrix, TOYS)
    except BenchError:
        return
    for cell in matrix.cells():
        method = components.get("method", cell.method, dataset=cell.dataset, ipc=cell.ipc)
        assert method.name == cell.method


@pytest.mark.slow
@settings(deadline=None, derandomize=True, max_examples=400)
@given(nearly_boards())
def test_many_boards_that_are_nearly_sound_are_read_or_refused(document: dict[str, Any]) -> None:
    is_read_or_refused(document)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(nearly_boards())
def test_a_board_that_is_nearly_sound_is_read_or_refused(document: dict[str, Any]) -> None:
    is_read_or_refused(document)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(nearly_boards(GENERATION))
def test_a_generation_board_that_is_nearly_sound_is_read_or_refused(
    document: dict[str, Any],
) -> None:
    is_read_or_refused(document)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.dictionaries(KEYS | st.text(max_size=3), VALUES, max_size=6))
def test_any_document_at_all_is_read_or_refused(document: dict[str, Any]) -> None:
    is_read_or_refused(document)


# ---- cells


def test_cells_are_the_product_of_the_axes_with_the_ceiling_once() -> None:
    cells = board().cells()
    sets = [(c.method, c.ipc) for c in cells]
    assert list(dict.fromkeys(sets)) == [
        ("toy-means", 1),
        ("toy-means", 2),
        ("soft-2", 1),
        ("soft-2", 2),
        ("toy-first", 1),
        ("toy-first", 2),
        ("toy-full", NO_BUDGET),
    ]
    others = 2 * 2 * 2  # labels, attacks, seeds
    assert len(cells) == len(set(cells)) == 7 * others


def test_cells_stand_in_the_order_of_the_axes() -> None:
    matrix = board()
    cells = matrix.cells()
    order = {
        name: {value: i for i, value in enumerate(axis)}
        for name, axis in [
            ("dataset", matrix.datasets),
            ("labels", matrix.labels),
            ("attack", matrix.attacks),
            ("seed", matrix.seeds),
        ]
    }
    sets = list(dict.fromkeys((c.method, c.ipc) for c in cells))
    keys = [
        (
            order["dataset"][c.dataset],
            sets.index((c.method, c.ipc)),
            order["labels"][c.labels],
            order["attack"][c.attack],
            order["seed"][c.seed],
        )
        for c in cells
    ]
    assert keys == sorted(keys)


def test_a_board_of_ceilings_needs_no_ipc() -> None:
    matrix = board(methods=NOTHING, controls=NOTHING, ipc=NOTHING)
    assert {(c.method, c.ipc) for c in matrix.cells()} == {("toy-full", NO_BUDGET)}


# ---- the generation track


def generation(**changes: Any) -> Matrix:
    document = {k: v for k, v in (GENERATION | changes).items() if v is not NOTHING}
    return parse(document)


def test_a_generation_board_has_no_labels() -> None:
    said = re.escape("labels are ['hard'] on a generation board; expected none given")
    with pytest.raises(BenchError, match=said):
        generation(labels=["hard"])


def test_a_generation_board_is_read() -> None:
    matrix = generation()
    assert matrix.track == "generation"
    assert matrix.samplers == ("toy-sampler", "long")
    assert matrix.attacks == ()
    assert matrix.labels == ("hard",)
    assert matrix.checkpoints == (2, 4)
    assert matrix.define[("sampler", "long")] == {"base": "toy-sampler", "fields": {"steps": 9}}
    assert resolve(matrix, TOYS)  # the tests below change what is sound
    assert generation(recipe={"steps": 9}).checkpoints == ()
    assert board().checkpoints == ()


def test_each_sampler_is_a_cell_at_every_checkpoint_and_at_the_end() -> None:
    cells = generation(seeds=[0]).cells()
    first = [c for c in cells if (c.method, c.ipc) == ("scored", 1)]
    assert [(c.sampler, c.step) for c in first] == [
        *(("toy-sampler", step) for step in (2, 4, 0)),
        *(("long", step) for step in (2, 4, 0)),
    ]
    assert {(c.labels, c.attack) for c in cells} == {("hard", "")}
    assert len({*cells}) == len(cells) == (2 * 2 + 2) * 6
    assert first[0].coordinate == (
        "toy-data",
        "scored",
        1,
        "hard",
        "toy-denoiser",
        *(("toy-sampler", 2, 0)),
    )


def test_a_cell_of_a_classifier_has_no_sampler_in_its_coordinate() -> None:
    cell = board().cells()[0]
    assert cell.coordinate == ("toy-data", "toy-means", 1, "hard", "toy-convnet", "toy-clean", 0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"samplers": NOTHING}, "samplers is missing; expected a list, as in samplers = [...]"),
        ({"attacks": ["toy-clean"]}, "attacks = ['toy-clean'] on a generation board; expected"),
        ({"labels": ["soft"]}, "labels are ['soft'] on a generation board; expected none given"),
        ({"labels": ["hard", "soft"]}, "on a generation board; expected none given"),
        ({"samplers": ["long", "long"]}, "samplers: 'long' stands there twice"),
        ({"recipe": {"epochs": 3}}, "recipe has an unknown key 'epochs'"),
        ({"recipe": {"milestones": [0.5]}}, "recipe has an unknown key 'milestones'"),
        ({"recipe": {"steps": 0}}, "recipe.steps is 0; expected 1 or more"),
        ({"recipe": {"checkpoints": 4}}, "recipe.checkpoints is 4; expected a list"),
        ({"recipe": {"checkpoints": [4, 2]}}, "expected steps in rising order, as in [250, 500]"),
        ({"recipe": {"noise": "pink"}}, "recipe.noise is 'pink'; expected 'cosine' or"),
        ({"set": [{"where": {"attack": "x"}, "eps": 1.0}]}, "where has an unknown key 'attack'"),
        ({"set": [{"where": {"step": 2}, "steps": 4}]}, "where has an unknown key 'step'"),
    ],
)
def test_a_bad_generation_board_is_refused_with_one_clear_sentence(
    changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(BenchError) as caught:
        generation(**changes)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_classification_board_knows_no_samplers_and_no_checkpoints() -> None:
    assert "unknown key 'sampler'" in refusal(
        set=[{"where": {"sampler": "toy-sampler"}, "steps": 4}]
    )
    assert "recipe has an unknown key 'checkpoints'" in refusal(recipe={"checkpoints": [3]})


# ---- frozen boards, partial data, and what breaks readers


def test_a_board_may_be_frozen_and_its_data_partial() -> None:
    assert board(frozen="made under protocol 2").frozen == "made under protocol 2"
    assert board(partial=True).may_be_partial("toy-data")
    assert board(partial=["toy-data"]).may_be_partial("toy-data")
    two = board(partial=["other"], datasets=["toy-data", "other"])
    assert not two.may_be_partial("toy-data")
    assert not board().may_be_partial("toy-data")
    assert "partial is 'yes'; expected true, or a list of data sets" in refusal(partial="yes")


def test_a_byte_order_mark_is_no_part_of_a_board(tmp_path: Path) -> None:
    lines = [f"{key} = {value!r}" for key, value in LEAST.items()]
    assert read(write(tmp_path, b"\xef\xbb\xbf" + "\n".join(lines).encode())) == parse(LEAST)


@pytest.mark.parametrize(
    "text",
    [
        "ipc = " + "[" * 5000,
        "ipc = " + "[" * 100 + "]" * 100,
        ".".join("a" * 200) + " = 1",
        "ipc = " + "9" * 5000,
        "ipc = 0x" + "f" * 5000,
        "title = 0x" + "f" * 5000,
        "[define." + "x" * 245 + "]\nmethod = 'toy-means'",
        "[recipe]\nlr = 0x" + "f" * 5000,
    ],
    ids=["open lists", "deep lists", "deep tables", "digits", "hex", "title", "name", "lr"],
)
def test_what_breaks_readers_is_refused_with_one_short_sentence(tmp_path: Path, text: str) -> None:
    lines = [f"{k} = {v!r}" for k, v in LEAST.items() if not text.startswith(f"{k} =")]
    head, tail = ("\n".join(lines), text) if text.startswith("[") else (text, "\n".join(lines))
    folder = write(tmp_path, f"{head}\n{tail}")
    with pytest.raises(BenchError) as caught:
        resolve(read(folder), TOYS)  # which refuses its names, if nothing else
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_twenty_thousand_seeds_are_read_and_two_that_are_equal_found() -> None:
    assert len(board(seeds=[*range(20_000)]).seeds) == 20_000
    assert "seeds: 7 stands there twice" in refusal(seeds=[*range(20_000), 7])


def test_a_definition_may_derive_from_another_but_not_from_itself() -> None:
    two = {"a": {"method": "toy-means"}, "b": {"method": "a", "teacher": "toy-teacher"}}
    matrix = board(define={**BOARD["define"], **two}, controls=["b"])
    assert [*matrix.origins("method", "b")] == ["b", "a", "toy-means"]
    components = resolve(matrix, TOYS)
    assert components.get("method", "b") == toy.ToyMeans("b", teacher="toy-teacher")
    assert components.entry("method", "b").name == "toy-means"
    circle = {"a": {"method": "b"}, "b": {"method": "a"}}
    assert "[define.a] is derived from itself" in refusal(define=circle)
