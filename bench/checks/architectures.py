"""The contract of an architecture: shapes, the classifier, gradients, and what a forward leaves."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bench import gates, networks
from bench.checks import cases, guards
from bench.checks.again import check_same, elsewhere
from bench.checks.check import Claims, naming, on_each, once, require
from bench.checks.guards import Watched, watch
from bench.types import digest_of_tensors

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
    forwarded = once(lambda: [_forward(*one) for one in built()])
    common: Claims = {
        **guards.claims(lambda: [w for one in built() for w in one[:1]] + forwarded()),
        "starts from the same bytes of the same seed in another process": lambda: check_same(
            digests(built()), elsewhere(outcome, architecture)
        ),
        "survives the store": lambda: _all(built(), check_stored),
    }
    if getattr(architecture, "track", "") == "generation":
        return {
            "maps images of several shapes to their like, a batch of one too": lambda: _all(
                built(), check_denoises
            ),
            **common,
        }
    return {
        "gives finite logits for several shapes, a batch of one too": lambda: _all(
            built(), check_logits
        ),
        "trains on a batch of two": lambda: _all(built(), check_trains),
        "has its classifier in the last nn.Linear": lambda: _all(built(), check_classifier),
        "has a gradient at its input": lambda: _all(built(), check_gradient),
        **common,
    }


Built = tuple[Watched, Any, Case]  # the watched build, the architecture, the case


def run(architecture: Any) -> list[Built]:
    """`build` for each of the shapes that it takes."""
    generation = getattr(architecture, "track", "") == "generation"

    def on(case: Case) -> Built:
        shape, classes = case
        named = f"{classes} classes of {'x'.join(map(str, shape))}"
        return (
            watch(named, lambda: architecture.build(shape, classes), seed=cases.SEED, draws=True),
            architecture,
            case,
        )

    return on_each(SHAPES if generation else SHAPES + LARGE, on)


def outcome(architecture: Any) -> dict[str, str]:
    return digests(run(architecture))


def digests(built: list[Built]) -> dict[str, str]:
    """A digest of the initial weights and of the output, by case."""
    found = {}
    for watched, architecture, case in built:
        output = _call(architecture, watched.result.eval(), _images(case), case[1])
        found[watched.case] = digest_of_tensors(*networks.state(watched.result).values(), output)
    return found


def check_logits(watched: Watched, architecture: Any, case: Case) -> None:
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


def check_denoises(watched: Watched, architecture: Any, case: Case) -> None:
    """The output of a denoiser has the shape of its input, and is finite."""
    for images in (_images(case), _images(case)[:1]):
        output = _call(architecture, watched.result.eval(), images, case[1])
        require(
            output.shape == images.shape and bool(output.isfinite().all()),
            f"it made {list(output.shape)} of {list(images.shape)}; "
            "expected finite images of the same shape",
        )


def check_trains(watched: Watched, architecture: Any, case: Case) -> None:
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


def check_classifier(watched: Watched, architecture: Any, case: Case) -> None:
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


def check_gradient(watched: Watched, architecture: Any, case: Case) -> None:
    """The loss has a finite gradient at every image, not all of it zero."""
    images = _images(case).requires_grad_()
    logits = watched.result.eval()(images)
    require(
        logits.requires_grad,
        "its output does not depend on the input, as autograd sees it; attacks need a gradient; "
        "do not detach, nor work under no_grad",
    )
    (gradient,) = torch.autograd.grad(logits.logsumexp(1).sum() + logits[:, 0].sum(), images)
    require(bool(gradient.isfinite().all()), "the gradient at its input is NaN or infinite")
    flat = int((gradient.flatten(1).abs().amax(1) == 0).sum())
    require(
        flat == 0,
        f"the gradient at its input is 0 for {flat} of {len(images)} images; expected a network "
        "that can be attacked; look for rounding, or for units that are all off",
    )


def check_stored(watched: Watched, architecture: Any, case: Case) -> None:
    """Another build, with the saved state, gives the same bytes."""
    shape, classes = case
    with torch.random.fork_rng():
        torch.manual_seed(cases.SEED + 1)
        other = architecture.build(shape, classes)
    networks.load(other, cases.stored(networks.state(watched.result)))
    one, two = (
        _call(architecture, n.eval(), _images(case), classes) for n in (watched.result, other)
    )
    require(
        torch.equal(one, two),
        "with the same saved state it gives other logits; expected the same bytes; "
        "register what it draws or counts as a parameter or a buffer",
    )


def _forward(watched: Watched, architecture: Any, case: Case) -> Watched:
    """A forward pass in eval mode, watched: it may neither draw nor count."""
    network, images = watched.result.eval(), _images(case)
    return watch(
        f"a forward pass on {watched.case}",
        lambda: _call(architecture, network, images, case[1]),
        tensors={"the images": images},
        models={"the network": network},
    )


def _call(architecture: Any, network: nn.Module, images: Tensor, classes: int) -> Tensor:
    with torch.no_grad():
        if getattr(architecture, "track", "") == "generation":
            t = torch.linspace(1, 0, len(images))
            denoised: Tensor = network(images, t, torch.arange(len(images)) % classes, {})
            return denoised
        logits: Tensor = network(images)
        return logits


def _images(case: Case) -> Tensor:
    generator = torch.Generator().manual_seed(cases.SEED)
    return torch.randn(3, *case[0], generator=generator)  # as normalised


def _all(built: list[Built], check: Callable[[Watched, Any, Case], None]) -> None:
    for watched, architecture, case in built:
        with naming(watched.case):
            check(watched, architecture, case)
