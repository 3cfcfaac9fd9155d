"""What a network computes, as text: two networks of one text compute the same for the same weights.

The text is of the operations that `torch.fx` records, not of the module's layout, so that a layer that hands its input on leaves
no trace.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_arg

from search_spaces._base import UserError

_IDEMPOTENT = (nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.Flatten)
"""Layers of which two in a row are one."""
_IDEMPOTENT_FUNCTIONS = (torch.relu, nn.functional.relu)


def text(network: nn.Module) -> str | None:
    """The structure of a network; None for one whose `forward` depends on values, which cannot be recorded."""
    try:
        traced = fx.symbolic_trace(network)
    except Exception:  # The user's own code may do anything with the stand-ins that it is traced by.
        return None
    traced.graph.eliminate_dead_code()
    modules: dict[str, nn.Module] = {}
    modules.update(traced.named_modules())
    numbers, lines = {}, []
    shared: dict[int, int] = {}
    """A number for each layer and parameter: one that is used twice is not two that look alike."""
    aliases: dict[fx.Node, fx.Node] = {}
    for node in traced.graph.nodes:
        source = _same_as(node, modules, aliases)
        if source is not None:
            aliases[node] = source
            continue
        numbers[node] = len(numbers)
        arguments = map_arg((node.args, node.kwargs), lambda n: f"%{numbers[aliases.get(n, n)]}")
        lines.append(f"{node.op} {_what(node, modules, traced, shared)} {arguments}")
    return "\n".join(lines)


def _same_as(node: fx.Node, modules: dict[str, nn.Module], aliases: dict[fx.Node, fx.Node]) -> fx.Node | None:
    """The node whose value this one hands on; None where it does something."""
    if node.op not in ("call_module", "call_function") or not node.args or not isinstance(node.args[0], fx.Node):
        return None
    source = aliases.get(node.args[0], node.args[0])
    if node.op == "call_function":
        again = node.target in _IDEMPOTENT_FUNCTIONS and source.op == "call_function" and source.target == node.target
        return source if again else None
    module = modules[str(node.target)]
    if isinstance(module, nn.Identity):
        return source
    before = modules.get(str(source.target)) if source.op == "call_module" else None
    if isinstance(module, _IDEMPOTENT) and type(before) is type(module) and repr(before) == repr(module):
        return source
    return None


def _what(node: fx.Node, modules: dict[str, nn.Module], traced: fx.GraphModule, shared: dict[int, int]) -> str:
    def number(value: object) -> int:
        return shared.setdefault(id(value), len(shared))

    if node.op == "call_module":
        module = modules[str(node.target)]
        # Without weights two layers that look alike are one.
        return f"{module!r} {number(module) if any(True for _ in module.parameters()) else ''}"
    if node.op == "get_attr":
        value: Any = operator.attrgetter(str(node.target))(traced)
        # A parameter is trained: its shape says all. A buffer keeps its values.
        constant = isinstance(value, Tensor) and not isinstance(value, nn.Parameter)
        if not isinstance(value, Tensor):
            return repr(value)
        return f"{tuple(value.shape)} {value.tolist() if constant else number(value)}"
    return node.op if node.op in ("placeholder", "output") else str(node.target)


def groups(texts: list[str | None]) -> list[int]:
    """For each text the place of the first that is the same; one without a text is alone."""
    first: dict[str, int] = {}
    return [at if text is None else first.setdefault(text, at) for at, text in enumerate(texts)]


def refuse_large(name: str, size: int, most: int) -> None:
    """Raises `UserError` for a space of which not every network can be built to compare it."""
    if size > most:
        raise UserError(
            f"Space '{name}' has {size:,} architectures; merge_equivalents builds each, and takes up to {most:,}. Leave it out, "
            "or override `canonical`."
        )
