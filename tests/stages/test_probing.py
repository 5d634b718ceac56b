"""Attacked students: which images, which gates, what is kept."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from bench.contract.errors import BenchError
from bench.records.result import unpack
from bench.stages import probing
from bench.training import loading, networks, toy

DATA = toy.GRAY.load()
CLASSES = len(DATA.classes)


@given(st.integers(1, 160), st.integers(1, 160), st.integers(0, 2**48 - 1))
def test_fewer_probed_images_are_a_prefix_of_more(one: int, other: int, content: int) -> None:
    digest = f"{content:012x}0000"
    few, many = sorted((one, other))
    longest = loading.probed_images(DATA.test, digest, many)
    assert torch.equal(loading.probed_images(DATA.test, digest, few), longest[:few])
    assert len(set(longest.tolist())) == many
    every = loading.probed_images(DATA.test, digest, 0)
    assert sorted(every.tolist()) == list(range(160))
    assert torch.equal(every[:many], longest)


def test_other_data_are_probed_in_another_order() -> None:
    orders = [loading.probed_images(DATA.test, f"{k:012x}0000", 0).tolist() for k in range(5)]
    assert len({tuple(order) for order in orders}) == 5


torch.manual_seed(0)  # an untrained network, with some images right
STUDENT = networks.build(toy.ToyLinear(), DATA.shape, CLASSES, DATA.mean, DATA.std).eval()
INDEX = torch.arange(0, 160, 5)


@dataclass(frozen=True)
class Attack:
    """An attack that does what it is told."""

    what: Callable[[nn.Module, Tensor, Tensor], Any]
    name: str = "told"
    eps: float = 0.1
    norm: str = "linf"

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator
    ) -> Any:
        return self.what(model, images, labels)


def probe(attack: Any, student: nn.Module = STUDENT, **options: Any) -> Any:
    return probing.probe(attack, student, DATA.test, INDEX, seed=0, device="cpu", **options)


def test_a_probe_keeps_logits_and_says_who_is_right() -> None:
    kept, value = probe(Attack(lambda model, images, labels: (images + 0.1).clamp(0, 1)))
    images, labels = DATA.test.images(INDEX), DATA.test.labels[INDEX]
    with torch.no_grad():
        clean, attacked = STUDENT(images), STUDENT((images + 0.1).clamp(0, 1))
    torch.testing.assert_close(kept["clean_logits"], clean)
    torch.testing.assert_close(kept["logits"], attacked)
    assert torch.equal(kept["index"], INDEX)
    right = (clean.argmax(1) == labels) & (attacked.argmax(1) == labels)
    assert unpack([b64decode(value["correct"])], len(INDEX))[0].tolist() == right.tolist()
    assert value["images"] == len(INDEX)
    assert value["perturbation"]["linf"]["max"] == pytest.approx(0.1, abs=1e-6)


def test_the_size_of_a_block_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = probe(toy.ToyStep())
    monkeypatch.setattr(probing, "BLOCK", 7)
    told: list[tuple[int, int]] = []
    parts = probe(toy.ToyStep(), progress=lambda done, total: told.append((done, total)))
    assert told == [(n, 5) for n in range(1, 6)]
    torch.testing.assert_close(parts[0]["logits"], whole[0]["logits"])
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


def patched(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """No weight changes, and yet the network says something else from now on."""
    forward = model.forward
    model.forward = lambda x: -forward(x)
    return images


def in_place(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return images.add_(0.5).clamp_(0, 1)  # would look like no change, were it the same tensor


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (spoil, "the attack changed the model: its weights or buffers"),
        (leave_gradients, "the attack changed the model: its gradients"),
        (leave_training, "the attack changed the model: its train or eval mode"),
        (patched, "the attack changed what the network says of clean images"),
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


def test_an_attack_that_patches_torch_has_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    linear = torch.nn.functional.linear

    def patch(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        monkeypatch.setattr("torch.nn.functional.linear", lambda *given: -linear(*given))
        return images

    with pytest.raises(BenchError, match="changed what the network says of clean images"):
        probe(Attack(patch))


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
    assert not tensors["logits"].requires_grad


# ---- students that would make the numbers of any attack meaningless


class Unsteady(nn.Module):
    """A student that does something to the logits of a sound one."""

    def __init__(self, what: Callable[[Tensor, nn.Module], Tensor]) -> None:
        super().__init__()
        self.sound, self.what = STUDENT, what
        self.norm = nn.BatchNorm1d(CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        return self.what(self.sound(images), self.norm)


@pytest.mark.parametrize(
    "what",
    [
        lambda logits, norm: logits + torch.randn_like(logits),
        lambda logits, norm: nn.functional.dropout(logits, 0.2, training=True),
        lambda logits, norm: norm.train()(logits),
    ],
    ids=["randomised", "dropout left on", "BatchNorm in train mode"],
)
def test_a_student_that_says_other_things_in_other_company_has_no_result(what: Any) -> None:
    with pytest.raises(BenchError, match="other logits the second time, or in another batch"):
        probe(toy.ToyClean(), Unsteady(what).eval())


@pytest.mark.parametrize(
    ("what", "share"),
    [
        (lambda logits, norm: logits, 0.0),
        (lambda logits, norm: logits * 1e5, 1.0),
        (lambda logits, norm: torch.round(logits), 1.0),
        (lambda logits, norm: logits.detach(), 1.0),
    ],
    ids=["sound", "saturated softmax", "rounded", "without a graph"],
)
def test_images_without_a_gradient_are_counted(what: Any, share: float) -> None:
    _, value = probe(Attack(lambda model, images, labels: images), Unsteady(what).eval())
    flat, right = value["flat"]
    assert right > 0
    assert flat == share * right


def normalised(model: Any, images: Tensor, labels: Tensor) -> Tensor:
    """An attack that takes what the network sees for pixels: its 0.1 is one of 1 / std."""
    return (images + 0.1 / model.std * torch.sign(torch.randn_like(images))).clamp(0, 1)


def test_an_attack_in_normalised_space_leaves_its_ball_and_has_no_result() -> None:
    with pytest.raises(
        BenchError, match=r"the attack moves an image by .* its ball has radius 0.1"
    ):
        probe(Attack(normalised))


# ---- transferred, in parts, counted, pictured


def test_a_transferred_attack_is_made_on_its_source_and_judged_by_the_student() -> None:
    torch.manual_seed(3)
    source = networks.build(toy.ToyConvNet(), DATA.shape, CLASSES, DATA.mean, DATA.std).eval()
    kept, _ = probe(toy.ToyStep(), source=source)
    images, labels = DATA.test.images(INDEX), DATA.test.labels[INDEX]
    made = toy.ToyStep().perturb(source, images, labels, torch.Generator())
    with torch.no_grad():
        torch.testing.assert_close(kept["logits"], STUDENT(made))
        torch.testing.assert_close(kept["clean_logits"], STUDENT(images))


def test_parts_of_a_probe_join_to_the_whole() -> None:
    whole, value = probe(toy.ToyStep())
    parts = [
        probing.probe(toy.ToyStep(), STUDENT, DATA.test, index, seed=0, part=part)
        for part, index in enumerate(torch.split(INDEX, 12))
    ]
    joined, joined_value = probing.joined(parts, DATA.test)
    for name in ("logits", "clean_logits", "index"):
        torch.testing.assert_close(joined[name], whole[name])
    sizes = joined_value.pop("perturbation"), value.pop("perturbation")
    for one in (joined_value, value):  # what a slope does is looked at once, in the first part
        assert {"slope": one.pop("slope"), "fell_further": one.pop("fell_further")}
    assert joined_value == value
    assert sizes[0]["linf"] == pytest.approx(sizes[1]["linf"], abs=2e-6)


def test_passes_of_the_attack_are_counted_and_no_others() -> None:
    def three_steps(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        for _ in range(3):
            images = toy.ToyStep(eps=0.01).perturb(model, images, labels, torch.Generator())
        with torch.no_grad():
            model(images)
        return images

    assert probe(Attack(three_steps))[1]["passes"] == {
        "forward": 4 * len(INDEX),
        "backward": 3 * len(INDEX),
    }
    assert probe(toy.ToyClean())[1]["passes"] == {"forward": 0, "backward": 0}


def test_pictures_of_the_first_images_are_kept() -> None:
    kept, _ = probe(toy.ToyStep())
    clean, adversarial = kept["natural"], kept["adversarial"]
    assert clean.dtype == adversarial.dtype == torch.uint8
    assert torch.equal(clean, (DATA.test.images(INDEX[:4]) * 255).round().to(torch.uint8))
    moved = (clean.int() - adversarial.int()).abs()
    assert 0 < int(moved.max()) <= 8


# ---- what is drawn


def noise_of(part: int = 0, seed: int = 0) -> Tensor:
    kept, _ = probing.probe(toy.ToyNoise(), STUDENT, DATA.test, INDEX, seed=seed, part=part)
    found: Tensor = kept["logits"]
    return found


def test_an_attack_draws_from_a_generator_that_the_seed_and_the_part_decide() -> None:
    found = noise_of()
    torch.manual_seed(5)  # whatever global generators are at
    assert torch.equal(noise_of(), found)
    assert not torch.equal(noise_of(part=1), found)
    assert not torch.equal(noise_of(seed=1), found)


def test_every_block_of_images_has_draws_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "BLOCK", 8)
    drawn: list[Tensor] = []

    @dataclass(frozen=True)
    class Drawing(toy.ToyNoise):
        def perturb(
            self, model: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator
        ) -> Tensor:
            drawn.append(torch.rand(4, generator=generator))
            return images

    probe(Drawing())
    assert len({tuple(one.tolist()) for one in drawn}) == len(drawn) == 4
