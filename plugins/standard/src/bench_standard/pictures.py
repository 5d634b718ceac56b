"""One door for pictures from files: 8 bits a channel, or one sentence that says why not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench import BenchError

if TYPE_CHECKING:
    from PIL import Image

AGAIN = "the file is cut short, or another one: get it again, and put it in its place"
DEEP = ("I;16", "I;16B", "I;16L", "I;16N")  # grey of 16 bits
COLOURS = ("CMYK", "YCbCr", "HSV", "LAB")  # which Pillow converts, as torchvision lets it


def opened(path: Path, formats: tuple[str, ...] | None = None) -> Image.Image:
    """The picture in a file, decoded. Raises BenchError, with its path, for a broken one."""
    from PIL import Image

    try:
        with Image.open(path, formats=formats) as image:
            # a camera's MPO has one picture, and previews of it
            frames = getattr(image, "n_frames", 1) if image.format != "MPO" else 1
            image.load()
    except Exception as error:  # a broken file raises nearly anything
        raise BenchError(f"{path} cannot be read ({error}); expected an image; {AGAIN}") from error
    if frames > 1:
        raise BenchError(
            f"{path} holds {frames} pictures; expected one; save the one that you mean alone"
        )
    return image


def eight_bits(image: Image.Image, path: Path) -> Image.Image:
    """The same picture in mode "L" or "RGB", uint8.

    Grey of 16 bits is scaled, 65535 to 255; floats are, 1 to 255. Raises BenchError, with the
    path, for what has no one meaning: transparent pixels, floats outside [0, 1], 32-bit integers.
    """
    if _has_alpha(image):
        image = _opaque(image, path)
    if image.mode in ("L", "RGB"):
        return image
    if image.mode in ("1", "P", "RGBX", *COLOURS):
        grey = image.mode == "1"
        return image.convert("L" if grey else "RGB")
    if image.mode in DEEP or (image.mode == "I" and image.format == "PPM"):  # PGM of 16 bits
        return _scaled(image, path, 65535, "16 bits")
    if image.mode == "F":
        return _scaled(image, path, 1, "floats")
    raise BenchError(
        f"{path} has pixels of mode {image.mode}, whose range is unknown; expected 8 or 16 bits; "
        "convert it to PNG"
    )


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def _opaque(image: Image.Image, path: Path) -> Image.Image:
    """Without its alpha channel, which must say nothing: no background is right for everybody."""
    full = image.convert("RGBA")
    lowest, _ = full.getchannel("A").getextrema()
    if lowest != 255:
        raise BenchError(
            f"{path} has transparent pixels; expected an opaque picture; flatten it onto the "
            "background that you mean, and save it without alpha"
        )
    grey = image.mode in ("LA", "La", "L")
    return image.convert("L") if grey else full.convert("RGB")


def _scaled(image: Image.Image, path: Path, high: int, what: str) -> Image.Image:
    import numpy as np
    from PIL import Image

    values = np.asarray(image, dtype=np.float64)
    low, top = float(values.min()), float(values.max())
    if not 0 <= low <= top <= high:  # NaN is neither
        raise BenchError(
            f"{path} holds {what} from {low:.4g} to {top:.4g}; expected 0 to {high}; scale it, "
            "and save it with 8 bits"
        )
    return Image.fromarray((values * (255 / high) + 0.5).astype(np.uint8))
