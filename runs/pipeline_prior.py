"""The prior over pipelines from the trainings of `runs/pipelines.sh`: fit it, and see what it is worth on sets it never saw."""

from __future__ import annotations

import itertools
import json
import math
import sys
from functools import lru_cache
from pathlib import Path

import click
import torch
from torch import Tensor

from controller.models import configuration_prior, prior_file
from controller.models.configuration_prior import Scores
from nas import datasets
from nas.datasets import meta_features
from nas.run.priors import SHIPPED_PIPELINES
from search_spaces import Task, UserError, _noise
from search_spaces.pipeline import Pipeline

sys.path.insert(0, str(Path(__file__).parent))
import pipelines

SPACE = Pipeline()
PLACES = 8
"""Configurations of the portfolio: about a quarter of what a search of ten minutes begins."""
_DRAWN = 2000
"""Configurations that the portfolio may hold beside those that were trained, drawn as those are."""
_CHECKPOINTS = (1, 3, 5, 10)
_EARLY = (1, 2, 3, 4, 5)
_ORDERS = 200
"""Random orders that the regret of random search is the mean of."""


@click.group()
def main() -> None:
    """Fit the prior over pipelines, and evaluate it on sets that it never saw."""


_options = [
    click.option(
        "--trainings", required=True, type=click.Path(path_type=Path), help="The folder of runs/pipelines.sh."
    ),
    click.option("--images", required=True, type=click.Path(path_type=Path), help="The folder of npz data sets."),
]


def _with_options(command):
    for add in reversed(_options):
        command = add(command)
    return command


@main.command()
@_with_options
@click.option("--out", type=click.Path(path_type=Path), default=SHIPPED_PIPELINES, help="By default what ships.")
@click.option(
    "--each", is_flag=True, help="One prior without each set, into the folder --out, as runs/data_sets.sh takes them."
)
def fit(trainings: Path, images: Path, out: Path, each: bool) -> None:
    """Fit the prior on all sets, or one without each of them."""
    names, scores = load(trainings, images)
    if not each:
        write(out, scores, names)
        return
    out.mkdir(parents=True, exist_ok=True)
    for place, name in enumerate(names):
        write(out / f"{name}.safetensors", scores.without(place), [other for other in names if other != name])


def write(file: Path, scores: Scores, names: list[str]) -> None:
    """Fit and write one prior."""
    prior = configuration_prior.fit(SPACE, scores, candidates(scores), PLACES)
    # Recipes by hand that were not trained everywhere come last.
    first, own = prior.params["first"], SPACE.canonical(SPACE.first_archs)
    new = torch.stack([~(first == one).all(1).any() for one in own])
    prior = prior._replace(params=prior.params | {"first": torch.cat([first, own[new]])})
    about = prior.about | {"data_sets": json.dumps(names), "trainings": str(len(scores.score))}
    prior_file.write(file, prior._replace(about=about))
    click.echo(f"{file}: {len(scores.score)} trainings of {len(names)} sets, {file.stat().st_size / 1e3:.0f} kB")
    for arch in prior.params["first"]:
        click.echo(f"  {SPACE.describe(arch)}")


def candidates(scores: Scores) -> Tensor:
    """What was trained, and as many that were drawn alike, without repeats, `[M, D]`."""
    drawn = torch.stack([pipelines.configuration(2 * number + 1, 1000) for number in range(_DRAWN)])
    return torch.cat([scores.archs, drawn]).unique(dim=0)


def load(trainings: Path, images: Path) -> tuple[list[str], Scores]:
    """The sets that have trainings, and all their scores."""
    files = {name: trainings / f"{name}.jsonl" for name in pipelines.sets(images)}
    rows = {name: pipelines.read(file) for name, file in files.items() if file.exists()}
    names = [name for name in rows if rows[name]]
    flat = [(place, row) for place, name in enumerate(names) for row in rows[name]]
    if not flat:
        raise UserError(f"'{trainings}' holds no trainings; runs/pipelines.sh makes them.")
    return names, Scores(
        torch.stack([SPACE.parse(row["arch"]) for _, row in flat]),
        torch.tensor([place for place, _ in flat]),
        torch.tensor([pipelines.LEVELS.index(row["level"]) for _, row in flat]),
        torch.tensor([math.nan if row["score"] is None else row["score"] for _, row in flat], dtype=torch.float64),
        torch.stack([about(images, name) for name in names]),
    )


@lru_cache(maxsize=64)
def about(images: Path, name: str) -> Tensor:
    """The features of a set."""
    data = datasets.load(f"npz:{images / name}.npz")
    shape = (data.x_train.shape[1], data.x_train.shape[2], data.x_train.shape[3])
    features = meta_features.features(data.x_train, data.y_train)
    return configuration_prior.describe(Task(name, shape, len(data.class_names), features))


@main.command()
@_with_options
def evaluate(trainings: Path, images: Path) -> None:
    """Regret on each set by a prior of the others: of the first proposals among what all sets trained, in points.

    The regret is how far the best of the first `k` is below the best of all, by validation accuracy at the highest level.
    """
    names, scores = load(trainings, images)
    shared, values = trained_everywhere(scores, names)
    click.echo(f"{len(names)} sets, {len(scores.score)} trainings, {len(shared)} configurations on all sets")
    archs = torch.tensor(shared)
    regrets: dict[str, list[list[float]]] = {
        "prior": [],
        "in the order by hand": [],
        "random": [],
        "plain ResNet alone": [],
    }
    plain = shared.index(tuple(SPACE.canonical(SPACE.reference_arch).tolist()))
    for place in range(len(names)):
        value = values[place]
        rest = scores.without(place)
        order = places(shared, configuration_prior.fit(SPACE, rest, archs, len(shared)).params["first"])
        regrets["prior"].append(curve(value, torch.tensor(order)[None]))
        regrets["in the order by hand"].append(curve(value, torch.arange(len(shared))[None]))
        shuffled = _noise.bits(torch.arange(_ORDERS), 0, len(shared)).argsort(-1)
        regrets["random"].append(curve(value, shuffled))
        regrets["plain ResNet alone"].append(curve(value, torch.full((1, len(shared)), plain)))
    click.echo("| first proposals | " + " | ".join(map(str, _CHECKPOINTS)) + " |")
    click.echo("|---|" + "---|" * len(_CHECKPOINTS))
    for name, rows in regrets.items():
        means = torch.tensor(rows).mean(0)
        click.echo(f"| {name} | " + " | ".join(f"{float(mean):.2f}" for mean in means) + " |")


def trained_everywhere(scores: Scores, names: list[str]) -> tuple[list[tuple[int, ...]], Tensor]:
    """Configurations that were trained on all sets at the highest level, and their scores `[S, M]`; 0 where training failed."""
    high = scores.rows(scores.level == scores.level.max())
    keys = [tuple(arch.tolist()) for arch in high.archs]
    of_set: list[dict[tuple[int, ...], float]] = [{} for _ in names]
    for key, place, score in zip(keys, high.data.tolist(), high.score.tolist()):
        of_set[place][key] = score
    shared = [key for key in dict.fromkeys(keys) if all(key in own for own in of_set)]
    return shared, torch.tensor([[own[key] for key in shared] for own in of_set], dtype=torch.float64).nan_to_num(0.0)


def places(shared: list[tuple[int, ...]], order: Tensor) -> list[int]:
    """Of those of `order` `[P, D]` that are among the shared ones."""
    return [shared.index(key) for key in map(tuple, order.tolist()) if key in shared]


@main.command()
@_with_options
def from_runs(trainings: Path, images: Path) -> None:
    """What one earlier search adds to the prior, over all ordered pairs of sets, by a prior of the other sets.

    The search on the first set tries the first eight of the prior, and its best is put behind the first of the prior, or behind
    some more. Behind how many is chosen for each second set on the pairs without it: the fewest with the lowest mean regret.
    """
    names, scores = load(trainings, images)
    shared, values = trained_everywhere(scores, names)
    archs, trusts = torch.tensor(shared), [0, 1, 2, 3, 4, len(shared)]
    regrets = torch.full((len(names), len(names), len(trusts), len(_EARLY)), math.nan, dtype=torch.float64)
    for before, now in itertools.permutations(range(len(names)), 2):
        first = configuration_prior.fit(SPACE, scores.without(before).without(now), archs, len(shared)).params["first"]
        begun = places(shared, first)[:PLACES]
        found = archs[begun[int(values[before, begun].argmax())]][None]
        for at, trusted in enumerate(trusts):
            order = torch.tensor([places(shared, configuration_prior.with_own(first, found, trusted))])
            regrets[before, now, at] = torch.tensor(curve(values[now], order, _EARLY))
    click.echo(f"{len(names)} sets, {len(names) * (len(names) - 1)} pairs, {len(shared)} configurations on all sets")
    click.echo("| tried before it | " + " | ".join(map(str, _EARLY)) + " | better | worse |")
    click.echo("|---|" + "---:|" * (len(_EARLY) + 2))
    chosen = []
    for now in range(len(names)):
        others = [place for place in range(len(names)) if place != now]
        mean = regrets[others][:, others].nanmean((0, 1)).mean(-1)
        chosen.append(int((mean <= mean.min() + 1e-9).nonzero()[0]))
    rows = {
        ("all: no runs" if trusted == len(shared) else f"the first {trusted}" if trusted else "none"): regrets[:, :, at]
        for at, trusted in enumerate(trusts)
    }
    nested = torch.stack([regrets[:, now, at] for now, at in enumerate(chosen)], 1)
    for name, own in {**rows, "chosen on the other sets": nested}.items():
        change = (own - regrets[:, :, -1]).mean(-1)
        share = [f"{100 * float((change[~change.isnan()] * sign > 1e-9).double().mean()):.0f}%" for sign in (-1, 1)]
        click.echo(f"| {name} | " + " | ".join([f"{m:.2f}" for m in own.nanmean((0, 1)).tolist()] + share) + " |")
    counts = {trusts[at]: chosen.count(at) for at in sorted(set(chosen))}
    click.echo(
        "chosen: " + ", ".join(f"behind the first {trusted} for {count} sets" for trusted, count in counts.items())
    )


@main.command()
@_with_options
def shapes(trainings: Path, images: Path) -> None:
    """What `cells=0` adds to `cells=1`, all else alike, at the highest level: points, mean and standard error over the sets."""
    names, scores = load(trainings, images)
    high = scores.rows(scores.level == scores.level.max())
    known = {
        (data, tuple(arch)): score
        for data, arch, score in zip(high.data.tolist(), high.archs.tolist(), high.score.tolist())
    }
    gains: dict[str, list[float]] = {}
    for (data, arch), score in known.items():
        settings = SPACE.settings_of(torch.tensor(arch))
        one = SPACE.arch_of(SPACE.cell_of(torch.tensor(arch)), settings._replace(cells=1))
        before = known.get((data, tuple(one.tolist())))
        if settings.cells == 0 and before is not None:
            gains.setdefault(f"stem={settings.stem} mirror={'yes' if settings.mirror else 'no'}", []).append(
                score - before
            )
    for recipe, own in gains.items():
        values = torch.tensor(own)
        error = float(values.std()) / len(own) ** 0.5
        click.echo(f"{recipe}: {float(values.mean()):+.1f} ± {error:.1f} points over {len(own)} of {len(names)} sets")


def curve(value: Tensor, orders: Tensor, checkpoints: tuple[int, ...] = _CHECKPOINTS) -> list[float]:
    """The mean regret over orders `[R, M]` of values `[M]` after each checkpoint."""
    best = value[orders].cummax(-1).values
    return [float((value.max() - best[:, min(k, len(value)) - 1]).mean()) for k in checkpoints]


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
