"""The contract of an architecture: shapes, the classifier, gradients, and what a forward leaves."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bench.checks import fixtures, side_effects
from bench.checks.check import Claims, naming, on_each, once
from bench.checks.determinism import check_same, elsewhere
from bench.checks.side_effects import Watched, watch
from bench.contract.data import TensorSplit, digest_of_tensors
from bench.contract.errors import BenchError, Unsupported, require
from bench.contract.kinds import fact
from bench.training import diffusion, gates, networks
from bench.training.classifier import Examples
from bench.training.denoiser import fit
from bench.training.diffusion import Denoiser
from bench.training.recipe import DiffusionRecipe

Case = tuple[tuple[int, int, int], int]
SHAPES: tuple[Case, ...] = (
    ((1, 8, 8), 4),
    ((1, 28, 28), 10),
    ((3, 16, 16), 3),
    ((3, 32, 32), 10),
)
"""Shape and number of classes."""
LARGE: tuple[Case, ...] = (((3, 64, 64), 200), ((3, 224, 224), 10))
"""Of classifiers alone: a denoiser of full resolution would take minutes."""
ROUNDING = 1e-4  # of float32 sums in another order, beside logits of about 1


def claims(architecture: Any) -> Claims:
    built = once(lambda: run(architecture))
    forwarded = once(lambda: [_forward(watched, case) for watched, case in built()])

    def each(check: Callable[[Watched, Case], None]) -> Callable[[], None]:
        def check_all() -> None:
            for watched, case in built():
                with naming(watched.case):
                    check(watched, case)

        return check_all

    common: Claims = {
        **side_effects.claims(lambda: [watched for watched, _ in built()] + forwarded()),
        "starts from the same bytes of the same seed in another process": lambda: check_same(
            digests(built()), elsewhere(run, architecture, digests)
        ),
        "survives the store": each(partial(check_stored, architecture)),
    }
    if fact("architecture", architecture, "track") == "generation":
        return {
            "maps images of several shapes to their like, a batch of one too": each(check_denoises),
            "is told the class, and that there is none": each(check_told),
            "is trained by the trainer of denoisers": each(check_learns),
            "has a space that images go into and come back from": each(check_space),
            "knows what a set may attach, or declines it": lambda: check_attachments(architecture),
            **common,
        }
    return {
        "gives finite logits for several shapes, a batch of one too": each(check_logits),
        "trains on a batch of two": each(check_trains),
        "has its classifier in the last nn.Linear": each(check_classifier),
        "has a gradient at its input": each(check_gradient),
        **common,
    }


Built = tuple[Watched, Case]  # the watched build, and of what


def run(architecture: Any) -> list[Built]:
    """`build` for each of the shapes that it takes."""
    generation = fact("architecture", architecture, "track") == "generation"

    def on(case: Case) -> Built:
        shape, classes = case
        named = f"{classes} classes of {'x'.join(map(str, shape))}"
        build = partial(_build, architecture, case)
        return watch(named, build, seed=fixtures.SEED, draws=True), case

    return on_each(SHAPES if generation else SHAPES + LARGE, on)


def digests(built: list[Built]) -> dict[str, str]:
    """A digest of the initial weights and of the output, by case."""
    found = {}
    for watched, case in built:
        output = _call(watched.result.eval(), _images(case), case[1])
        found[watched.case] = digest_of_tensors(*networks.state(watched.result).values(), output)
    return found


def check_logits(watched: Watched, case: Case) -> None:
    """In eval mode: finite logits [B, K], for each image the same alone as in company."""
    network, images, classes = watched.result.eval(), _images(case), case[1]
    with torch.no_grad():
        logits, alone = network(images), network(images[:1])
    gates.check_logits(logits, len(images), classes)
    gates.check_logits(alone, 1, classes)
    require(
        torch.allclose(logits[:1], alone, atol=ROUNDING, rtol=ROUNDING),
        "an image has other logits alone than in a batch; expected the same in eval mode; "
        "use running statistics, or a norm that looks at one image",
    )


def check_denoises(watched: Watched, case: Case) -> None:
    """The output of a denoiser has the shape of its input, alone as in company, and is finite."""
    denoiser, images, classes = watched.result.eval(), _images(case), case[1]
    x = _like(denoiser, images)
    together, alone = (_call(denoiser, i, classes) for i in (images, images[:1]))
    for output, wanted in ((together, x.shape), (alone, x[:1].shape)):
        require(
            output.shape == wanted and bool(output.isfinite().all()),
            f"it made {list(output.shape)} of {list(wanted)}; "
            "expected finite images of the same shape",
        )
    require(
        torch.allclose(together[:1], alone, atol=ROUNDING, rtol=ROUNDING),
        "it makes another image of one alone than in a batch; expected the same in eval mode; "
        "use a norm that looks at one image",
    )


def check_told(watched: Watched, case: Case) -> None:
    """Class K, "no class", is one that it knows; a fresh network may not tell classes apart yet."""
    denoiser, classes = watched.result.eval(), case[1]
    x = _like(denoiser, _images(case))
    with torch.no_grad():
        try:
            said = denoiser(x, torch.full((len(x),), 0.5), torch.full((len(x),), classes), {})
        except IndexError as error:
            raise BenchError(
                f'it does not know class {classes} of 0..{classes}, "no class" ({error}); expected '
                "one more embedding than there are classes; guidance and label dropout ask for it"
            ) from None
    require(bool(said.isfinite().all()), "without a class its output is not finite")


def check_learns(watched: Watched, case: Case) -> None:
    """A few steps of the trainer move its weights, and leave them finite."""
    denoiser, images = copy.deepcopy(watched.result), _images(case).sigmoid()
    before = networks.state(denoiser)
    fit(denoiser, _examples(images, case[1]), DiffusionRecipe(steps=3, batch=4, ema=0), seed=0)
    after = networks.state(denoiser)
    moved = sum(not torch.equal(before[name], after[name]) for name in before)
    require(moved > 0, "three steps of training move none of its weights; expected a network")


def check_space(watched: Watched, case: Case) -> None:
    """`encode` gives x of its shape; `decode` gives images in [0, 1]."""
    denoiser, images = watched.result.eval(), _images(case).sigmoid()
    with torch.no_grad():
        x = denoiser.encode(images)
        back = denoiser.decode(x)
    require(
        tuple(x.shape[1:]) == denoiser.shape and bool(x.isfinite().all()),
        f"encode() made {list(x.shape)}; expected finite x [B, {denoiser.shape}], its latent_shape",
    )
    gates.check_pixels(back, case[0], "the decoded images")


def check_attachments(architecture: Any) -> str:
    """Built for a set's attachments it can be trained with them, or it raises Unsupported."""
    (shape, classes), said = SHAPES[1], []
    rows: dict[str, tuple[int, ...]] = {"class.text": (3, 5), "image.features": (6, 2, 2)}
    for name, row in rows.items():
        try:
            with torch.random.fork_rng():
                torch.manual_seed(fixtures.SEED)
                denoiser = diffusion.build(architecture, shape, classes, extras={name: row})
        except Unsupported as reason:
            said.append(f"{name}: declined ({reason})")
            continue
        images = _images((shape, classes)).sigmoid()
        counts = {"class.text": classes, "image.features": len(images)}
        generator = torch.Generator().manual_seed(fixtures.SEED)
        extras = {name: torch.randn(counts[name], *row, generator=generator)}
        recipe = DiffusionRecipe(steps=10, batch=4, lr=0.01, ema=0)
        with naming(f"a set with {name}"):
            fit(denoiser, _examples(images, classes), recipe, seed=0, extras=extras)
            if name.startswith("class."):
                check_listens(denoiser, extras)
        said.append(f"{name}: used")
    return "; ".join(said)


def check_trains(watched: Watched, case: Case) -> None:
    """In train mode two images give logits, and some parameter a gradient."""
    network = copy.deepcopy(watched.result).train()  # BatchNorm counts
    images, classes = _images(case), case[1]
    logits = network(images[:2])
    gates.check_logits(logits, 2, classes)
    wanted = [p for p in network.parameters() if p.requires_grad]
    loss = logits.square().sum()
    gradients = torch.autograd.grad(loss, wanted, allow_unused=True) if wanted else ()
    require(
        any(g is not None and bool(g.any()) for g in gradients),
        "no parameter has a gradient; expected a network that can be trained",
    )


def check_classifier(watched: Watched, case: Case) -> None:
    """The last `nn.Linear` turns features [B, D] into the logits."""
    network, images = watched.result.eval(), _images(case)
    with torch.no_grad():
        features, logits = networks.features(network, images)
        last = [m for m in network.modules() if isinstance(m, nn.Linear)][-1]
        again = last(features)
    require(
        again.shape == logits.shape and torch.allclose(again, logits, atol=ROUNDING),
        f"its last nn.Linear gives {list(again.shape)}, and these are not the logits; expected "
        "the classifier there; define it after the other layers",
    )


def check_gradient(watched: Watched, case: Case) -> None:
    """The loss has a finite gradient at every image, not all of it zero; at black and white ones,
    where powers, roots and logarithms have none, at least a finite one."""
    images = _images(case)
    blank = torch.cat([torch.zeros_like(images[:1]), torch.ones_like(images[:1])])
    images = torch.cat([images, blank]).requires_grad_()
    logits = watched.result.eval()(images)
    require(
        logits.requires_grad,
        "its output does not depend on the input, as autograd sees it; attacks need a gradient; "
        "do not detach, nor work under no_grad",
    )
    (gradient,) = torch.autograd.grad(logits.logsumexp(1).sum() + logits[:, 0].sum(), images)
    odd = [not bool(one.isfinite().all()) for one in gradient]
    where = " of a black or a white image" if odd and not any(odd[:-2]) else ""
    require(
        not any(odd),
        f"the gradient at its input{where} is NaN or infinite; expected a number in every pixel; "
        "look for powers, roots, logarithms and norms at 0",
    )
    flat = int((gradient[:-2].flatten(1).abs().amax(1) == 0).sum())
    require(
        flat == 0,
        f"the gradient at its input is 0 for {flat} of {len(gradient) - 2} images; expected a "
        "network that can be attacked; look for rounding, or for units that are all off",
    )


def check_stored(architecture: Any, watched: Watched, case: Case) -> None:
    """Another build, with the saved state, gives the same bytes."""
    classes = case[1]
    with torch.random.fork_rng():
        torch.manual_seed(fixtures.SEED + 1)
        other = _build(architecture, case)
    networks.load(other, fixtures.stored(networks.state(watched.result)))
    one, two = (_call(n.eval(), _images(case), classes) for n in (watched.result, other))
    require(
        torch.equal(one, two),
        "with the same saved state it gives other logits; expected the same bytes; "
        "register what it draws or counts as a parameter or a buffer",
    )


def _forward(watched: Watched, case: Case) -> Watched:
    """A forward pass in eval mode, watched: it may neither draw nor count."""
    network, images = watched.result.eval(), _images(case)
    return watch(
        f"a forward pass on {watched.case}",
        lambda: _call(network, images, case[1]),
        tensors={"the images": images},
        models={"the network": network},
    )


def _build(architecture: Any, case: Case) -> nn.Module:
    shape, classes = case
    if fact("architecture", architecture, "track") == "generation":
        return diffusion.build(architecture, shape, classes)
    network: nn.Module = architecture.build(shape, classes)
    return network


def _call(network: nn.Module, images: Tensor, classes: int) -> Tensor:
    with torch.no_grad():
        if isinstance(network, Denoiser):
            x = _like(network, images)
            t = torch.linspace(1, 0, len(images))
            denoised: Tensor = network(x, t, torch.arange(len(images)) % classes, {})
            return denoised
        logits: Tensor = network(images)
        return logits


def check_listens(denoiser: Denoiser, extras: dict[str, Tensor]) -> None:
    """Raise BenchError unless its output depends on the attachments to classes."""
    x = _like(denoiser, torch.zeros(2, *denoiser.shape))
    t, labels = torch.full((2,), 0.5), torch.arange(2)
    with torch.no_grad():
        one = denoiser(x, t, labels, extras)
        two = denoiser(x, t, labels, {name: 1 - tensor for name, tensor in extras.items()})
    require(
        not torch.equal(one, two),
        "it takes the attachment and says the same whatever is in it; expected Unsupported from "
        "build(), or a use of it",
    )


def _examples(images: Tensor, classes: int) -> Examples:
    labels = torch.arange(len(images)) % classes
    return Examples(TensorSplit(images, labels), torch.arange(len(images)), labels)


def _like(denoiser: Denoiser, images: Tensor) -> Tensor:
    """Some x of the denoiser's shape."""
    generator = torch.Generator().manual_seed(fixtures.SEED)
    return torch.randn(len(images), *denoiser.shape, generator=generator)


def _images(case: Case) -> Tensor:
    generator = torch.Generator().manual_seed(fixtures.SEED)
    return torch.randn(3, *case[0], generator=generator)  # as normalised
