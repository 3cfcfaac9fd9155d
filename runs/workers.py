"""How searches scale with workers: evaluations an hour and what they find, asynchronous beside synchronous, on a simulated clock.

Durations are the training times of a table. `runs/workers.sh` has the settings.
"""

from __future__ import annotations

import argparse
import heapq
import itertools

import torch

from controller import Proposal
from nas import plugins, tasks
from nas.run import asynchronous
from nas.run.step_log import History


class Simulated:
    """A table's evaluations, which end when its training times have passed on a clock of their own."""

    def __init__(self, evaluator, seed, workers):
        self.evaluate, self.concurrency = evaluator.load(torch.tensor([seed])), workers
        self.clock, self.running = 0.0, []

    def submit(self, ticket, arch, epochs, seed):
        results = self.evaluate(Proposal(arch[None, None]))
        heapq.heappush(
            self.running, (self.clock + float(results.cost), ticket, float(results.score), float(results.cost))
        )

    def wait(self):
        self.clock, ticket, score, seconds = heapq.heappop(self.running)
        return ticket, score, seconds

    def abandon(self):
        self.running.clear()


def asynchronous_search(controller, evaluator, seed, workers, count):
    """The scores in the order in which they were told, and the seconds of the simulated clock."""
    simulated = Simulated(evaluator, seed, workers)
    state = controller.begin(evaluator.task, torch.tensor([seed]))
    D = len(controller.space.choices)
    past = History(torch.zeros(1, 0, D, dtype=torch.long), torch.zeros(1, 0), torch.zeros(1, 0), 0.0, 0)
    steps = asynchronous.steps(controller, simulated, state, [], past, seed, count)
    return [float(step.results.score) for step, _ in steps], simulated.clock


def synchronous_search(controller, evaluator, seed, workers, count):
    """As `asynchronous_search`: a step waits for the slowest of its evaluations."""
    evaluate, state, clock, scores = (
        evaluator.load(torch.tensor([seed])),
        controller.begin(evaluator.task, torch.tensor([seed])),
        0.0,
        [],
    )
    while len(scores) < count:
        proposal = controller.propose(state, min(workers, count - len(scores)))
        results = evaluate(proposal)
        state = controller.learn(state, proposal, results)
        clock += float(results.cost.max())
        scores += results.score[0].tolist()
    return scores, clock


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="nasbench201/cifar10")
    parser.add_argument("--controllers", default="random_search,evolution")
    parser.add_argument("--workers", default="1,4,16,64,256")
    parser.add_argument("--evals", type=int, default=512)
    parser.add_argument("--seeds", type=int, default=10)
    given = parser.parse_args()
    evaluator = tasks.find(given.task)
    print(f"{given.task}, {given.evals} evaluations, mean of {given.seeds} seeds")
    print(
        f"{'controller':<15}{'way':<14}{'workers':>7}{'evaluations/h':>15}{'speed-up':>10}{'best score':>12}{'+- error':>10}"
    )
    ways = {"asynchronous": asynchronous_search, "synchronous": synchronous_search}
    for name, (way, run) in itertools.product(given.controllers.split(","), ways.items()):
        one = None
        for workers in map(int, given.workers.split(",")):
            controller = plugins.load("controller", name)(evaluator.space)
            found = [run(controller, evaluator, seed, workers, given.evals) for seed in range(given.seeds)]
            best = torch.tensor([max(scores) for scores, _ in found])
            rate = given.evals * 3600 / (sum(clock for _, clock in found) / len(found))
            one = one or rate
            error = best.std().item() / len(found) ** 0.5 if len(found) > 1 else 0.0
            print(
                f"{name:<15}{way:<14}{workers:>7}{rate:>15.1f}{rate / one:>10.1f}{best.mean():>12.3f}{error:>10.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
