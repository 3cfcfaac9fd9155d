"""Trains every meta-learner of the controller that takes seconds, without what a split holds out: runs/meta_learners.sh.

One process for a split, as reading the tables takes as long as some of the trainings.
"""

import argparse
import json
import time
from pathlib import Path

import torch

from controller import Prior
from controller.models import prior_file
from nas import plugins
from nas.meta import outer_loop, splits, task_distribution

LEARNERS = {
    "maml": ("maml", {}),
    "reptile": ("reptile", {}),
    "meta_sgd": ("meta_sgd", {}),
    "learned_optimizer": ("learned_optimizer", {}),
    "rl2_recurrent": ("rl2_recurrent", {}),
    "meta_surrogate": ("meta_surrogate", {}),
    "neural_process": ("neural_process", {}),
    "portfolio": ("portfolio", {}),
} | {name: ("task_metric", {"metric": name}) for name in ("prototypical", "matching", "siamese", "relation")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, help="Of each, in place of its own, to try the recipe.")
    parser.add_argument("--learners", nargs="+", choices=LEARNERS, default=list(LEARNERS), metavar="NAME")
    given = parser.parse_args()
    missing = {n: LEARNERS[n] for n in given.learners if not (given.out / f"{n}.safetensors").is_file()}
    if not missing:
        return
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    tasks = task_distribution.task_set(given.split)
    for name, (learner, settings) in missing.items():
        component = plugins.load("meta-learner", learner)
        steps = {"steps": given.steps} if given.steps and learner != "portfolio" else {}
        made, begun = component(tasks, **settings, **steps), time.process_time()
        state = outer_loop.untrained(made, 0)
        for progress in outer_loop.train(made, state, 0):
            state = progress.state
        prior = made.prior(state)
        options = " ".join(f"--learner-option {n}={v}" for n, v in (settings | steps).items())
        about = {
            "command": f"nas meta-train --learner {learner} {options} --split {given.split}".replace("  ", " "),
            "learner": learner,
            "split": given.split,
            "held_out": json.dumps(splits.split(given.split).held_out),
            "seed": "0",
        }
        about = {"tasks": json.dumps([x.name for x in tasks.tasks])} | prior.about | about
        prior_file.write(given.out / f"{name}.safetensors", Prior(prior.params, about))
        print(f"{given.split:<12} {name:<20} {time.process_time() - begun:5.1f} s of CPU")


if __name__ == "__main__":
    main()
