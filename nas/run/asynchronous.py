"""Steps of a search whose evaluations run side by side: one that has ended is told at once, and the next is asked for.

Which evaluation ends first is the affair of the machine. Given that order, which the steps of a run keep, everything else is a
function of the state: a run that is resumed goes on as if it had not stopped.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import torch

from controller import Controller, Results, State, Step
from controller.candidates import checks, pending
from controller.candidates.pending import Group
from nas.run.step_log import History
from nas.types import CompletesResults, Concurrent


def steps(
    controller: Controller,
    evaluator: Concurrent,
    state: State,
    waiting: Sequence[Group],
    past: History,
    seed: int,
    most: int | None,
) -> Iterator[tuple[Step, list[Group]]]:
    """A step for each evaluation that ends, and what is still being evaluated then.

    Args:
        state: after all of `past`.
        waiting: what was asked for before and has not ended: it is begun again.
        past: the evaluations so far.
        most: evaluations in all; None: without end. Whoever leaves early ends what still runs.
    """
    scores, costs = past.score.flatten().tolist(), past.cost.flatten().tolist()
    running: dict[int, Group] = {}
    tickets = itertools.count()

    def begin(group: Group) -> None:
        ticket = next(tickets)
        epochs = None if group.epochs is None else int(group.epochs[0])
        evaluator.submit(ticket, group.archs[0], epochs, seed)
        running[ticket] = group

    queue = [group.rows([row]) for group in waiting for row in range(len(group.archs))]
    try:
        while True:
            while len(running) < evaluator.concurrency and (most is None or len(scores) + len(running) < most):
                if queue:
                    begin(queue.pop(0))
                    continue
                known = [score for score in scores if not math.isnan(score)]
                mean = sum(known) / len(known) if known else 0.0
                cost = sum(costs) / len(costs) if costs else 1.0
                begin(pending.ask(controller, state, [*running.values()], 1, mean, cost, seed))
            if not running:
                return
            ticket, score, seconds = evaluator.wait()
            group = running.pop(ticket)
            results = Results(torch.tensor([[score]]), torch.tensor([[seconds]]))
            if isinstance(evaluator, CompletesResults):
                results = evaluator.completed(group.proposal(), results, torch.tensor([seed]))
                score = results.score.item()
            checks.results(results, group.proposal())
            state = controller.learn(state, group.proposal(), results)
            checks.state(controller, state, 1)
            scores.append(score)
            costs.append(seconds)
            yield Step(group.proposal(), results, state), [*running.values(), *queue]
    finally:
        evaluator.abandon()
