"""The Python file beside an ONNX file: it names the class of an image file with ONNX Runtime, Pillow and NumPy alone."""

from __future__ import annotations

from nas import image_reading

_HEAD = '''
"""Names the class of image files by network.onnx. Needs onnxruntime, pillow and numpy.

    python classify_onnx.py photo.jpg

    probabilities = classify("photo.jpg")  # {"cat": 0.98, "dog": 0.02}, the likeliest first

What the network takes and what its classes are stands in the metadata of network.onnx.
"""

import functools
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # Its official builds report models to their maker otherwise.
import onnxruntime
'''

_CLASSIFY = '''
@functools.cache
def load() -> onnxruntime.InferenceSession:
    """The network in network.onnx beside this file, on the CPU."""
    path = Path(__file__).with_name("network.onnx")
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def read(path: str | os.PathLike) -> np.ndarray:
    """An image file as the network takes it."""
    from PIL import Image

    known = load().get_modelmeta().custom_metadata_map
    channels, height, width = json.loads(known["input_shape"])
    sizes, deep = json.loads(known["sizes"]), json.loads(known["deep"])
    with Image.open(path) as opened:
        if load().get_inputs()[0].type == "tensor(uint8)":  # It takes any size, and resizes itself.
            image = in_bytes(upright(opened), channels, deep)
            return np.asarray(image).reshape(1, image.height, image.width, channels)
        image = prepared(opened, channels, sizes, deep)
    values = np.asarray(image, np.float32).reshape(1, height, width, channels)
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2)) / np.float32(255)


def classify(paths: Any) -> Any:
    """The probability of each class for an image file, the likeliest class first; for a list of files a list."""
    if isinstance(paths, str | os.PathLike):
        return classify([paths])[0]
    session, found = load(), []
    names = json.loads(session.get_modelmeta().custom_metadata_map["class_names"])
    for path in paths:
        (logits,) = session.run(["logits"], {session.get_inputs()[0].name: read(path)})
        shares = np.exp(logits[0] - logits[0].max())
        pairs = zip(names, (shares / shares.sum()).tolist(), strict=True)
        found.append(dict(sorted(pairs, key=lambda pair: -pair[1])))
    return found
'''

_MAIN = """
if __name__ == "__main__":
    for file in sys.argv[1:]:
        name, probability = next(iter(classify(file).items()))
        print(f"{file}  {name}  {probability:.1%}")
"""


def write() -> str:
    """The file's text; it is the same beside every network."""
    parts = (_HEAD, image_reading.source(), _CLASSIFY, _MAIN)
    return "\n\n\n".join(part.strip("\n") for part in parts) + "\n"
