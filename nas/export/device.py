"""How long the exported network of an architecture takes for one image: in ONNX Runtime here, or by a command on a device."""

from __future__ import annotations

import math
import shlex
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from nas.export import formats, latency
from nas.export.export import build, describe, write_source
from nas.export.read_back import NO_ONNX, has_onnx, load_python
from search_spaces import HasMirror, HasOwnSize, Space, Task, UserError, _noise

_SECONDS = 600
"""That a command may take for one network: a board that has to be flashed takes minutes; one that never answers must end."""


@dataclass(frozen=True)
class Device:
    """Where latencies are measured: one image at a time.

    Here it is one thread of ONNX Runtime, the median of many calls (`nas.export.latency`).
    """

    command: str = ""
    """Gets the path of an ONNX file as its last argument, and prints milliseconds as the last word of its output; empty: here."""

    def milliseconds(self, space: Space, arch: Tensor, task: Task) -> float:
        """Of the network of `arch` `[D]` as it would be exported. Raises `UserError` where it cannot be measured.

        The weights are random: the time does not depend on them.
        """
        if not has_onnx():
            raise UserError(f"A latency is measured by an ONNX file; {NO_ONNX}.")
        task = space.sized(arch, task) if isinstance(space, HasOwnSize) else task
        network = exported_module(space, arch, task)
        pixels = _noise.uniform(torch.tensor([0]), 0, 2, *task.input_shape)[0]
        if not self.command:
            return latency.median_milliseconds(network, pixels)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.onnx"
            formats.save_onnx_from_module(network, pixels, path)
            return self._ask(path)

    def _ask(self, path: Path) -> float:
        """What the command prints for an ONNX file."""
        try:
            done = subprocess.run(
                [*shlex.split(self.command), str(path)],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_SECONDS,
                check=False,
            )
        except (OSError, ValueError) as error:
            raise UserError(f"--latency-command '{self.command}' cannot be run: {error}.") from None
        except subprocess.TimeoutExpired:
            raise UserError(f"--latency-command '{self.command}' gave no answer in {_SECONDS} seconds.") from None
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip()).rpartition("\n")[2]
            why = (
                f": {said[:200]}"
                if said
                else " and said nothing; it gets the path of an ONNX file and prints milliseconds."
            )
            raise UserError(f"--latency-command '{self.command}' ended with status {done.returncode}{why}")
        words = done.stdout.split()
        try:
            found = float(words[-1])
        except (IndexError, ValueError):
            found = math.nan
        if not 0 < found < math.inf:
            said = words[-1] if words else "nothing"
            raise UserError(
                f"--latency-command '{self.command}' printed {said[:50]!r}; its last word takes milliseconds above zero."
            )
        return found


def exported_module(space: Space, arch: Tensor, task: Task) -> nn.Module:
    """The untrained module that an export of `arch` `[D]` traces, with its own normalization of pixels."""
    channels = task.input_shape[0]
    mean, std = torch.full((channels,), 0.5), torch.full((channels,), 0.25)
    mirror = isinstance(space, HasMirror) and space.mirrors(arch)
    about = describe(space, arch, task, mean, std, (), mirror)
    network = build(space, arch, task, None)
    with tempfile.TemporaryDirectory() as folder:
        own = write_source(Path(folder), space, arch, task, network, about)
        return load_python(Path(folder)) if own is None else own
