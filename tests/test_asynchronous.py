"""Evaluations side by side: a worker never waits for another, nothing is evaluated twice, and a stop changes nothing."""

import heapq

import pytest
import torch

from controller.candidates import pending
from nas import plugins
from nas.run import asynchronous, step_log, store
from nas.run.step_log import History
from nas.testing import toys
from search_spaces import UserError

WORKERS = 4


class Simulated:
    """Ends evaluations in the order of a clock that only it knows."""

    concurrency = WORKERS

    def __init__(self, space):
        self.space, self.scores, self.clock, self.running, self.begun = space, toys.evaluate(space), 0.0, [], []

    def submit(self, ticket, arch, epochs, seed):
        from controller import Proposal

        results = self.scores(Proposal(arch[None, None]))
        assert len(self.running) < WORKERS
        seconds = float(1 + sum(arch.tolist()) % 7)
        self.begun.append((tuple(arch.tolist()), self.clock))
        heapq.heappush(self.running, (self.clock + seconds, ticket, float(results.score)))

    def wait(self):
        self.clock, ticket, score = heapq.heappop(self.running)
        return ticket, score, 1.0

    def abandon(self):
        self.running.clear()


def nothing_yet(space):
    return History(
        torch.zeros(1, 0, len(space.choices), dtype=torch.long), torch.zeros(1, 0), torch.zeros(1, 0), 0.0, 0
    )


def walk(controller, evaluator, count, state=None, waiting=(), past=None):
    state = controller.begin(toys.TASK, torch.tensor([3])) if state is None else state
    past = nothing_yet(controller.space) if past is None else past
    found = []
    for step, waiting in asynchronous.steps(controller, evaluator, state, waiting, past, 3, count):  # noqa: B020
        found.append((step, waiting))
        if len(found) == count - past.score.shape[1]:
            break
    return found


@pytest.mark.parametrize("name", ["random_search", "evolution", "bayesian"])
def test_all_workers_are_busy_and_nothing_is_evaluated_twice_at_once(name):
    space = plugins.load("space", "nasbench201")()
    evaluator = Simulated(space)
    steps = walk(plugins.load("controller", name)(space), evaluator, 30)
    assert [len(waiting) for _, waiting in steps] == [WORKERS - 1] * (30 - WORKERS + 1) + [2, 1, 0]
    for step, waiting in steps:
        running = [tuple(group.archs[0].tolist()) for group in waiting]
        assert len({*running, tuple(step.proposal.archs[0, 0].tolist())}) == len(running) + 1
    # Whoever is free begins at once: four at the start, one whenever one has ended.
    begun = [clock for _, clock in evaluator.begun]
    assert begun[:WORKERS] == [0.0] * WORKERS
    assert len(begun) == 30


def test_a_stopped_search_begins_again_what_was_running_and_goes_the_same_way():
    space = plugins.load("space", "nasbench201")()
    controller = plugins.load("controller", "evolution")(space)

    class Ordered(Simulated):
        """Ends what was begun first, so that a stop does not change the order."""

        def submit(self, ticket, arch, epochs, seed):
            super().submit(ticket, arch, epochs, seed)
            _, ticket, score = self.running.pop(next(i for i, r in enumerate(self.running) if r[1] == ticket))
            self.running.append((0.0, ticket, score))
            self.running.sort()

    whole = walk(controller, Ordered(space), 24)
    first = whole[:9]
    archs = torch.cat([s.proposal.archs for s, _ in first], 1)
    past = History(archs, torch.cat([s.results.score for s, _ in first], 1), torch.ones(1, 9), 9.0, 9)
    rest = walk(controller, Ordered(space), 24, first[-1][0].state, first[-1][1], past)
    for (one, _), (other, _) in zip(whole[9:], rest, strict=True):
        assert torch.equal(one.proposal.archs, other.proposal.archs)


CODE = """
import time
def evaluate(arch):
    time.sleep(0.02 * (sum(arch.indices) % 3))
    return float(sum(arch.indices))
"""


def test_a_function_with_workers_is_searched_side_by_side(nas, tmp_path):
    (tmp_path / "f.py").write_text(CODE)
    words = "search --objective f.py:evaluate --workers 2 --evals 7 --controller evolution --name a"
    said = nas(*words.split())
    assert said.returncode == 0, said.stderr
    with store.open_run(tmp_path / "runs" / "a") as run:
        past = step_log.history(run)
        assert (past.steps, past.score.shape[1]) == (7, 7)
        assert past.score[0].tolist() == past.archs[0].sum(-1).tolist()
        assert store.get_meta(run, "pending") == []
    assert nas("resume", "a", "--evals", "9").returncode == 0
    with store.open_run(tmp_path / "runs" / "a") as run:
        assert step_log.history(run).steps == 9
    words = "search --objective f.py:evaluate --workers 2 -t synchronous=true --evals 6 --controller evolution --name s"
    assert nas(*words.split()).returncode == 0
    with store.open_run(tmp_path / "runs" / "s") as run:
        assert step_log.history(run).steps == 3


@pytest.mark.parametrize(
    "kept",
    [
        [[[[9] * 6], None]],
        [[[[0] * 5], None]],
        [[[[0] * 6], [0]]],
        [[[[0] * 6], [1, 2]]],
        [[[[0.5] * 6], None]],
        [["a", None]],
        [7],
    ],
)
def test_damaged_evaluations_under_way_are_one_line(kept):
    space = plugins.load("space", "nasbench201")()
    with pytest.raises(UserError, match="evaluations under way that cannot be read"):
        pending.from_json(kept, space)


def test_evaluations_under_way_are_read_as_they_were_written():
    space = plugins.load("space", "nasbench201")()
    groups = [pending.Group(torch.zeros(2, 6).long()), pending.Group(torch.ones(1, 6).long(), torch.tensor([3]))]
    again = pending.from_json(pending.as_json(groups), space)
    assert [group.work() for group in again] == [group.work() for group in groups]
