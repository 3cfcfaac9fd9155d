"""Image files: what their headers say, and their pixels as bytes, by Pillow."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nas import image_reading
from nas.datasets import pixel_scale
from nas.datasets.images import LARGEST
from nas.datasets.labels import readable
from nas.datasets.pixel_scale import PixelRange, PixelScale
from search_spaces import UserError

SUFFIXES = {
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm"
}  # fmt: skip
"""Files that must be images: one that is broken is an error. Any other file is an image if its content says so."""
# Pillow knows more, some of them by other programs (Ghostscript) and some without a mark in the file that tells them apart.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "AVIF", "JPEG2000")
GREY = {"1", "L", "LA", "La"}
"""Pillow's modes with one channel of light, beside those of more than 8 bits; all others are converted to RGB."""
_DEEP = ("I", "F")
_LARGEST = 89_478_485
"""Pixels of an image: where Pillow begins to warn of images that are made to fill the memory."""
_LONGEST = 100
"""Times its width that an image may be long: of a longer one the middle square shows nothing, and it would be scaled up to it."""
_NAMED = 3
Sizes = Sequence[tuple[int, int]]


class Header(NamedTuple):
    """What is known of an image before its pixels are read."""

    width: int
    height: int
    mode: str

    @property
    def is_grey(self) -> bool:
        return self.mode in GREY or self.is_deep

    @property
    def is_deep(self) -> bool:
        """More than 8 bits in one channel."""
        return self.mode.startswith(_DEEP)

    @property
    def is_usable(self) -> bool:
        """Whether its size is that of a picture."""
        short, long = sorted((self.width, self.height))
        return short * long <= _LARGEST and long <= _LONGEST * short


class Broken(NamedTuple):
    """A file that cannot be read, and why."""

    path: Path
    reason: str


@cache
def _formats() -> list[str]:
    """Those of `_FORMATS` that this Pillow reads: older ones lack AVIF."""
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]


@contextmanager
def quiet() -> Iterator[None]:
    """Pillow warns of what it mends itself, of each file anew."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def is_image(path: Path) -> bool:
    """Whether the content of a regular file is an image, whatever it is called."""
    return isinstance(header(path), Header)


def header(path: Path) -> Header | Broken:
    """The header of a file, without its pixels."""
    try:
        with Image.open(path, formats=_formats()) as image:
            return Header(*image.size, image.mode)
    except Image.DecompressionBombError:  # More than twice `_LARGEST`.
        return Header(_LARGEST + 1, 1, "")
    # As broad as it gets: at damaged bytes Pillow raises whatever its readers run into.
    except Exception as error:
        return Broken(path, reason(error))


def pixels(path: Path, channels: int, sizes: Sizes, scale: tuple[int, int] | None) -> Tensor | Broken:
    """The pixels of a file, as `to_pixels` gives them."""
    try:
        with Image.open(path, formats=_formats()) as image:
            return to_pixels(image, channels, sizes, scale)
    except UserError as error:
        return Broken(path, str(error))
    except Exception as error:  # As above.
        return Broken(path, reason(error))


def picture(path: Path, channels: int, sizes: Sizes, scale: tuple[int, int] | None) -> Tensor | Broken:
    """As `pixels`, of a file that has the size of a picture."""
    found = header(path)
    if isinstance(found, Broken):
        return found
    if not found.is_usable:
        return Broken(path, f"{found.width} x {found.height} pixels are too many, or too long for their width")
    return pixels(path, channels, sizes, scale)


def deep_range(path: Path) -> PixelRange | Broken:
    """The values of a file of more than 8 bits."""
    try:
        with Image.open(path, formats=_formats()) as image:
            return range_of_image(image)
    except UserError as error:
        return Broken(path, str(error))
    except Exception as error:  # As above.
        return Broken(path, reason(error))


def range_of_image(image: Any) -> PixelRange:
    """The values of a Pillow image of more than 8 bits. Raises `UserError` for values that are not finite."""
    return pixel_scale.range_of("it", np.asarray(image))


def odd_sizes(headers: Mapping[Any, Header]) -> list[str]:
    """What is said of images whose shape or size is not that of a picture, by what they are called."""
    notes = []
    unusable = [(name, found) for name, found in headers.items() if not found.is_usable]
    if unusable:
        name, found = unusable[0]
        size = f"{found.width} x {found.height} pixels" if found.mode else "too many pixels"
        notes.append(f"{len(unusable)} images passed over for their size, as '{readable(str(name))}' ({size})")
    long = sum(max(h.width, h.height) > 2 * min(h.width, h.height) for h in headers.values() if h.is_usable)
    return notes + (
        [f"only the middle square is used of {long} images more than twice as long as wide"] if long else []
    )


def common_side(training: Iterable[Header]) -> int:
    """The side that all images are read at unless one is asked for, by the headers of training."""
    sides = sorted(min(found.width, found.height) for found in training)
    # The median of the shorter sides: neither thumbnails nor a few huge images decide for all.
    return min(LARGEST, sides[len(sides) // 2])


def refuse(where: str, broken: list[Broken], total: int) -> None:
    """Raise `UserError` that counts the files and names the first of them, if there are any."""
    if broken:
        named = ", ".join(f"'{readable(str(b.path))}' ({b.reason})" for b in broken[:_NAMED])
        more = f" and {len(broken) - _NAMED} more" if len(broken) > _NAMED else ""
        raise UserError(
            f"{len(broken)} of {total} files of '{where}' cannot be read as images: {named}{more}; mend or remove them."
        )


def to_pixels(image: Any, channels: int, sizes: Sizes, scale: tuple[int, int] | None) -> Tensor:
    """A Pillow image as uint8 `[C, H, W]`: upright, on white where it is transparent, scaled, cut to its middle.

    Args:
        sizes: height and width, in as many steps as there are.
        scale: of images with more than 8 bits a channel.
    """
    values = np.array(image_reading.prepared(image, channels, sizes, scale), dtype=np.uint8)
    return torch.from_numpy(values.reshape(*sizes[-1], channels)).permute(2, 0, 1).contiguous()


def scale_of_deep(where: str, ranges: dict[str, list[PixelRange]]) -> PixelScale | None:
    """One scale for all images with more than 8 bits, of the ranges of each split's; None where training has none.

    Raises `UserError` where another split is not on it.
    """
    found = {split: pixel_scale.common_range(each) for split, each in ranges.items() if each}
    if "train" not in found:
        if found:
            raise UserError(
                f"'{where}' has images of more than 8 bits in its {next(iter(found))} split and none in training; "
                "save both alike."
            )
        return None
    for split, one in found.items():
        pixel_scale.check_alike(f"'{where}': the {split} split", one, found["train"])
    return pixel_scale.scale_of(f"'{where}'", found["train"])


def reason(error: Exception) -> str:
    """What Pillow says of an image that it cannot read, in a line."""
    text = (isinstance(error, OSError) and error.strerror) or str(error).partition("\n")[0].strip()
    # The path stands before it already.
    return "its content is no image" if text.startswith("cannot identify") else text or type(error).__name__
