"""The programs of an export, written, read back from their files, and compared with the network."""

from __future__ import annotations

import importlib.util
import statistics
import time
import types
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nas.export import formats
from search_spaces import Task, UserError, _noise

TOLERANCE = 1e-4
"""The largest difference of logits between the network and a program that was read back, as a part of the largest logit where
that is above 1: other kernels may sum in another order, a wrong weight or layer changes far more. Not ablated."""
NO_ONNX = "it takes packages that are not installed: pip install 'metacell[onnx]'"
_REPEATS = 30
"""Runs of which the median time is given; not ablated."""
_COMPARED = 5
"""Images compared; not the batch the programs were traced with, so that the batch is shown to be free."""


class ExportedFile(NamedTuple):
    """One file of an export."""

    file: str
    difference: float
    """The largest of |logit read back - logit of the network| on random images."""
    milliseconds: float
    """Median time of one image on this machine."""


def has_onnx() -> bool:
    """Whether the packages of the `onnx` extra are there."""
    return all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))


def write_and_compare(
    folder: Path,
    network: nn.Module,
    own: nn.Module | None,
    task: Task,
    mean: Tensor | None,
    std: Tensor | None,
    onnx: bool,
) -> tuple[tuple[ExportedFile, ...], str]:
    """Write the programs, read everything back, compare; and why there is no ONNX file, if `onnx` asks.

    Args:
        own: what the programs are traced from; None: the module of the Python file.
    """
    # Random pixels: a constant image would hide errors of orientation and padding.
    pixels = _noise.uniform(torch.tensor([0]), 0, _COMPARED, *task.input_shape)[0]
    normalised = pixels if mean is None or std is None else (pixels - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)
    with torch.no_grad():
        expected = network(normalised)
    module = load_python(folder) if own is None else own
    try:
        # Two images: torch would take a batch of one for a constant size.
        program = formats.trace(module, pixels[:2])
    except Exception as error:  # Networks of users' spaces do what they like, and torch raises what it likes at that.
        reason = (str(error).strip() or type(error).__name__).partition("\n")[0]
        raise UserError(
            f"torch.export cannot trace {type(network).__name__}, the network that `build` gave: {reason}"
        ) from None
    formats.save(program, folder / "network.pt2")
    module = load_python(folder)
    runs: dict[str, formats.Run] = {"network.py": module, "network.pt2": formats.load(folder / "network.pt2")}
    files = tuple(_measure(name, run, pixels, expected) for name, run in runs.items())
    no_onnx = NO_ONNX if onnx and not has_onnx() else ""
    if onnx and not no_onnx:
        try:
            formats.save_onnx(own or module, program, pixels[:2], folder / "network.onnx")
            run = formats.load_onnx(folder / "network.onnx")
            return (*files, _measure("network.onnx", run, pixels, expected)), ""
        except (
            Exception
        ) as error:  # Whatever exporters and runtimes of other makers do not agree on: the other files are whole.
            (folder / "network.onnx").unlink(missing_ok=True)
            no_onnx = f"torch {torch.__version__} cannot write it ({str(error).strip().partition(chr(10))[0]})"
    return files, no_onnx


def _measure(name: str, run: formats.Run, pixels: Tensor, expected: Tensor) -> ExportedFile:
    with torch.no_grad():
        difference = (run(pixels) - expected).abs().max().item()
        # Networks that were never trained have logits of any size, and rounding grows with them.
        allowed = TOLERANCE * max(1.0, expected.abs().max().item())
        # In this form NaN is refused too.
        if not difference <= allowed:
            raise UserError(
                f"{name} gives logits {difference:.1e} away from the network's; at most {allowed:.0e} may be."
            )
        times = []
        for _ in range(_REPEATS):
            started = time.perf_counter()
            run(pixels[:1])
            times.append(time.perf_counter() - started)
    return ExportedFile(name, difference, 1000 * statistics.median(times))


def load_python(folder: Path) -> nn.Module:
    """The network of an exported folder, by its own `load`."""
    path = folder / "network.py"
    module = types.ModuleType("network")
    # Not `import`: the file lies anywhere, and two exports of one process would share a name in `sys.modules`.
    exec(compile(path.read_text(encoding="utf-8"), path, "exec"), module.__dict__)
    return module.load(folder / "network.safetensors")
