"""A network leaves: a Python file, its weights, a `torch.export` program, an ONNX file; each read back and compared."""

from __future__ import annotations

import importlib.util
import inspect
import json
import shutil
import statistics
import tempfile
import time
import types
from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch
from torch import Tensor, nn

from nas.export import formats, source
from search_spaces import Space, Task, UserError, _noise
from search_spaces._cells import CellNetwork

TOLERANCE = 1e-4
"""The largest difference of logits between the network and what is read back."""
FILES = ("network.py", "network.safetensors", "network.pt2", "network.onnx")
OF_A_USERS_SPACE = "space.py"
"""Beside them, the source of a space that is not ours."""
_LACKING = "it takes packages that are not installed: pip install 'metacell[onnx]'"
_REPEATS = 30
_COMPARED = 5
"""Pictures compared; not the batch the programs were traced with, so that the batch is shown to be free."""


class ExportedFile(NamedTuple):
    """One file of an export."""

    file: str
    difference: float
    """The largest of |logit read back - logit of the network| on random pictures."""
    milliseconds: float
    """Median time of one picture on this machine."""


class Export(NamedTuple):
    """What an export left in `folder`."""

    folder: Path
    files: tuple[ExportedFile, ...]
    parameters: int
    trained: bool
    no_onnx: str = ""
    """Why there is no ONNX file although one was wanted; else empty."""


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
    """Write the network of `arch` `[D]` into `folder`, all or nothing.

    Args:
        state_dict: the weights of `space.build(arch, task)`; None leaves them as they begin.
        mean, std: float32 `[C]` of pixels / 255, which the network then applies itself; None: it takes normalised pixels.
        onnx: whether to write ONNX too; None: where the packages are installed.
        force: replace an earlier export in `folder`.

    Raises `UserError` for a folder that is taken, weights that do not fit, and a file that gives other logits than the network.
    """
    _refuse_taken(folder, force)
    network = _build(space, arch, task, state_dict)
    if onnx and not has_onnx():
        raise UserError(f"No ONNX file: {_LACKING}; or say --no-onnx.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        partial.chmod(0o755)
        own = source.of_module(network, mean, std) if not isinstance(network, CellNetwork) else None
        if isinstance(network, CellNetwork):
            weights = source.weights(network, mean, std)
            text = source.write(network, task, space.describe(arch), class_names, mean is not None)
        else:  # A space of somebody's own: its network has no source that we could write.
            assert own is not None
            weights, text = own.state_dict(), source.write_loader(task, space, arch, class_names, mean is not None)
            _copy_source(space, partial)
        about = {"format": "pt", "arch": space.describe(arch), "space": space.name, "task": task.name}
        about |= {"class_names": json.dumps(class_names), "input_shape": json.dumps(task.input_shape)}
        (partial / "network.py").write_text(text)
        (partial / "network.safetensors").write_bytes(safetensors.torch.save(weights, about))
        written, no_onnx = _compared(partial, network, own, task, mean, std, onnx is not False)
        if onnx and no_onnx:
            raise UserError(f"No ONNX file: {no_onnx}; say --no-onnx.")
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Export(folder, written, sum(p.numel() for p in network.parameters()), state_dict is not None, no_onnx)


def has_onnx() -> bool:
    """Whether the packages of the `onnx` extra are there."""
    return all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))


def _refuse_taken(folder: Path, force: bool) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f"'{folder}' is a file; an export takes a folder.")
    there = sorted(f.name for f in folder.iterdir())
    strange = [name for name in there if name not in (*FILES, OF_A_USERS_SPACE)]
    if strange:
        raise UserError(f"Folder '{folder}' holds '{strange[0]}', which is of no export; choose another with --to.")
    if there and not force:
        raise UserError(f"Folder '{folder}' holds an export already; --force replaces it, --to takes another.")


def _copy_source(space: Space, folder: Path) -> None:
    """The file that defines the space of somebody's own, beside the network, for whoever reads it later; nothing imports it."""
    file = inspect.getsourcefile(type(space))
    if file is not None:
        shutil.copyfile(file, folder / OF_A_USERS_SPACE)


def _build(space: Space, arch: Tensor, task: Task, state_dict: dict[str, Tensor] | None) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = space.build(arch, task)
    if state_dict is not None:
        try:
            network.load_state_dict(state_dict)
        except RuntimeError as error:
            raise UserError(f"The weights do not fit '{space.describe(arch)}': {str(error).splitlines()[-1]}") from None
    return network.cpu().float().eval()


def _compared(
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
    pixels = _noise.uniform(torch.tensor([0]), 0, _COMPARED, *task.input_shape)[0]
    normalised = pixels if mean is None or std is None else (pixels - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)
    with torch.no_grad():
        expected = network(normalised)
    module = load_python(folder) if own is None else own
    try:
        program = formats.trace(module, pixels[:2])
    except Exception as error:  # Networks of users' spaces do what they like, and torch raises what it likes at that.
        reason = (str(error).strip() or type(error).__name__).partition("\n")[0]
        raise UserError(
            f"torch.export cannot trace {type(network).__name__}, the network that `build` gave: {reason}"
        ) from None
    formats.save(program, folder / "network.pt2")
    module = load_python(folder)
    runs: dict[str, formats.Run] = {"network.py": module, "network.pt2": formats.load(folder / "network.pt2")}
    no_onnx = _LACKING if onnx and not has_onnx() else ""
    if onnx and not no_onnx:
        try:
            formats.save_onnx(own or module, program, pixels[:2], folder / "network.onnx")
            runs["network.onnx"] = formats.load_onnx(folder / "network.onnx")
        except (
            Exception
        ) as error:  # Whatever exporters and runtimes of other makers do not agree on: the other files are whole.
            (folder / "network.onnx").unlink(missing_ok=True)
            no_onnx = f"torch {torch.__version__} cannot write it ({str(error).strip().partition(chr(10))[0]})"
    return tuple(_measure(name, run, pixels, expected) for name, run in runs.items()), no_onnx


def _measure(name: str, run: formats.Run, pixels: Tensor, expected: Tensor) -> ExportedFile:
    with torch.no_grad():
        difference = (run(pixels) - expected).abs().max().item()
        if not difference <= TOLERANCE:
            raise UserError(
                f"{name} gives logits {difference:.1e} away from the network's; at most {TOLERANCE:.0e} may be."
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
    exec(compile(path.read_text(), path, "exec"), module.__dict__)
    return module.load(folder / "network.safetensors")
