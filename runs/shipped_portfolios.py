"""Makes the part of the shipped prior again that is copied from other tasks, from the tables alone, and says whether it changed.

Called by shipped_portfolios.sh: [install]. Nothing else of the prior's training is needed: `runs/shipped_prior.sh`, which trains
all of it, gives the same tensors.
"""

from __future__ import annotations

import json
import sys

from controller.meta.transfer_gp import TransferGp
from controller.models import prior_file
from nas.meta import task_distribution
from nas.run import priors


def main() -> None:
    shipped = prior_file.read(str(priors.SHIPPED))
    known = task_distribution.task_set(shipped.about["split"])
    for key, names in (("tasks", known.tasks), ("auxiliary_columns", known.auxiliary)):
        if [x.name for x in names] != json.loads(shipped.about[key]):
            sys.exit(f"The tables at hand have other {key.replace('_', ' ')} than the shipped prior was trained on.")
    contents = prior_file.unpack(shipped.params)._replace(portfolios=TransferGp(known).portfolios)
    again = prior_file.pack(contents)
    ours = [name for name in again.keys() | shipped.params.keys() if name.startswith("portfolios/")]
    same = [name for name in ours if name in shipped.params and again[name].equal(shipped.params[name])]
    print(f"{len(same)} of the {len(ours)} tensors of portfolios have the same bits.")
    if sys.argv[1:] == ["install"]:
        prior_file.write(priors.SHIPPED, shipped._replace(params=again))


if __name__ == "__main__":
    main()
