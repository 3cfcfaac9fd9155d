"""From an opened image file to the pixels that a network takes.

Exported networks contain the text of these functions, so that training, `nas predict` and every export read an image alike. They
need Pillow alone, and NumPy for images of more than 8 bits a channel.
"""

from __future__ import annotations

import inspect
from typing import Any


def prepared(image: Any, channels: int, sizes: Any, deep: tuple[int, int] | None) -> Any:
    """A Pillow image as a network takes it: upright, gray or RGB, scaled by its shorter side, cut to the middle.

    Args:
        sizes: height and width that the dataset was read at; of a network that takes smaller images these follow.
    """
    image = in_bytes(upright(image), channels, deep)
    for height, width in sizes:
        image = middle(image, height, width)
    return image


def upright(image: Any) -> Any:
    """A Pillow image turned as the note of its camera says (EXIF orientation) and every viewer does."""
    from PIL import ImageOps

    image.load()  # Readers of TIFF turn the image themselves, and only then.
    try:
        return ImageOps.exif_transpose(image) if image.getexif().get(0x0112, 1) != 1 else image
    except Exception:  # A damaged note: viewers show such images as they lie.
        return image


def in_bytes(image: Any, channels: int, deep: tuple[int, int] | None) -> Any:
    """A Pillow image of mode L or RGB, on white where it is transparent.

    Args:
        deep: black and white of images with more than 8 bits a channel; None: the network was trained on none.
    """
    from PIL import Image

    if image.mode.startswith(("I", "F")):
        if deep is None:
            raise ValueError("it has more than 8 bits a channel; the network was trained on images of 8 bits")
        import numpy

        # Pillow clips 16-bit images to white when it converts them itself.
        image = Image.fromarray(byte_values(numpy.asarray(image), *deep))
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image)
    return image.convert("L" if channels == 1 else "RGB")


def byte_values(values: Any, black: int, white: int) -> Any:
    """Values of a NumPy array on the scale from `black` to `white` as uint8."""
    # float64, and not the array's own type: 255 x float16 rounds, and unsigned integers wrap around.
    values = values.astype("float64")
    if white == 1:
        values = ((values - black) * (255 / (1 - black))).round()
    elif white == 255:
        values = values.round()
    else:  # The upper eight bits, as image libraries convert.
        values = values // ((white + 1) // 256)
    return values.clip(0, 255).astype("uint8")


def middle(image: Any, height: int, width: int) -> Any:
    """A Pillow image scaled until it just covers the size, by Pillow's bilinear filter, and cut to its middle."""
    from PIL import Image

    if image.width * height < image.height * width:
        size = (width, image.height * width // image.width)
    else:
        size = (image.width * height // image.height, height)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    scaled = image.resize(size, Image.Resampling.BILINEAR)
    return scaled.crop((left, top, left + width, top + height))


def source() -> str:
    """The text of these functions, for a Python file that imports `Any`."""
    return "\n\n\n".join(inspect.getsource(each).strip() for each in (prepared, upright, in_bytes, byte_values, middle))
