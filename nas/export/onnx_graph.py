"""What is added to an ONNX file: its metadata, an error for pixels on another scale, and images of any size as input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnx.parser
from onnx import TensorProto, compose, helper, numpy_helper

from nas.export.metadata import HIGHEST, LOWEST

_RESIZE = 'Resize <mode = "linear", antialias = 1, exclude_outside = 1>'
"""On uint8 it averages in whole numbers as Pillow does: they differ by one of 255 levels at most."""


def described(model: onnx.ModelProto, lines: dict[str, str]) -> onnx.ModelProto:
    """The model with these metadata, in place of what it had."""
    del model.metadata_props[:]
    helper.set_model_props(model, lines)
    return model


def refusing_other_scales(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model, which now fails where a pixel is not between `LOWEST` and `HIGHEST`.

    ONNX has no operator that raises. An index beyond the end of a tensor is an error of ONNX Runtime on a CPU, which names the
    node; other runtimes may answer with the wrong logits as before.
    """
    graph = model.graph
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.array(LOWEST, np.float32), "lowest"),
            numpy_helper.from_array(np.array(HIGHEST, np.float32), "highest"),
            numpy_helper.from_array(np.zeros(1, np.float32), "nothing"),
        ]
    )
    name = "the network takes pixels / 255, from 0 to 1"
    added = [
        helper.make_node("ReduceMin", ["pixels"], ["least"], keepdims=0),
        helper.make_node("ReduceMax", ["pixels"], ["most"], keepdims=0),
        helper.make_node("Less", ["least", "lowest"], ["too_low"]),
        helper.make_node("Greater", ["most", "highest"], ["too_high"]),
        helper.make_node("Or", ["too_low", "too_high"], ["refused"]),
        helper.make_node("Cast", ["refused"], ["beyond"], to=TensorProto.INT64),
        helper.make_node("Gather", ["nothing", "beyond"], ["zero"], name=name),
        helper.make_node("Add", ["own_logits", "zero"], ["logits"]),
    ]
    for node in graph.node:
        node.output[:] = ["own_logits" if output == "logits" else output for output in node.output]
        node.input[:] = ["own_logits" if given == "logits" else given for given in node.input]
    graph.node.extend(added)
    return model


def from_images(model: onnx.ModelProto, channels: int, sizes: Sequence[tuple[int, int]]) -> onnx.ModelProto:
    """The model with the input `images` uint8 `[N, height, width, C]` of any size, in place of `pixels`.

    Args:
        sizes: height and width that an image is scaled and cut to, step by step; the last are those of `pixels`.
    """
    (height, width), (last_height, last_width) = sizes[0], sizes[-1]
    (opset,) = (each.version for each in model.opset_import if not each.domain)
    # Integer division rounds down, as `nas.image_reading.middle` does.
    text = f"""
    <ir_version: {model.ir_version}, opset_import: ["" : {opset}]>
    preparation (uint8[batch, height, width, {channels}] images)
    => (float[batch, {channels}, {last_height}, {last_width}] prepared)
    <int64[2] target = {{{height}, {width}}}, int64[2] half = {{2, 2}}, int64[2] rows_columns = {{2, 3}},
     int64[2] last = {{{last_height}, {last_width}}}, float white = {{255.0}}>
    {{
      first = Transpose <perm = [0, 3, 1, 2]> (images)
      size = Shape <start = 2, end = 4> (first)
      front = Shape <start = 0, end = 2> (first)
      height_only, width_only = Split <axis = 0, num_outputs = 2> (size)
      target_height, target_width = Split <axis = 0, num_outputs = 2> (target)
      by_height_width = Mul (width_only, target_height)
      by_height = Div (by_height_width, height_only)
      by_width_height = Mul (height_only, target_width)
      by_width = Div (by_width_height, width_only)
      scaled_height = Max (by_width, target_height)
      scaled_width = Max (by_height, target_width)
      scaled_size = Concat <axis = 0> (scaled_height, scaled_width)
      sizes = Concat <axis = 0> (front, scaled_size)
      scaled = {_RESIZE} (first, , , sizes)
      surplus = Sub (scaled_size, target)
      start = Div (surplus, half)
      end = Add (start, target)
      middle = Slice (scaled, start, end, rows_columns)
      last_sizes = Concat <axis = 0> (front, last)
      ready = {f"{_RESIZE} (middle, , , last_sizes)" if len(sizes) > 1 else "Identity (middle)"}
      levels = Cast <to = 1> (ready)
      prepared = Div (levels, white)
    }}"""
    preparation = onnx.parser.parse_model(text)
    model.graph.ClearField("value_info")
    return compose.merge_models(preparation, model, [("prepared", "pixels")])
