"""The file of a prior: the one place that knows the names of its tensors.

Format `nas-prior/2` is a `.safetensors` file. Its header is `Prior.about`; its tensors are those of `Contents`, each named by
its group and field with a `/` between them: `families/coords`, `spaces/nasbench201/mean`, `encoder/readout.0.weight`.

Shapes: `K` meta-training tasks, `F` families of them, `R` coordinates of a task for the encoder, `T` task features; in each space
`N` architectures, `A` principal components; `U` runs of the user's own.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor, nn

from controller._base import Prior
from controller.models import legacy, prior_checks
from controller.models.source_ranks import SourceRanks
from search_spaces import UserError
from search_spaces._files import atomic_write, refuse_unreadable

FORMAT = "nas-prior/2"


class Families(NamedTuple):
    """Families of tasks, for the mean functions that the encoder computes in any space."""

    coords: Tensor
    """float32 `[F, R]` the mean coordinates of each family's tasks."""
    scale: Tensor
    """float32 `[R, R]` Cholesky factor of the covariance of tasks' coordinates."""
    weights: Tensor
    """float32 `[F]` probability that a new task is of each family."""


class Tasks(NamedTuple):
    """Tasks one by one, to be weighted by their similarity to a new one."""

    features: Tensor
    """float32 `[K, T]` as `task_features` computes them."""
    share: Tensor
    """float32 `[K]` how much each counts, so that large families do not drown the others."""
    coords: Tensor
    """float32 `[K, R]`."""


class SpaceMemory(NamedTuple):
    """What a prior knows of a space architecture by architecture, in the order of `features.listed`."""

    mean: Tensor
    """`[N]` normal scores, the mean of all tasks."""
    components: Tensor
    """`[N, A]` principal components of tasks' scores, in which tasks have unit covariance."""
    family_means: Tensor
    """`[N, F]` the mean of each family of tasks, in standard deviations over the space. A file may hold fewer columns: the
    families without any task on this space are zero."""
    task_coords: Tensor
    """float32 `[K, A]` each task's coordinates along the components; NaN for tasks of other spaces."""
    constraint_factors: Tensor | None = None
    """`[N, 1 + factors]` of what may be constrained the mean logarithm over devices, and factors in which devices differ."""

    def rows(self, row: Tensor) -> SpaceMemory:
        """Of some of the architectures, by their rows `[n]`; still in units of the whole space."""
        factors = self.constraint_factors
        return SpaceMemory(
            self.mean[row],
            self.components[row],
            self.family_means[row],
            self.task_coords,
            None if factors is None else factors[row],
        )


class Runs(NamedTuple):
    """What was learned from a user's own runs, a row each, beside the tasks of meta-training."""

    tasks: Tasks
    task_coords: dict[str, Tensor]
    """By space: float32 `[U, A]` along its components; NaN for runs on other spaces."""


class Contents(NamedTuple):
    """All tensors of a prior."""

    encoder: dict[str, Tensor]
    """Weights of `CellEncoder`."""
    families: Families | None = None
    """None for a prior of the policy alone."""
    policy: dict[str, Tensor] = {}
    """Weights of `TaskTransformer` beside the encoder's."""
    tasks: Tasks | None = None
    """None for a prior that was trained without task features."""
    spaces: dict[str, SpaceMemory] = {}
    """By the names of spaces whose tables the prior has seen."""
    runs: Runs | None = None
    portfolios: dict[str, SourceRanks] = {}
    """By the names of spaces, what is copied from other tasks."""


TRAINING_ONLY = ("prediction_head.", "task_to_components.")
"""Parts of the networks that no search asks, only their training: a prior's file does not hold them."""


def complete(module: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor] | None:
    """Weights of a network with zeros for the parts that a file does not hold; None where they do not fit the network."""
    wanted = module.state_dict()
    absent = {n for n in wanted.keys() - weights.keys() if n.removeprefix("encoder.").startswith(TRAINING_ONLY)}
    found = weights | {n: torch.zeros_like(wanted[n]) for n in absent}
    fits = {n: t.shape for n, t in found.items()} == {n: t.shape for n, t in wanted.items()}
    return found if fits else None


def with_policy(prior: Prior, policy: Prior) -> Prior:
    """A prior together with the policy of another that was trained on the same encoder. `UserError` for another encoder's."""
    ours, theirs = unpack(prior.params), unpack(policy.params)
    both = ours.encoder.keys() & theirs.encoder.keys()
    if not both or any(not torch.equal(ours.encoder[name], theirs.encoder[name]) for name in both):
        raise UserError("The policy was trained on another encoder than the prior's; train it again with --prior.")
    return prior._replace(params=pack(ours._replace(policy=theirs.policy)))


def pack(contents: Contents) -> dict[str, Tensor]:
    """The tensors by their names in a file, as `Prior.params` holds them."""
    networks = {"encoder": contents.encoder, "policy": contents.policy}
    groups: dict[str, dict[str, Tensor | None]] = {
        group: {n: t for n, t in weights.items() if not n.startswith(TRAINING_ONLY)}
        for group, weights in networks.items()
    }
    if contents.families is not None:
        groups["families"] = contents.families._asdict()
    if contents.tasks is not None:
        groups["tasks"] = contents.tasks._asdict()
    for name, memory in contents.spaces.items():
        groups[f"spaces/{name}"] = memory._asdict()
    for name, ranks in contents.portfolios.items():
        groups[f"portfolios/{name}"] = ranks._asdict()
    if contents.runs is not None:
        groups["runs"] = contents.runs.tasks._asdict()
        for name, coords in contents.runs.task_coords.items():
            groups[f"runs/spaces/{name}"] = {"task_coords": coords}
    return {f"{group}/{n}": t for group, fields in groups.items() for n, t in fields.items() if t is not None}


def unpack(params: dict[str, Tensor]) -> Contents:
    """The contents of `Prior.params`; the reverse of `pack`."""
    groups: dict[str, dict[str, Tensor]] = {}
    for name, tensor in params.items():
        group, _, field = name.rpartition("/")
        groups.setdefault(group, {})[field] = tensor
    coords = {
        g.removeprefix("runs/spaces/"): x["task_coords"] for g, x in groups.items() if g.startswith("runs/spaces/")
    }
    return Contents(
        groups.get("encoder", {}),
        Families(**groups["families"]) if "families" in groups else None,
        groups.get("policy", {}),
        Tasks(**groups["tasks"]) if "tasks" in groups else None,
        {g.removeprefix("spaces/"): SpaceMemory(**x) for g, x in groups.items() if g.startswith("spaces/")},
        Runs(Tasks(**groups["runs"]), coords) if "runs" in groups else None,
        {g.removeprefix("portfolios/"): SourceRanks(**x) for g, x in groups.items() if g.startswith("portfolios/")},
    )


def read(path: str) -> Prior:
    """The prior of a file, of this format or of version 0.1's. Raises `UserError` for a file that holds none."""
    if Path(path).is_dir():
        raise UserError(f"'{path}' is a folder; --prior takes a file of `nas meta-train`, or none.")
    refuse_unreadable(path)
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            params = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise UserError(f"There is no prior '{path}'; --prior takes a file of `nas meta-train`, or none.") from None
    except Exception as error:
        raise UserError(f"'{path}' is not a whole .safetensors file ({error}); train or fetch it again.") from None
    if about.get("format") == legacy.PRIOR_FORMAT:
        params, about = legacy.prior(params, about)
    elif about.get("format") != FORMAT:
        raise UserError(
            f"'{path}' has format '{about.get('format')}'; a prior has '{FORMAT}', before that '{legacy.PRIOR_FORMAT}'."
        )
    wrong = prior_checks.wrong(params, about)
    if wrong is not None:
        raise UserError(f"'{path}' is no whole prior: {wrong}; train or fetch it again.")
    return Prior(params, about)


def write(path: Path, prior: Prior) -> None:
    """Write a prior whole or not at all; the folder must exist."""
    tensors = {name: tensor.detach().contiguous() for name, tensor in prior.params.items()}
    with atomic_write(path) as partial:
        partial.write_bytes(safetensors.torch.save(tensors, prior.about | {"format": FORMAT}))
