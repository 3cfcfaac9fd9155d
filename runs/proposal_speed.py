"""Times `transfer_bo` proposing 16 cells with the shipped prior, for one search and for 100.

Called by proposal_speed.sh: [--unlisted] [TASK], digits of the shipped table without one; --unlisted takes away the
space's list, and what the prior remembers of its architectures.
"""

from __future__ import annotations

import sys
import time

import torch

from controller import Prior
from controller.models import features, prior_file, transfer_model
from controller.transfer_bo import TransferBO
from nas import tasks
from nas.run import priors

BATCH, STEPS = 16, 12


def main() -> None:
    torch.set_num_threads(1)
    asked = [name for name in sys.argv[1:] if name != "--unlisted"]
    evaluator, prior = tasks.find(*asked or ["own201/digits@4"]), prior_file.read(str(priors.SHIPPED))
    if "--unlisted" in sys.argv:
        prior = Prior(prior_file.pack(prior_file.unpack(prior.params)._replace(spaces={})), prior.about)
        features.MAX_ENUMERABLE = 0
        transfer_model.clear_caches()
    controller, rows = TransferBO(evaluator.space), []
    for count in (1, 100):
        seeds, spent = torch.arange(count), []
        evaluate, start = evaluator.load(seeds), time.process_time()
        state = controller.begin(evaluator.task, seeds, prior)
        spent.append(time.process_time() - start)
        for _ in range(STEPS + 1):
            start = time.process_time()
            proposal = controller.propose(state, BATCH)
            spent.append(time.process_time() - start)
            state = controller.learn(state, proposal, evaluate(proposal))
        rows.append(spent)
    print("| evaluations so far | one search, ms | 100 searches, ms |\n|---:|---:|---:|")
    for i, (one, many) in enumerate(zip(*rows)):
        print(f"| {'to begin' if i == 0 else BATCH * (i - 1)} | {1000 * one:.0f} | {1000 * many:.0f} |")


if __name__ == "__main__":
    main()
