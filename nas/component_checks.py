"""Spaces and evaluators of other people, looked at before they are used: one line says what of them is of another form.

`nas check` asks for more. What a controller and an evaluator hand over during a search is checked by
`controller.candidates.checks`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from controller.candidates import checks
from nas import outside_code
from search_spaces import Task, UserError, _sampling

_checked: set[type] = set()


def refuse_wrong_space(component: type, name: str) -> None:
    """Raises `UserError` for a space whose names, choices, texts or canonical architectures no search could use.

    A class is looked at once in a process.
    """
    if component in _checked:
        return
    space = component()

    def fail(what: str) -> UserError:
        return UserError(f"Space '{name}': {what}. `nas check {name}` says what a space needs.")

    if component.__hash__ is None:
        raise fail("it cannot be hashed; write it as @dataclass(frozen=True)")
    for attribute, rule in (("name", _one_line), ("choices", _numbers), ("decisions", _texts), ("operations", _names)):
        try:
            value = getattr(space, attribute)
        except AttributeError as error:
            if outside_code.place_of(error) is not None:
                raise
            raise fail(f"it has no '{attribute}'") from None
        if (wrong := rule(value)) is not None:
            raise fail(f"'{attribute}' is {value!r:.80}; {wrong}")
    counts = tuple(map(len, space.operations))
    if len(space.decisions) != len(space.choices) or counts != space.choices:
        raise fail(f"'choices' is {space.choices}, of {len(space.decisions)} decisions with {counts} operations")
    _refuse_wrong_rows(space, fail)
    _checked.add(component)


def _refuse_wrong_rows(space: Any, fail: Any) -> None:
    D = len(space.choices)
    rows = torch.zeros(2, D, dtype=torch.long)
    if (wrong := _other_tensor(space.valid(rows), torch.bool, (2,))) is not None:
        raise fail(f"valid of archs [2, {D}] gives {wrong}; it takes bool [2]")
    archs = _sampling.sample(space, torch.tensor([0]), 0, 2)[0]
    if (wrong := _other_tensor(space.canonical(archs), torch.long, (2, D))) is not None:
        raise fail(f"canonical of archs [2, {D}] gives {wrong}; it takes int64 [2, {D}]")
    text = space.describe(archs[0])
    if (wrong := _one_line(text)) is not None:
        raise fail(f"describe gives {text!r:.80}; {wrong}")
    read = space.parse(text)
    if (wrong := _other_tensor(read, torch.long, (D,))) is not None:
        raise fail(f"parse of '{text}' gives {wrong}; it takes int64 [{D}]")
    if not torch.equal(read, archs[0]):
        raise fail(f"parse of '{text}' gives {read.tolist()}, and that describes {archs[0].tolist()}")


def refuse_wrong_evaluator(evaluator: Any, name: str) -> None:
    """Raises `UserError` for an evaluator without a space, a task or a length that a search could use."""

    def fail(what: str) -> UserError:
        return UserError(f"Evaluator '{name}': {what}. `nas check {name}` says what an evaluator needs.")

    if evaluator is None:
        raise fail("'of' gives None; it takes the evaluator of a task")
    try:
        space, task, defaults, _ = evaluator.space, evaluator.task, evaluator.defaults, evaluator.training
        text = evaluator.description
    except AttributeError as error:
        if outside_code.place_of(error) is not None:
            raise
        raise fail(f"it lacks one of space, task, training, defaults, description ({error})") from None
    if not all(hasattr(space, method) for method in ("valid", "canonical", "build", "describe", "parse")):
        raise fail(f"'space' is {space!r:.80}, no search space")
    if not isinstance(task, Task) or _one_line(task.name) is not None:
        raise fail(f"'task' is {getattr(task, 'name', task)!r:.80}; it takes a Task with a name of one line")
    if not isinstance(text, str) or _one_line(text) is not None:
        raise fail(f"'description' is {text!r:.80}; it takes a text of one line")
    if not all(isinstance(getattr(defaults, field, None), int) for field in ("budget", "batch")):
        raise fail(f"'defaults' is {defaults!r:.80}; it takes Defaults(budget, batch)")


def refuse_wrong_report(values: Any, archs: Tensor) -> None:
    """Raises `UserError` for a report of `archs` `[..., D]` that is not None and no number an architecture."""
    if values is None:
        return
    shape = tuple(archs.shape[:-1])
    if not isinstance(values, Tensor) or values.shape != shape or not values.is_floating_point():
        raise UserError(
            f"The evaluator reports {checks.named(values)}; it takes a tensor float32 {list(shape)}, or None. `nas check` "
            "tries a component."
        )


def _one_line(value: Any) -> str | None:
    return (
        None
        if isinstance(value, str) and value.strip() and len(value.splitlines()) == 1
        else "it takes a text of one line"
    )


def _numbers(value: Any) -> str | None:
    good = isinstance(value, tuple) and value and all(type(n) is int and n > 0 for n in value)
    return None if good else "it takes a tuple of whole numbers of 1 or more"


def _texts(value: Any) -> str | None:
    good = isinstance(value, tuple) and all(_one_line(text) is None for text in value)
    return None if good else "it takes a tuple of texts of one line"


def _names(value: Any) -> str | None:
    good = isinstance(value, tuple) and all(isinstance(each, tuple) and _texts(each) is None for each in value)
    return None if good else "it takes a tuple of names for each decision, in a tuple"


def _other_tensor(value: Any, dtype: torch.dtype, shape: tuple[int, ...]) -> str | None:
    """What a value is, in words, where it is not a tensor of that form."""
    if isinstance(value, Tensor) and value.dtype == dtype and tuple(value.shape) == shape:
        return None
    return checks.named(value)
