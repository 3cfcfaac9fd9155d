"""What each part of `transfer_bo` is worth: one row a variant, one column a task that its prior never saw.

Called by ablations.sh: SEEDS EVALS JOBS [VARIANT ...]. Priors are those of transfer.sh where they are there, else trained.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from numpy import ndarray

from controller import Prior
from controller.models import prior_file
from nas.compare import comparison, statistics, summary
from nas.meta import splits
from nas.tasks import families
from runs import split_priors

OUT = Path("runs/ablations")
BANK = tuple(split_priors.recipe()[1:])
"""How the prior that ships was trained."""
PREDICT = ("--learner", "rl2", "--learner-option", "predict_steps=4000", "--learner-option", "policy_steps=0")
POLICY = (*PREDICT[:-1], "policy_steps=800")
SPLITS = ("imagenet", "devices", "transnas-micro")

VARIANTS = {
    "full": ("", BANK, "", SPLITS),
    "without the prior": ("", None, "", SPLITS),
    "without cold hypotheses": ("", BANK, ":use_cold_hypotheses=false", SPLITS),
    "without what is copied first": ("", BANK, ":num_copied=0", SPLITS),
    "without a test of the prior": ("", BANK, ":prior_test=none", SPLITS),
    "the prior never given up": ("", BANK, ":least_prior_weight=0", SPLITS),
    "without exploration": ("", BANK, ":explore_share=0", SPLITS),
    "without a model of constraints": ("", BANK, ":model_constraints=false", SPLITS),
    "without per-architecture memory": (
        "no-memory", (*BANK, "--learner-option", "per_arch_memory=false"), "", SPLITS,
    ),
    "without auxiliary columns": (
        "no-auxiliary", (*BANK, "--learner-option", "auxiliary_columns=false"), "", SPLITS,
    ),
    "without constraint factors of other devices": ("no-amounts", ("without", "constraint_factors"), "", SPLITS),
    "without task features": ("no-task-features", (*BANK, "--learner-option", "task_features=false"), "", SPLITS),
    "a quarter of the tasks": ("quarter", (*BANK, "--task-fraction", "0.25"), "", SPLITS),
    "the policy alone": ("predict", PREDICT, "attention_policy", SPLITS),
    "the policy alone, without synthetic tasks": (
        "no-synthetic", (*PREDICT, "--learner-option", "synthetic=false"), "attention_policy", SPLITS[:1],
    ),
    "the policy alone, reinforced": ("policy", POLICY, "attention_policy", SPLITS),
}  # fmt: skip
"""Variant to the prior's name, how it is trained (`without`: what of the whole one it lacks; None: no prior), the controller
or the settings of `transfer_bo` and the splits."""


def prior(split: str, name: str, steps: tuple[str, ...]) -> Path:
    if not name:
        return split_priors.prior(split)
    folder = OUT / f"prior-{split}-{name}"
    if steps[0] == "without":
        whole = prior_file.read(str(split_priors.prior(split)))
        contents = prior_file.unpack(whole.params)
        spaces = {n: memory._replace(**dict.fromkeys(steps[1:])) for n, memory in contents.spaces.items()}
        folder.mkdir(parents=True, exist_ok=True)
        kept = Prior(prior_file.pack(contents._replace(spaces=spaces)), whole.about)
        prior_file.write(folder / "prior.safetensors", kept)
    elif not (folder / "prior.safetensors").is_file():
        command = [sys.executable, "-m", "nas", "meta-train", "--split", split, "--out", str(folder), *steps]
        if "rl2" in steps:
            command += ["--prior", str(split_priors.prior(split))]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder / "prior.safetensors"


def reached(one: summary.TrialSummary, goal: ndarray | None) -> float | None:
    """The median evaluation that first scored `goal`; None where fewer than half of the searches did."""
    return statistics.quartiles(summary.first_reached(one, goal))[1]


def main() -> None:
    seeds, evals, jobs = (int(x) for x in sys.argv[1:4])
    rows = sys.argv[4:]
    tasks = {split: families.select(",".join(splits.split(split).test)) for split in SPLITS}
    names = [task.replace("nasbench201-hardware/", "").split("/", 1)[1] for split in SPLITS for task in tasks[split]]
    print(f"| variant | {' | '.join(names)} | optimum of {names[0]} | geometric mean |")
    print(f"|---|{'---:|' * (len(names) + 2)}")
    for variant, (name, steps, settings, on) in VARIANTS.items():
        if rows and variant not in rows:
            continue
        found, optimum = [], float("nan")
        for split in SPLITS:
            if split not in on:
                found += [float("nan")] * len(tasks[split])
                continue
            start = f":prior={prior(split, name, steps)}" if steps else ""
            controller = "" if settings.startswith("attention_policy") else "transfer_bo"
            spec = f"{controller or settings}{start}{settings if controller else ''}"
            specs = comparison.specs(",".join(tasks[split]), [spec], (), seeds, evals, None, 1)
            summaries = comparison.make(specs, OUT, jobs)
            found += [reached(one, one.top_threshold) for one in summaries]
            optimum = reached(summaries[0], summaries[0].optimum) if split == SPLITS[0] else optimum
        mean = statistics.geometric_mean(found, evals)
        shown = ["" if x != x else "never" if x is None else f"{x:g}" for x in (*found, optimum)]
        print(f"| {variant} | {' | '.join(shown)} | {'' if mean != mean else f'{mean:.1f}'} |", flush=True)


if __name__ == "__main__":
    main()
