"""What a network of a user's own space needs: its Python source is not known, so a file loads its `torch.export` program."""

from __future__ import annotations

import inspect
import json
import shutil
from pathlib import Path

from torch import Tensor, nn

from nas.export import classify_source, source_templates
from nas.export.classify_source import Reading
from search_spaces import Space, Task

SPACE_SOURCE = "space.py"
"""Beside the network, the source of a space that is not ours."""


class Normalized(nn.Module):
    """A network that takes pixels / 255: it subtracts the training pixels' mean and divides by their deviation itself.

    With `mirror` its logits are the mean over the image and its mirror image.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Tensor, std: Tensor, mirror: bool = False):
        super().__init__()
        self.network, self.mirror = network, mirror
        self.register_buffer("mean", mean.view(1, -1, 1, 1).clone())
        self.register_buffer("std", std.view(1, -1, 1, 1).clone())

    def forward(self, pixels: Tensor) -> Tensor:
        x = (pixels - self.mean) / self.std
        return (self.network(x) + self.network(x.flip(3))) / 2 if self.mirror else self.network(x)


def of_module(network: nn.Module, mean: Tensor | None, std: Tensor | None, mirror: bool = False) -> nn.Module:
    """The module that the programs of a user's network are traced from."""
    return network if mean is None or std is None else Normalized(network, mean, std, mirror).eval()


def write_loader(task: Task, space: Space, arch: Tensor, reading: Reading | None) -> str:
    """The Python file beside a network of somebody's own space: it loads the `torch.export` program, which needs only torch."""
    text = source_templates.LOADER.format(
        arch=json.dumps(space.describe(arch)), space=json.dumps(space.name),
        takes="pixels / 255" if reading else "normalized pixels", shape=" x ".join(map(str, task.input_shape)),
        usage=classify_source.usage(reading), imports=classify_source.imports(reading, weights=False),
        constants=classify_source.constants(reading), check=source_templates.check(task.input_shape, reading is not None),
    )  # fmt: skip
    named = classify_source.classify(reading)
    return f"{text}\n\n{named}\n" if named else text


def copy_source(space: Space, folder: Path) -> None:
    """Copy the file that defines a user's space beside the network, for readers; nothing imports it."""
    # Only for readers: the program beside it needs no source. A space typed into a prompt has none.
    file = inspect.getsourcefile(type(space))
    if file is not None:
        shutil.copyfile(file, folder / SPACE_SOURCE)
