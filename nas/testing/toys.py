"""Small tasks that need no file: scores made of noise, with failures.

Shapes: `S` seeds, `T` steps, `B` architectures a step, `D` decisions.
"""

from __future__ import annotations

import torch

from controller import Results
from search_spaces import Task, _noise, _ops

TASK = Task("toy", (3, 32, 32), 10, fidelities=(1, 4, 16))


def leaves(tree):
    """Every tensor of nested NamedTuples and dicts, with its path; None and plain values come as they are."""
    if isinstance(tree, dict):
        pairs = tree.items()
    elif hasattr(tree, "_fields"):
        pairs = zip(tree._fields, tree)
    else:
        yield "", tree
        return
    for name, branch in pairs:
        for path, leaf in leaves(branch):
            yield f"{name}.{path}".rstrip("."), leaf


def rebuild(tree, change):
    """The same tree with every tensor replaced by `change(tensor)`."""
    if isinstance(tree, dict):
        return {name: rebuild(branch, change) for name, branch in tree.items()}
    if hasattr(tree, "_fields"):
        return type(tree)(*(rebuild(branch, change) for branch in tree))
    return change(tree) if torch.is_tensor(tree) else tree


def evaluate(space, *, failing=0.0):
    """A score in percent for each architecture, smooth in its decisions and noisy; NaN for a share of them."""

    def run(proposal):
        rank = _ops.hash_32(proposal.archs, space.choices)
        key = torch.tensor([7])
        luck = _noise.draw(key, rank[None], high=1 << 20).squeeze(0).float() / (1 << 20)
        climb = (proposal.archs.float() / torch.tensor(space.choices)).mean(-1)
        broken = _noise.draw(key, rank[None], high=1000, stream=1).squeeze(0) < 1000 * failing
        score = torch.where(broken, torch.nan, 50 + 40 * climb + 5 * luck)
        return Results(score, 100 + 50 * luck)

    return run


def walk(controller, run, seeds, batch, steps, state=None):
    """Archs `[S, T, B, D]`, scores `[S, T, B]` and the last state of a search."""
    state = controller.begin(TASK, seeds) if state is None else state
    archs, scores = [], []
    for _ in range(steps):
        proposal = controller.propose(state, batch)
        results = run(proposal)
        state = controller.learn(state, proposal, results)
        archs.append(proposal.archs)
        scores.append(results.score)
    return torch.stack(archs, 1), torch.stack(scores, 1), state
