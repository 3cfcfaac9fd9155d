"""The export of a network: a Python file, its weights, a `torch.export` program, an ONNX file; each read back and compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch
from torch import Tensor, nn

from nas.export import loader, source
from nas.export.loader import SPACE_SOURCE
from nas.export.read_back import NO_ONNX, ExportedFile, LeftOut, has_onnx, write_and_compare
from search_spaces import Space, Task, UserError
from search_spaces._cells import CellNetwork
from search_spaces._files import atomic_folder

FILES = ("network.py", "network.safetensors", "network.pt2", "network.onnx")


class Export(NamedTuple):
    """The result of an export into `folder`."""

    folder: Path
    files: tuple[ExportedFile, ...]
    parameters: int
    trained: bool
    left_out: tuple[LeftOut, ...] = ()
    """Files that could not be written or gave other logits, and why."""


def export(
    space: Space,
    arch: Tensor,
    task: Task,
    state_dict: dict[str, Tensor] | None,
    folder: Path,
    *,
    mean: Tensor | None = None,
    std: Tensor | None = None,
    class_names: tuple[str, ...] = (),
    onnx: bool | None = None,
    force: bool = False,
) -> Export:
    """Write the network of `arch` `[D]` into `folder`, all at once; a program that fails is left out and the result says why.

    Args:
        state_dict: the weights of `space.build(arch, task)`; None: the initial ones.
        mean, std: float32 `[C]` of pixels / 255, which the network then applies itself; None: it takes normalised pixels.
        onnx: whether to write ONNX too; None: where the packages are installed.
        force: replace an earlier export in `folder`.

    Raises `UserError` for a folder that is taken, weights that do not fit, ONNX asked for without its packages, and a Python
    file that gives other logits than the network.
    """
    _refuse_taken(folder, force)
    network = _build(space, arch, task, state_dict)
    if onnx and not has_onnx():
        raise UserError(f"No ONNX file: {NO_ONNX}; or say --no-onnx.")
    with atomic_folder(folder) as partial:
        own = loader.of_module(network, mean, std) if not isinstance(network, CellNetwork) else None
        if isinstance(network, CellNetwork):
            weights = source.weights(network, mean, std)
            text = source.write(network, task, space.describe(arch), class_names, mean is not None)
        else:  # A space of somebody's own: its network has no source that we could write.
            assert own is not None
            weights, text = own.state_dict(), loader.write_loader(task, space, arch, class_names, mean is not None)
            loader.copy_source(space, partial)
        about = {"format": "pt", "arch": space.describe(arch), "space": space.name, "task": task.name}
        about |= {"class_names": json.dumps(class_names), "input_shape": json.dumps(task.input_shape)}
        (partial / "network.py").write_text(text, encoding="utf-8")
        (partial / "network.safetensors").write_bytes(safetensors.torch.save(weights, about))
        written, left_out = write_and_compare(partial, network, own, task, mean, std, onnx is not False)
    return Export(folder, written, sum(p.numel() for p in network.parameters()), state_dict is not None, left_out)


def _refuse_taken(folder: Path, force: bool) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f"'{folder}' is a file; an export takes a folder.")
    there = sorted(f.name for f in folder.iterdir())
    # Only what an export wrote may be replaced: --force on the wrong folder must not delete it.
    unknown = [name for name in there if name not in (*FILES, SPACE_SOURCE)]
    if unknown:
        raise UserError(f"Folder '{folder}' holds '{unknown[0]}', which is of no export; choose another with --to.")
    if there and not force:
        raise UserError(f"Folder '{folder}' holds an export already; --force replaces it, --to takes another.")


def _build(space: Space, arch: Tensor, task: Task, state_dict: dict[str, Tensor] | None) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        # Without weights the network begins the same each time; the caller's generator stays as it is.
        torch.manual_seed(0)
        network = space.build(arch, task)
    if state_dict is not None:
        try:
            network.load_state_dict(state_dict)
        except RuntimeError as error:
            raise UserError(f"The weights do not fit '{space.describe(arch)}': {str(error).splitlines()[-1]}") from None
    return network.cpu().float().eval()
