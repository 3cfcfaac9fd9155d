"""Optuna's studies sampled by metacell beside Optuna's own samplers, on tables: the regret of the best of each study.

Usage: optuna_sampler.py [SEEDS] [TRIALS]
"""

import itertools
import json
import sys
import time
from pathlib import Path

import numpy
import optuna
import torch

from controller import Proposal
from nas import tasks
from nas.compare import statistics
from nas.integrations.optuna import MetacellSampler
from search_spaces import _ops

TASKS = (
    "own201/digits", "nasbench201/cifar100", "nasbench201/ImageNet16-120", "nasbench201-ninapro/ninapro",
    "transnas-micro/class_scene",
)  # fmt: skip
AFTER = (10, 30, 100)
SAMPLERS = ("random", "TPE", "TPE, multivariate", "GP", "metacell, no prior", "metacell")
"""The last with the shipped prior, which has learned from all five of these tasks."""
OUT = Path("runs/optuna_sampler.jsonl")


def sampler(name, seed, space):
    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    if name.startswith("TPE"):
        return optuna.samplers.TPESampler(seed=seed, multivariate="multivariate" in name)
    if name == "GP":
        return optuna.samplers.GPSampler(seed=seed)
    prior = "none" if "no prior" in name else "shipped"
    return MetacellSampler("transfer_bo", seed=seed, search_space=space, prior=prior)


def regrets(task, name, seed, trials):
    """How far the best after each of `AFTER` trials is below the best of the table."""
    evaluator = tasks.find(task)
    decisions, options = evaluator.space.decisions, evaluator.space.operations
    archs = _ops.enumerate_all(evaluator.space.choices)
    score = evaluator.load(torch.tensor([0]))(Proposal(archs[None])).score[0].double()
    space = {decision: list(names) for decision, names in zip(decisions, options)}

    def objective(trial):
        picked = [space[decision].index(trial.suggest_categorical(decision, space[decision])) for decision in decisions]
        value = score[_ops.index(torch.tensor(picked), evaluator.space.choices)].item()
        if value != value:
            raise optuna.TrialPruned
        return value

    study = optuna.create_study(direction="maximize", sampler=sampler(name, seed, space))
    study.optimize(objective, n_trials=trials)
    best = numpy.maximum.accumulate([-numpy.inf if t.value is None else t.value for t in study.trials])
    return [float(score.nan_to_num(-numpy.inf).max() - best[count - 1]) for count in AFTER if count <= trials]


def main(seeds=20, trials=100):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    torch.set_num_threads(1)
    known = [json.loads(line) for line in OUT.read_text().splitlines()] if OUT.is_file() else []
    done = {(row["task"], row["sampler"], row["seed"], row["trials"]) for row in known}
    for seed, task, name in itertools.product(range(seeds), TASKS, SAMPLERS):
        if (task, name, seed, trials) in done:
            continue
        began = time.perf_counter()
        row = {"task": task, "sampler": name, "seed": seed, "trials": trials}
        row |= {"regret": regrets(task, name, seed, trials), "seconds": time.perf_counter() - began}
        known.append(row)
        with OUT.open("a") as file:
            file.write(json.dumps(row) + "\n")
    print("| task | sampler | " + " | ".join(f"N = {n}" for n in AFTER if n <= trials) + " | seconds a study |")
    for task in TASKS:
        for name in SAMPLERS:
            rows = [
                r for r in known if (r["task"], r["sampler"], r["trials"]) == (task, name, trials) and r["seed"] < seeds
            ]
            regret = numpy.array([row["regret"] for row in rows])
            means = [statistics.interval(regret[None, :, k]) for k in range(regret.shape[1])]
            cells = [f"{m[0]:.2f} ({m[1]:.2f} to {m[2]:.2f})" for m in means]
            print(
                f"| {task} | {name} | " + " | ".join(cells) + f" | {numpy.median([r['seconds'] for r in rows]):.1f} |"
            )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
