"""The trainer of denoisers: what it shows, what it averages, what it refuses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.contract.data import Split, Subset, TensorSplit
from bench.contract.errors import BenchError
from bench.training import diffusion, networks
from bench.training.classifier import Examples
from bench.training.denoiser import fit
from bench.training.diffusion import Denoiser, Schedule
from bench.training.recipe import DiffusionRecipe

K = 3
RECIPE = DiffusionRecipe(steps=6, batch=4, lr=0.01, warmup=0.0)


class Noted(nn.Module):
    """A linear denoiser that notes what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.head = nn.Parameter(torch.ones(2, 2, 2))
        self.seen: list[tuple[Tensor, Tensor, Tensor, Mapping[str, Tensor]]] = []

    def forward(self, x: Tensor, t: Tensor, labels: Tensor, extras: Mapping[str, Tensor]) -> Tensor:
        self.seen.append((x.detach().clone(), t.clone(), labels.clone(), dict(extras)))
        return self.scale * x

    def projected(self, x: Tensor, t: Tensor, labels: Tensor, extras: Any) -> Any:
        return self(x, t, labels, extras), {"image.features": self.head.expand(len(x), -1, -1, -1)}


def images(count: int = 9, seed: int = 0) -> Tensor:
    return torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(seed))


def examples(count: int = 9, seed: int = 0, weights: Tensor | None = None) -> Examples:
    labels = torch.arange(count) % K
    split = TensorSplit(images(count, seed), labels)
    return Examples(split, torch.arange(count), labels, weights)


def denoiser(recipe: DiffusionRecipe = RECIPE) -> Denoiser:
    schedule = Schedule(recipe.noise, recipe.prediction, recipe.timesteps)
    return Denoiser(Noted(), (1, 4, 4), K, schedule)


def trained(
    recipe: DiffusionRecipe = RECIPE, some: Examples | None = None, **more: Any
) -> Denoiser:
    found = denoiser(recipe)
    fit(found, examples() if some is None else some, recipe, **{"seed": 0} | more)
    return found


def shown(one: Denoiser, what: int) -> list[Tensor]:
    return [entry[what] for entry in one.network.seen]


def test_the_same_seed_gives_the_same_weights_and_another_does_not() -> None:
    one, same, other = trained(), trained(), trained(seed=1)
    assert torch.equal(one.network.scale, same.network.scale)
    assert not torch.equal(one.network.scale, other.network.scale)


def test_two_sets_of_a_size_are_shown_the_same_times_labels_and_noise() -> None:
    """Law 6: x_t of two sets differ by the images alone."""
    one, two = trained(), trained(some=examples(seed=1))
    assert all(map(torch.equal, shown(one, 1), shown(two, 1)))
    assert all(map(torch.equal, shown(one, 2), shown(two, 2)))
    schedule = one.schedule
    for x, y, t in zip(shown(one, 0), shown(two, 0), shown(one, 1), strict=True):
        a, _ = schedule.coefficients((t * schedule.timesteps).round().long())
        assert float((x - y).abs().max()) <= 2 * float(a.max()) + 1e-5  # the noise drops out


def test_sets_of_any_size_are_shown_the_same_times_and_noise() -> None:
    recipe = replace(RECIPE, noise="straight", timesteps=2)  # at its end: noise alone
    few, many = trained(recipe, examples(3)), trained(recipe, examples(9))
    assert all(map(torch.equal, shown(few, 1), shown(many, 1)))
    for x, y, t in zip(shown(few, 0), shown(many, 0), shown(few, 1), strict=True):
        assert torch.equal(x[t == 1], y[t == 1])


def test_what_was_drawn_before_has_no_say() -> None:
    torch.manual_seed(1)
    one = trained()
    torch.manual_seed(2)
    assert torch.equal(one.network.scale, trained().network.scale)


@dataclass(frozen=True)
class Disk:
    """A split that is read by threads."""

    of: TensorSplit

    @property
    def labels(self) -> Tensor:
        return self.of.labels

    def images(self, index: Tensor, boxes: Tensor | None = None) -> Tensor:
        return self.of.images(index, boxes)


@pytest.mark.parametrize("flip", [False, True])
def test_a_split_on_disk_gives_the_bytes_of_one_in_memory(flip: bool) -> None:
    whole = TensorSplit(images(20), torch.arange(20) % K)
    index = torch.tensor([17, 3, 4, 11, 0, 9, 8])
    labels = whole.labels[index]
    recipe = replace(RECIPE, flip=flip)
    splits: list[tuple[Split, Tensor]] = [
        (TensorSplit(whole.pixels[index], labels), torch.arange(7)),
        (whole, index),
        (Disk(whole), index),
        (Subset(Disk(whole), index), torch.arange(7)),
        (Subset(whole, index.flip(0)), torch.arange(7).flip(0)),
    ]
    found = [trained(recipe, Examples(s, i, labels), flip=flip) for s, i in splits]
    for other in found[1:]:
        assert all(map(torch.equal, shown(other, 0), shown(found[0], 0)))
        assert torch.equal(other.network.scale, found[0].network.scale)


def test_a_class_is_the_arg_max_of_a_label() -> None:
    some = examples()
    soft = 0.4 * torch.eye(K)[some.labels] + 0.2
    one, two = trained(), trained(some=replace(some, labels=soft))
    assert all(map(torch.equal, shown(one, 2), shown(two, 2)))
    assert torch.equal(one.network.scale, two.network.scale)


def test_every_step_has_a_full_batch_however_small_the_set() -> None:
    assert [len(x) for x in shown(trained(some=examples(3)), 0)] == [4] * 6


def test_a_set_is_shown_evenly() -> None:
    recipe = replace(RECIPE, steps=9, dropout=0.0)
    labels = torch.cat(shown(trained(recipe, examples(9)), 2))
    assert labels.bincount().tolist() == [12, 12, 12]


def test_labels_are_dropped_at_the_rate_of_the_recipe() -> None:
    recipe = replace(RECIPE, steps=100, batch=32, dropout=0.25)
    labels = torch.cat(shown(trained(recipe), 2))
    assert 0.2 < float((labels == K).double().mean()) < 0.3
    assert K not in torch.cat(shown(trained(replace(recipe, dropout=0.0)), 2))


def test_the_student_is_the_exponential_average_of_its_weights() -> None:
    recipe = replace(RECIPE, ema=0.9, checkpoints=(1, 2, 3, 4, 5))
    plain = denoiser()
    last = {**fit(plain, examples(), replace(recipe, ema=0.0), seed=0)}
    averaged = denoiser()
    kept = fit(averaged, examples(), recipe, seed=0)
    mean = torch.ones(1)
    for step in range(1, 6):
        decay = min(0.9, step / (9 + step)) if step > 1 else 0.0
        mean = decay * mean + (1 - decay) * last[step]["scale"]
        assert torch.allclose(kept[step]["scale"], mean, atol=1e-5)


def test_a_checkpoint_leaves_the_training_as_it_is() -> None:
    assert torch.equal(
        trained().network.scale, trained(replace(RECIPE, checkpoints=(2, 4))).network.scale
    )


def test_a_checkpoint_is_a_shorter_run_where_nothing_depends_on_the_length() -> None:
    kept = fit(denoiser(), examples(), replace(RECIPE, checkpoints=(3,)), seed=0)
    short = trained(replace(RECIPE, steps=3))
    assert list(kept) == [3]
    assert torch.equal(kept[3]["scale"], networks.state(short)["scale"])


@pytest.mark.parametrize("change", [{"schedule": "cosine"}, {"warmup": 0.5}], ids=str)
def test_a_checkpoint_is_no_shorter_run_where_the_learning_rate_knows_the_length(
    change: dict[str, Any],
) -> None:
    recipe = replace(RECIPE, checkpoints=(3,), **change)
    kept = fit(denoiser(), examples(), recipe, seed=0)
    short = trained(replace(recipe, steps=3, checkpoints=()))
    assert not torch.equal(kept[3]["scale"], networks.state(short)["scale"])


def test_the_end_of_the_training_is_no_checkpoint() -> None:
    assert list(fit(denoiser(), examples(), replace(RECIPE, checkpoints=(2, 6, 9)), seed=0)) == [2]


@pytest.mark.parametrize("projection", [0.0, 0.5])
@pytest.mark.parametrize("noise", diffusion.NOISES)
def test_one_step_follows_the_weighted_mean_of_the_errors(noise: str, projection: float) -> None:
    """Against a gradient by hand: images are told by their labels, the noise by x_t."""
    count, features = 4, torch.randn(4, 2, 2, 2, generator=torch.Generator().manual_seed(3))
    recipe = DiffusionRecipe(
        steps=1,
        batch=count,
        optimizer="sgd",
        momentum=0.0,
        lr=0.1,
        warmup=0.0,
        clip=0.0,
        ema=0.0,
        dropout=0.0,
        noise=noise,
        projection=projection,
    )
    weights = torch.tensor([1.0, 2.0, 3.0, 10.0])
    split = TensorSplit(images(count), torch.arange(count))
    some = Examples(split, torch.arange(count), split.labels, weights)
    one = Denoiser(Noted(), (1, 4, 4), count, Schedule(noise, recipe.prediction))
    fit(one, some, recipe, seed=0, extras={"image.features": features})

    [(noised, t, rows, _)] = one.network.seen
    schedule = one.schedule
    time = (t * schedule.timesteps).round().long() - int(noise == "straight")
    a, b = (value.view(-1, 1, 1, 1) for value in schedule.coefficients(time))
    x = 2 * images(count)[rows] - 1
    wanted = schedule.target(x, (noised - a * x) / b, time)
    scale, head = torch.ones(1, requires_grad=True), torch.ones(2, 2, 2, requires_grad=True)
    total = torch.zeros(1)
    for k, row in enumerate(rows.tolist()):
        error = (scale * noised[k] - wanted[k]).square().mean()
        cosines = (head * features[row]).sum(0) / (head.norm(dim=0) * features[row].norm(dim=0))
        total = total + weights[row] / weights.mean() * (error - projection * cosines.mean())
    (total / count).backward()  # type: ignore[no-untyped-call]
    assert scale.grad is not None
    assert head.grad is not None
    assert torch.allclose(one.network.scale, 1 - 0.1 * scale.grad, atol=1e-4)
    assert torch.allclose(one.network.head, 1 - 0.1 * head.grad, atol=1e-4)


def test_the_projection_loss_turns_features_towards_what_is_attached() -> None:
    features = torch.randn(9, 2, 2, 2, generator=torch.Generator().manual_seed(3)) + 2
    extras = {"image.features": features * torch.tensor([1.0, -1.0]).view(1, 2, 1, 1)}
    recipe = replace(RECIPE, steps=200, batch=9, projection=1.0, lr=0.02, ema=0.0)
    one = trained(recipe, extras=extras)

    def cosine(head: Tensor) -> float:
        mean = extras["image.features"].mean(0)
        return float(nn.functional.cosine_similarity(head, mean, dim=0).mean())

    assert cosine(one.network.head.detach()) > 0.9 > cosine(torch.ones(2, 2, 2))
    untold = trained(replace(recipe, projection=0.0), extras=extras)
    assert torch.equal(untold.network.head, torch.ones(2, 2, 2))


def test_a_vector_can_be_attached_to_an_image() -> None:
    class Pooled(Noted):
        def projected(self, x: Tensor, t: Tensor, labels: Tensor, extras: Any) -> Any:
            said, maps = super().projected(x, t, labels, extras)
            return said, {"image.features": maps["image.features"].mean((2, 3))}

    one = Denoiser(Pooled(), (1, 4, 4), K, denoiser().schedule)
    recipe = replace(RECIPE, steps=200, batch=9, projection=1.0, lr=0.02, ema=0.0)
    wanted = torch.tensor([1.0, -1.0])
    fit(one, examples(), recipe, seed=0, extras={"image.features": wanted.expand(9, 2)})
    found = one.network.head.detach().mean((1, 2))
    assert float(nn.functional.cosine_similarity(found, wanted, dim=0)) > 0.9


def test_attachments_to_classes_are_told_and_those_to_images_are_not() -> None:
    extras = {"class.text": torch.rand(K, 2, 4), "image.features": torch.rand(9, 2, 2, 2)}
    one = trained(extras=extras)
    assert all(list(told) == ["class.text"] for told in shown(one, 3))


def test_without_its_label_an_image_is_told_no_class_and_all_attachments() -> None:
    """The tables have no row for "no class": a network drops what it is told with the label."""
    text = {"class.text": torch.rand(K, 2, 4)}
    one = trained(replace(RECIPE, dropout=0.9, steps=20), extras=text)
    assert K in torch.cat(shown(one, 2))
    assert all(torch.equal(told["class.text"], text["class.text"]) for told in shown(one, 3))


def test_a_mirror_needs_the_leave_of_the_recipe_and_of_the_data() -> None:
    flipping = replace(RECIPE, flip=True)
    plain = shown(trained(), 0)
    assert all(map(torch.equal, shown(trained(flipping), 0), plain))  # digits
    assert all(map(torch.equal, shown(trained(flip=True), 0), plain))
    assert not all(map(torch.equal, shown(trained(flipping, flip=True), 0), plain))


def test_an_image_and_what_is_attached_to_it_are_mirrored_together() -> None:
    side = torch.zeros(9, 1, 4, 4)
    side[..., 0] = 1.0  # bright on the left
    split = TensorSplit(side, torch.zeros(9, dtype=torch.int64))
    some = Examples(split, torch.arange(9), split.labels)
    wanted = torch.ones(9, 2, 2, 2)
    wanted[..., 1] = -1.0
    targets: list[Tensor] = []
    real = nn.functional.cosine_similarity

    def noted(one: Tensor, two: Tensor, dim: int) -> Tensor:
        targets.append(two.clone())
        return real(one, two, dim=dim)

    recipe = replace(RECIPE, flip=True, noise="straight", steps=20)
    one = denoiser(recipe)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.training.denoiser.F.cosine_similarity", noted)
        fit(one, some, recipe, seed=0, extras={"image.features": wanted}, flip=True)
    for x, t, target in zip(shown(one, 0), shown(one, 1), targets, strict=True):
        near = t < 0.2  # where the image shows through the noise
        bright_left = x[near, 0, :, 0].mean(1) > x[near, 0, :, 3].mean(1)
        assert torch.equal(bright_left, target[near, 0, 0, 0] > 0)
    assert {*torch.cat(targets)[:, 0, 0, 0].tolist()} == {1.0, -1.0}


def test_a_loss_that_is_not_finite_is_named() -> None:
    recipe = replace(RECIPE, lr=1e30, clip=0.0, steps=50)
    with pytest.raises(BenchError, match="training diverged"):
        trained(recipe)


def test_an_empty_set_is_refused() -> None:
    some = replace(examples(), index=torch.arange(0), labels=torch.arange(0))
    with pytest.raises(BenchError, match="0 examples and 0 labels; expected one label each"):
        trained(some=some)


def test_progress_comes_to_its_end() -> None:
    told: list[tuple[int, int]] = []
    trained(replace(RECIPE, steps=250), progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (250, 250)
    assert 50 < len(told) <= 101


def test_rows_that_do_not_match_are_refused() -> None:
    some = Examples(TensorSplit(images(), torch.arange(9) % K), torch.arange(9), torch.arange(4))
    with pytest.raises(BenchError, match="9 examples and 4 labels; expected one label each"):
        trained(some=some)


def test_the_global_generator_is_left_as_found() -> None:
    before = torch.get_rng_state()
    trained()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_network_comes_back_in_eval_mode() -> None:
    assert not trained().training


def test_an_attachment_to_images_of_the_name_of_one_to_classes_is_told_row_by_row() -> None:
    own = torch.arange(9.0).view(9, 1, 1).expand(9, 2, 4)
    extras = {"class.text": torch.rand(K, 2, 4), "image.text": own}
    one = trained(extras=extras)
    for labels, told in zip(shown(one, 2), shown(one, 3), strict=True):
        assert sorted(told) == ["class.text", "image.text"]
        rows = told["image.text"][:, 0, 0].long()
        known = labels < K
        assert torch.equal(examples().labels[rows][known], labels[known])
