"""Common corruptions: what weather, cameras and codecs do to a picture, by `imagecorruptions`.

The strengths are those of ImageNet-C, whatever the size of the image: on 32 pixels they are
harsher than those of the files of CIFAR-10-C, so figures do not compare with results on those.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench import BenchError, Missing, Unsupported

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

COMMON = (
    *("gaussian-noise", "shot-noise", "impulse-noise"),
    *("defocus-blur", "glass-blur", "motion-blur", "zoom-blur"),
    *("snow", "frost", "fog", "brightness"),
    *("contrast", "elastic-transform", "pixelate", "jpeg-compression"),
)
EXTRA = ("speckle-noise", "gaussian-blur", "spatter", "saturate")  # to tune on, in the paper
KINDS = (*COMMON, *EXTRA)
NOISES = ("gaussian-noise", "shot-noise", "impulse-noise", "speckle-noise")
SEEDED = ("impulse-noise", "glass-blur")  # unless they are given a seed, the clock decides
SEVERITIES = (1, 2, 3, 4, 5)
SIDE = 32  # pixels that the library asks for
SMALLEST = 16  # a smaller image would be less than a quarter of what is corrupted


@dataclass(frozen=True)
class Corruption:
    """A common corruption (Hendrycks and Dietterich, 2019), with the strengths of ImageNet-C.

    A side of 16 to 31 pixels is padded to 32 by reflection, and cut back; a grey image is
    corrupted as three equal channels, whose mean comes back, or the first of them where each has
    noise of its own. What is random is drawn from numpy's global generator, which is seeded by a
    draw from the given one and put back, for the library takes none.
    """

    name: str = "gaussian-noise"
    kind: str = "gaussian-noise"  # one of KINDS
    severity: int = 3  # 1 (weak) to 5
    norm: ClassVar[str] = ""  # in no ball
    preload: ClassVar[tuple[str, ...]] = ("imagecorruptions",)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise BenchError(
                f"{self.name}: kind is {self.kind!r}; expected one of {', '.join(KINDS)}"
            )
        if self.severity not in SEVERITIES:
            raise BenchError(
                f"{self.name}: severity is {self.severity}; expected 1, 2, 3, 4 or 5; "
                "set severity in the board, or leave it at its default"
            )

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, generator: Generator
    ) -> Tensor:
        """Corrupted images [B, C, H, W], in steps of 1/255.

        Raises Unsupported for images that are neither grey nor RGB, or too small.
        """
        import numpy as np
        import torch

        channels, height, width = images.shape[1:]
        if channels not in (1, 3):
            raise Unsupported(f"corruptions want 1 or 3 channels; these images have {channels}")
        if channels == 1 and self.kind == "saturate":
            raise Unsupported("grey images have no saturation to change")
        if min(height, width) < SMALLEST:
            raise Unsupported(
                f"corruptions want sides of {SMALLEST} pixels or more; "
                f"these images have {height} x {width}"
            )
        pixels = (images.detach().cpu() * 255).round().to(torch.uint8)
        arrays = pixels.permute(0, 2, 3, 1).expand(-1, -1, -1, 3).numpy()  # [B, H, W, 3]
        down, right = max(SIDE - height, 0), max(SIDE - width, 0)
        top, left = down // 2, right // 2
        border = ((0, 0), (top, down - top), (left, right - left), (0, 0))
        seed = int(torch.randint(2**32, (), generator=generator))
        with _as_found(seed):
            corrupted = [self._corrupted(one) for one in np.pad(arrays, border, mode="reflect")]
        cut = np.stack(corrupted)[:, top : top + height, left : left + width]
        result = torch.from_numpy(cut).permute(0, 3, 1, 2).float() / 255  # [B, 3, H, W]
        if channels == 1:
            result = result[:, :1] if self.kind in NOISES else result.mean(1, keepdim=True)
        return result.contiguous().to(images.device)

    def _corrupted(self, image: Any) -> Any:
        """One image, uint8 [H, W, 3]; draws from numpy's global generator."""
        import numpy as np
        from imagecorruptions import corrupt

        kind = self.kind.replace("-", "_")
        more = {"seed": np.random.randint(2**31)} if self.kind in SEEDED else {}  # noqa: NPY002
        try:
            with np.errstate(invalid="raise" if self.kind == "spatter" else "warn"):
                return corrupt(image, severity=self.severity, corruption_name=kind, **more)
        except FloatingPointError:  # no drop fell on the image, and the library divides 0 by 0
            return image


@contextmanager
def _as_found(seed: int) -> Iterator[None]:
    """Numpy's global generator seeded and OpenCV on one thread inside, both put back after."""
    import numpy as np

    try:
        import cv2
    except ImportError as error:  # opencv-python wants libraries of the screen
        raise Missing(
            f"OpenCV cannot be loaded ({error}); expected opencv-python-headless; "
            "pip uninstall opencv-python, then pip install opencv-python-headless"
        ) from None
    state, threads = np.random.get_state(), cv2.getNumThreads()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
        cv2.setNumThreads(threads)
