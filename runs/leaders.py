"""What telling the leaders of a search apart is worth on test: in simulated choices, and in searches on images.

Both compare at equal numbers of trainings: N evaluations, of which the first best is handed out, with N - k evaluations and k
trainings of the leaders with other seeds. Validation chooses; test judges what is handed out.
Shapes: `P` functions, `R` repetitions, `N` evaluations, `K` training seeds.
"""

from __future__ import annotations

import argparse
import json
import math
import zlib
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from scipy.stats import t as student
from torch import Tensor

from nas import tables
from nas.run import choice, leaders, session, step_log, store
from nas.run.config import RunConfig
from nas.tables import pack_tasks, task_plans
from nas.tables.functions import function_index
from nas.tasks import TaskName
from search_spaces import Task, _noise, _ops
from search_spaces.nasbench201 import NasBench201

EVALS = 32
LEADERS = (2, 4, 6, 8, 12)
REPEATS = 4000
SEARCHED = 2 / 3
"""Of the simulated evaluations, those of the best quarter of the functions, where a search spends most; the rest are random."""

TUNE = ("brain_tumor_mri", "cifar10", "flowers5", "gtsrb", "rsscn7_aerial", "smile_faces")
SHOW = ("arabic_chars28", "dtd10_textures", "fer2013", "grocery_coarse", "pneumonia_mnist", "sign_language_digits")
"""Of the image datasets in alphabetical order, some with even and some with odd numbers. Settings are chosen on `TUNE`."""
SMALL = {
    "image_size": "16", "channels": "4", "examples": "800", "epochs": "8", "final_channels": "8", "final_epochs": "10",
}  # fmt: skip
"""Half the width of the defaults and two thirds of the epochs, so that all fits into an hour of one core."""
SETTINGS = (0, 2, 4)
"""Leaders; of 32 evaluations more than 4 would take more than a quarter."""
SEEDS = range(3)
"""Each is the seed of a search and of its trainings."""


def main() -> None:
    """Do what is asked for, and print its table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("choices", "images", "tune", "show"))
    parser.add_argument("--images", type=Path, required=True, help="the folder of .npz files")
    parser.add_argument("--many-tasks", type=Path, default=Path("runs/many-tasks"), help="the folder of its shards")
    parser.add_argument("--runs", type=Path, default=Path("runs/leaders"))
    asked = parser.parse_args()
    if asked.what == "choices":
        print(choices_table(repeated_scores(asked.many_tasks)))
        print(f"\nOne training by the final recipe: the multiply-accumulates of {final_cost():.1f} evaluations.")
        return
    if asked.what == "images":
        for seed in SEEDS:
            for name in (*TUNE, *SHOW):
                compare_on(name, seed, asked.images, asked.runs)
    for sets in (TUNE, SHOW) if asked.what == "images" else (TUNE,) if asked.what == "tune" else (SHOW,):
        print(images_table(sets, asked.runs), end="\n\n")


def repeated_scores(shards: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """By task: validation and test accuracy `[P, K]` of the functions measured with every seed."""
    table, found = tables.find("own201"), {}
    functions = function_index(NasBench201()).unique()
    for name in (n for n in table.columns if "/valid_accuracy_per_seed" in n):
        both = [table.by_index(n, NasBench201.choices)[functions] for n in (name, name.replace("valid", "test"))]
        found[f"own201/{name.split('/')[0]}"] = both
    for plan in task_plans.plans():
        done = pack_tasks.finished(plan, shards / plan.folder) if (shards / plan.folder).is_dir() else None
        if done is not None:
            pictures = done.about["pictures"]
            both = [done.metrics["valid"][-1] * 100 / pictures["valid"], done.metrics["test"] * 100 / pictures["test"]]
            found[f"many tasks, {plan.name}"] = both
    whole = {name: ~valid.isnan().any(1) for name, (valid, _) in found.items()}
    return {name: (valid[whole[name]].double(), test[whole[name]].double()) for name, (valid, test) in found.items()}


def choices_table(scores: dict[str, tuple[Tensor, Tensor]]) -> str:
    """Markdown: a line for each task, the gain in points of test by the number of leaders."""
    names = [f"{n} leaders, 1 other seed" for n in LEADERS] + ["4 leaders, halving", "8 leaders, halving"]
    lines = [
        f"| task | sd between seeds | test, best of {EVALS} | {' | '.join(names)} |",
        f"|---|{'---:|' * (len(names) + 2)}",
    ]
    gains = []
    for name, (valid, test) in scores.items():
        base, gain = simulate(valid, test, zlib.crc32(name.encode()))
        gains.append(gain)
        spread = valid.var(1).mean().sqrt().item()
        lines.append(f"| {name} | {spread:.2f} | {base:.2f} | {' | '.join(f'{g:+.2f}' for g in gain)} |")
    lines.append(f"| mean over {len(gains)} tasks, 95% interval | | | {' | '.join(map(interval, zip(*gains)))} |")
    return "\n".join(lines)


def simulate(valid_PK: Tensor, test_PK: Tensor, seed: int) -> tuple[float, list[float]]:
    """Test of the best of `EVALS` evaluations, and what each design gains on it.

    The first seed's score is that of the search. With one other seed, the test accuracy is that of the third, which no choice
    has seen. By halving all three seeds choose, so that their own tests overstate the gain: a network that validated well by
    its seed tests well, too.
    """
    P = len(valid_PK)
    noise = _noise.uniform(torch.arange(REPEATS) + seed % 1000 * REPEATS, 0, 3, P + EVALS).double()
    top = valid_PK.mean(1).argsort(descending=True)[: P // 4]
    better = int(SEARCHED * EVALS)
    drawn = torch.cat(
        [top[noise[:, 0, : len(top)].argsort(1)[:, :better]], noise[:, 1, :P].argsort(1)[:, : EVALS - better]], 1
    )
    drawn_RN = drawn.gather(1, noise[:, 2, :EVALS].argsort(1))
    # Which training is the search's own differs between repetitions and functions: their seeds are exchangeable.
    roles_RNK = _noise.uniform(torch.arange(REPEATS), 1, EVALS, 3).argsort(2)
    valid_RNK, test_RNK = (x[drawn_RN].gather(2, roles_RNK) for x in (valid_PK, test_PK))
    first = valid_RNK[..., 0].argmax(1, keepdim=True)
    unseen, seen = test_RNK[..., 2], test_RNK.mean(2)
    gains = []
    for count in LEADERS:
        at, score = _leaders(valid_RNK, count, count)
        gains.append(
            _gain(unseen, at.gather(1, (score + valid_RNK[..., 1].gather(1, at)).argmax(1, keepdim=True)), first)
        )
    for count in (4, 8):
        at, score = _leaders(valid_RNK, count, count + count // 2)
        score = score + valid_RNK[..., 1].gather(1, at)
        left = score.topk(count // 2, 1).indices
        at, score = at.gather(1, left), score.gather(1, left)
        at = at.gather(1, (score + valid_RNK[..., 2].gather(1, at)).argmax(1, keepdim=True))
        gains.append(_gain(seen, at, first))
    return unseen.gather(1, first).mean().item(), gains


def _leaders(valid_RNK: Tensor, count: int, trainings: int) -> tuple[Tensor, Tensor]:
    """The best of the evaluations that are left beside so many trainings: where they are and their scores, `[R, count]`."""
    best = valid_RNK[:, : EVALS - trainings, 0].topk(count, 1)
    return best.indices, best.values


def _gain(test_RN: Tensor, at: Tensor, first: Tensor) -> float:
    return (test_RN.gather(1, at) - test_RN.gather(1, first)).mean().item()


def compare_on(name: str, seed: int, images: Path, runs: Path) -> None:
    """A search by each of `SETTINGS`, its choice tested; what is done is kept."""
    task, options = str(TaskName.parse(f"npz:{images / name}.npz")), SMALL | {"seed": str(seed)}
    config = RunConfig(task=task, first_seed=seed, batch=16, evals=EVALS, training_options=options)
    missing = [count for count in SETTINGS if not (runs / f"{name}-{seed}-{count}.json").exists()]
    if not missing:
        return
    # One evaluator for all: what one search trained, the next ones look up.
    setup = session.load(config)
    for count in missing:
        folder = runs / f"{name}-{seed}-{count}"
        document = searched(folder, replace(config, leaders=count), setup)
        (runs / f"{folder.name}.json").write_text(json.dumps(document))


def searched(folder: Path, config: RunConfig, setup: session.Setup) -> dict[str, Any]:
    """Search, tell the leaders apart, train what is handed out to the end and test it; an earlier session is gone on with."""
    training = setup.evaluator.training
    assert training is not None
    with store.open_run(folder) if (folder / store.FILE).exists() else session.start(folder, config, setup) as run:
        for _ in session.resume(run, setup):
            pass
        leaders.choose(run, setup.evaluator)
        past = step_log.history(run)
        arch = choice.handed_out(run, past, session.best(config, past)).archs[0]
        tested = training.final_network(arch).metrics["test_accuracy"]
        return {"test": tested, "arch": setup.evaluator.space.describe(arch)} | choice.of_each(run, past)[0]


def final_cost() -> float:
    """Multiply-accumulates of a final training over those of an evaluation, by their defaults: 1,600 images of 32x32 to train and
    400 to validate, the mean over all architectures."""
    task, everything = Task("images", (3, 32, 32), 10), _ops.enumerate_all(NasBench201.choices)
    proxy, final = (NasBench201(*size, 2).cost(everything, task)[1].double().mean() for size in ((8, 1), (16, 2)))
    # 40,000 / 1,600 epochs of all 2,000 images; 12 epochs of the 1,600.
    return (final / proxy).item() * 25 * 2000 / (12 * 1600)


def images_table(sets: tuple[str, ...], runs: Path) -> str:
    """Markdown: test accuracy without leaders, and what leaders gain over it on the same dataset and seed."""
    rows, pairs = [], {count: [] for count in SETTINGS[1:]}
    for name in sets:
        done = {
            (seed, count): json.loads(file.read_text())["test"]
            for seed in SEEDS
            for count in SETTINGS
            if (file := runs / f"{name}-{seed}-{count}.json").exists()
        }
        seeds = [seed for seed in SEEDS if all((seed, count) in done for count in SETTINGS)]
        if seeds:
            gains = {count: [done[seed, count] - done[seed, 0] for seed in seeds] for count in pairs}
            for count, gain in gains.items():
                pairs[count].append(mean(gain))
            cells = [f"{mean(gain):+.2f}" for gain in gains.values()]
            rows.append(
                f"| {name} | {len(seeds)} | {mean(done[seed, 0] for seed in seeds):.2f} | {' | '.join(cells)} |"
            )
    head = f"| dataset | seeds | first of the best | {' | '.join(f'{count} leaders' for count in pairs)} |"
    over = " | ".join(interval(gain) for gain in pairs.values())
    return "\n".join(
        [head, f"|---|{'---:|' * (len(pairs) + 2)}", *rows, f"| mean of {len(rows)}, 95% interval | | | {over} |"]
    )


def interval(values: list[float] | tuple[float, ...]) -> str:
    """Mean and 95% interval over tasks, by Student's t."""
    if len(values) < 2:
        return "-"
    half = student.ppf(0.975, len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return f"{mean(values):+.2f} ({mean(values) - half:+.2f} to {mean(values) + half:+.2f})"


if __name__ == "__main__":
    main()
