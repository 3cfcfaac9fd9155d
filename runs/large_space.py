"""Controllers in spaces that cannot be listed: synthetic functions on 5^20 and 5^40 architectures, whose optimum is known.

Called by large_space.sh: FUNCTIONS SEEDS EVALS [ROW ...]. A function is a `nas.testing.large_space.SyntheticFunction`: 0 is the
mean of the space, 100 its optimum. What a row says is the best score of a search so far, its median over all searches, at the end
with quartiles.
"""

from __future__ import annotations

import sys
import time

import torch
from torch import Tensor

from nas import plugins
from nas.loop import search
from nas.run import priors
from nas.testing.large_space import SyntheticFunction

UNITS = (20, 40)
"""Decisions, of five options each."""
ROWS = {
    "random search": ("random_search", "none"),
    "evolution": ("evolution", "none"),
    "local search": ("local_search", "none"),
    "reinforce": ("reinforce", "none"),
    "bayesian": ("bayesian", "none"),
    "tpe": ("tpe", "none"),
    "transfer_bo, no prior": ("transfer_bo", "none"),
    "transfer_bo, shipped prior": ("transfer_bo", "shipped"),
    "attention_policy, shipped prior": ("attention_policy", "shipped"),
}
"""A row's controller and its prior. Nothing was tuned on these functions; the shipped priors know cells of images alone."""
AT = (10, 30)
"""Evaluations after which searches are compared, beside the last."""


def best_of_searches(name: str, prior_name: str, function: str, units: int, seeds: Tensor, evals: int) -> Tensor:
    """The best score of each seed after each evaluation, `[S, E]`."""
    evaluator = SyntheticFunction.of(function, units=str(units))
    controller, prior = plugins.load("controller", name)(evaluator.space), priors.find(prior_name, name)
    steps = search(controller, evaluator.load(seeds), controller.begin(evaluator.task, seeds, prior))
    return torch.cat([step.results.score for _, step in zip(range(evals), steps)], 1).cummax(1).values


def main() -> None:
    torch.set_num_threads(1)
    functions, seeds, evals = int(sys.argv[1]), torch.arange(int(sys.argv[2])), int(sys.argv[3])
    counts = [count for count in AT if count < evals]
    heads = " | ".join(f"5^{units}, after {' | '.join(map(str, counts))} | {evals} | quartiles" for units in UNITS)
    print(f"| controller | {heads} | ms an evaluation |")
    print(f"|---|{('---:|' * (len(counts) + 1) + '---|') * len(UNITS)}---:|")
    for row in sys.argv[4:] or ROWS:
        shown, began = [], time.perf_counter()
        for units in UNITS:
            # Names seed the functions: by other names they would be other functions than those of the table in docs.
            found = [best_of_searches(*ROWS[row], f"landscape {k}", units, seeds, evals) for k in range(functions)]
            best_SE = torch.cat(found)
            low, high = best_SE[:, -1].quantile(torch.tensor([0.25, 0.75])).tolist()
            shown += [f"{best_SE[:, count - 1].quantile(0.5):.1f}" for count in [*counts, evals]]
            shown.append(f"{low:.1f} to {high:.1f}")
        cost = (time.perf_counter() - began) * 1000 / (len(UNITS) * functions * len(seeds) * evals)
        print(f"| {row} | {' | '.join(shown)} | {cost:.1f} |", flush=True)


if __name__ == "__main__":
    main()
