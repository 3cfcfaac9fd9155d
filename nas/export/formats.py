"""Networks as programs without their Python: `torch.export` and ONNX, written and read back."""

from __future__ import annotations

import io
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from nas.export.metadata import HIGHEST, LOWEST, PT2_FILE, About

OPSET = 18
"""Of ONNX: the first with a Resize that averages over the pixels which it leaves out. Not higher: older runtimes read it too."""
_NAMES: dict[str, Any] = {
    "verbose": False, "input_names": ["pixels"], "output_names": ["logits"], "opset_version": OPSET
}  # fmt: skip
Run = Callable[[Tensor], Tensor]
"""Pixels `[N, C, H, W]` to logits `[N, num_classes]`."""


class Guarded(nn.Module):
    """A network whose program fails for pixels on another scale than `pixels / 255`."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        inside = ((pixels >= LOWEST) & (pixels <= HIGHEST)).all()
        # A private name, and the one assertion on values that stays in a program.
        said = "the network takes pixels / 255, from 0 to 1; these go below -0.5 or above 1.5"
        torch._assert_async(inside, said)  # pyright: ignore[reportPrivateImportUsage]
        return self.network(pixels)


def trace(module: nn.Module, pixels: Tensor) -> torch.export.ExportedProgram:
    """The program of a network whose `forward` takes `pixels` `[N, C, H, W]`, for any N."""
    with _quiet():
        batch = torch.export.Dim("batch")
        return torch.export.export(module, (pixels,), dynamic_shapes=({0: batch},))


def save(program: torch.export.ExportedProgram, path: Path, lines: dict[str, str] | None = None) -> None:
    """Without the example inputs: they are the one part that torch would pickle.

    Args:
        lines: metadata, which becomes the archive's extra file `metadata.json`.
    """
    # A private attribute: torch offers no way to save a program without them.
    examples, program._example_inputs = program._example_inputs, None
    # Into memory first: on a full disk torch's own writer ends the process.
    written = io.BytesIO()
    with _quiet():
        torch.export.save(program, written, extra_files={PT2_FILE: json.dumps(lines or {}, ensure_ascii=False)})
    program._example_inputs = examples
    path.write_bytes(written.getvalue())


def load(path: Path) -> Run:
    with _quiet():
        return torch.export.load(path).module()


def pt2_lines(path: Path) -> dict[str, str]:
    """The metadata of a `.pt2` file; empty where an earlier version wrote it."""
    extra = {PT2_FILE: ""}
    with _quiet():
        torch.export.load(path, extra_files=extra)
    return json.loads(extra[PT2_FILE] or "{}")


def save_onnx(module: nn.Module, program: torch.export.ExportedProgram, pixels: Tensor, path: Path) -> None:
    """From the program; where that fails, as torch 2.6 does beside newer `onnxscript`, from the module by torch's older exporter.

    Raises `OnnxExporterError` where both fail.
    """
    with _quiet():
        try:
            exported = torch.onnx.export(program, dynamo=True, **_NAMES)
            # None only for the exporter that is not asked here.
            assert exported is not None
            path.write_bytes(exported.model_proto.SerializeToString())
        except torch.onnx.OnnxExporterError:
            save_onnx_from_module(module, pixels, path)


def save_onnx_from_module(module: nn.Module, pixels: Tensor, path: Path) -> None:
    """By torch's older exporter, in a thirtieth of the time of `save_onnx`; ONNX Runtime runs both files equally fast."""
    batch = {name: {0: "batch"} for name in ("pixels", "logits")}
    written = io.BytesIO()
    with _quiet():
        # Its annotation names paths alone; the older exporter takes a file as well.
        into: Any = written
        torch.onnx.export(module, (pixels,), into, dynamo=False, dynamic_axes=batch, **_NAMES)
    path.write_bytes(written.getvalue())


def complete_onnx(path: Path, about: About, *, uint8: bool) -> None:
    """Add metadata to an ONNX file, and what refuses wrong pixels: their scale, or with `uint8` images of any size as input."""
    # Not above: the extra `onnx` may be lacking.
    import onnx

    from nas.export import onnx_graph

    model, lines = onnx.load(path), about.lines
    if uint8 and about.reading is not None:
        model, lines = (
            onnx_graph.from_images(model, about.input_shape[0], about.reading.sizes),
            lines | {"input": about.input_uint8},
        )
    elif about.reading is not None:
        model = onnx_graph.refusing_other_scales(model)
    model = onnx_graph.described(model, lines)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def onnx_runtime() -> ModuleType:
    """The package `onnxruntime`, kept from reporting to its maker what networks it loads, as its official builds do from 1.29 on.

    Somebody who wants these reports sets ORT_DISABLE_TELEMETRY=0.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # It is read once, while the package is imported.
    import onnxruntime

    return onnxruntime


def load_onnx(path: Path) -> Run:
    """Of the form that takes images of any size, what follows their resizing: that agrees with Pillow to a level, not exactly."""
    import onnx
    from onnx.utils import Extractor

    model = onnx.load(path)
    taken = model.graph.input[0].name
    if taken != "pixels":
        taken = "prepared"
        model = Extractor(model).extract_model([taken], ["logits"])
    session = onnx_runtime().InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda pixels: torch.from_numpy(session.run(["logits"], {taken: pixels.numpy()})[0])


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
