"""The seven hooks. Each takes nothing and returns components; that is all pluggy does here.

A component is a frozen dataclass: `name` first, every field with a default that is a JSON
scalar or a tuple of them, and one method, its verb. Variants are instances of one class.
Optional class variables: `quick` (field overrides that make the contract kit fast), `preload`
(names of slow modules that the verb imports; worker processes then find them loaded), `track`
("classification", "generation", or, but for networks and teachers, "" for either), and the facts
listed below. The table in `bench.contract.kinds` has the default of each. Data sets, teachers,
methods and metrics may have a second verb, `download()`: fetch what is missing of their files, with
a checksum, when the user asks (`bench run --download`). Hooks are called at discovery, first by a
child process (`bench.contract.vetting`), so they must be cheap and silent: heavy libraries are
imported inside the verbs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pluggy

hookspec = pluggy.HookspecMarker("bench")


@hookspec
def bench_datasets() -> Sequence[Any]:  # type: ignore[empty-body]
    """Data sets: `load() -> Data`.

    Class variable `published`: how many images each split has as published ("train", "test", and
    perhaps the "digest" of all, and as "classes" how many there are, or the training images of
    each); other data are refused unless the board says `partial = true`. A dry run plans by them
    where the files are not here.
    `roots` names fields that say where files lie, which no record keeps; the harness makes them
    absolute: beside matrix.toml, or in the data folder.
    """


@hookspec
def bench_teachers() -> Sequence[Any]:  # type: ignore[empty-body]
    """Teachers: `squeeze(task) -> nn.Module`, a trained `task.network()`.

    Class variable `track`: "generation" if it trains denoisers; it defaults to "classification".
    """


@hookspec
def bench_methods() -> Sequence[Any]:  # type: ignore[empty-body]
    """Condensation methods: `condense(task) -> CondensedSet`.

    Fields `teacher: str` and `scorer: str` name the networks that it uses; with the class variable
    `fresh_networks = True` it gets `task.network()`, fresh ones of the board's backbone, too, and
    with `fresh_denoisers = True` `task.denoiser()`; `ceiling = True` marks the full training set,
    which has no budget. `selects = True` says that its set is real images with one-hot labels, and
    `float_images = True` that its images are not to be rounded to uint8. `per_seed = True`
    lets `[[set]]` give it other fields for each seed, as of sets that others have made;
    `from_file = True` says that its set is read from the file that its fields `path` and `sha256`
    name. `survey` (a property) is what it asks of the data whatever the budget, as scores of all
    images: a frozen dataclass, `name` first, with the facts `teacher`, `scorer`, `fresh_networks`
    and `fresh_denoisers` (which the method says, too) and one verb, `survey(task)`, which gives
    tensors by name. It is a stage of its own, so that it runs once for all budgets and all methods
    whose surveys are equal; `task.surveyed(self.survey)` is what it has found. On boards of the
    generation track `samples = True` says that no student is trained: images drawn from its
    set are judged as samples are.
    """


@hookspec
def bench_architectures() -> Sequence[Any]:  # type: ignore[empty-body]
    """Networks: `build(shape, classes) -> nn.Module`, [B, C, H, W] to logits [B, classes].

    The last `nn.Linear` is the classifier. Class variable `track`: "generation" for a denoiser; it
    defaults to "classification". A denoiser is built with `build(shape, classes, extras)`, where
    `extras` has the shape of one row of each attachment of the set ("class.*", "image.*"), and
    raises Unsupported for those that it has no use for. It is called as
    `model(x, t, labels, extras)`: x [B, C, H, W] with pixels in [-1, 1] and noise, t [B] from 0
    (image) to 1 (noise), labels int64 [B] in 0..classes (the last is "no class"), and the
    attachments to classes [classes, ...]; it gives [B, C, H, W]. In training, an attachment to
    images of the name of one to classes ("image.text" beside "class.text") is there as well, a row
    for each image [B, ...], to be added to that of its class; in sampling it is not. Optional
    methods: `projected`, of the same arguments, gives (the same, {"image.*": [B, ...]}) for the
    projection loss; `encode` (images in [0, 1] to x) and `decode` (back), with an attribute
    `latent_shape`, give it a space of its own.
    """


@hookspec
def bench_attacks() -> Sequence[Any]:  # type: ignore[empty-body]
    """Attacks: `perturb(model, images, labels, generator) -> Tensor`, images in [0, 1].

    All draws come from `generator`, which is on the CPU whatever the device; the same state of it
    gives the same bytes. A library that takes none is seeded by a draw from it. An ensemble may
    return `bench.Perturbed`, which also says what stood after each of its parts.
    Field `eps` (radius, in pixels of [0, 1]) and class variable `norm` ("linf", "l2", or "" for
    what stays in no ball) say which ball the result must lie in. Optional class variables:
    `search`, how it searches ("noise", "black-box", "single-step", "iterative" or "ensemble"; a
    number that breaks what this promises is flagged); `block`, images of a stage of its own: for
    an attack that takes minutes, which then goes on where it was killed; `early_stop`, true if an
    image stays where it first fools the network. Then the attack cannot be made on another
    student; a field of that name is switched off there. `exact_on_linear`, true if it reaches the
    closed form on a linear model, which the contract kit then checks.
    """


@hookspec
def bench_samplers() -> Sequence[Any]:  # type: ignore[empty-body]
    """Samplers: `sample(model, labels, extras, shape, generator) -> Tensor` [P, *shape].

    `model` is a `bench.training.diffusion.Denoiser`: its `schedule` says what it was trained on,
    and class `model.classes` asks for none. What comes back is in the space of x; the harness makes
    images of it. All draws come from `generator`, which is on the CPU whatever the device.
    """


@hookspec
def bench_metrics() -> Sequence[Any]:  # type: ignore[empty-body]
    """Metrics: `measure(trial, *siblings) -> float`; rates are fractions.

    Class variables `of` ("set", "student" or "probe": what it looks at), `higher_is_better`,
    `bounds` (lowest, highest; None where open), `unit` ("fraction" for a rate, "nats", ...; "" for
    a plain number), `tolerance` (absolute, relative: how far a recomputation on another machine may
    lie off), `track`, `needs`: coordinates of sibling cells, as
    in `({"method": "random"},)`, and `ranked = False` for a figure by which no row is the best, as
    an interval is. A field `features: str` names the teacher whose network
    is `trial.features`: one for the whole board.
    """
