"""The part of exported Python files that names the class of an image file; it reads files as training did."""

from __future__ import annotations

import json
from typing import NamedTuple

from nas import image_reading


class Reading(NamedTuple):
    """What a Python file needs to know to read image files: with it, it has `classify`."""

    class_names: tuple[str, ...]
    shape: tuple[int, int, int]
    """Channels, height, width."""
    deep: tuple[int, int] | None
    """Black and white of images with more than 8 bits a channel; None: training had none."""
    read_at: tuple[int, int] | None = None
    """Height and width that the dataset was read at, where the network takes smaller images."""

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Height and width, step by step."""
        own = self.shape[1:]
        return (own,) if self.read_at in (None, own) else (self.read_at, own)


USAGE = """

    probabilities = classify("photo.jpg")  # Needs Pillow; {{"cat": 0.98, "dog": 0.02}}, the likeliest first

and in a shell: python {file} photo.jpg"""

_CONSTANTS = '''
CLASS_NAMES = {names}
CHANNELS, HEIGHT, WIDTH = {shape}
SIZES = {sizes}
"""Height and width that an image is scaled and cut to, step by step."""
DEEP = {deep}
"""Black and white of image files with more than 8 bits a channel; None: the network was trained on none."""
'''

_CLASSIFY = '''
def read(path: str | os.PathLike) -> Tensor:
    """An image file as the network takes it, float32 [1, {channels}, {height}, {width}]; needs Pillow."""
    from PIL import Image

    with Image.open(path) as opened:
        image = prepared(opened, CHANNELS, SIZES, DEEP)
    values = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return values.view(1, HEIGHT, WIDTH, CHANNELS).permute(0, 3, 1, 2).contiguous() / 255


@functools.cache
def _network() -> nn.Module:
    return load()


def classify(paths: Any) -> Any:
    """The probability of each class for an image file, the likeliest class first; for a list of files a list."""
    if isinstance(paths, str | os.PathLike):
        return classify([paths])[0]
    with torch.no_grad():
        found = [_network()(read(path)).softmax(1)[0].tolist() for path in paths]
    return [dict(sorted(zip(CLASS_NAMES, each, strict=True), key=lambda pair: -pair[1])) for each in found]
'''

_MAIN = """
if __name__ == "__main__":
    for file in sys.argv[1:]:
        name, probability = next(iter(classify(file).items()))
        print(f"{file}  {name}  {probability:.1%}")
"""


def usage(reading: Reading | None, file: str = "network.py") -> str:
    """Lines of the docstring."""
    return "" if reading is None else USAGE.format(file=file).replace("{{", "{").replace("}}", "}")


def imports(reading: Reading | None, *, weights: bool) -> str:
    """The import lines of the standard library; `weights`: for a file that reads weights itself."""
    needed = ["import json"] if weights else []
    needed += [] if reading is None else ["import functools", "import os", "import sys"]
    lines = [*sorted(needed), "from pathlib import Path"]
    return "\n".join(lines + ([] if reading is None else ["from typing import Any"]))


def constants(reading: Reading | None) -> str:
    """What is known of the images."""
    if reading is None:
        return ""
    names, shape = name_tuple(reading.class_names), _numbers(reading.shape)
    return _CONSTANTS.format(names=names, shape=shape, sizes=reading.sizes, deep=reading.deep)


def classify(reading: Reading | None) -> str:
    """The functions that read and classify image files."""
    if reading is None:
        return ""
    channels, height, width = reading.shape
    own = _CLASSIFY.replace("{channels}", str(channels)).replace("{height}", str(height)).replace("{width}", str(width))
    return "\n\n\n".join(part.strip("\n") for part in (image_reading.source(), own, _MAIN))


def name_tuple(names: tuple[str, ...]) -> str:
    """A tuple of strings as our formatter writes it."""
    quoted = [json.dumps(name, ensure_ascii=False) for name in names]
    line = "(" + ", ".join(quoted) + ")"
    return line if len(line) < 100 and len(names) > 1 else "(\n" + "".join(f"    {name},\n" for name in quoted) + ")"


def _numbers(values: tuple[int, ...]) -> str:
    return ", ".join(map(str, values))
