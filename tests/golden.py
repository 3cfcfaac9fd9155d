"""Numbers that the algorithms give at fixed inputs, kept in `data/golden.json`: a change of any constant shows in one.

They say nothing of what is right; other tests do. Who changes an algorithm on purpose writes them anew: `python -m tests.golden`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from controller import State, TaskScores, TaskSet
from controller.candidates import batch, exploration
from controller.models import features, gp, task_features, task_pca, transfer_model
from controller.transfer_bo import TransferBO
from nas import plugins
from nas.meta import outer_loop
from nas.run import priors
from nas.testing import synthetic_tasks
from nas.testing.toys import TASK, evaluate, walk
from search_spaces import Space, Task, _ops
from search_spaces.nasbench201 import NasBench201
from search_spaces.natsbench_size import NatsBenchSize
from search_spaces.transnas_micro import TransNasMicro
from tests.test_user_space import Chain

FILE = Path(__file__).parent / "data" / "golden.json"
SPACE = NasBench201()
SEEDS = torch.tensor([3, 8])
ARCHS = _ops.from_index((torch.arange(8) * 1951 + 77) % 5**6, SPACE.choices)
DESCRIBED = Task("toy", (3, 32, 32), 10, features=(5000.0, *(0.1 * k for k in range(8))), fidelities=(1, 4, 16))
_NAMES = ("random_search", "evolution", "local_search", "successive_halving", "hyperband", "portfolio")
WHOLE_NUMBERS = {name: (name, SPACE) for name in _NAMES} | {f"{name}, holes": (name, Chain()) for name in _NAMES[:3]}
"""Controllers that decide by whole numbers and comparisons alone, and spaces, one of them with combinations that are not valid:
their proposals are the same on every machine."""


def proposals(name: str, space: Space, count: int = 36, size: int = 3) -> list[list[int]]:
    """By index, of two searches."""
    archs, *_ = walk(plugins.load("controller", name)(space), evaluate(space, failing=0.1), SEEDS, size, count // size)
    return _ops.index(archs.flatten(1, 2), space.choices).tolist()


def searched(controller, evaluations: int, space=SPACE, prior=None, task: Task = DESCRIBED) -> State:
    """The state after evaluations of fixed architectures."""
    state = controller.begin(task, SEEDS, prior)
    if not evaluations:
        return state
    index = (torch.arange(evaluations) * 2003 + torch.tensor([[5], [901]])) % _ops.size(space.choices)
    proposal = controller.propose(state, evaluations)._replace(archs=_ops.from_index(index, space.choices))
    results = evaluate(space, failing=0.1)(proposal)
    if task.constraints:
        ratio = torch.stack([proposal.archs.float().mean(-1) / 2, proposal.archs.float().amax(-1) / 3], -1)
        results = results._replace(constraint_ratio=ratio)
    return controller.learn(state, proposal, results)


def acquisition(evaluations: int, prior: str, space=SPACE, task: Task = DESCRIBED) -> Tensor:
    """Of transfer_bo at fixed architectures, after fixed evaluations."""
    controller = TransferBO(space)
    state = searched(controller, evaluations, space, priors.find(prior, "transfer_bo"), task)
    model, history = transfer_model.find(space, state.prior), controller._history(state)
    archs = _ops.from_index((torch.arange(8) * 1951 + 77) % _ops.size(space.choices), space.choices)
    archs = archs.expand(2, -1, -1)
    return controller._acquisition(model, state, history, archs, model.features(archs))


def trust(prior: str) -> Tensor:
    """How far a search believes its prior, and how well the prior agrees with it."""
    controller = TransferBO(SPACE, least_prior_weight=0.0)  # One that is given up has no weight.
    state = searched(controller, 20, prior=priors.find(prior, "transfer_bo"))
    return torch.stack([controller.prior_weight(state), controller.prior_correlation(state)])


def posterior(encoding: str) -> Tensor:
    """Means and deviations of the Gaussian process of `bayesian`."""
    process = gp.GaussianProcess(SPACE, encoding=encoding)
    state = searched(plugins.load("controller", "bayesian")(SPACE), 30)
    return torch.stack(process._posterior(*process._remembered(state), ARCHS.expand(2, -1, -1)))


def policy(name: str, **settings) -> Tensor:
    """Probabilities of a policy that has learned from 32 evaluations."""
    controller = plugins.load("controller", name)(SPACE, **settings)
    state = controller.begin(TASK, SEEDS)
    index = (torch.arange(32) * 2003 + torch.tensor([[5], [901]])) % 5**6
    for part in index.split(8, 1):
        proposal = controller.propose(state, 8)._replace(archs=_ops.from_index(part, SPACE.choices))
        state = controller.learn(state, proposal, evaluate(SPACE, failing=0.1)(proposal))
    return controller.net.log_probs(state.params, ARCHS.expand(2, -1, -1)).exp()[:, :2]


def chosen() -> Tensor:
    """What makes a batch of the candidates: novelty, and places where a stalled search explores."""
    controller = TransferBO(SPACE)
    state = searched(controller, 24)
    repeated = state._replace(
        archs=torch.cat([state.archs, SPACE.canonical(state.archs)], 1), score=state.score.repeat(1, 2)
    )
    new = batch.novelty(SPACE, torch.cat([ARCHS.expand(2, -1, -1), SPACE.canonical(state.archs)], 1), repeated)
    stalled = state._replace(score=state.score.sort(descending=True).values)
    model = transfer_model.find(SPACE, state.prior)
    explored, _ = exploration.explore(model, stalled, 9, 8, 0.5)
    return torch.cat([new, explored.float()], 1)


def losses(name: str, **options) -> Tensor:
    """What the updates of a meta-learner report, on tasks of two spaces."""
    known = synthetic_tasks.task_set(synthetic_tasks.scores(2))
    generator = torch.Generator().manual_seed(4)
    described = features.enumerate_valid(SPACE)
    flat = torch.zeros(len(described.archs))
    large = [
        TaskScores(
            f"large-{k}", "large", SPACE, TASK, task_pca.normal_scores(described.path_stats.float() @ weights), flat
        )
        for k, weights in enumerate(torch.randn(5, described.path_stats.shape[1], generator=generator))
    ]
    both = TaskSet((*known.tasks, *large), (*known.spaces, SPACE))
    learner = plugins.load("meta-learner", name)(both, **options)
    steps = outer_loop.train(learner, outer_loop.untrained(learner, 0), 0)
    return torch.tensor([value for step in steps for _, value in sorted(step.metrics.items())])


CONSTRAINED = replace(DESCRIBED, constraints=(20.0, 5.0))

NUMBERS: dict[str, Callable[[], Tensor]] = {
    "acquisition, cold, before anything": lambda: acquisition(0, "none"),
    "acquisition, cold": lambda: acquisition(12, "none"),
    "acquisition, cold, many evaluations": lambda: acquisition(110, "none"),
    "acquisition, shipped prior, before anything": lambda: acquisition(0, "shipped"),
    "acquisition, shipped prior": lambda: acquisition(12, "shipped"),
    "acquisition, shipped prior, more evaluations than are screened": lambda: acquisition(40, "shipped"),
    "acquisition, shipped prior, as many evaluations as are screened": lambda: acquisition(24, "shipped"),
    "acquisition, shipped prior, a space without its tables": lambda: acquisition(12, "shipped", NatsBenchSize()),
    "acquisition, shipped prior, another space of cells": lambda: acquisition(12, "shipped", TransNasMicro()),
    "acquisition, constraints": lambda: acquisition(12, "shipped", task=CONSTRAINED),
    "acquisition, constraints, cold": lambda: acquisition(12, "none", task=CONSTRAINED),
    "trust in the shipped prior": lambda: trust("shipped"),
    "posterior, one-hot": lambda: posterior("one_hot"),
    "posterior, paths": lambda: posterior("path"),
    "policy of reinforce": lambda: policy("reinforce"),
    "policy of ppo": lambda: policy("ppo"),
    "novelty and exploration": chosen,
    "losses of transfer_gp": lambda: losses("transfer_gp", pca_steps=2, per_arch_memory=False),
    "losses of rl2": lambda: losses("rl2", predict_steps=1, policy_steps=1, synthetic=False),
    "path statistics": lambda: features.describe(SPACE, ARCHS).path_stats,
    "task features": lambda: task_features.task_features(DESCRIBED),
}


def numbers() -> dict[str, list[float]]:
    """All of `NUMBERS`, flat."""
    return {name: [float(f"{x:.6g}") for x in made().double().flatten().tolist()] for name, made in NUMBERS.items()}


def main() -> None:
    """Write the file anew."""
    whole = {name: proposals(*what) for name, what in WHOLE_NUMBERS.items()}
    rows = {"proposals": whole, "numbers": numbers()}
    text = ",\n".join(
        f'"{kind}": {{\n' + ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in found.items()) + "\n}"
        for kind, found in rows.items()
    )
    FILE.write_text("{\n" + text + "\n}\n")


if __name__ == "__main__":
    sys.exit(main())
