"""A prior's tensors as they are used: in float64, so that what they say of one search does not depend on which others there are.

Shapes: `K` tasks and runs that taught the prior, `F` families, `R` coordinates, `N` architectures, `H` the encoder's width.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from controller._base import Prior
from controller.models import cell_encoder, features, prior_file
from controller.models.cell_encoder import CellEncoder
from controller.models.features import ArchFeatures
from controller.models.prior_file import Contents, Families, SpaceMemory, Tasks
from controller.models.source_ranks import SourceRanks
from controller.models.transformer import TaskTransformer
from search_spaces import Space, UserError


class Encoded(NamedTuple):
    """Architectures as the encoder sees them."""

    embedding: Tensor
    """float64 `[N, H]`."""
    mean: Tensor
    """float64 `[N]` the mean score over tasks."""
    components: Tensor
    """float64 `[N, R]` along which tasks differ."""


@dataclass(frozen=True, eq=False)
class PretrainedPrior:
    """What was learned across tasks."""

    encoder: CellEncoder
    network: TaskTransformer | None
    """With the policy; None for a prior without one."""
    families: Families | None
    """None for a prior of the policy alone."""
    tasks: Tasks | None
    """Those of meta-training, then a user's runs; None for a prior without task features."""
    spaces: dict[str, SpaceMemory]
    """By the names of spaces; family means of all families, task coordinates of all `tasks`."""
    portfolios: dict[str, SourceRanks] = field(default_factory=dict)
    """By the names of spaces; their source tasks are among the first of `tasks`."""

    def encode(self, space: Space, described: ArchFeatures) -> Encoded:
        """Some architectures of a space."""
        encoding = cell_encoder.encode_space(space, torch.float64)
        embedding = self.encoder.encode_all(encoding, described.archs, described.path_stats)
        return Encoded(embedding, *self.encoder.mean_and_components(embedding))

    def encode_all(self, space: Space) -> Encoded | None:
        """All of an enumerable space, computed once for all tasks; None for a larger one."""
        return encode_all(self, space)


@lru_cache(maxsize=4)
def encode_all(prior: PretrainedPrior, space: Space) -> Encoded | None:
    """`PretrainedPrior.encode_all`."""
    every = features.enumerate_valid(space)
    return None if every is None else prior.encode(space, every)


def digest(prior: Prior) -> hashlib._Hash:
    """Of a prior's tensors and their names."""
    found = hashlib.sha256()
    for name, tensor in sorted(prior.params.items()):
        found.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return found


def load(prior: Prior, digest: bytes) -> PretrainedPrior:
    """A prior made ready; the same object for the same digest. `UserError` for one whose network has other shapes."""
    if digest not in _loaded:
        _loaded[digest] = _load(prior_file.unpack(prior.params), prior.about.get("command", "nas meta-train"))
    return _loaded[digest]


_loaded: dict[bytes, PretrainedPrior] = {}


def _load(contents: Contents, command: str) -> PretrainedPrior:
    network = TaskTransformer() if contents.policy else None
    encoder = CellEncoder() if network is None else network.encoder
    weights = contents.policy | {f"encoder.{n}": t for n, t in contents.encoder.items()}
    module, weights = (encoder, contents.encoder) if network is None else (network, weights)
    whole = prior_file.complete(module, weights)
    if whole is None:
        raise UserError(
            f"The prior was trained by another version, whose network has other shapes; train it again: {command}"
        )
    module.load_state_dict(whole)
    module.double().requires_grad_(False)
    families = None if contents.families is None else Families(*(x.double() for x in contents.families))
    tasks, num_families = contents.tasks, 0 if families is None else len(families.weights)
    spaces = {name: _in_double(memory, num_families) for name, memory in contents.spaces.items()}
    if tasks is not None:
        groups = [tasks] if contents.runs is None else [tasks, contents.runs.tasks]
        tasks = Tasks(*(torch.cat([t.double() for t in group]) for group in zip(*groups)))
    if contents.runs is not None:
        for name, coords in contents.runs.task_coords.items():
            every = torch.cat([spaces[name].task_coords, coords.double()])
            spaces[name] = spaces[name]._replace(task_coords=every)
    return PretrainedPrior(encoder, network, families, tasks, spaces, contents.portfolios)


def _in_double(memory: SpaceMemory, families: int) -> SpaceMemory:
    """In float64; families that the prior knows nothing of there, as a user's own runs, are zero."""
    memory = memory._replace(**{name: t.double() for name, t in memory._asdict().items() if t is not None})
    missing = families - memory.family_means.shape[1]
    return memory._replace(family_means=torch.nn.functional.pad(memory.family_means, (0, missing)))
