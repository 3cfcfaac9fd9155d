"""From pixels of any number type to bytes, by one scale for a whole dataset, which the training split decides.

A scale guessed by image or by array turns a dim image bright, and a test split black.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nas.image_reading import byte_values
from search_spaces import UserError

_TOPS = (1, 255, 1023, 4095, 16383, 65535)
"""The largest values that pixels have: shares of full light, and 8, 10, 12, 14 and 16 bits of cameras and scanners."""
# Images that were interpolated overshoot their range a little.
_OVERSHOOT = 1e-3
_PART = 1024
"""Images converted at once: a whole dataset as float64 would take eight times its memory."""


class PixelRange(NamedTuple):
    """The values of a split."""

    low: float
    high: float
    dtype: np.dtype

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g} ({self.dtype})"

    @property
    def is_float(self) -> bool:
        return np.issubdtype(self.dtype, np.floating)


class PixelScale(NamedTuple):
    """What is black and what is white."""

    black: int
    """0, or -1."""
    white: int
    """One of 1, 255, 1023, 4095, 16383, 65535."""

    def to_bytes(self, x: np.ndarray) -> np.ndarray:
        """Values of any shape as uint8, 0 to 255."""
        if x.dtype == np.uint8 and self.white == 255:
            return x
        out = np.empty(x.shape, np.uint8)
        for start in range(0, len(x), _PART):
            out[start : start + _PART] = byte_values(x[start : start + _PART], *self)
        return out

    def is_usual(self, found: PixelRange) -> bool:
        """Whether it is what everybody expects: bytes to 255, floats to 1."""
        return self == PixelScale(0, 1 if found.is_float else 255)


def range_of(what: str, x: np.ndarray) -> PixelRange:
    """The range of an array. Raises `UserError` for what is no number, and for values that are not finite."""
    if x.dtype == np.bool_:
        return PixelRange(0.0, 1.0, x.dtype)
    if not np.issubdtype(x.dtype, np.number) or np.issubdtype(x.dtype, np.complexfloating):
        raise UserError(f"{what} holds {x.dtype}; it takes numbers, as uint8 from 0 to 255.")
    low, high = float(x.min()), float(x.max())
    if not np.isfinite([low, high]).all():
        raise UserError(f"{what} holds values that are not finite (NaN or infinity); mend or remove those images.")
    return PixelRange(low, high, x.dtype)


def common_range(ranges: list[PixelRange]) -> PixelRange:
    """The range of several images together."""
    dtype = np.result_type(*(found.dtype for found in ranges))
    return PixelRange(min(found.low for found in ranges), max(found.high for found in ranges), dtype)


def scale_of(what: str, found: PixelRange) -> PixelScale:
    """The scale of a training split. Raises `UserError` for a range that no image file has."""
    scale = _scale(found)
    if scale is None:
        raise UserError(
            f"{what} has values from {found}; it takes 0..1 or -1..1 as floats, or 0..255, or up to 16 bits (0..65535)."
        )
    return scale


def check_alike(what: str, found: PixelRange, train: PixelRange) -> None:
    """Raise `UserError` where a split is on another scale than the training split."""
    scale, own = _scale(train), _scale(found)
    if own is None or scale is None or own.white > scale.white or own.black < scale.black:
        alike = False
    elif found.dtype != train.dtype:
        alike = own == scale
    else:  # A split of floats that ends at 1 was divided by 255. One of bytes is only dark.
        alike = own == scale or (not found.is_float) or own.white > 1
    if not alike:
        raise UserError(
            f"{what} has values from {found}, where training has {train}: not the same scale. Save both alike."
        )


def _scale(found: PixelRange) -> PixelScale | None:
    slack = _OVERSHOOT if found.is_float else 0
    if found.is_float and found.low < -slack:
        return PixelScale(-1, 1) if found.low >= -1 - slack and found.high <= 1 + slack else None
    if found.low < -slack:
        return None
    return next((PixelScale(0, top) for top in _TOPS if found.high <= top * (1 + slack)), None)
