"""A copy of a network for attacks: its weights take no gradients, and its passes are cheap.

Its logits differ from the network's in the last bits at most; hooks are shared, so passes
through the copy are counted as the network's. This module imports torch: components import it
inside their verbs.
"""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.fusion import fuse_conv_bn_eval

CHUNK = 64  # images in one pass on a CPU: memory for more is given back and fetched, each time
ASKED = 4  # images on which a copy must agree with the model
SAME = 1e-4  # of logits, absolute and relative
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
    """A network that takes `size` images at a time (0: all)."""

    def __init__(self, network: nn.Module, size: int) -> None:
        super().__init__()
        self.network = network
        self.size = size

    def forward(self, images: Tensor) -> Tensor:  # [B, C, H, W] -> [B, K]
        if images.requires_grad:  # libraries expect gradients in the layout of images
            images.register_hook(Tensor.contiguous)  # type: ignore[no-untyped-call]
        chunks = torch.split(images, self.size or max(1, len(images)))
        return torch.cat([self.network(chunk) for chunk in chunks])


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
