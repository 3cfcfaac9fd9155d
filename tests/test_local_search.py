"""Local search against a plain account of it, turn by turn: every neighbor once, climb to the best, start anew at a peak."""

from __future__ import annotations

import math

import pytest
import torch

from controller import Results
from controller.local_search import LocalSearch
from nas.testing.toys import TASK
from search_spaces import _noise, _ops
from search_spaces.natsbench_size import NatsBenchSize
from tests.test_user_space import Chain


def scores(space, archs, failing):
    """Scores without a pattern and without ties; NaN for a share of the architectures."""
    index = _ops.index(archs, space.choices)
    key = torch.tensor([3])
    score = _noise.draw(key, index[None], high=1 << 30)[0].double()
    broken = _noise.draw(key, index[None], high=100, stream=1)[0] < 100 * failing
    return torch.where(broken, torch.nan, score).float()


def around(space, arch, left_out=None):
    """The valid neighbors, without those that lie one decision or none from `left_out`."""
    found = _ops.neighbours(torch.tensor(arch), space.choices)
    found = found[space.valid(found)].tolist()
    near = [] if left_out is None else [a for a in found if sum(x != y for x, y in zip(a, left_out)) <= 1]
    return {tuple(a) for a in found} - {tuple(a) for a in near}


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize(("space", "failing"), [(NatsBenchSize(), 0.1), (Chain(), 0.5)])
def test_a_search_is_that_of_its_account(space, failing, first, batch):
    controller = LocalSearch(space, first=first)
    state = controller.begin(TASK, torch.tensor([11]))
    # `todo` is None until the start has had its own turn.
    center, center_score, todo, best, came_from = None, -math.inf, None, (-math.inf, None), None
    climbs, starts = 0, []
    for _ in range(240 // batch):
        proposal = controller.propose(state, batch)
        score = scores(space, proposal.archs[0], failing)
        spare = (-math.inf, None)
        for arch, value in zip(map(tuple, proposal.archs[0].tolist()), score.nan_to_num(-math.inf).tolist()):
            assert space.valid(torch.tensor(arch))
            if todo is None:
                center, center_score, todo = arch, value, around(space, arch, came_from)
                starts.append(arch)
            elif todo:
                todo.remove(arch)
                best = max(best, (value, arch), key=lambda pair: pair[0])
            else:
                spare = max(spare, (value, arch), key=lambda pair: pair[0])
        state = controller.learn(state, proposal, Results(score[None], torch.zeros(1, batch)))
        if best[0] > center_score and (first or not todo):
            climbs += 1
            came_from, (center_score, center), best = center, best, (-math.inf, None)
            todo, came_from = around(space, center, came_from), None
        elif not todo:
            best, todo = (-math.inf, None), None
            if spare[1] is not None and spare[0] > -math.inf:
                center_score, center = spare
                todo = around(space, center)
    assert climbs > 2
    assert len(set(starts)) > 1 or batch > 1


def test_each_seed_starts_elsewhere_and_tries_neighbors_in_an_order_of_its_own():
    space = NatsBenchSize()
    controller = LocalSearch(space)
    state = controller.begin(TASK, torch.arange(50))
    proposal = controller.propose(state, 20)
    assert len(proposal.archs[:, 0].unique(dim=0)) > 45
    moved = (proposal.archs[:, 1] != proposal.archs[:, 0]).int().argmax(-1)
    assert len(moved.unique()) == 5, "the first neighbor differs from the start in any decision"
