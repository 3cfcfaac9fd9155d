"""The programs of an export, written, read back from their files, and compared with the network."""

from __future__ import annotations

import importlib.util
import statistics
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nas.export import formats, loader
from nas.export.metadata import About
from search_spaces import UserError, _noise

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


class LeftOut(NamedTuple):
    """A file that an export does not have; the others are whole."""

    file: str
    reason: str
    failed: bool
    """False where it was not tried, because packages are missing."""


def has_onnx() -> bool:
    """Whether the packages of the `onnx` extra are there."""
    return all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))


def write_and_compare(
    folder: Path,
    network: nn.Module,
    own: nn.Module | None,
    about: About,
    *,
    onnx: bool,
    uint8: bool = False,
) -> tuple[tuple[ExportedFile, ...], tuple[LeftOut, ...]]:
    """Write the programs, read everything back, compare. A program that fails is left out and costs no other file.

    Args:
        network: takes normalized pixels.
        own: what the programs are traced from, if the Python file only loads one of them; None: the module of that file.
        uint8: the ONNX file is to take images of any size.

    Raises `UserError` where the network's logits are not finite, and where the Python file's own differ: all programs' would.
    """
    pixels = random_pixels(about)
    with torch.no_grad():
        expected = loader.of_module(network, about.mean, about.std, about.mirror)(pixels)
    if not bool(expected.isfinite().all()):
        raise UserError(
            "The network answers with numbers that are not finite: its final training diverged, or the file of its weights is "
            "damaged. Cells train steadily by a smaller learning rate (-t lr)."
        )
    module = load_python(folder) if own is None else own
    files = [_measure("network.py", module, pixels, expected)] if own is None else []
    left_out: list[LeftOut] = []

    def attempt(name: str, write: Callable[[Path], None], load: Callable[[Path], formats.Run]) -> bool:
        """Whether the file `name` was written and computes the same."""
        try:
            write(folder / name)
            files.append(_measure(name, load(folder / name), pixels, expected))
        except OSError:  # A full disk, say: the next file would fail as well.
            raise
        except Exception as error:  # Exporters and runtimes raise what they like at networks of users' spaces.
            (folder / name).unlink(missing_ok=True)
            left_out.append(LeftOut(name, _reason(error), True))
            return False
        return True

    try:
        # Two images: torch would take a batch of one for a constant size.
        program = formats.trace(module if about.reading is None else formats.Guarded(module), pixels[:2])
    except Exception as error:
        # Nor an ONNX file: torch's older exporter would take one branch of such a network for the whole of it.
        reason = f"torch.export cannot trace {type(network).__name__}, the network that `build` gave: {_reason(error)}"
        left_out.append(LeftOut("network.pt2", reason, True))
    else:

        def save(path: Path) -> None:
            formats.save(program, path, about.lines)

        if attempt("network.pt2", save, formats.load) and own is not None:
            files.insert(0, _measure("network.py", load_python(folder), pixels, expected))
        if onnx and has_onnx():

            def save_onnx(path: Path) -> None:
                formats.save_onnx(own or load_python(folder), program, pixels[:2], path)
                formats.complete_onnx(path, about, uint8=uint8)

            attempt("network.onnx", save_onnx, formats.load_onnx)
    if onnx and not has_onnx():
        left_out.append(LeftOut("network.onnx", NO_ONNX, False))
    if own is not None and any(file.file == "network.pt2" for file in left_out):
        (folder / "network.py").unlink()
        left_out.append(LeftOut("network.py", "it loads network.pt2; network.safetensors holds the weights", True))
    return tuple(files), tuple(left_out)


def random_pixels(about: About) -> Tensor:
    """Images to compare programs on, float32 `[N, C, H, W]`, pixels / 255."""
    # Random: a constant image would hide errors of orientation and padding. Whole levels, as image files have.
    return _noise.uniform(torch.tensor([0]), 0, _COMPARED, *about.input_shape)[0].mul(255).round() / 255


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).partition("\n")[0]


def compare(name: str, run: formats.Run, pixels: Tensor, expected: Tensor) -> float:
    """The largest difference of logits. Raises `UserError` where it is above what rounding explains."""
    with torch.no_grad():
        difference = (run(pixels) - expected).abs().max().item()
        # Networks that were never trained have logits of any size, and rounding grows with them.
        allowed = TOLERANCE * max(1.0, expected.abs().max().item())
        # In this form NaN is refused too.
        if not difference <= allowed:
            raise UserError(
                f"{name} gives logits {difference:.1e} away from the network's; at most {allowed:.0e} may be."
            )
    return difference


def _measure(name: str, run: formats.Run, pixels: Tensor, expected: Tensor) -> ExportedFile:
    difference, times = compare(name, run, pixels, expected), []
    with torch.no_grad():
        for _ in range(_REPEATS):
            started = time.perf_counter()
            run(pixels[:1])
            times.append(time.perf_counter() - started)
    return ExportedFile(name, difference, 1000 * statistics.median(times))


def load_python(folder: Path) -> nn.Module:
    """The network of an exported folder, by its own `load`."""
    path = folder / "network.py"
    module = types.ModuleType("network")
    module.__file__ = str(path)
    # Not `import`: the file lies anywhere, and two exports of one process would share a name in `sys.modules`.
    exec(compile(path.read_text(encoding="utf-8"), path, "exec"), module.__dict__)
    return module.load()
