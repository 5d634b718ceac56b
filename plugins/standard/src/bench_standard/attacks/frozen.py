"""A copy of a network for attacks: its weights take no gradients, and its passes are cheap.

Its logits differ from the network's in the last bits at most; hooks are shared, so passes
through the copy are counted as the network's. This module imports torch: components import it
inside their verbs.
"""

from __future__ import annotations

import copy
import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.fusion import fuse_conv_bn_eval

CHUNK = 64  # images in one pass on a CPU: memory for more is given back and fetched, each time
ASKED = 4  # images on which a copy must agree with the model
SAME = 1e-4  # of logits, absolute and relative
BESIDE = 1 / 128  # the way to a random grey that an image is moved where it has no slope
OTHER_NORMS = (nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm2d)


def frozen(model: nn.Module, images: Tensor) -> nn.Module:
    """A copy in eval mode without gradients of weights, laid out for the device of `images`.

    Measured on a CPU with a ConvNet of width 32 at 28x28: BatchNorm folded into convolutions, with
    channels last, takes 0.7 of the time; with other norms channels last is slower. A folded copy
    that does not say of some `images` what the model says is not used.
    """
    # asked first: what hooks have computed with gradients cannot be copied; by `forward`, so that
    # it does not count as a pass of the attack
    some = images[:ASKED]
    said = model.forward(some)
    plain = copy.deepcopy(model).eval().requires_grad_(False)
    made = plain
    kinds = tuple(type(module) for module in plain.modules())
    if nn.BatchNorm2d in kinds and not any(issubclass(kind, OTHER_NORMS) for kind in kinds):
        made = _folded(plain).to(memory_format=torch.channels_last)
        if not torch.allclose(made.forward(some), said, rtol=SAME, atol=SAME):
            made = plain
    return _Chunked(made, CHUNK if images.device.type == "cpu" else 0)


class _Chunked(nn.Module):
    """A network that takes `size` images at a time (0: all), and that libraries can attack.

    Its logits are float32. The gradients at its images are finite, and in the layout of images.
    """

    def __init__(self, network: nn.Module, size: int) -> None:
        super().__init__()
        self.network = network
        self.size = size

    def forward(self, images: Tensor) -> Tensor:  # [B, C, H, W] -> [B, K]
        if not images.requires_grad:
            return self._logits(images)
        seen, held = images.view_as(images), images.detach()  # hooks on `seen` see this pass alone
        logits = self._logits(seen)
        if not logits.requires_grad:  # as of coded inputs: no pixel has a slope
            return logits + 0 * images.flatten(1).sum(1, keepdim=True)
        above: list[Tensor] = []
        logits.register_hook(above.append)  # type: ignore[no-untyped-call]
        seen.register_hook(  # type: ignore[no-untyped-call]
            lambda gradient: self._finite(gradient.contiguous(), held, above[-1])
        )
        return logits

    def _logits(self, images: Tensor) -> Tensor:
        chunks = torch.split(images, self.size or max(1, len(images)))
        logits = torch.cat([self.network(chunk) for chunk in chunks])
        if logits.dtype == torch.float32:
            return logits
        logits = logits.double()  # whose differences float32 holds, however large they are
        return (logits - logits.detach().amax(1, keepdim=True)).float()

    def _finite(self, gradient: Tensor, images: Tensor, above: Tensor) -> Tensor:
        """A gradient at images [B, C, H, W] without NaN and infinity; `above` is that of logits.

        A power, a root or a norm has no slope at black or in a flat image, where an honest network
        is as weak as elsewhere. There the slope is that beside the image; or 0, if it has none.
        """
        if math.isfinite(float(gradient.sum())):
            return gradient
        rows = ~gradient.isfinite().flatten(1).all(1)
        greys = torch.rand_like(images[rows]) / 2 + 0.25
        beside = images[rows].lerp(greys, BESIDE).requires_grad_()
        with torch.enable_grad():
            (found,) = torch.autograd.grad(self._logits(beside), beside, above[rows])
        mended = gradient.clone()
        mended[rows] = gradient[rows].where(gradient[rows].isfinite(), found)
        return mended.nan_to_num(0.0, 0.0, 0.0)


def _folded(network: nn.Module) -> nn.Module:
    """A copy with each BatchNorm in the convolution before it, where a Sequential has the two.

    Only torch's own: a subclass may compute something else, and a parametrised weight cannot be
    set.
    """
    made = copy.deepcopy(network)
    for sequence in [m for m in made.modules() if type(m) is nn.Sequential]:
        for k, (conv, norm) in enumerate(pairwise(list(sequence))):
            if type(conv) is nn.Conv2d and type(norm) is nn.BatchNorm2d and _folds(conv, norm):
                sequence[k], sequence[k + 1] = fuse_conv_bn_eval(conv, norm), nn.Identity()
    return made


def _folds(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> bool:
    hooked = any(m._forward_pre_hooks or m._forward_hooks for m in (conv, norm))
    return norm.running_mean is not None and not hooked and not parametrize.is_parametrized(conv)
