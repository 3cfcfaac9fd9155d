"""How well a few evaluations predict latency on a device that the prior has never seen, with its memory of others and without.

Called by devices.sh. Shapes: `S` seeds, `N` architectures of the space.
"""

from __future__ import annotations

import torch

from controller import Prior
from controller.models import constraint_gp, features, prior_file, transfer_model
from nas import tasks
from nas.evaluators.constrained import Constrained
from nas.meta import splits
from runs import split_priors
from search_spaces import _ops

SPLITS, AFTER, SEEDS = ("devices", "more-devices"), (5, 10, 20, 40, 80), 20
NEAR = 2.0
"""Cells are asked for whose value is within this factor of the limit, as those tell which cells keep it."""


INTERVAL = 1.2816
"""Deviations to either side that hold 80% of a normal distribution."""


def foretold(limited: Constrained, prior: Prior | None, count: int) -> str:
    """The root mean square error of the natural logarithm of value / limit after `count` cells at random, and the share of
    what was asked within the interval foretold."""
    space, (limit,) = limited.space, limited.constraints
    described = features.enumerate_valid(space)
    assert described is not None
    log_N = (limit.values(described.archs, space) / limit.bound).double().log()
    asked = (log_N.abs() < torch.tensor(NEAR).log()).nonzero().squeeze(-1)
    known, wrong, held = transfer_model.make(space, prior).constraint_inputs, [], []
    for seed in torch.arange(SEEDS):
        archs = _ops.sample_unchecked(seed[None], 0, count, space.choices)[0]
        at = features.row_of(space, archs)
        over = constraint_gp.clipped_log_ratio(log_N[at].exp(), known)
        mean, deviation = constraint_gp.predict(known, at[None], over[None], asked[None])
        wrong.append((mean[0] - log_N[asked]).square().mean())
        held.append(((mean[0] - log_N[asked]).abs() <= INTERVAL * deviation[0]).double().mean())
    return f"{torch.stack(wrong).mean().sqrt():.2f} ({torch.stack(held).mean():.0%})"


def main() -> None:
    torch.set_num_threads(1)
    print(f"| device | memory | {' | '.join(f'after {n}' for n in AFTER)} |\n|---|---|{'---:|' * len(AFTER)}")
    for split in SPLITS:
        prior = prior_file.read(str(split_priors.prior(split)))
        for task in splits.split(split).test:
            limited = tasks.find(task)
            assert isinstance(limited, Constrained)
            for name, which in (("without", None), ("with", prior)):
                shown = [foretold(limited, which, n) for n in AFTER]
                print(f"| {task.split('/')[-2]} | {name} | {' | '.join(shown)} |", flush=True)


if __name__ == "__main__":
    main()
