import math
import threading
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from bench.contract.data import Subset, TensorSplit
from bench.contract.errors import BenchError
from bench.training import classifier, networks, toy
from bench.training.classifier import Examples, cross_entropy, distillation, fit
from bench.training.loop import learning_rate
from bench.training.networks import predict, state
from bench.training.recipe import DEFAULT_STEPS, Recipe

K = 3
PLAIN = Recipe(steps=4, batch=8, lr=0.1, momentum=0.0, weight_decay=0.0, schedule="constant")
AUGMENTED = replace(PLAIN, crop=1, flip=True, cutmix=1.0, mixup=0.5, dsa="color_scale_flip")


def convnet(seed=0, dropout=0.0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(24, K),
    )


def linear(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, K))


def problem(count=21, seed=0):
    """Classes told apart by where the light is: easy for any network."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % K
    pixels = 0.4 * torch.rand(count, 1, 6, 6, generator=generator)
    for row, label in enumerate(labels.tolist()):
        pixels[row, :, 2 * label : 2 * label + 2] += 0.5
    return TensorSplit(pixels, labels)


def examples(count=21, labels=None, weights=None):
    split = problem(count)
    return Examples(split, torch.arange(count), split.labels if labels is None else labels, weights)


def distributions(count=21):
    return torch.randn(count, K, generator=torch.Generator().manual_seed(2)).softmax(1)


class OnDisk:
    """A split that is not a TensorSplit, as one of files would be."""

    def __init__(self, split):
        self.split, self.labels, self.threads = split, split.labels, set()

    def images(self, index, boxes=None):
        self.threads.add(threading.get_ident())
        return self.split.images(index, boxes)


def same(a, b):
    a, b = state(a), state(b)
    return all(torch.equal(a[key], b[key]) for key in a)


# ---- the loss, by hand


def one_step(regime, recipe=PLAIN, labels=None, weights=None, teacher=None, count=6, **hooks):
    """Weights of a linear network before and after one step on the whole set."""
    data = examples(count, labels, weights)
    before, network = linear(), linear()
    fit(
        network,
        data,
        replace(recipe, steps=1),
        classes=K,
        seed=0,
        regime=regime,
        teacher=teacher,
        **hooks,
    )
    return before, network, data.split.pixels


def assert_one_step_of(loss, before, after, lr=0.1):
    gradients = torch.autograd.grad(loss, list(before.parameters()))
    for old, new, gradient in zip(before.parameters(), after.parameters(), gradients, strict=True):
        torch.testing.assert_close(new, old - lr * gradient)
        assert gradient.abs().sum() > 0


def test_hard_is_cross_entropy_with_the_arg_max():
    labels = distributions(6)
    before, after, pixels = one_step("hard", labels=labels)
    assert_one_step_of(F.cross_entropy(before(pixels), labels.argmax(1)), before, after)


def test_hard_labels_may_be_class_indices():
    labels = torch.tensor([0, 2, 1, 1, 0, 2])
    before, after, pixels = one_step("hard", labels=labels)
    assert_one_step_of(F.cross_entropy(before(pixels), labels), before, after)


def test_soft_is_cross_entropy_with_the_distributions():
    labels = distributions(6)
    before, after, pixels = one_step("soft", labels=labels)
    assert_one_step_of(F.cross_entropy(before(pixels), labels), before, after)


def test_teacher_is_distillation_of_the_teachers_labels():
    teacher, recipe = linear(seed=5), replace(PLAIN, temperature=4.0)
    before, after, pixels = one_step("teacher", recipe, teacher=teacher)
    p = (teacher(pixels).detach() / 4).softmax(1)
    loss = 16 * F.kl_div((before(pixels) / 4).log_softmax(1), p, reduction="batchmean")
    assert_one_step_of(loss, before, after)


@pytest.mark.parametrize("regime", ["hard", "soft"])
def test_smoothing_is_that_of_torch(regime):
    labels, recipe = distributions(6), replace(PLAIN, smoothing=0.1)
    before, after, pixels = one_step(regime, recipe, labels=labels)
    target = labels.argmax(1) if regime == "hard" else labels
    assert_one_step_of(F.cross_entropy(before(pixels), target, label_smoothing=0.1), before, after)


def test_smoothing_leaves_the_weights_of_examples_alone():
    weights = torch.tensor([1.0, 5, 2, 0.5, 3, 0.5])
    before, after, pixels = one_step("hard", replace(PLAIN, smoothing=0.2), weights=weights)
    labels = problem(6).labels
    losses = F.cross_entropy(before(pixels), labels, reduction="none", label_smoothing=0.2)
    assert_one_step_of((weights / 2 * losses).mean(), before, after)


def test_mse_is_the_mean_squared_distance_of_logits():
    teacher, recipe = linear(seed=5), replace(PLAIN, distillation="mse")
    before, after, pixels = one_step("teacher", recipe, teacher=teacher)
    assert_one_step_of(F.mse_loss(before(pixels), teacher(pixels).detach()), before, after)


@pytest.mark.parametrize("kind", ["kl", "mse"])
def test_cross_entropy_with_the_labels_stands_beside_the_teachers_loss(kind):
    teacher = linear(seed=5)
    recipe = replace(PLAIN, distillation=kind, cross_entropy=0.3, smoothing=0.1)
    before, after, pixels = one_step("teacher", recipe, teacher=teacher)
    logits, wanted = before(pixels), teacher(pixels).detach()
    taught = distillation(logits, wanted, PLAIN.temperature).mean()
    taught = F.mse_loss(logits, wanted) if kind == "mse" else taught
    told = F.cross_entropy(logits, problem(6).labels, label_smoothing=0.1)
    assert_one_step_of(taught + 0.3 * told, before, after)


def test_patches_are_shuffled_before_crops_are_cut():
    pixels = torch.zeros(1, 1, 4, 4)
    pixels[..., :2] = 1  # a bright half, which a shuffle of two moves as a whole
    split, seen = TensorSplit(pixels, torch.tensor([1])), []
    data = Examples(split, torch.tensor([0]), torch.tensor([1]))
    recipe = replace(PLAIN, shuffle=2, resized_crop=(0.1, 0.1), steps=40)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, K))
    network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    fit(network, data, recipe, classes=K, seed=0)
    left, right = (torch.cat(seen)[:, 0, :, i].mean(1) for i in (0, -1))
    assert (left > right).any()  # an edge as it was,
    assert (left < right).any()  # one that a shuffle has turned round
    assert ((left > 0.9) & (right > 0.9)).any()  # and crops that saw one half alone


def test_an_average_of_weights_and_running_statistics_is_the_student():
    seen = []
    recipe = replace(PLAIN, ema=0.6, steps=3)

    class Kept:
        def load(self):
            return {}

        def save(self, state):
            weights = {k.removeprefix("network/"): v.clone() for k, v in state().items()}
            seen.append(weights)

    student = fit(convnet(), examples(), recipe, classes=K, seed=0, checkpoint=Kept())
    plain = fit(convnet(), examples(), replace(recipe, ema=0.0), classes=K, seed=0)
    assert all(torch.equal(plain.state_dict()[k], seen[-1][k]) for k in plain.state_dict())
    for name, value in student.state_dict().items():
        one, two, three = (step[name] for step in seen)
        if value.is_floating_point():  # decays of 0, 2 / 11 and 3 / 12
            wanted = 0.25 * (2 / 11 * one + 9 / 11 * two) + 0.75 * three
            torch.testing.assert_close(value, wanted)
        else:
            assert torch.equal(value, three)


@pytest.mark.parametrize("regime", classifier.REGIMES)
def test_weights_multiply_the_losses_and_have_mean_one(regime):
    weights = torch.tensor([1.0, 5, 2, 0.5, 3, 0.5])
    labels, teacher = distributions(6), linear(seed=5)
    before, after, pixels = one_step(regime, labels=labels, weights=weights, teacher=teacher)
    logits = before(pixels)
    losses = {
        "hard": F.cross_entropy(logits, labels.argmax(1), reduction="none"),
        "soft": F.cross_entropy(logits, labels, reduction="none"),
        "teacher": distillation(logits, teacher(pixels).detach(), PLAIN.temperature),
    }[regime]
    assert_one_step_of((weights / 2 * losses).mean(), before, after)  # their mean is 2


def test_mean_weights_are_those_of_the_whole_set_not_of_a_batch():
    weights = torch.tensor([1.0] * 4 + [9.0] * 4)
    seen, split = [], problem(8)

    class Watched(OnDisk):
        def images(self, index, boxes=None):
            seen.append(index)
            return super().images(index, boxes)

    network, before = linear(), linear()
    data = Examples(Watched(split), torch.arange(8), split.labels, weights)
    fit(network, data, replace(PLAIN, steps=1, batch=4), classes=K, seed=3)
    rows = seen[0]
    losses = F.cross_entropy(before(split.pixels[rows]), split.labels[rows], reduction="none")
    assert_one_step_of((weights[rows] / 5 * losses).mean(), before, network)


def test_dsa_is_drawn_in_the_units_of_the_network(monkeypatch):
    asked = []

    def dsa(images, operations, generator, *, flip, units):
        asked.append((units[0].flatten().tolist(), units[1].flatten().tolist()))
        return images

    monkeypatch.setattr(classifier.augment, "dsa", dsa)
    network = networks.build(toy.ToyConvNet(), (1, 8, 8), 3, (0.25,), (0.5,))
    images = torch.rand(6, 1, 8, 8)
    split = TensorSplit(images, torch.arange(6) % 3)
    examples = Examples(split, torch.arange(6), split.labels)
    classifier.fit(network, examples, replace(PLAIN, dsa="color"), classes=3, seed=0)
    assert set(map(str, asked)) == {"([0.25], [0.5])"}


@pytest.mark.parametrize("operation", ["cutmix", "mixup"])
def test_labels_are_mixed_as_the_images_are(operation):
    recipe, labels = replace(PLAIN, **{operation: 1.0}), distributions(6)
    before, after, pixels = one_step("soft", recipe, labels=labels)
    order = next(classifier._order(6, recipe, 1, 0))
    view, permutation, lam = classifier._view(
        pixels[order], recipe, False, classifier.generator_of(0, "augment"), ((0.0,), (1.0,))
    )
    target = labels[order]
    logits = before(view)
    loss = lam * F.cross_entropy(logits, target)
    loss = loss + (1 - lam) * F.cross_entropy(logits, target[permutation])
    assert 0 < lam < 1
    assert_one_step_of(loss, before, after)


def test_the_teacher_labels_the_view_that_the_student_sees():
    student_saw, teacher_saw = [], []
    network, teacher = convnet(), convnet(seed=1)
    network.register_forward_pre_hook(lambda _, inputs: student_saw.append(inputs[0]))
    teacher.register_forward_pre_hook(lambda _, inputs: teacher_saw.append(inputs[0]))
    fit(network, examples(), AUGMENTED, classes=K, seed=0, regime="teacher", teacher=teacher)
    assert len(student_saw) == 4
    assert all(torch.equal(a, b) for a, b in zip(student_saw, teacher_saw, strict=True))


def test_the_teacher_is_left_as_it_was():
    teacher = convnet(seed=1, dropout=0.5).train()
    before = state(teacher)
    fit(convnet(), examples(), PLAIN, classes=K, seed=0, regime="teacher", teacher=teacher)
    assert teacher.training
    assert all(torch.equal(value, before[key]) for key, value in state(teacher).items())
    assert all(p.grad is None and p.requires_grad for p in teacher.parameters())


def test_losses_agree_with_torch():
    logits, targets = torch.randn(5, K), distributions(5)
    expected = F.cross_entropy(logits, targets, reduction="none")
    torch.testing.assert_close(cross_entropy(logits, targets), expected)
    assert distillation(logits, logits, 3.0).abs().max() < 1e-5


# ---- penalty and attack


@pytest.mark.parametrize("regime", classifier.REGIMES)
def test_a_penalty_is_added_to_the_loss(regime):
    def penalty(network, images, labels):
        return (labels * network(images)).square().mean()

    labels, teacher = distributions(6), linear(seed=5)
    before, after, pixels = one_step(regime, labels=labels, teacher=teacher, penalty=penalty)
    logits = before(pixels)
    given = F.one_hot(labels.argmax(1), K).float() if regime == "hard" else labels
    loss = {
        "hard": F.cross_entropy(logits, given),
        "soft": F.cross_entropy(logits, given),
        "teacher": distillation(logits, teacher(pixels).detach(), PLAIN.temperature).mean(),
    }[regime]
    assert_one_step_of(loss + penalty(before, pixels, given), before, after)


def test_what_an_attack_gives_is_trained_on_in_place_of_the_images():
    seen = []

    def attack(network, images, labels):
        return (images + labels[:, :1, None, None]).requires_grad_()

    def penalty(network, images, labels):
        seen.append(images)
        return images.sum() * 0

    labels = distributions(6)
    before, after, pixels = one_step("soft", labels=labels, attack=attack, penalty=penalty)
    moved = pixels + labels[:, :1, None, None]
    assert_one_step_of(F.cross_entropy(before(moved), labels), before, after)
    (images,) = seen
    assert not images.requires_grad
    assert torch.equal(images.sum((1, 2, 3)).sort()[0], moved.sum((1, 2, 3)).sort()[0])


def test_a_loss_of_ones_own_takes_the_place_of_that_of_the_regime():
    modes = []

    def loss(network, images, labels):
        modes.append(network.training)
        return (labels * network(images)).square().mean()

    labels = distributions(6)
    before, after, pixels = one_step("soft", labels=labels, loss=loss)
    assert_one_step_of(loss(before, pixels, labels), before, after)
    assert modes[0]


def test_hooks_are_given_labels_mixed_as_the_images_are():
    given = []

    def attack(network, images, labels):
        given.append((images, labels))
        return images

    split = TensorSplit(
        torch.stack([torch.zeros(1, 6, 6), torch.ones(1, 6, 6)]), torch.tensor([0, 2])
    )
    data = Examples(split, torch.arange(2), torch.tensor([0, 2]))
    recipe = replace(PLAIN, mixup=1.0, steps=8)
    fit(linear(), data, recipe, classes=K, seed=0, attack=attack)
    images, labels = (torch.cat(some) for some in zip(*given, strict=True))
    torch.testing.assert_close(labels[:, 2], images[:, 0, 0, 0])  # the share of the bright image
    torch.testing.assert_close(labels.sum(1), torch.ones(len(labels)))
    assert ((labels[:, 2] > 0.01) & (labels[:, 2] < 0.99)).any()


def test_hooks_leave_running_statistics_and_dropout_alone():
    modes = []

    def attack(network, images, labels):
        network(images + 1)
        modes.append(network.training)
        return images

    def penalty(network, images, labels):
        modes.append(network.training)
        return network(images - 1).mean() * 0

    hooked, plain = (
        fit(convnet(dropout=0.5), examples(), PLAIN, classes=K, seed=0, **hooks)
        for hooks in ({"attack": attack, "penalty": penalty}, {})
    )
    assert modes == [False] * 8
    assert same(hooked, plain)


# ---- what is learnt


@pytest.mark.parametrize("recipe", [Recipe(steps=60), Recipe(steps=60, optimizer="adamw")])
@pytest.mark.parametrize("regime", classifier.REGIMES)
def test_a_separable_problem_is_learnt(regime, recipe):
    teacher = fit(convnet(seed=3), examples(60), Recipe(steps=60, lr=0.1), classes=K, seed=1)
    labels = 0.8 * F.one_hot(torch.arange(60) % K, K) + 0.2 / K
    data = examples(60, labels)
    recipe = replace(recipe, lr=0.1 if recipe.optimizer == "sgd" else 0.01)
    student = fit(
        convnet(), data, recipe, classes=K, seed=0, regime=regime, teacher=teacher, flip=True
    )
    assert not student.training
    test = problem(30, seed=7)
    logits = predict(student, test, torch.arange(30))
    assert (logits.argmax(1) == test.labels).float().mean() > 0.9


def test_bf16_trains_weights_that_stay_float32():
    network = fit(convnet(), examples(), replace(PLAIN, bf16=True), classes=K, seed=0)
    assert all(p.dtype == torch.float32 for p in network.parameters())
    assert not same(network, fit(convnet(), examples(), PLAIN, classes=K, seed=0))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_channels_last_trains_the_same_student_up_to_rounding(optimizer):
    recipe = replace(PLAIN, optimizer=optimizer, lr=0.01, weight_decay=0.1, clip=1.0)
    plain = fit(convnet(), examples(), recipe, classes=K, seed=0)
    other = fit(convnet(), examples(), replace(recipe, channels_last=True), classes=K, seed=0)
    for a, b in zip(plain.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)
        assert b.is_contiguous()


def test_frozen_weights_stay():
    network = convnet()
    network[0].requires_grad_(False)
    before = network[0].weight.clone()
    fit(network, examples(), PLAIN, classes=K, seed=0)
    assert torch.equal(network[0].weight, before)


def test_clipping_bounds_the_step():
    before, after, _ = one_step("hard", replace(PLAIN, clip=1e-3))
    steps = [
        (a - b).flatten() for a, b in zip(before.parameters(), after.parameters(), strict=True)
    ]
    assert torch.cat(steps).norm().item() == pytest.approx(0.1 * 1e-3, rel=1e-2)


# ---- pairing and determinism


@pytest.mark.parametrize("regime", classifier.REGIMES)
def test_the_same_seed_gives_the_same_bytes(regime):
    students = [
        fit(
            convnet(dropout=0.5),
            examples(),
            AUGMENTED,
            classes=K,
            seed=seed,
            regime=regime,
            teacher=convnet(1),
            flip=True,
        )
        for seed in (2**62, 2**62, 5)
    ]
    assert same(students[0], students[1])
    assert not same(students[0], students[2])


def test_the_global_generator_is_left_as_it_was_and_has_no_say():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    network = convnet(dropout=0.5)
    torch.set_rng_state(before)
    a = fit(network, examples(), AUGMENTED, classes=K, seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    network = convnet(dropout=0.5)
    torch.manual_seed(99)
    assert same(a, fit(network, examples(), AUGMENTED, classes=K, seed=0))


def views(data, recipe, **options):
    """Every batch that a network sees while it is trained."""
    seen, network = [], linear()
    network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    fit(network, data, recipe, classes=K, **options)
    return seen


def test_batches_and_views_depend_on_the_seed_alone_not_on_labels_or_regime():
    a = views(examples(), AUGMENTED, seed=4, flip=True)
    b = views(examples(labels=distributions()), AUGMENTED, seed=4, flip=True, regime="soft")
    c = views(
        examples(weights=torch.rand(21) + 1),
        AUGMENTED,
        seed=4,
        flip=True,
        regime="teacher",
        teacher=linear(1),
    )
    other = views(examples(), AUGMENTED, seed=5, flip=True)
    for x, y, z, w in zip(a, b, c, other, strict=True):
        assert torch.equal(x, y)
        assert torch.equal(x, z)
        assert not torch.equal(x, w)


def test_images_are_mirrored_only_where_both_recipe_and_data_say_so():
    plain = views(examples(), PLAIN, seed=0, flip=True)
    flips = replace(PLAIN, flip=True)
    illegal = views(examples(), flips, seed=0, flip=False)
    legal = views(examples(), flips, seed=0, flip=True)
    assert all(torch.equal(a, b) for a, b in zip(plain, illegal, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(plain, legal, strict=True))


# ---- batches


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(21, [8, 8, 5]), (16, [8, 8]), (17, [8, 9]), (9, [9]), (5, [5]), (2, [2]), (1, [2])],
)
def test_an_epoch_shows_everything_and_has_no_batch_of_one(count, sizes):
    batches = classifier._epoch(torch.randperm(count), 8)
    assert [len(rows) for rows in batches] == sizes
    assert sorted({*torch.cat(batches).tolist()}) == list(range(count))


def test_epochs_are_shuffled_anew():
    rows = list(classifier._order(20, replace(PLAIN, batch=20), 2, 0))
    assert not torch.equal(rows[0], rows[1])
    assert torch.equal(rows[0].sort().values, rows[1].sort().values)


@pytest.mark.parametrize(
    ("recipe", "steps"),
    [
        (Recipe(steps=7, batch=8), 7),
        (Recipe(epochs=3, batch=8), 9),
        (Recipe(batch=8), DEFAULT_STEPS),
    ],
)
def test_steps_and_epochs_say_how_long(recipe, steps):
    assert len(views(examples(), recipe, seed=0)) == steps


def test_a_single_image_is_trained_on_in_two_views():
    recipe = replace(PLAIN, crop=2)
    data = examples(1)
    seen = views(data, recipe, seed=0)
    assert all(len(batch) == 2 for batch in seen)
    assert any(not torch.equal(batch[0], batch[1]) for batch in seen)
    fit(convnet(), data, recipe, classes=K, seed=0)  # BatchNorm would refuse a batch of one


@pytest.mark.parametrize("recipe", [AUGMENTED, replace(PLAIN, resized_crop=(0.3, 1.0), steps=12)])
def test_a_split_read_ahead_by_threads_gives_the_same_bytes(recipe):
    data = examples()
    slow = OnDisk(data.split)
    a = fit(convnet(), data, recipe, classes=K, seed=0)
    b = fit(convnet(), replace(data, split=slow), recipe, classes=K, seed=0)
    assert same(a, b)
    assert threading.get_ident() not in slow.threads


def test_a_subset_of_a_split_in_memory_gives_the_same_bytes():
    split = problem(30)
    part = torch.arange(29, 8, -1)
    whole = Examples(split, part, split.labels[part])
    subset = Examples(Subset(split, part), torch.arange(21), split.labels[part])
    a = fit(convnet(), whole, PLAIN, classes=K, seed=0)
    assert same(a, fit(convnet(), subset, PLAIN, classes=K, seed=0))


def test_bytes_at_rest_train_as_their_fractions_do():
    pixels = (problem().pixels * 255).byte()
    data = examples()
    a = fit(
        convnet(),
        replace(data, split=TensorSplit(pixels, data.labels)),
        PLAIN,
        classes=K,
        seed=0,
    )
    floats = TensorSplit(pixels.float() / 255, data.labels)
    assert same(a, fit(convnet(), replace(data, split=floats), PLAIN, classes=K, seed=0))


def test_an_unreadable_image_ends_the_training():
    class Broken(OnDisk):
        def images(self, index, boxes=None):
            raise OSError("truncated file")

    data = examples()
    with pytest.raises(OSError, match="truncated"):
        fit(convnet(), replace(data, split=Broken(data.split)), PLAIN, classes=K, seed=0)


# ---- the schedule


def rates(recipe, total):
    return [learning_rate(recipe, step, total) for step in range(total)]


def test_a_constant_rate_is_constant():
    assert rates(Recipe(schedule="constant", lr=0.2), 5) == [0.2] * 5


def test_a_cosine_falls_from_lr_to_zero():
    recipe = Recipe(lr=0.2)
    expected = [0.1 * (1 + math.cos(math.pi * step / 10)) for step in range(10)]
    assert rates(recipe, 10) == pytest.approx(expected)
    assert learning_rate(recipe, 10, 10) == pytest.approx(0)


def test_steps_fall_at_the_milestones():
    recipe = Recipe(schedule="step", lr=1.0, milestones=(0.5, 0.8), gamma=0.1)
    assert rates(recipe, 10) == pytest.approx([1] * 5 + [0.1] * 3 + [0.01] * 2)


def test_a_warmup_rises_to_lr():
    recipe = Recipe(schedule="constant", lr=1.0, warmup=0.4)
    assert rates(recipe, 10) == pytest.approx([0.25, 0.5, 0.75, 1] + [1] * 6)


@given(
    schedule=st.sampled_from(["cosine", "step", "constant"]),
    warmup=st.floats(0, 0.99),
    total=st.integers(1, 400),
)
def test_rates_are_positive_never_above_lr_and_fall_after_the_warmup(schedule, warmup, total):
    recipe = Recipe(schedule=schedule, warmup=warmup, lr=0.3)
    values = rates(recipe, total)
    top = round(warmup * total)
    assert all(0 < value <= 0.3 + 1e-12 for value in values)
    assert values[:top] == sorted(values[:top])
    assert values[top:] == sorted(values[top:], reverse=True)


def test_the_schedule_reaches_the_optimizer():
    halves = replace(PLAIN, steps=2, schedule="step", milestones=(0.5,), gamma=1e-9)
    data = examples(6)
    two = fit(linear(), data, halves, classes=K, seed=0)
    one = fit(linear(), data, replace(PLAIN, steps=1), classes=K, seed=0)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)


# ---- progress and errors


@pytest.mark.parametrize("total", [1, 7, 100, 250])
def test_progress_is_told_about_once_a_percent_and_at_the_end(total):
    told = []
    fit(
        linear(),
        examples(4),
        replace(PLAIN, steps=total),
        classes=K,
        seed=0,
        progress=lambda done, of: told.append((done, of)),
    )
    assert told == sorted(told)
    assert told[-1] == (total, total)
    assert len(told) <= 101


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"regime": "sfot"}, "unknown regime 'sfot'; expected one of hard, soft, teacher"),
        ({"regime": "teacher"}, "without a teacher"),
    ],
)
def test_regimes_are_checked(options, message):
    with pytest.raises(BenchError, match=message):
        fit(linear(), examples(), PLAIN, classes=K, seed=0, **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": torch.zeros(20)}, r"labels have shape \[20\]"),
        ({"labels": torch.ones(21, 4)}, r"expected \[21\] classes or \[21, 3\]"),
        ({"weights": torch.ones(3)}, r"weights have shape \[3\]"),
        ({"weights": torch.arange(21.0)}, "the smallest is 0"),
        ({"index": torch.arange(0), "labels": torch.zeros(0)}, "no examples"),
    ],
)
def test_rows_that_do_not_match_are_named(change, message):
    with pytest.raises(BenchError, match=message):
        fit(linear(), replace(examples(), **change), PLAIN, classes=K, seed=0)


def test_a_diverging_loss_says_when():
    with pytest.raises(BenchError, match=r"diverged: the loss is nan by step 50 of 60"):
        fit(linear(), examples(), replace(PLAIN, steps=60, lr=1e38), classes=K, seed=0)


def test_weights_broken_by_the_last_step_are_not_passed_off_as_a_student():
    with pytest.raises(BenchError, match="by step 1 of 1"):
        fit(linear(), examples(), replace(PLAIN, steps=1, lr=1e39), classes=K, seed=0)
