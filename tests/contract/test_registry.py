"""Discovery takes what is sound, and says in one sentence what is wrong with the rest."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from bench.contract import vetting
from bench.contract.errors import BenchError, sentence
from bench.contract.fields import LISTED, about, as_type_of, replace, suggest
from bench.contract.kinds import KINDS
from bench.contract.moved import MOVED
from bench.contract.registry import Registry, discover, registry_of
from bench.training import toy

HEAD = """\
import sys
from dataclasses import dataclass, field
from typing import ClassVar
from bench import hookimpl

@dataclass(frozen=True)
class Method:
    \"\"\"A method (Author, 2020).

    More of it.
    \"\"\"
    name: str = "good"
    lam: float = 1.0
    def condense(self, task): ...

@dataclass(frozen=True)
class Attack:
    name: str = "good"
    eps: float = 0.1
    norm: ClassVar = "linf"
    def perturb(self, model, images, labels, generator): ...
"""

GOOD = HEAD + "@hookimpl\ndef bench_methods(): return [Method()]\n"

Install = Callable[..., list[importlib.metadata.EntryPoint]]


@pytest.fixture(autouse=True)
def no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a child does first is tested in test_vetting.py; here is what we do ourselves."""
    monkeypatch.setattr(vetting, "refused", lambda points, *, again=False: {})


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Write distributions, each with a module; returns the entry points of all so far."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def write(
        name: str, source: str, *, module: str = "", version: str = "1.0", value: str = ""
    ) -> list[importlib.metadata.EntryPoint]:
        module = module or name.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[bench]\n{module} = {value or module}\n")
        importlib.invalidate_caches()
        found = importlib.metadata.distributions(path=[str(tmp_path)])
        return [p for d in found for p in d.entry_points if p.group == "bench"]

    yield write
    for name in set(sys.modules) - before:
        origin = getattr(sys.modules[name], "__file__", None) or ""
        if origin.startswith(str(tmp_path)):
            del sys.modules[name]


def names(registry: Registry) -> list[tuple[str, str, str]]:
    return [(e.kind, e.name, e.distribution) for e in registry.entries]


def only_reason(registry: Registry) -> str:
    (broken,) = registry.broken
    return broken.reason


# ---- what is sound


def test_a_preset_says_what_it_sets() -> None:
    plain, preset = Knobs(), Knobs("preset", lam=0.1234567)
    registry = registry_of({"method": [plain, preset]})
    assert registry.get("method", plain.name).about == about(plain)
    assert registry.get("method", "preset").about == about(plain) + " With lam = 0.123457."


def test_a_distribution_with_an_entry_point_is_found(install: Install) -> None:
    registry = discover(install("acme-method", GOOD, version="2.3"))
    (entry,) = registry.entries
    assert (entry.kind, entry.name) == ("method", "good")
    assert (entry.distribution, entry.version) == ("acme-method", "2.3")
    assert entry.about == "A method (Author, 2020)."
    assert registry.get("method", "good").component.lam == 1.0
    assert registry.packages == {"acme_method"}
    assert registry.broken == ()


def test_an_entry_point_may_name_an_object_in_a_package(install: Install) -> None:
    source = HEAD + "class plugin:\n    @staticmethod\n    @hookimpl\n"
    source += "    def bench_methods(): return [Method()]\n"
    registry = discover(install("acme", source, value="acme:plugin"))
    assert names(registry) == [("method", "good", "acme")]
    assert registry.packages == {"acme"}


def test_one_distribution_may_bring_every_kind(install: Install) -> None:
    source = "import bench.training.toy as toy\nfrom bench import hookimpl\n"
    for kind in KINDS:
        source += f"@hookimpl\ndef bench_{kind}s(): return toy.COMPONENTS['{kind}']\n"
    registry = discover(install("everything", source))
    assert registry.broken == ()
    for kind in KINDS:
        assert set(registry.of(kind)) == {c.name for c in toy.COMPONENTS[kind]}


def test_the_same_name_in_two_kinds_is_fine(install: Install) -> None:
    source = GOOD + "@hookimpl\ndef bench_attacks(): return [Attack()]\n"
    registry = discover(install("acme", source))
    assert names(registry) == [("method", "good", "acme"), ("attack", "good", "acme")]
    assert registry.broken == ()


def test_without_plugins_the_registry_is_empty() -> None:
    assert discover([]) == Registry(())


def test_kinds_are_listed_by_name_and_cannot_be_changed() -> None:
    registry = registry_of(toy.COMPONENTS)
    assert list(registry.of("method")) == sorted(registry.of("method"))
    with pytest.raises(TypeError):
        registry.of("method")["x"] = None


# ---- what is broken stays alone

CRASHES = {
    "import acme_that_is_absent": (
        "entry point bad = bad of bad: ModuleNotFoundError: No module named 'acme_that_is_absent'"
    ),
    "raise SystemExit('no licence')": "SystemExit: no licence",
    "1 / 0": "ZeroDivisionError: division by zero",
    "def f(:": "SyntaxError",
    HEAD + "@hookimpl\ndef bench_method(): return [Method()]": "unknown hook 'bench_method'",
    HEAD + "@hookimpl\ndef bench_methods(board): return []": "{'board'}",
    HEAD + "def bench_methods(): return [Method()]": "has no hooks; expected functions with @hook",
    HEAD + "@hookimpl\ndef bench_methods(): raise RuntimeError('no\\nGPU')": (
        "bench_methods() of bad raised RuntimeError: no GPU"
    ),
    HEAD + "@hookimpl\ndef bench_methods(): sys.exit(3)": (
        "bench_methods() of bad raised SystemExit: 3"
    ),
    HEAD + "@hookimpl\ndef bench_methods(): yield Method('ok'); raise KeyError('x')": (
        "bench_methods() of bad raised KeyError: 'x'"
    ),
    HEAD + "@hookimpl\ndef bench_methods(): return Method()": "'Method' object is not iterable",
}


@pytest.mark.parametrize("source", CRASHES, ids=lambda s: s.removeprefix(HEAD).split("\n")[-1])
def test_a_plugin_that_crashes_is_broken_alone(source: str, install: Install) -> None:
    install("bad", source, version="0.9")
    registry = discover(install("acme", GOOD))
    assert names(registry) == [("method", "good", "acme")]
    (broken,) = registry.broken
    assert (broken.distribution, broken.version) == ("bad", "0.9")
    assert CRASHES[source] in broken.reason
    assert "\n" not in broken.reason


def test_an_entry_point_that_is_no_module_name_is_broken_alone(install: Install) -> None:
    install("acme-bad", GOOD, module="acme_bad", value="acme-bad")
    registry = discover(install("acme", GOOD))
    assert names(registry) == [("method", "good", "acme")]
    assert "entry point acme_bad = acme-bad of acme-bad" in only_reason(registry)


def test_a_hook_that_forgets_its_return_is_broken(install: Install) -> None:
    points = install("acme", HEAD + "@hookimpl\ndef bench_methods(): [Method()]\n")
    (broken,) = discover(points).broken
    assert "bench_methods() of acme" in broken.reason
    assert "None" in broken.reason


def test_a_hook_that_raises_takes_only_its_kind_away(install: Install) -> None:
    source = GOOD + "@hookimpl\ndef bench_attacks(): raise ValueError('attacks')\n"
    registry = discover(install("acme", source))
    assert names(registry) == [("method", "good", "acme")]
    assert only_reason(registry) == "bench_attacks() of acme raised ValueError: attacks"


def test_ctrl_c_is_not_swallowed(install: Install) -> None:
    points = install("bad", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        discover(points)


def test_a_metric_that_looks_at_what_is_not_there_is_refused(install: Install) -> None:
    code = f"""{HEAD}
@dataclass(frozen=True)
class Spread:
    name: str = "spread"
    of: ClassVar[str] = "samples"
    def measure(self, trial): ...
@hookimpl
def bench_metrics(): return [Spread()]
"""
    [broken] = discover(install("acme", code)).broken
    assert "`of` is 'samples'; expected one of ('set', 'student', 'probe')" in broken.reason


def component(body: str, decorator: str = "@dataclass(frozen=True)", made: str = "Bad()") -> str:
    return f"""{HEAD}
{decorator}
class Bad:
    {body}
@hookimpl
def bench_methods(): return [{made}, Method()]
"""


VERB = "\n    def condense(self, task): ...\n"
FAULTS = {
    "a class": (component('name: str = "bad"' + VERB, made="Bad"), "expected an instance: Bad()"),
    "no dataclass": (
        component('name = "bad"' + VERB, ""),
        "Bad is not a frozen dataclass; decorate it with @dataclass(frozen=True)",
    ),
    "not frozen": (component('name: str = "bad"' + VERB, "@dataclass"), "not a frozen dataclass"),
    "no name": (component("lam: float = 1.0" + VERB), "its first field must be `name: str`"),
    "name second": (
        component('lam: float = 1.0\n    name: str = "bad"' + VERB),
        "its first field must be `name: str`",
    ),
    "name is a number": (component("name: int = 3" + VERB), "its first field must be `name: str`"),
    "a name with capitals": (
        component('name: str = "Bad One"' + VERB),
        "its name 'Bad One' must be lower-case letters, digits, '-', '+' or '.'",
    ),
    "a name with a path": (component('name: str = "../bad"' + VERB), "its name '../bad' must be"),
    "no default": (
        component("name: str" + VERB, made="Bad('bad')"),
        "its field `name` has no default",
    ),
    "a field that is not there": (
        component('name: str = "bad"\n    x: int = field(init=False)' + VERB),
        "its field `x` has no default",
    ),
    "a list": (
        component('name: str = "bad"\n    x: object = ()' + VERB, made="Bad(x=[1])"),
        "its field `x` is [1]; expected a JSON scalar or a tuple",
    ),
    "a module": (
        component('name: str = "bad"\n    x: object = sys' + VERB),
        "its field `x` is <module 'sys'",
    ),
    "a tuple with a dict": (
        component('name: str = "bad"\n    x: object = (1, ({},))' + VERB),
        "expected a JSON scalar or a tuple",
    ),
    "not a number": (
        component('name: str = "bad"\n    x: float = float("nan")' + VERB),
        "its field `x` is nan; expected a JSON scalar",
    ),
    "no verb": (
        component('name: str = "bad"'),
        "it has no method `condense`, the verb of a method",
    ),
    "a verb that takes something else": (
        component('name: str = "bad"\n    def condense(self, data, budget): ...'),
        "its verb is condense(data, budget); expected condense(task)",
    ),
    "the verb of another kind": (
        component(
            'name: str = "bad"\n    def perturb(self, model, images, labels, generator): ...'
        ),
        "it has no method `condense`",
    ),
    "a bad track": (
        component('name: str = "bad"\n    track: ClassVar[str] = "video"' + VERB),
        "its track is 'video'; expected 'classification' or 'generation'",
    ),
    "a misspelt fact": (
        component('name: str = "bad"\n    celing: ClassVar[bool] = True' + VERB),
        "its class variable `celing` is unknown; did you mean 'ceiling'?",
    ),
    "a fact of another type": (
        component('name: str = "bad"\n    ceiling: ClassVar[str] = "yes"' + VERB),
        "its class variable `ceiling` is 'yes'; expected True or False",
    ),
    "a local class": (
        HEAD
        + "def make():\n    @dataclass(frozen=True)\n    class Bad:\n"
        + '        name: str = "bad"\n        def condense(self, task): ...\n    return Bad()\n'
        + "@hookimpl\ndef bench_methods(): return [make(), Method()]\n",
        "class make.<locals>.Bad must stand at the top level of an importable module",
    ),
    "none": (component("pass", made="None"), "NoneType is not a frozen dataclass"),
    "preload is a number": (
        component('name: str = "bad"\n    preload: ClassVar = 5' + VERB),
        "its class variable `preload` is 5; expected a tuple of names of modules",
    ),
    "preload holds a number": (
        component('name: str = "bad"\n    preload: ClassVar = ("json", 5)' + VERB),
        "its class variable `preload` is ('json', 5); expected a tuple of names of modules",
    ),
    "a name of 245 characters": (
        component('name: str = "' + "b" * 245 + '"' + VERB),
        "its name has 245 characters; expected at most 48",
    ),
    "a name with half a character": (
        component('name: str = "bad\\ud800"' + VERB),
        "must be lower-case letters, digits, '-', '+' or '.'",
    ),
    "half a character": (
        component('name: str = "bad"\n    x: str = "\\udcff"' + VERB),
        "its field `x` is '\\udcff'; expected a JSON scalar",
    ),
    "a huge integer": (
        component('name: str = "bad"\n    x: int = 10**19' + VERB),
        "its field `x` is 10000000000000000000; expected a JSON scalar",
    ),
    "an integer that cannot be printed": (
        component('name: str = "bad"\n    x: int = 10**5000' + VERB),
        "method 'bad' of acme: its field `x` is",
    ),
    "a float that is more than one": (
        HEAD.replace("class Method", "class Method", 1)
        + 'class Odd(float):\n    def __repr__(self): return "0.5"\n'
        + component('name: str = "bad"\n    x: float = Odd(0.1)' + VERB).removeprefix(HEAD),
        "its field `x` is 0.5; expected a JSON scalar",
    ),
    "no hash": (
        component('name: str = "bad"\n    __hash__ = None' + VERB, made="Bad()"),
        "it cannot be copied and hashed (TypeError: unhashable type: 'Bad')",
    ),
    "an equality of its own": (
        component(
            'name: str = "bad"' + VERB + "    def __eq__(self, other): return False\n"
            "    def __hash__(self): return 1\n",
            "@dataclass(frozen=True, eq=False)",
        ),
        "it does not equal a copy of itself",
    ),
    "a name that clears the screen": (
        component('name: str = "\\x1b[2J\\u202ebad"' + VERB),
        "method '[2Jbad' of acme: its name",
    ),
    "a fact that raises": (
        component('name: str = "bad"\n    track = property(lambda self: 1 / 0)' + VERB),
        "ZeroDivisionError",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_component_is_named_with_its_fault(fault: str, install: Install) -> None:
    source, words = FAULTS[fault]
    reason = only_reason(discover(install("acme", source)))
    assert words in reason
    assert "acme" in reason
    assert reason.isprintable()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_component_leaves_those_beside_it_alone(fault: str, install: Install) -> None:
    assert names(discover(install("acme", FAULTS[fault][0]))) == [("method", "good", "acme")]


def test_asking_for_a_faulty_component_says_its_fault(install: Install) -> None:
    registry = discover(install("acme", FAULTS["no verb"][0]))
    with pytest.raises(BenchError, match=r"method 'bad' cannot be used: .*no method `condense`"):
        registry.get("method", "bad")


# ---- names


def test_a_name_taken_twice_is_refused_naming_both_owners(install: Install) -> None:
    install("one", GOOD, version="1.1")
    extra = GOOD.replace("[Method()]", "[Method(), Method('mine')]")
    registry = discover(install("two", extra, version="2.2"))
    assert names(registry) == [("method", "mine", "two")]
    reason = "method 'good' is provided by one 1.1 and two 2.2; uninstall one, or rename it"
    assert only_reason(registry) == reason
    with pytest.raises(BenchError, match=r"method 'good' cannot be used: .* one 1\.1 and two 2\.2"):
        registry.get("method", "good")


def test_a_name_taken_twice_by_one_distribution_is_refused(install: Install) -> None:
    registry = discover(install("one", GOOD.replace("[Method()]", "[Method(), Method(lam=2.0)]")))
    assert registry.entries == ()
    assert "provided by one 1.0 and one 1.0" in only_reason(registry)


def test_two_distributions_with_one_module_are_a_clash_and_not_one_of_them(
    install: Install,
) -> None:
    install("one", GOOD, module="shared")
    registry = discover(install("two", GOOD, module="shared"))
    assert registry.entries == ()
    assert "provided by one 1.0 and two 1.0" in only_reason(registry)


def test_the_order_of_entry_points_does_not_matter(install: Install) -> None:
    install("one", GOOD)
    install("two", GOOD.replace('"good"', '"other"'))
    points = install("bad", "import acme_that_is_absent")
    results = [discover(order) for order in itertools.permutations(points)]
    assert all(result == results[0] for result in results)
    assert len(results[0].entries) == 2


def test_an_entry_point_listed_twice_counts_once(install: Install) -> None:
    points = install("one", GOOD)
    assert discover(points * 2) == discover(points)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("toy-mean", "there is no method 'toy-mean'; did you mean 'toy-means'?"),
        ("xyz", "there is no method 'xyz'; expected one of: toy-first, toy-full, toy-means, "),
        ("toy-convnet", "there is no method 'toy-convnet'"),
        ("xyz", "`bench plugins` lists what is installed"),
    ],
)
def test_an_unknown_name_is_met_with_a_suggestion(name: str, words: str) -> None:
    with pytest.raises(BenchError) as caught:
        registry_of(toy.COMPONENTS).get("method", name)
    assert words in str(caught.value)


def test_an_unknown_name_mentions_the_plugins_that_are_broken(install: Install) -> None:
    registry = discover(install("acme", "import acme_that_is_absent"))
    with pytest.raises(BenchError, match=r"perhaps it is in a plugin that is broken: acme \(.*Mod"):
        registry.get("method", "acme-method")


def test_of_several_broken_plugins_a_sentence_has_the_names_alone(install: Install) -> None:
    absent = (install(name, "import acme_that_is_absent") for name in ("acme", "zeta"))
    with pytest.raises(BenchError) as caught:
        discover([*itertools.chain(*absent)]).get("method", "acme-method")
    assert str(caught.value).endswith("is broken: acme, zeta (`bench plugins` says why)")


def test_a_suggestion_is_no_endless_list() -> None:
    said = suggest("x", [f"n{number:03}" for number in range(300)])
    assert said.endswith(f"n{LISTED - 1:03} and {300 - LISTED} more")


def test_suggestions_are_made_of_what_there_is() -> None:
    assert suggest("x", []) == ""
    assert suggest("lamda", ["lambda", "rho"]) == "; did you mean 'lambda'?"
    assert suggest("x", ["b", "a"]) == "; expected one of: a, b"


def test_a_registry_of_given_components_refuses_a_faulty_one() -> None:
    with pytest.raises(BenchError, match=r"toy-clean.*no method `condense`, the verb of a method"):
        registry_of({"method": [toy.ToyClean()]})


def test_every_kind_has_a_hook_and_a_verb() -> None:
    from bench.contract import hookspecs

    hooks = {name for name in vars(hookspecs) if name.startswith("bench_")}
    assert hooks == {f"bench_{kind}s" for kind in KINDS}


# ---- setting fields


@dataclass(frozen=True)
class Knobs:
    """All the types of fields."""

    name: str = "knobs"
    lam: float = 1.0
    steps: int = 10
    flip: bool = False
    mode: str = "a"
    sizes: tuple[int, ...] = (1, 2)
    rates: tuple[float, ...] = (1, 0.5)
    whole: float = 1
    empty: tuple[Any, ...] = ()
    quick: ClassVar[dict[str, int]] = {"steps": 1}

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise ValueError("steps must not be negative")
        if self.mode == "boom":
            raise LookupError("no such mode")

    def condense(self, task: Any) -> None: ...


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("lam", 2, 2.0),
        ("lam", 0.5, 0.5),
        ("steps", 3, 3),
        ("flip", True, True),
        ("mode", "b", "b"),
        ("sizes", [3], (3,)),
        ("sizes", [], ()),
        ("rates", [1, 2], (1.0, 2.0)),
        ("whole", 0.5, 0.5),
        ("whole", 3, 3.0),
        ("empty", [1, "a", [2.5, False]], (1, "a", (2.5, False))),
    ],
)
def test_a_value_takes_the_type_of_the_default(key: str, value: Any, expected: Any) -> None:
    got = getattr(replace("method", Knobs(), {key: value}, "here"), key)
    assert got == expected
    assert type(got) is type(expected)
    if isinstance(got, tuple):
        assert [type(x) for x in got] == [type(x) for x in expected]


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("lam", "2", "here: lam is '2' (str); expected float, like its default 1.0"),
        ("lam", True, "here: lam is True (bool); expected float"),
        ("lam", float("nan"), "here: lam is nan (float); expected a finite number"),
        ("lam", float("inf"), "here: lam is inf (float); expected"),
        ("lam", 10**400, "expected float"),
        ("steps", 2.0, "here: steps is 2.0 (float); expected int, like its default 10"),
        ("steps", True, "here: steps is True (bool); expected int"),
        ("flip", 1, "here: flip is 1 (int); expected bool"),
        ("mode", 1, "here: mode is 1 (int); expected str"),
        ("sizes", 3, "here: sizes is 3 (int); expected a list, like its default [1, 2]"),
        ("sizes", ["a"], "here: sizes: entry is 'a' (str); expected int"),
        ("sizes", [1, True], "entry is True (bool); expected int"),
        ("empty", [{}], "here: empty is [{}] (list); expected a list"),
        ("stepps", 3, "here: method 'knobs' has no field 'stepps'; did you mean 'steps'?"),
        ("name", "x", "here: method 'knobs' has no field 'name'"),
        ("quick", {}, "here: method 'knobs' has no field 'quick'"),
        ("condense", 1, "here: method 'knobs' has no field 'condense'"),
        ("steps", -1, "method 'knobs' refuses {'steps': -1}: steps must not be negative"),
        ("mode", "boom", "method 'knobs' refuses {'mode': 'boom'}: no such mode"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(key: str, value: Any, words: str) -> None:
    with pytest.raises(BenchError) as caught:
        replace("method", Knobs(), {key: value}, "here")
    assert words in str(caught.value)


def test_setting_fields_leaves_the_component_alone() -> None:
    knobs = Knobs()
    assert replace("method", knobs, {"steps": 3}, "here") == Knobs(steps=3)
    assert knobs == Knobs()


def test_a_tuple_with_one_float_takes_floats() -> None:
    assert as_type_of((1, 0.5), [0.25, 2], "x") == (0.25, 2.0)


def test_a_docstring_is_cleaned_and_cut() -> None:
    @dataclass(frozen=True)
    class Loud:
        name: str = "loud"

    Loud.__doc__ = "\x1b[31mRed\x1b[0m \u202eand\ud800 " + "long " * 1000
    assert about(Loud()).startswith("[31mRed[0m and\N{REPLACEMENT CHARACTER} long")
    assert len(about(Loud())) == 2000


def test_the_footnote_is_the_first_line_of_the_docstring() -> None:
    assert about(Knobs()) == "All the types of fields."


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            'search: ClassVar = "white-box"',
            "its class variable `search` is 'white-box'; expected one",
        ),
        ("block: ClassVar = -1", "its class variable `block` is -1; expected images a stage"),
        ("block: ClassVar = 2.5", "its class variable `block` is 2.5; expected images a stage"),
    ],
)
def test_an_attack_that_claims_nonsense_is_refused(install: Install, line: str, said: str) -> None:
    code = HEAD.replace('norm: ClassVar = "linf"', f'norm: ClassVar = "linf"\n    {line}')
    hook = "@hookimpl\ndef bench_attacks(): return [Attack()]\n"
    [broken] = discover(install("acme", code + hook)).broken
    assert said in broken.reason


@pytest.mark.parametrize(
    "line",
    ["from bench.loading import batches", "from bench import loading", "import bench.loading"],
)
def test_a_plugin_that_imports_from_an_old_place_is_told_the_new_one(
    install: Install, line: str
) -> None:
    (broken,) = discover(install("acme", f"{line}\n{GOOD}")).broken
    assert broken.reason.endswith(
        "bench.loading has moved; import from bench.training.loading instead"
    )


def test_a_plugin_that_imports_what_bench_never_had_is_told_where_to_look(install: Install) -> None:
    (broken,) = discover(install("acme", f"from bench.errors import BenchError\n{GOOD}")).broken
    assert broken.reason.endswith(
        "there is no bench.errors; CONTRIBUTING.md lists what a plugin may import of bench"
    )


def test_a_verb_that_imports_from_an_old_place_is_told_the_new_one() -> None:
    with pytest.raises(ImportError) as caught:
        importlib.import_module("bench.networks")
    assert "bench.networks has moved; import from bench.training.networks" in sentence(caught.value)


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_what_has_moved_is_where_the_sentence_says(old: str, new: str) -> None:
    assert importlib.util.find_spec(new) is not None
    assert importlib.util.find_spec(old) is None
