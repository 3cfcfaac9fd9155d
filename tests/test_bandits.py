"""Networks that learn to learn win back three quarters of what chance loses, on bandits whose least regret is known."""

import pytest
import torch

from controller import TaskSample, TaskScores, TaskSet
from controller.meta import _params
from controller.meta.rl2_recurrent import Rl2Recurrent
from nas.few_shot.learners import mann, snail
from search_spaces import Task, _ops


class Arms:
    """Four arms: a space of one decision."""

    name, choices = "arms", (4,)

    def valid(self, archs):
        return torch.ones(archs.shape[:-1], dtype=torch.bool)


BANDIT, TRIES = Arms(), 4


def bandits():
    """Each of four tasks has one arm that pays; the others pay nothing.

    No first try is better than another, and from then on the best is to pull what was not pulled: what is left of the regret
    after n tries is (4 - n) / 4. By chance it is (3 / 4)^n.
    """
    archs, pays = _ops.enumerate_all(BANDIT.choices), torch.eye(4)
    task = Task("arms", (3, 8, 8), 2)
    tasks = TaskSet(
        tuple(TaskScores(f"a-{k}", "a", BANDIT, task, pays[k], torch.zeros(4)) for k in range(4)), (BANDIT,)
    )
    none = torch.zeros(4, 14)
    return tasks, TaskSample(BANDIT, torch.arange(4), archs, pays, torch.ones(4, 4), none, torch.arange(4))


def left_regret(learner, state, sample):
    """The simple regret after each try, summed over tries, mean over 1024 searches."""
    task = torch.arange(4).repeat_interleave(256)
    turns = _params.play(BANDIT, state.params, sample.scores, task, torch.arange(1024) + 10_000, TRIES, 1)
    best = torch.cat([turn.score for turn in turns], 1).cummax(1).values
    return float((1 - best).sum(1).mean())


def test_rl2_learns_to_pull_what_it_has_not_pulled():
    optimal = sum((4 - n) / 4 for n in range(1, TRIES + 1))
    by_chance = sum((3 / 4) ** n for n in range(1, TRIES + 1))
    tasks, sample = bandits()
    learner = Rl2Recurrent(tasks, space="arms", steps=100, evals=TRIES, num_tasks=8, searches=16, hidden=12, lr=0.03)
    state = learner.init(torch.tensor([0]))
    assert left_regret(learner, state, sample) == pytest.approx(by_chance, abs=0.1)
    for _ in range(learner.steps):
        state, _ = learner.update(state, (sample,))
    # Three quarters of the way from chance to the optimum, which no policy is below.
    assert optimal - 0.1 < left_regret(learner, state, sample) < by_chance - 0.75 * (by_chance - optimal)


CONTEXTS, ROUNDS, WIDTH = 3, 4, 12


def contextual(generator, tasks):
    """Rounds of a bandit of two arms, one of which pays, which one depends on the round's context alone.

    So a pull tells which of the two pays, and a context that was seen costs nothing any more; a new one costs 1 / 2, whatever is
    pulled. In the last round a context is new with probability (2 / 3)^3.
    """
    pays = torch.randint(2, (tasks, CONTEXTS), generator=generator)
    context = torch.randint(CONTEXTS, (tasks, ROUNDS), generator=generator)
    arm = torch.nn.functional.one_hot(pays.gather(1, context), 2).float()
    return torch.nn.functional.one_hot(context, CONTEXTS).float(), arm


def _mann():
    net = mann.Controller(CONTEXTS + 2, 2, WIDTH, ROUNDS - 1, WIDTH, writes_queries=False)
    return net, lambda seen, arm: net(seen[:, :-1], arm[:, :-1], seen[:, -1:])[:, 0]


def _snail():
    net = snail.Reader(CONTEXTS, 0, 2, ROUNDS, WIDTH)
    known = torch.tensor([1.0] * (ROUNDS - 1) + [0.0])[:, None]

    def answer(seen, arm):
        rounds = torch.cat([seen, arm * known], -1)
        return net(rounds[:, :-1], rounds[:, -1:])[:, 0]

    return net, answer


@pytest.mark.parametrize(("make", "steps"), [(_mann, 220), (_snail, 60)], ids=["mann", "snail"])
def test_memories_learn_which_arm_pays_in_a_context(make, steps):
    by_chance, optimal = 1 / 2, (2 / 3) ** (ROUNDS - 1) / 2
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net, answer = make()
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)

    def regret():
        seen, arm = contextual(torch.Generator().manual_seed(2), 4000)
        with torch.no_grad():
            return float((answer(seen, arm).argmax(-1) != arm[:, -1].argmax(-1)).float().mean())

    assert regret() == pytest.approx(by_chance, abs=0.1)
    for _ in range(steps):
        seen, arm = contextual(generator, 64)
        loss = torch.nn.functional.cross_entropy(answer(seen, arm), arm[:, -1].argmax(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # Three standard errors of 4000 rounds below the optimum, which no policy is below.
    assert optimal - 0.017 < regret() < by_chance - 0.75 * (by_chance - optimal)
