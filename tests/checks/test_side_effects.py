import importlib
import random
import socket

import numpy as np
import pytest
import torch

from bench.checks import fixtures
from bench.checks.side_effects import SHARED, claims, equal, watch
from bench.contract.errors import BenchError
from bench.training import toy


def faults(verb, **settings) -> str:
    """What the guards say of a verb; "" if nothing."""
    watched = watch("a test", verb, **settings)
    said = []
    for check in claims(lambda: [watched]).values():
        try:
            check()
        except BenchError as error:
            said.append(str(error))
    return " | ".join(said)


def test_a_verb_that_leaves_everything_alone_is_not_blamed() -> None:
    generator = torch.Generator().manual_seed(0)
    assert faults(lambda: torch.rand(3, generator=generator)) == ""


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        (lambda: torch.rand(1), "it changed torch's global generator; expected as found; draw"),
        (lambda: torch.manual_seed(5), "torch's global generator"),
        (lambda: np.random.rand(), "numpy's global generator"),  # noqa: NPY002
        (random.random, "the generator of `random`"),
        (lambda: torch.set_default_dtype(torch.float64), "default dtype"),
        (lambda: torch.set_grad_enabled(False), "grad mode"),
        (lambda: torch.set_num_threads(torch.get_num_threads() + 1), "the number of threads"),
        (lambda: torch.use_deterministic_algorithms(False), "deterministic mode"),
    ],
)
def test_a_verb_that_changes_what_the_process_shares_is_named_and_undone(verb, words) -> None:
    before = [shared.get() for shared in SHARED]
    said = faults(verb)
    assert words in said
    assert " | " not in said
    assert " and it changed" not in said
    for shared, value in zip(SHARED, before, strict=True):
        assert equal(shared.get(), value), shared.name


def test_the_process_is_put_back_when_a_verb_raises() -> None:
    def breaks() -> None:
        torch.set_default_dtype(torch.float64)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        watch("a test", breaks)
    assert torch.get_default_dtype() == torch.float32


def test_a_build_may_draw_its_weights_from_the_global_generator_of_torch_alone() -> None:
    assert faults(lambda: torch.rand(1), draws=True) == ""
    assert "`random`" in faults(random.random, draws=True)


def test_a_library_may_draw_when_it_is_first_imported(tmp_path, monkeypatch) -> None:
    for name in ("draws_at_import_1", "draws_at_import_2"):
        (tmp_path / f"{name}.py").write_text("import random; random.random()")
    monkeypatch.syspath_prepend(tmp_path)

    def imports_and_draws() -> None:
        importlib.import_module("draws_at_import_2")
        random.random()

    assert faults(lambda: importlib.import_module("draws_at_import_1")) == ""
    assert "`random`" in faults(imports_and_draws)


def test_a_verb_starts_from_generators_seeded_by_the_task() -> None:
    def draw() -> tuple[float, float, float]:
        return torch.rand(1).item(), np.random.rand(), random.random()  # noqa: NPY002

    torch.manual_seed(7)
    one = watch("a test", draw, seed=3).result
    torch.manual_seed(8)
    assert watch("a test", draw, seed=3).result == one
    assert watch("a test", draw, seed=4).result != one


def test_a_tensor_that_is_changed_in_place_is_named() -> None:
    images = torch.zeros(2, 3)
    said = faults(lambda: images.add_(1), tensors={"the images": images, "others": torch.ones(1)})
    assert said == ("on a test: it changed the images in place; expected as found; work on a clone")


@pytest.mark.parametrize(
    ("touch", "words"),
    [
        (lambda model: model.train(), "its train or eval mode"),
        (lambda model: model.requires_grad_(False), "requires_grad"),
        (lambda model: model(torch.rand(1, 1, 8, 8)).sum().backward(), "gradients of parameters"),
        (lambda model: model.train()(torch.ones(2, 1, 8, 8)) is model.eval(), "weights or buffers"),
    ],
)
def test_a_model_that_is_touched_is_named(touch, words) -> None:
    student = fixtures.trained(toy.GRAY)
    said = faults(lambda: touch(student), models={"model": student}, draws=True)
    assert words in said
    assert "(model)" in said


def through(call) -> None:
    with socket.socket() as one:
        call(one)


@pytest.mark.parametrize(
    "reach",
    [
        lambda: socket.create_connection(("example.org", 80), timeout=1),
        lambda: through(lambda s: s.connect(("192.0.2.1", 80))),
        lambda: through(lambda s: s.connect_ex(("192.0.2.1", 80))),
        lambda: socket.getaddrinfo("example.org", 80),
    ],
)
def test_a_verb_that_reaches_for_the_network_is_stopped_even_if_it_hides_it(reach) -> None:
    def hides() -> None:
        try:
            reach()
        except OSError:
            return
        raise AssertionError("the network was reached")

    assert "tried to reach" in faults(hides)
    with pytest.raises(BenchError, match=r"on a test: it tried to reach .*expected no network"):
        watch("a test", reach)


def test_afterwards_the_network_is_there_again() -> None:
    before = (socket.getaddrinfo, socket.socket.connect, socket.socket.connect_ex)
    watch("a test", lambda: None)
    assert (socket.getaddrinfo, socket.socket.connect, socket.socket.connect_ex) == before


def test_processes_of_one_machine_may_talk(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)  # the address of such a socket must be short
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind("s")
        server.listen()
        assert faults(lambda: client.connect("s")) == ""
