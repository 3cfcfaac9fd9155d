"""What an exported file says about its network: in the header of its weights, in its `.pt2` and in its ONNX file."""

from __future__ import annotations

import json
from typing import NamedTuple

from torch import Tensor

from nas.export.classify_source import Reading

PT2_FILE = "metadata.json"
"""The extra file of a `.pt2` archive."""


LOWEST, HIGHEST = -0.5, 1.5
"""Pixels / 255 with what interpolation adds beyond black and white; `check` of the Python file has the same bounds."""


class About(NamedTuple):
    """An exported network in words and numbers."""

    arch: str
    space: str
    task: str
    input_shape: tuple[int, int, int]
    mean: Tensor | None
    """float32 `[C]` of pixels / 255, as the next; None: the network takes normalized pixels."""
    std: Tensor | None
    reading: Reading | None
    """How it reads image files; None where the network was not trained here."""
    mirror: bool = False

    @property
    def lines(self) -> dict[str, str]:
        """As text by key; values that are no plain text are JSON."""
        channels, height, width = self.input_shape
        color = {1: "gray", 3: "RGB"}.get(channels, f"{channels} channels")
        found = {"arch": self.arch, "space": self.space, "task": self.task}
        found |= {"input_shape": json.dumps(self.input_shape), "mirror": json.dumps(self.mirror)}
        if self.mean is None or self.std is None or self.reading is None:
            return found | {"input": f"float32 [N, {channels}, {height}, {width}], {color}, normalized pixels"}
        return found | {
            "class_names": json.dumps(self.reading.class_names),
            "sizes": json.dumps(self.reading.sizes),
            "deep": json.dumps(self.reading.deep),
            "mean": json.dumps([round(value, 8) for value in self.mean.tolist()]),
            "std": json.dumps([round(value, 8) for value in self.std.tolist()]),
            "input": f"float32 [N, {channels}, {height}, {width}], {color}, pixels / 255 from 0 to 1. The network "
            "subtracts mean and divides by std itself",
            "preprocessing": f"turned upright (EXIF), put on white where transparent, made {color}, scaled by the "
            f"shorter side with Pillow's bilinear filter, cut to the middle "
            + ", then to ".join(f"{columns} x {rows}" for rows, columns in self.reading.sizes),
        }

    @property
    def input_uint8(self) -> str:
        """What `input` says where the network takes images of any size."""
        channels = self.input_shape[0]
        color = "gray" if channels == 1 else "RGB"
        return f"uint8 [N, height, width, {channels}], {color}, upright, any size. The network resizes and normalizes itself"
