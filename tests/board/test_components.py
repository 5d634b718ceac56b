"""Names, fields, types and tracks of a board are settled before any work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from bench.board.check import resolve
from bench.board.components import DEPENDS_ON, Components, labeller
from bench.board.matrix import NO_BUDGET, parse
from bench.contract.errors import BenchError
from bench.contract.kinds import KINDS
from bench.contract.registry import Broken, Registry, registry_of
from bench.contract.task import Task
from bench.training import toy
from bench.training.recipe import DiffusionRecipe

NOTHING = object()
BOARD: dict[str, Any] = {
    "title": "Toys",
    "datasets": ["toy-data", "toy-color"],
    "methods": ["toy-means", "toy-soft"],
    "controls": ["toy-first"],
    "ceiling": "toy-full",
    "ipc": [1, 10],
    "architectures": ["toy-convnet", "toy-linear"],
    "attacks": ["toy-clean", "toy-step"],
    "metrics": ["toy-accuracy"],
    "backbone": "toy-convnet",
}


@dataclass(frozen=True)
class Scored(toy.ToyMeans):
    """A method with a scorer, and with a field that the recipe has too."""

    name: str = "scored"
    scorer: str = "scorer"
    lr: float = 0.3


@dataclass(frozen=True)
class Fresh(toy.ToyMeans):
    """A method that trains networks of its own."""

    name: str = "fresh"
    fresh_networks: ClassVar[bool] = True


@dataclass(frozen=True)
class Survey:
    """What a method asks of the data, with the one scorer that it knows."""

    name: str = "survey"
    scorer: str = "scorer"

    def survey(self, task: Task) -> Any: ...


@dataclass(frozen=True)
class Surveyed(Scored):
    """A method whose survey does not follow its field."""

    name: str = "surveyed"
    survey: ClassVar[Any] = Survey()


@dataclass(frozen=True)
class FreshDenoisers(toy.ToyMeans):
    """A method that trains denoisers of its own."""

    name: str = "fresh-denoisers"
    fresh_denoisers: ClassVar[bool] = True


@dataclass(frozen=True)
class Looks(toy.ToyAccuracy):
    """A metric that looks at images with a network, on either track."""

    name: str = "looks"
    features: str = "toy-teacher"
    track: ClassVar[str] = ""


@dataclass(frozen=True)
class Scorer(toy.ToyTeacher):
    """A teacher on the generation track."""

    name: str = "scorer"
    track: ClassVar[str] = "generation"


@dataclass(frozen=True)
class Untold:
    """A teacher that does not say what it trains."""

    name: str = "untold"

    def squeeze(self, task: Task) -> None: ...


@dataclass(frozen=True)
class Gain(toy.ToyAccuracy):
    """A metric that compares with another cell."""

    name: str = "gain"
    needs: ClassVar[tuple[Any, ...]] = ({"method": "toy-first"},)

    def measure(self, trial: Any, *siblings: Any) -> float:
        return super().measure(trial)


@dataclass(frozen=True)
class Fidelity(toy.ToyAccuracy):
    """A metric of the generation track."""

    name: str = "fidelity"
    track: ClassVar[str] = "generation"


TOYS = registry_of(
    {
        **toy.COMPONENTS,
        "method": (*toy.COMPONENTS["method"], Scored(), Fresh(), FreshDenoisers(), Surveyed()),
        "teacher": (*toy.COMPONENTS["teacher"], Scorer(), Untold()),
        "metric": (*toy.COMPONENTS["metric"], Gain(), Fidelity(), Looks()),
    }
)


def resolved(registry: Registry = TOYS, **changes: Any) -> Components:
    document = {k: v for k, v in (BOARD | changes).items() if v is not NOTHING}
    return resolve(parse(document), registry)


def refusal(registry: Registry = TOYS, **changes: Any) -> str:
    with pytest.raises(BenchError) as caught:
        resolved(registry, **changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def override(where: dict[str, Any], **values: Any) -> dict[str, Any]:
    return {"where": where, **values}


# ---- names


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"datasets": ["toy-dat"]}, "there is no dataset 'toy-dat'; did you mean 'toy-data'?"),
        ({"methods": ["toy-mean"]}, "there is no method 'toy-mean'; did you mean 'toy-means'?"),
        ({"controls": ["toy-frst"]}, "no method 'toy-frst'; did you mean 'toy-first'?"),
        ({"architectures": ["resnet"]}, "no architecture 'resnet'"),
        ({"attacks": ["toy-clear"]}, "no attack 'toy-clear'; did you mean 'toy-clean'?"),
        ({"metrics": ["accuracy"]}, "no metric 'accuracy'; did you mean 'toy-accuracy'?"),
        ({"backbone": "toy-convne"}, "no architecture 'toy-convne'; did you mean 'toy-convnet'?"),
        ({"denoiser": "dit"}, "no architecture 'dit'"),
        ({"teacher": "toy-teach"}, "no teacher 'toy-teach'; did you mean 'toy-teacher'?"),
        (
            {"define": {"x": {"method": "toy-means", "teacher": "toy-techer"}}, "methods": ["x"]},
            "no teacher 'toy-techer'; did you mean 'toy-teacher'?",
        ),
    ],
)
def test_an_unknown_name_is_met_with_a_suggestion(changes: dict[str, Any], words: str) -> None:
    assert words in refusal(**changes)


def test_a_name_that_is_broken_says_why() -> None:
    broken = Broken("acme", "1.0", "attack 'zap' of acme: it has no method", (("attack", "zap"),))
    registry = Registry(TOYS.entries, (broken,))
    assert refusal(registry, attacks=["zap"]) == (
        "attack 'zap' cannot be used: attack 'zap' of acme: it has no method"
    )


def test_a_broken_plugin_does_not_matter_to_a_board_that_does_not_ask_for_it() -> None:
    broken = Broken("acme", "1.0", "no module", (("attack", "zap"),))
    assert resolved(Registry(TOYS.entries, (broken,))).get("attack", "toy-step") == toy.ToyStep()


# ---- tracks


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"architectures": ["toy-denoiser"]},
            "architecture 'toy-denoiser' belongs to the generation track, and this board is on",
        ),
        ({"metrics": ["fidelity"]}, "metric 'fidelity' belongs to the generation track"),
        (
            {"backbone": "toy-denoiser"},
            "backbone 'toy-denoiser' is no classification network; expected one of: ",
        ),
        ({"denoiser": "toy-convnet"}, "denoiser 'toy-convnet' is no generation network"),
        (
            {"labels": ["teacher"], "teacher": "scorer"},
            "method 'toy-means': teacher 'scorer' belongs to the generation track; expected one ",
        ),
        (
            {"methods": ["scored"], "set": [override({"method": "scored"}, scorer="toy-teacher")]}
            | {"denoiser": "toy-denoiser"},
            "teacher 'toy-teacher' belongs to the classification track; expected one of the gene",
        ),
        (
            {"methods": ["scored"], "set": [override({"method": "scored"}, scorer="untold")]}
            | {"denoiser": "toy-denoiser"},
            "teacher 'untold' belongs to the classification track; expected one of the generati",
        ),
    ],
)
def test_what_stands_on_the_wrong_track_is_refused(changes: dict[str, Any], words: str) -> None:
    assert words in refusal(**changes)


def test_a_board_of_classifiers_may_have_a_denoiser_for_scorers() -> None:
    components = resolved(methods=["scored"], denoiser="toy-denoiser")
    assert components.get("teacher", "scorer").track == "generation"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"methods": ["toy-full"], "ceiling": NOTHING},
            "method 'toy-full' has no budget; list it as ceiling = \"toy-full\"",
        ),
        ({"controls": ["toy-full"], "ceiling": NOTHING}, "method 'toy-full' has no budget"),
        (
            {"controls": NOTHING, "ceiling": "toy-first"},
            "ceiling 'toy-first' is a method with a budget; list it under methods or controls",
        ),
        ({"backbone": NOTHING}, "method 'toy-soft' asks for teacher 'toy-teacher', which needs a"),
        (
            {"methods": ["fresh"], "backbone": NOTHING},
            "method 'fresh' trains networks of its own; add backbone = ",
        ),
        ({"methods": ["scored"]}, "asks for scorer 'scorer', which needs a network; add denoiser"),
        (
            {
                "methods": ["surveyed"],
                "set": [override({"method": "surveyed"}, scorer="toy-diffusion")],
            },
            "method 'surveyed': its survey asks for scorer = 'scorer', and the method says 'toy-",
        ),
        (
            {"methods": ["fresh-denoisers"]},
            "method 'fresh-denoisers' trains denoisers of its own; add denoiser = ",
        ),
        (
            {"ceiling": ["toy-full", "toy-real"]},
            "method 'toy-real' gives images in the place of samples; it has a place on boards of",
        ),
        (
            {"metrics": ["looks"], "methods": ["toy-means"], "backbone": NOTHING},
            "metric 'looks' looks at images with a network of teacher 'toy-teacher'; add backbone",
        ),
        (
            {"define": {"blind": {"metric": "looks", "features": "toy"}}, "metrics": ["blind"]},
            "there is no teacher 'toy'; expected one of: scorer, toy-diffusion",
        ),
        (
            {"define": {"blind": {"metric": "looks", "features": "scorer"}}, "metrics": ["blind"]},
            "metric 'blind': teacher 'scorer' belongs to the generation track; expected one that",
        ),
        (
            {"labels": ["teacher"]},
            "labels \"teacher\": method 'toy-means' names no teacher; add teacher = ",
        ),
        (
            {"labels": ["hard", "soft"]},
            "labels \"soft\": method 'toy-first' selects real images with hard labels; add teacher",
        ),
    ],
)
def test_what_cannot_stand_on_this_board_is_refused(changes: dict[str, Any], words: str) -> None:
    assert words in refusal(**changes)


def test_methods_that_name_a_teacher_need_none_from_the_board() -> None:
    changes = {"methods": ["toy-soft"], "controls": NOTHING, "ceiling": NOTHING}
    assert resolved(labels=["teacher"], **changes)


def test_who_labels_the_views_is_the_method_s_teacher_or_else_the_board_s() -> None:
    matrix = parse(BOARD | {"teacher": "other"})
    assert labeller(matrix, toy.ToyMeans(teacher="mine"), "teacher") == "mine"
    assert labeller(matrix, toy.ToyMeans(), "teacher") == "other"
    assert labeller(matrix, toy.ToyFirst(), "teacher") == "other"


def test_with_soft_labels_the_board_s_teacher_labels_real_images_alone() -> None:
    matrix = parse(BOARD | {"teacher": "other"})
    assert labeller(matrix, toy.ToyFirst(), "soft") == "other"
    assert labeller(matrix, toy.ToyMeans(teacher="mine"), "soft") == ""
    for method in (toy.ToyFirst(), toy.ToyMeans(teacher="mine")):
        assert labeller(matrix, method, "hard") == ""


# ---- siblings of metrics


def test_a_metric_finds_its_sibling_on_the_board() -> None:
    assert resolved(metrics=["gain"]).get("metric", "gain") == Gain()


def test_a_metric_whose_sibling_is_absent_is_refused() -> None:
    words = "metric 'gain' compares with method 'toy-first', which is not on this board"
    assert refusal(metrics=["gain"], controls=NOTHING) == words


# ---- define


def test_a_definition_derives_a_component_with_its_fields() -> None:
    defined = {"step-2": {"attack": "toy-step", "eps": 0.5}}
    components = resolved(define=defined, attacks=["step-2", "toy-step"])
    assert components.get("attack", "step-2") == toy.ToyStep("step-2", eps=0.5)
    assert components.get("attack", "toy-step") == toy.ToyStep()
    assert components.entry("attack", "step-2").name == "toy-step"


@pytest.mark.parametrize(
    ("define", "words"),
    [
        (
            {"toy-step": {"attack": "toy-clean"}},
            "[define.toy-step] takes the name of an installed attack; choose another name",
        ),
        ({"x": {"attack": "toy-stp"}}, "there is no attack 'toy-stp'; did you mean 'toy-step'?"),
        (
            {"x": {"attack": "toy-step", "epsilon": 0.1}},
            "[define.x]: attack 'toy-step' has no field 'epsilon'",
        ),
        ({"x": {"attack": "toy-step", "eps": "8"}}, "[define.x]: eps is '8' (str); expected float"),
        ({"x": {"attack": "toy-step", "name": "y"}}, "[define.x]: attack 'toy-step' has no field"),
        ({"x": {"attack": "toy-step", "metric": "y"}}, "has no field 'metric'"),
    ],
)
def test_a_bad_definition_is_refused(define: dict[str, Any], words: str) -> None:
    assert words in refusal(define=define)


def test_a_definition_may_take_a_name_of_another_kind() -> None:
    components = resolved(define={"toy-step": {"method": "toy-means"}}, methods=["toy-step"])
    assert components.get("method", "toy-step") == toy.ToyMeans("toy-step")
    assert components.get("attack", "toy-step") == toy.ToyStep()


# ---- set


def test_an_override_holds_for_the_dataset_that_it_names() -> None:
    components = resolved(set=[override({"dataset": "toy-color", "attack": "toy-step"}, eps=0.5)])
    eps = {
        d: components.get("attack", "toy-step", dataset=d).eps for d in ("toy-data", "toy-color")
    }
    assert eps == {"toy-data": toy.ToyStep().eps, "toy-color": 0.5}


def test_an_override_holds_for_the_ipc_that_it_names() -> None:
    components = resolved(
        set=[override({"method": "toy-means", "ipc": [10]}, teacher="toy-teacher")]
    )
    got = {ipc: components.get("method", "toy-means", ipc=ipc).teacher for ipc in (1, 10)}
    assert got == {1: "", 10: "toy-teacher"}
    assert components.get("method", "toy-first", ipc=10) == toy.ToyFirst()


def test_where_takes_one_value_or_a_list_and_all_keys_must_hold() -> None:
    where = {"teacher": "toy-teacher", "dataset": ["toy-data"], "ipc": 10}
    components = resolved(set=[override(where, steps=3)])

    def steps(dataset: str, ipc: int) -> int:
        got = components.get("teacher", "toy-teacher", dataset=dataset, method="m", ipc=ipc)
        return got.steps

    assert steps("toy-data", 10) == 3
    assert steps("toy-data", 1) == steps("toy-color", 10) == toy.ToyTeacher().steps


def test_a_teacher_may_depend_on_the_method_that_names_it() -> None:
    components = resolved(
        set=[
            override({"method": "toy-means"}, teacher="toy-teacher"),
            override({"method": "toy-means", "teacher": "toy-teacher"}, teacher={"lr": 0.5}),
        ]
    )
    lr = {
        m: components.get("teacher", "toy-teacher", method=m).lr for m in ("toy-means", "toy-soft")
    }
    assert lr == {"toy-means": 0.5, "toy-soft": toy.ToyTeacher().lr}


def test_of_two_overrides_the_later_one_wins() -> None:
    both = [
        override({"teacher": "toy-teacher"}, steps=3, lr=0.5),
        override({"teacher": "toy-teacher", "ipc": 10}, steps=4),
    ]
    forward, backward = resolved(set=both), resolved(set=both[::-1])
    at = {"dataset": "toy-data", "method": "toy-soft", "ipc": 10}
    assert forward.get("teacher", "toy-teacher", **at) == toy.ToyTeacher(steps=4, lr=0.5)
    assert backward.get("teacher", "toy-teacher", **at) == toy.ToyTeacher(steps=3, lr=0.5)
    assert forward.get("teacher", "toy-teacher", **(at | {"ipc": 1})).steps == 3


def test_an_override_goes_over_a_definition() -> None:
    components = resolved(
        define={"x": {"attack": "toy-step", "eps": 0.5}},
        attacks=["x"],
        set=[override({"attack": "x", "architecture": "toy-linear"}, eps=0.25)],
    )
    assert components.get("attack", "x", architecture="toy-linear").eps == 0.25
    assert components.get("attack", "x", architecture="toy-convnet").eps == 0.5


def test_an_override_may_set_the_recipe_of_a_dataset_ipc_regime_or_architecture() -> None:
    components = resolved(
        recipe={"steps": 100, "lr": 0.1},
        labels=["hard", "soft"],
        teacher="toy-teacher",
        set=[
            override({"ipc": 10}, epochs=5),
            override({"labels": "soft", "architecture": "toy-linear"}, lr=0.2),
        ],
    )
    at = {"dataset": "toy-data", "ipc": 1, "labels": "hard", "architecture": "toy-linear"}
    assert (components.recipe(**at).steps, components.recipe(**at).lr) == (100, 0.1)
    tens = components.recipe(**(at | {"ipc": 10}))
    assert (tens.steps, tens.epochs, tens.lr) == (0, 5, 0.1)
    assert components.recipe(**(at | {"labels": "soft"})).lr == 0.2
    assert components.recipe(**(at | {"labels": "soft", "architecture": "toy-convnet"})).lr == 0.1


def test_the_recipe_never_depends_on_the_method() -> None:
    assert not {"method", "teacher", "seed", "attack"} & DEPENDS_ON["recipe"]
    said = refusal(set=[override({"method": "toy-means"}, recipe={"lr": 0.5})])
    assert said == (
        "[[set]] number 1: recipe field 'lr' cannot depend on method; expected where with "
        "architecture, dataset, ipc, labels"
    )
    assert "nothing that where names has a field 'momentum'" in refusal(
        set=[override({"method": "toy-means"}, momentum=0.5)]
    )


def test_the_recipe_is_the_same_whatever_method_is_asked_about() -> None:
    components = resolved(set=[override({"ipc": 10}, lr=0.5)])
    at = {"dataset": "toy-data", "ipc": 10, "labels": "hard", "architecture": "toy-linear"}
    assert components.recipe(**at, method="toy-means") is components.recipe(**at)


@pytest.mark.parametrize("kind", KINDS)
def test_no_component_depends_on_the_seed_or_on_itself_alone(kind: str) -> None:
    assert "seed" not in DEPENDS_ON[kind]
    assert kind in DEPENDS_ON[kind]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (
            override({"method": "toy-means"}, lam=3.0),
            "[[set]] number 1: nothing that where names has a field 'lam'; expected one of: teach",
        ),
        (
            override({"teacher": "toy-teacher"}, step=3),
            "nothing that where names has a field 'step'; did you mean 'steps'?",
        ),
        (
            override({"teacher": "toy-teacher", "method": "toy-soft"}, method={"lam": 3}),
            "[[set]] number 1: method field 'lam' cannot depend on teacher",
        ),
        (
            override({"method": "toy-means"}, method={"lam": 3}),
            "[[set]] number 1: method 'toy-means' has no field 'lam'",
        ),
        (
            override({"dataset": "toy-data"}, recipe={"learning_rate": 3}),
            "[[set]] number 1: the recipe has no field 'learning_rate'",
        ),
        (
            override({"dataset": "toy-data", "architecture": "toy-convnet"}, noise=0.5),
            "dataset field 'noise' cannot depend on architecture; expected where with dataset",
        ),
        (
            override({"attack": "toy-step", "ipc": 10}, eps=0.5),
            "attack field 'eps' cannot depend on ipc; expected where with architecture, attack",
        ),
        (
            override({"method": "toy-means", "seed": 0}, teacher="toy-teacher"),
            "method field 'teacher' cannot depend on seed",
        ),
        (override({"attack": "toy-step"}, eps="8"), "[[set]] number 1: eps is '8' (str); expected"),
        (override({"attack": "toy-step"}, norm="l2"), "attack 'toy-step' has no field 'norm'"),
        (override({"attack": "toy-step"}, name="x"), "[[set]] number 1: attack 'toy-step' has no"),
        (override({"ipc": 10}, lr=-1.0), "[[set]] number 1: lr is -1.0; expected more than 0"),
        (override({"ipc": 10}, lr="1"), "[[set]] number 1: lr is '1'; expected a number"),
        (
            override({"method": "toy-soft"}, teacher="toy-techer"),
            "there is no teacher 'toy-techer'; did you mean 'toy-teacher'?",
        ),
        (
            override({"ipc": 5}, lr=0.5),
            "[[set]] number 1: where ipc = 5 selects no cell; this board has 1, 10, 0",
        ),
        (
            override({"dataset": ["toy-data", "digits"]}, lr=0.5),
            "where dataset = 'digits' selects no cell; this board has toy-data, toy-color",
        ),
        (
            override({"ipc": "10"}, lr=0.5),
            "where ipc = '10' selects no cell; this board has 1, 10, 0; write the number without",
        ),
        (override({"labels": "soft"}, lr=0.5), "where labels = 'soft' selects no cell"),
        (override({"seed": 7}, lr=0.5), "where seed = 7 selects no cell; this board has 0"),
    ],
)
def test_a_bad_override_is_refused(table: dict[str, Any], words: str) -> None:
    assert words in refusal(set=[table])


def test_a_field_that_two_could_have_must_say_whose_it_is() -> None:
    changes = {"methods": ["scored"], "denoiser": "toy-denoiser"}
    where = {"method": "scored", "teacher": "scorer"}
    said = refusal(set=[override(where, lr=0.5)], **changes)
    assert said == (
        "[[set]] number 1: 'lr' could be a field of teacher or of method; write teacher.lr = ..."
    )
    components = resolved(set=[override(where, teacher={"lr": 0.5})], **changes)
    assert components.get("teacher", "scorer", method="scored").lr == 0.5


def test_a_where_may_name_the_teacher_that_another_override_sets() -> None:
    components = resolved(
        methods=["toy-means"],
        set=[
            override({"method": "toy-means"}, teacher="toy-teacher"),
            override({"teacher": "toy-teacher"}, steps=3),
        ],
    )
    assert components.get("teacher", "toy-teacher").steps == 3


def test_a_where_may_select_the_ceiling_by_its_ipc() -> None:
    components = resolved(recipe={"steps": 5}, set=[override({"ipc": NO_BUDGET}, steps=50)])
    at = {"dataset": "toy-data", "labels": "hard", "architecture": "toy-linear"}
    assert [components.recipe(ipc=ipc, **at).steps for ipc in (1, NO_BUDGET)] == [5, 50]


# ---- what differs


def test_what_differs_is_told_from_the_installed_component() -> None:
    components = resolved(
        define={"x": {"attack": "toy-step", "eps": 0.5}, "y": {"attack": "toy-step"}},
        attacks=["x", "y"],
        set=[override({"method": "toy-means", "ipc": 10}, teacher="toy-teacher")],
    )
    attack = components.get("attack", "x")
    assert components.differs("attack", attack) == {"eps": 0.5}
    assert components.differs("attack", components.get("attack", "y")) == {}
    means = [components.get("method", "toy-means", ipc=ipc) for ipc in (1, 10)]
    assert [components.differs("method", m) for m in means] == [{}, {"teacher": "toy-teacher"}]


def test_a_variant_that_is_installed_differs_from_nothing() -> None:
    components = resolved()
    assert components.differs("method", components.get("method", "toy-soft")) == {}


def test_a_component_is_made_once_for_one_coordinate() -> None:
    components = resolved()
    assert components.get("attack", "toy-step", dataset="toy-data") is components.get(
        "attack", "toy-step", dataset="toy-data", seed=3, method="toy-means"
    )


# ---- the generation track

GENERATION: dict[str, Any] = {
    "track": "generation",
    "methods": ["toy-means"],
    "ceiling": ["toy-full", "toy-real"],
    "architectures": ["toy-denoiser"],
    "attacks": NOTHING,
    "samplers": ["toy-sampler"],
    "metrics": ["toy-distance"],
    "recipe": {"steps": 9, "checkpoints": [3, 6]},
}


def test_a_generation_board_has_a_recipe_of_its_own_kind() -> None:
    components = resolved(**GENERATION)
    at = {"dataset": "toy-data", "ipc": 1, "labels": "hard", "architecture": "toy-denoiser"}
    recipe = components.recipe(**at)
    assert recipe == DiffusionRecipe(steps=9, checkpoints=(3, 6))
    assert not {"method", "teacher", "seed", "sampler"} & DEPENDS_ON["recipe"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"architectures": ["toy-linear"]},
            "belongs to the classification track, and this board is",
        ),
        (
            {"metrics": ["toy-accuracy"]},
            "belongs to the classification track, and this board is on",
        ),
        ({"samplers": ["toy-sample"]}, "no sampler 'toy-sample'; did you mean 'toy-sampler'?"),
        ({"methods": ["scored"]}, "asks for scorer 'scorer', which needs a network; add denoiser"),
        (
            {"recipe": {"steps": 6, "checkpoints": [3, 6]}},
            "[recipe] checkpoints = [3, 6]: the training of ipc 1 ends at step 6, which is always",
        ),
        (
            {"set": [override({"ipc": NO_BUDGET}, steps=5)]},
            "checkpoints = [3, 6]: the training of ipc all ends at step 5",
        ),
        (
            {"set": [override({"ipc": 10}, recipe={"checkpoints": [2]})]},
            "[[set]] number 1: the recipe has no field 'checkpoints'",
        ),
        (
            {"set": [override({"ipc": 10}, checkpoints=[2])]},
            "[[set]] number 1: nothing that where names has a field 'checkpoints'",
        ),
        (
            {"set": [override({"method": "toy-means"}, recipe={"lr": 0.5})]},
            "recipe field 'lr' cannot depend on method",
        ),
        (
            {"set": [override({"sampler": "toy-sampler", "ipc": 10}, steps=5)]},
            "sampler field 'steps' cannot depend on ipc; expected where with architecture, data",
        ),
    ],
)
def test_what_cannot_stand_on_a_generation_board_is_refused(
    changes: dict[str, Any], words: str
) -> None:
    assert words in refusal(**{**GENERATION, **changes})


def test_a_sampler_may_depend_on_the_network_that_it_samples_from() -> None:
    components = resolved(
        **{**GENERATION, "architectures": ["toy-denoiser", "other"]},
        define={"other": {"architecture": "toy-denoiser"}},
        set=[override({"sampler": "toy-sampler", "architecture": "other"}, steps=7)],
    )
    steps = {
        a: components.get("sampler", "toy-sampler", architecture=a).steps
        for a in ("toy-denoiser", "other")
    }
    assert steps == {"toy-denoiser": toy.ToySampler().steps, "other": 7}


def test_a_where_may_name_the_teacher_that_a_metric_looks_with() -> None:
    components = resolved(
        metrics=["looks"],
        methods=["toy-means"],
        set=[override({"teacher": "toy-teacher"}, steps=3)],
    )
    assert components.get("teacher", "toy-teacher").steps == 3


# ---- groups, and fields that depend on the seed


def test_a_base_selects_all_that_is_derived_from_it_and_itself() -> None:
    defined = {
        "a": {"method": "toy-means"},
        "b": {"method": "a"},
        "step-2": {"attack": "toy-step"},
    }
    components = resolved(
        define=defined,
        methods=["toy-means", "a", "b", "toy-soft"],
        attacks=["toy-step", "step-2"],
        set=[
            override({"base": "toy-means", "ipc": 10}, teacher="toy-teacher"),
            override({"base": ["step-2"]}, eps=0.5),
        ],
    )
    for name in ("toy-means", "a", "b"):
        assert components.get("method", name, ipc=10).teacher == "toy-teacher"
        assert components.get("method", name, ipc=1).teacher == ""
    assert components.get("attack", "step-2").eps == 0.5
    assert components.get("attack", "toy-step").eps == toy.ToyStep().eps


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ({"base": "toy-mean"}, "where base = 'toy-mean' selects no cell"),
        ({"base": ["toy-means", "toy-step"]}, "could be of method or of attack; name them by kind"),
        ({"base": "toy-means", "method": "toy-soft"}, "and method name the same axis"),
    ],
)
def test_a_base_that_selects_nothing_or_two_kinds_is_refused(
    where: dict[str, Any], words: str
) -> None:
    assert words in refusal(set=[override(where, teacher="toy-teacher")])


@dataclass(frozen=True)
class PerSeed(toy.ToyMeans):
    """A method that may read another set for every seed."""

    name: str = "per-seed"
    noise: float = 0.0
    per_seed: ClassVar[bool] = True


def test_a_method_that_says_so_may_depend_on_the_seed() -> None:
    registry = registry_of(
        {**toy.COMPONENTS, "method": (*toy.COMPONENTS["method"], PerSeed(), Scored())}
    )
    sets = [override({"method": "per-seed", "seed": s}, noise=0.5 + s) for s in (0, 1)]
    components = resolved(registry, methods=["per-seed"], seeds=[0, 1, 2], set=sets)
    at = {"dataset": "toy-data", "ipc": 1}
    noise = [components.get("method", "per-seed", seed=s, **at).noise for s in (0, 1, 2)]
    assert noise == [0.5, 1.5, 0.0]
    said = refusal(
        registry, methods=["scored"], set=[override({"method": "scored", "seed": 0}, lr=1.0)]
    )
    assert "method field 'lr' cannot depend on seed; expected a method that says per_seed" in said
