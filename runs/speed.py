"""Times look-ups and whole searches, ours beside nats_bench's. Called by `runs/speed.sh`."""

from __future__ import annotations

import os
import sys
import time
import warnings
from pathlib import Path

import torch

from controller import Proposal
from nas import tasks
from nas.compare import trial
from nas.compare.trial import TrialSpec
from runs._nats_bench_loops import Api, evolution, reinforce
from search_spaces import _ops

TASK, SECONDS, RUNS, THEIR_RUNS = "nasbench201/cifar10@12", 12_000.0, 500, 20


def best_of(function, times=5):
    """The least seconds of several calls: what is left of others' work on the machine is least there."""
    spent = []
    for _ in range(times):
        start = time.perf_counter()
        function()
        spent.append(time.perf_counter() - start)
    return min(spent)


def look_ups(api, rows):
    evaluator = tasks.find(TASK)
    evaluate = evaluator.load(torch.arange(1000))
    archs = _ops.sample_unchecked(torch.arange(1000), 0, 1000, evaluator.space.choices)
    evaluate(Proposal(archs))
    ours = best_of(lambda: evaluate(Proposal(archs))) / archs[..., 0].numel()
    print("\nLook-ups (score and cost of an architecture)")
    print(f"  ours                          {1 / ours:14,.0f} a second")
    for epochs in ("12", "200"):
        spec = lambda: [api.get_more_info(i, "cifar10-valid", hp=epochs, is_random=False) for i in range(rows)]  # noqa: B023, E731
        spec()
        theirs = best_of(spec) / rows
        print(
            f"  get_more_info, {epochs:>3} epochs     {1 / theirs:14,.0f} a second: ours are {theirs / ours:,.0f} times that"
        )


def searches(api, rows):
    print(f"\n{RUNS} searches of {SECONDS:,.0f} simulated seconds on {TASK}; theirs from {THEIR_RUNS} runs")
    theirs_by_name = {"evolution": evolution, "reinforce:policy_net=independent": reinforce}
    for name, loop in theirs_by_name.items():
        spec = TrialSpec(TASK, name, RUNS, None, SECONDS)
        trace, _ = trial.run(spec)
        ours = best_of(lambda: trial.run(spec))  # noqa: B023
        start = time.perf_counter()
        count = sum(loop(Api(api, rows), SECONDS) for _ in range(THEIR_RUNS))
        each = (time.perf_counter() - start) / count
        within = int((trace.cost.double().cumsum(1) <= SECONDS).sum())
        theirs = each * within
        print(f"  {name:<34} ours {ours:7.3f} s   theirs {theirs:7.1f} s   {theirs / ours:6.0f} times")


def main():
    folder = os.environ.get("NATS_BENCH")
    if not folder or not Path(folder).is_dir():
        sys.exit(
            "NATS_BENCH names no folder: set it to NATS-Bench's topology download, the '-simple' directory or a part of it."
        )
    from nats_bench import create

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rows = len(list(Path(folder).glob("*.pickle.pbz2"))) - (Path(folder) / "meta.pickle.pbz2").is_file()
    print(
        f"nats_bench from a folder of {rows:,} of 15,625 architectures; theirs look up the remainder where one is missing."
    )
    api = create(folder, "tss", fast_mode=True, verbose=False)
    for number in range(rows):
        api.get_more_info(number, "cifar10-valid", hp="12")
    look_ups(api, rows)
    searches(api, rows)


if __name__ == "__main__":
    main()
