"""The export of a network: a Python file, its weights, a `torch.export` program, an ONNX file; each read back and compared."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch
from torch import Tensor, nn

from nas.export import classify_onnx_source, ensemble, loader, source
from nas.export.classify_source import Reading
from nas.export.ensemble import Ensemble
from nas.export.loader import SPACE_SOURCE
from nas.export.metadata import About
from nas.export.read_back import NO_ONNX, ExportedFile, LeftOut, has_onnx, write_and_compare
from nas.export.source import WEIGHTS
from search_spaces import Space, Task, UserError
from search_spaces._files import atomic_folder

_FILES_OF = ("folder", "npz")
"""Kinds of tasks whose names are paths."""
CLASSIFY_ONNX = "classify_onnx.py"
FILES = ("network.py", WEIGHTS, "network.pt2", "network.onnx", CLASSIFY_ONNX)


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
    mirror: bool = False,
    deep: tuple[int, int] | None = None,
    read_at: tuple[int, int] | None = None,
    onnx: bool | None = None,
    onnx_input: str = "float32",
    force: bool = False,
) -> Export:
    """Write the network of `arch` `[D]` into `folder`, all at once; a program that fails is left out and the result says why.

    Args:
        arch: one architecture, or those of an ensemble `[M, D]`.
        state_dict: the weights of `build(space, arch, task)`; None: the initial ones.
        mean, std: float32 `[C]` of pixels / 255, which the network then applies itself; None: it takes normalized pixels.
        class_names: of the classes in their order; empty: their numbers.
        mirror: the logits are the mean over the image and its mirror image.
        deep: black and white of image files with more than 8 bits a channel; None: it was trained on none.
        read_at: height and width that the dataset was read at, where the network takes smaller images.
        onnx: whether to write ONNX too; None: where the packages are installed.
        onnx_input: what the ONNX file takes: `float32` pixels / 255, or `uint8` images of any size.
        force: replace an earlier export in `folder`.

    Raises `UserError` for a folder that is taken, weights that do not fit, ONNX asked for without its packages, and a Python
    file that gives other logits than the network.
    """
    refuse_taken(folder, force, (*FILES, SPACE_SOURCE))
    task = with_public_name(task)
    if onnx_input not in ("float32", "uint8"):
        raise UserError(f"onnx_input is '{onnx_input}'; it takes float32 or uint8.")
    if onnx_input == "uint8" and (mean is None or onnx is False):
        why = "no ONNX file is asked for" if onnx is False else "an untrained network does not know how to normalize"
        raise UserError(f"--onnx-input is uint8, and {why}; leave it out.")
    about = describe(space, arch, task, mean, std, class_names, mirror, deep, read_at)
    network = build(space, arch, task, state_dict)
    if onnx and not has_onnx():
        raise UserError(f"No ONNX file: {NO_ONNX}; or say --no-onnx.")
    with atomic_folder(folder) as partial:
        own = write_source(partial, space, arch, task, network, about)
        written, left_out = write_and_compare(
            partial, network, own, about, onnx=onnx is not False, uint8=onnx_input == "uint8"
        )
        if about.reading is not None and (partial / "network.onnx").exists():
            (partial / CLASSIFY_ONNX).write_text(classify_onnx_source.write(), encoding="utf-8")
    return Export(folder, written, sum(p.numel() for p in network.parameters()), state_dict is not None, left_out)


_CONSTRAINTS = r"(\+[^+]*<=[^+]*)+$"
"""At the end of a task's name; a bound may name a table's column, with slashes."""


def with_public_name(task: Task) -> Task:
    """The task by a name that says where nobody keeps their files: `folder:photos` for `folder:/data/me/photos`."""
    constraints = re.search(_CONSTRAINTS, task.name)
    plain, bounds = (task.name, "") if constraints is None else (task.name[: constraints.start()], constraints.group())
    kind, colon, where = plain.partition(":")
    parts = where.replace("\\", "/").rstrip("/").split("/")
    return dataclasses.replace(task, name=f"{kind}:{parts[-1]}{bounds}") if colon and kind in _FILES_OF else task


def describe(
    space: Space,
    arch: Tensor,
    task: Task,
    mean: Tensor | None,
    std: Tensor | None,
    class_names: tuple[str, ...],
    mirror: bool,
    deep: tuple[int, int] | None = None,
    read_at: tuple[int, int] | None = None,
) -> About:
    """What the files say about the network; the arguments are those of `export`."""
    names = class_names or tuple(map(str, range(task.num_classes)))
    reading = None if mean is None else Reading(names, task.input_shape, deep, read_at)
    return About(ensemble.describe(space, arch), space.name, task.name, task.input_shape, mean, std, reading, mirror)


def write_source(
    folder: Path, space: Space, arch: Tensor, task: Task, network: nn.Module, about: About, weights: str = WEIGHTS
) -> nn.Module | None:
    """Write `network.py` and its weights; what its programs are traced from, None for the module of the Python file."""
    own = None
    if source.members(network) is not None:
        state = source.weights(network, about.mean, about.std)
        text = source.write(network, task, about.arch, about.reading, about.mirror, weights)
    else:  # A space of somebody's own: its network has no source that we could write.
        own = loader.of_module(network, about.mean, about.std, about.mirror)
        state, text = own.state_dict(), loader.write_loader(task, space, arch, about.reading)
        loader.copy_source(space, folder)
    (folder / "network.py").write_text(text, encoding="utf-8")
    (folder / weights).write_bytes(safetensors.torch.save(state, {"format": "pt"} | about.lines))
    return own


def refuse_taken(folder: Path, force: bool, ours: tuple[str, ...]) -> None:
    """Raise `UserError` for a folder that holds other files than an export's, named `ours`, or an export that is not to go."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f"'{folder}' is a file; an export takes a folder.")
    there = sorted(f.name for f in folder.iterdir())
    # Only what an export wrote may be replaced: --force on the wrong folder must not delete it.
    unknown = [name for name in there if name not in ours]
    if unknown:
        raise UserError(f"Folder '{folder}' holds '{unknown[0]}', which is of no export; choose another with --to.")
    if there and not force:
        raise UserError(f"Folder '{folder}' holds an export already; --force replaces it, --to takes another.")


def build(space: Space, arch: Tensor, task: Task, state_dict: dict[str, Tensor] | None) -> nn.Module:
    """The network on the CPU, in evaluation; of several architectures `[M, D]` their ensemble.

    Raises `UserError` for weights that do not fit.
    """
    with torch.random.fork_rng(devices=[]):
        # Without weights the network begins the same each time; the caller's generator stays as it is.
        torch.manual_seed(0)
        network = space.build(arch, task) if arch.dim() == 1 else Ensemble([space.build(one, task) for one in arch])
    if state_dict is not None:
        try:
            network.load_state_dict(state_dict)
        except RuntimeError as error:
            raise UserError(
                f"The weights do not fit '{ensemble.describe(space, arch)}': {str(error).splitlines()[-1]}"
            ) from None
    return network.cpu().float().eval()
