"""Laws of search spaces. A component is a class that is built without arguments."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

from search_spaces import Task, UserError, _ops, _sampling

_TASK = Task("small", (1, 12, 9), 7)


def _some(space: Any, count: int) -> Tensor:
    """Valid architectures `[count, D]` at random."""
    return _sampling.sample(space, torch.tensor([0]), 0, count).squeeze(0)


def builds_without_arguments(component: Any) -> None:
    """It is built without arguments, each field has a default, and it is hashable (`@dataclass(frozen=True)`)."""
    bare = [p.name for p in inspect.signature(component).parameters.values() if p.default is p.empty]
    assert not bare, f"field '{bare[0]}' has no default"
    assert component.__hash__ is not None, "it cannot be hashed; say @dataclass(frozen=True)"


def decisions_are_named(component: Any) -> None:
    """Decisions and their options are named: one name a decision, one an option."""
    space = component()
    D = len(space.choices)
    assert D, "it has no decision"
    assert len(space.decisions) == D, f"{len(space.decisions)} names for {D} decisions"
    assert len(set(space.decisions)) == D, "two decisions have one name"
    counts = tuple(map(len, space.operations))
    assert counts == tuple(space.choices), f"names of {counts} options where choices are {tuple(space.choices)}"


def valid_is_a_bool_a_row(component: Any) -> None:
    """`valid` answers rows of any leading shape; an architecture out of its choices is not valid."""
    space = component()
    archs = _some(space, 6)
    for shape in ((6,), (2, 3), (1, 6, 1)):
        found = space.valid(archs.view(*shape, -1))
        assert found.shape == shape, f"valid of archs [{', '.join(map(str, shape))}, D] has shape {list(found.shape)}"
        assert found.dtype == torch.bool, f"valid is {found.dtype}, not bool"
        assert found.all(), "an architecture that was sampled as valid is not"
    beyond = archs.clone()
    beyond[:, 0] = space.choices[0]
    assert not space.valid(beyond).any(), f"choice {space.choices[0]} of {space.choices[0]} is valid"


def all_valid_is_true(component: Any) -> None:
    """A space that says `all_valid` has no combination of options that `valid` refuses."""
    space = component()
    # Not by the protocol's type, which has nothing else of a space.
    if getattr(space, "all_valid", False):
        archs = _ops.sample_unchecked(torch.tensor([0]), 0, 500, tuple(space.choices))
        assert space.valid(archs).all(), "it says `all_valid`, and `valid` refuses a combination of options"


def canonical_keeps_validity(component: Any) -> None:
    """`canonical` gives valid architectures and is idempotent."""
    space = component()
    once = space.canonical(_some(space, 500))
    assert space.valid(once).all(), "a canonical architecture is not valid"
    assert torch.equal(space.canonical(once), once), "canonical of a canonical architecture is another"


def descriptions_are_parsed_back(component: Any) -> None:
    """What `describe` writes `parse` reads back; two architectures never have one description."""
    space = component()
    archs, texts = _some(space, 200), {}
    for arch in archs:
        text = space.describe(arch)
        assert "\n" not in text, f"the description {text!r} has more than one line"
        assert torch.equal(space.parse(text), arch), f"'{text}' is read back as another architecture"
        other = texts.setdefault(text, arch)
        assert torch.equal(other, arch), f"'{text}' describes two architectures"


def networks_run(component: Any) -> None:
    """Built networks run forward and backward, and give a finite logit a class; or one line says which package they need.

    What is built twice has weights of the same names and shapes, and shares none.
    """
    space = component()
    for arch in _some(space, 4):
        network, missing = None, ""
        try:
            network = space.build(arch, _TASK)
        except UserError as error:
            missing = str(error)
        if network is None:
            assert "pip install" in missing, f"'{space.describe(arch)}' is not built: {missing}"
            assert "\n" not in missing, "what is missing is said in more than one line"
            continue
        images = torch.randn(2, *_TASK.input_shape, generator=torch.Generator().manual_seed(0))
        again = space.build(arch, _TASK)
        again(images)
        logits = network(images)
        # After an answer: lazy layers have no weights before.
        assert _shapes(again) == _shapes(network), f"'{space.describe(arch)}' is built with other weights each time"
        shared = {id(p) for p in network.parameters()} & {id(p) for p in again.parameters()}
        assert not shared, f"two networks of '{space.describe(arch)}' share weights; build gives a new module each time"
        assert logits.shape == (2, 7), f"'{space.describe(arch)}' gives logits {list(logits.shape)}, not [2, 7]"
        assert logits.isfinite().all(), f"'{space.describe(arch)}' gives logits that are not finite"
        if logits.requires_grad:
            logits.sum().backward()


def _shapes(network: torch.nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in network.state_dict().items()}


LAWS = [
    builds_without_arguments,
    decisions_are_named,
    valid_is_a_bool_a_row,
    all_valid_is_true,
    canonical_keeps_validity,
    descriptions_are_parsed_back,
    networks_run,
]
