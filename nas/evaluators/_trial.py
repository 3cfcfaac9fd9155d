"""A space of somebody's own is tried before a run of it is made: what cannot be searched is said in a line, and no run left."""

from __future__ import annotations

import torch
from torch import Tensor

from search_spaces import Space, Task, UserError, _noise, _sampling

_OURS = "search_spaces"
_ARCHS = 4
"""Where one of so many runs, the space can be searched: evaluations of those that do not run fail."""
_IMAGES = 2
"""Fewer, and batch normalization refuses features of one pixel."""


def refuse_broken(space: Space, task: Task) -> None:
    """Raises `UserError` for a space without a choice, and for one whose code fails at each of some architectures.

    Spaces of ours are tested elsewhere.
    """
    if type(space).__module__.partition(".")[0] == _OURS:
        return
    if not isinstance(space.name, str) or not space.name.isprintable() or not space.name:
        raise UserError(f"The name of space {type(space).__name__} is {space.name!r}; it takes a text of one line.")
    if all(count < 2 for count in space.choices):
        raise UserError(f"Space '{space.name}' has no decision with two options; there is nothing to search.")
    try:
        archs = _sampling.sample(space, torch.tensor([0]), 0, _ARCHS)[0]
        canonical = space.canonical(archs)
        valid = bool(space.valid(canonical).all())
    except UserError:
        raise
    except Exception as error:  # Somebody's code may raise anything.
        raise _failing(space, error) from None
    if not valid:
        raise UserError(f"{_subject(space)} has no valid `canonical` of {archs.tolist()}: {canonical.tolist()}.")
    _refuse_chance(space, archs, task)
    errors: list[UserError] = []
    for arch in archs:
        try:
            return _run(space, arch, task)
        except UserError as error:
            errors.append(error)
        except Exception as error:
            errors.append(_failing(space, error))
    raise errors[0]


def _run(space: Space, arch: Tensor, task: Task) -> None:
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        network = space.build(arch, task)
        if not isinstance(network, torch.nn.Module):
            raise UserError(f"{_subject(space)} builds no torch.nn.Module, but {network!r:.80}.")
        logits = network(_noise.uniform(torch.tensor([0]), 0, _IMAGES, *task.input_shape)[0])
    shape = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if shape != [_IMAGES, task.num_classes]:
        takes = f"[{_IMAGES}, {task.num_classes}], a logit a class of each image"
        raise UserError(f"{_subject(space)} gives {shape} for {_IMAGES} images; it takes {takes}.")
    if not logits.requires_grad:
        raise UserError(f"{_subject(space)} builds a network without a weight that learns.")
    if not bool(logits.isfinite().all()):
        raise UserError(f"{_subject(space)} builds a network whose logits are not finite.")


def _refuse_chance(space: Space, archs: Tensor, task: Task) -> None:
    """Raises `UserError` where an architecture is built with other weights each time: none could be stored and read back."""
    for arch in archs:
        try:
            with torch.random.fork_rng(devices=[]):
                one, two = (
                    {name: tensor.shape for name, tensor in space.build(arch, task).state_dict().items()}
                    for _ in range(2)
                )
        except Exception:  # What cannot be built is said when it is run; lazy layers have no shapes yet.
            continue
        if one != two:
            raise UserError(f"{_subject(space)} builds '{space.describe(arch)}' with other weights each time.")


def _failing(space: Space, error: Exception) -> UserError:
    what = " ".join(f"{type(error).__name__}: {error}".split())[:200].rstrip(" :")
    return UserError(f"{_subject(space)} fails with {what}. `nas check` says where.")


def _subject(space: Space) -> str:
    return f"Space '{space.name}' cannot be searched: it"
