"""Networks as programs without their Python: `torch.export` and ONNX, written and read back."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

Run = Callable[[Tensor], Tensor]
"""Pixels `[N, C, H, W]` to logits `[N, num_classes]`."""


def trace(module: nn.Module, pixels: Tensor) -> torch.export.ExportedProgram:
    """The program of a network whose `forward` takes `pixels` `[N, C, H, W]`, for any N."""
    with _quiet():
        batch = torch.export.Dim("batch")
        return torch.export.export(module, (pixels,), dynamic_shapes={"pixels": {0: batch}})


def save(program: torch.export.ExportedProgram, path: Path) -> None:
    """Without the example inputs: they are the one part that torch would pickle."""
    # A private attribute: torch offers no way to save a program without them.
    examples, program._example_inputs = program._example_inputs, None
    # Into memory first: on a full disk torch's own writer ends the process.
    written = io.BytesIO()
    with _quiet():
        torch.export.save(program, written)
    program._example_inputs = examples
    path.write_bytes(written.getvalue())


def load(path: Path) -> Run:
    with _quiet():
        return torch.export.load(path).module()


def save_onnx(module: nn.Module, program: torch.export.ExportedProgram, pixels: Tensor, path: Path) -> None:
    """From the program; where that fails, as torch 2.6 does beside newer `onnxscript`, from the module by torch's older exporter.

    Raises `OnnxExporterError` where both fail.
    """
    names: dict[str, Any] = {"verbose": False, "input_names": ["pixels"], "output_names": ["logits"]}
    with _quiet():
        try:
            exported = torch.onnx.export(program, dynamo=True, **names)
            # None only for the exporter that is not asked here.
            assert exported is not None
            path.write_bytes(exported.model_proto.SerializeToString())
        except torch.onnx.OnnxExporterError:
            save_onnx_from_module(module, pixels, path)


def save_onnx_from_module(module: nn.Module, pixels: Tensor, path: Path) -> None:
    """By torch's older exporter, in a thirtieth of the time of `save_onnx`; ONNX Runtime runs both files equally fast."""
    names: dict[str, Any] = {"verbose": False, "input_names": ["pixels"], "output_names": ["logits"]}
    batch = {name: {0: "batch"} for name in ("pixels", "logits")}
    written = io.BytesIO()
    with _quiet():
        # Its annotation names paths alone; the older exporter takes a file as well.
        into: Any = written
        torch.onnx.export(module, (pixels,), into, dynamo=False, dynamic_axes=batch, **names)
    path.write_bytes(written.getvalue())


def load_onnx(path: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda pixels: torch.from_numpy(session.run(["logits"], {"pixels": pixels.numpy()})[0])


@contextmanager
def _quiet() -> Iterator[None]:
    """Torch's exporters warn about their own code, which the user cannot change."""
    # The warnings come by `logging` and by `warnings`: either alone leaves half of them.
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
