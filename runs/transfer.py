"""Trains priors for each declared split, tries them on what the split holds out beside cold searches, and prints the tables.

Called by transfer.sh: SEEDS EVALS JOBS DRAWS [SPLIT ...]; without splits, all that hold something out. DRAWS is how many priors
on drawn parts of the training tasks are tried, too. POLICIES in the environment: for which splits a prior of `attention_policy`
is trained and tried, beside `shipped`, whose prior ships. What was made is not made again.
"""

from __future__ import annotations

import os
import sys

from nas.compare import comparison, trial_cache
from nas.meta import splits
from runs.split_priors import DRAWS, OUT, policy, prior
from runs.transfer_limits import print_first_penalties
from runs.transfer_tables import COLD, Row, Tried, print_tables

SHIPPED = "shipped"
"""The split of the priors that ship. That of `attention_policy` takes twenty minutes of a core to train, so that for others it is
trained where that is asked for."""
DEVELOPMENT = "development-"
"""Splits that settings are chosen on, and no result is shown of."""
ASKED = ("own201", "shipped-many", "robustness-many")
"""Splits that only a recipe of their own or a name asks for: their tasks are in others."""
COPIES = {"portfolio": "", "portfolio, families": ":order=families", "portfolio, fastest": ":order=fastest"}
"""Portfolios of the same prior: greedy; the best of each family in turn; the best of those fastest on the known devices. Random
searches without repeats where the prior knows no task of the space."""


def rows(split: str, seeds: int, evals: int, jobs: int, controllers: dict[str, Row]) -> list[Tried]:
    """What each controller did on each task of a split."""
    specs = comparison.specs(",".join(splits.split(split).test), list(controllers), (), seeds, evals, None, 1)
    return [Tried(controllers[one.spec.controller], one) for one in comparison.make(specs, OUT, jobs)]


def main() -> None:
    seeds, evals, jobs, draws = (int(x) for x in sys.argv[1:5])
    wanted = sys.argv[5:] or [
        name
        for name, split in splits.splits().items()
        if split.held_out and not name.startswith(DEVELOPMENT) and name not in ASKED
    ]
    found: list[Tried] = []
    for split in wanted:
        given = {f"transfer_bo:prior={prior(split)}": Row("transfer_bo"), "transfer_bo": Row("no prior")}
        given |= {f"portfolio:prior={prior(split)}{settings}": Row(name) for name, settings in COPIES.items()}
        if split == SHIPPED or split in os.environ.get("POLICIES", "").split():
            policy_prior = SHIPPED if split == SHIPPED else policy(split)
            given[f"attention_policy:prior={policy_prior}"] = Row("attention_policy")
            given["attention_policy"] = Row("attention_policy, no prior")
        found += rows(split, seeds, evals, jobs, given | {name: Row(name) for name in COLD})
    # After all else, as most of the time goes here.
    for split in wanted:
        drawn = {f"transfer_bo:prior={prior(split, draw)}": Row("drawn tasks", draw) for draw in DRAWS[:draws]}
        found += rows(split, seeds, evals, jobs, drawn) if drawn else []
    print_tables(found)
    print("\n## Points that the first proposal loses to its limit\n")
    print_first_penalties(found, lambda tried: trial_cache.read(tried.summary.spec.path(OUT)).index[:, 0].long())


if __name__ == "__main__":
    main()
