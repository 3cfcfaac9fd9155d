"""A trained learner as files: its embedding as a program that needs only torch, and what `nas few-shot classify` reads."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from nas.export import formats
from nas.export.loader import of_module
from nas.few_shot import learner as learners
from nas.few_shot import run
from nas.few_shot.backbone import Params
from nas.few_shot.learner import Learner
from nas.few_shot.run import Config, Setup
from search_spaces import UserError
from search_spaces._files import atomic_folder, refuse_unreadable

WEIGHTS = "learner.safetensors"
_PROGRAM = "embedding.pt2"
_FORMAT = "nas-few-shot-export/1"
_MEAN, _STD = "pixels.mean", "pixels.std"

_SOURCE = '''"""An embedding trained by metacell for few-shot learning ({learner}), as a torch.export program. Needs only torch.

It takes pixels / 255, float32 [N, {shape}], and gives embeddings [N, ...]: images of one class lie near each other.

    network = load()
    embeddings = network(images)
"""

from pathlib import Path

import torch
from torch import nn


def load(path: str | Path | None = None) -> nn.Module:
    """The embedding, ready to be used; its program lies beside `path`, by default beside this file."""
    return torch.export.load(Path(path or __file__).with_name("{program}")).module()
'''


class Exported(NamedTuple):
    """What an export's folder holds."""

    config: Config
    learner: Learner
    params: Params
    mean: Tensor
    """float32 `[C]` of pixels / 255, as the next."""
    std: Tensor
    inverted: bool
    """Whether pixels are 255 minus those of the image files."""
    deep: tuple[int, int] | None
    """Black and white of image files with more than 8 bits a channel; None: training had none."""


def write(folder: Path, setup: Setup, params: Params) -> None:
    """Write an export into `folder`, all at once."""
    shape, source = setup.learner.problem.backbone.input_shape, setup.source
    mean, std = source.mean, source.std
    if source.data.inverted:  # The program takes pixels as they are in files: ((1 - x) - mean) / std.
        mean, std = 1 - mean, -std
    module = of_module(_module(setup.learner, params), mean, std)
    # Two images and not one: torch takes a batch of one as a constant.
    program = formats.trace(module, torch.rand(2, *shape, generator=torch.Generator().manual_seed(0)))
    about = {
        "format": _FORMAT,
        # Not where somebody's data lie.
        "config": json.dumps(dataclasses.asdict(dataclasses.replace(setup.config, data=Path(setup.config.data).name))),
        "input_shape": json.dumps(shape),
        "classes": json.dumps(setup.learner.problem.classes),
        "inverted": json.dumps(source.data.inverted),
        "deep": json.dumps(source.data.deep),
    }
    tensors = params | {_MEAN: source.mean, _STD: source.std}
    whole = {name: t.detach().clone().contiguous() for name, t in tensors.items()}
    text = _SOURCE.format(learner=setup.config.learner, shape=", ".join(map(str, shape)), program=_PROGRAM)
    with atomic_folder(folder) as partial:
        (partial / WEIGHTS).write_bytes(safetensors.torch.save(whole, about))
        (partial / "network.py").write_text(text, encoding="utf-8")
        formats.save(program, partial / _PROGRAM)


def _module(learner: Learner, params: Params) -> nn.Module:
    network = learner.embedding
    module = network.fresh()
    module.load_state_dict(learners.embedding_params(network, params), strict=False)
    # With statistics of the batch, both modes are one; the program of evaluation has no averages to update.
    return module.eval()


def read(folder: Path) -> Exported:
    """The learner of an export, or of a run that holds one. Raises `UserError` for a folder that holds none."""
    inner = folder if (folder / WEIGHTS).is_file() else folder / "export"
    path = inner / WEIGHTS
    if not path.is_file():
        raise UserError(
            f"'{folder}' is no export of few-shot learning: it has no {WEIGHTS}. `nas few-shot` writes one, and so does "
            "`nas export RUN --to DIR` of a search with --task few_shot:DATA."
        )
    refuse_unreadable(path)
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
        tensors = safetensors.torch.load_file(path)
        config = run.as_read(Config(**json.loads(about["config"])))
        shape, num_classes = json.loads(about["input_shape"]), json.loads(about["classes"])
        mean, std = tensors.pop(_MEAN), tensors.pop(_STD)
        inverted, deep = json.loads(about["inverted"]), json.loads(about["deep"])
    except (SafetensorError, KeyError, ValueError, TypeError, OSError) as error:
        raise UserError(f"'{path}' is damaged ({str(error).partition(chr(10))[0]}); export it anew.") from None
    learner = run.make_learner(config, tuple(shape), num_classes)
    return Exported(config, learner, tensors, mean, std, inverted, None if deep is None else (deep[0], deep[1]))
