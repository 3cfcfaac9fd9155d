"""Makes the comparison that a search on images ends with: the network found beside the commonest class, the best model of
scikit-learn, and the plain ResNet-like network of its space, trained by the same recipe with the same compute.

The plain network is a floor: where it is better on the validation images, it is handed out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nas import baselines
from nas.baselines import Baseline
from nas.evaluators.constrained import Constrained
from nas.evaluators.multi_objective import MultiObjective
from nas.export import latency, loader
from nas.export.export import build
from nas.run import (
    averaged,
    choice,
    comparison,
    final_trainings,
    session,
    stages,
    step_log,
    store,
    trained_network,
    verified,
)
from nas.run.comparison import ENSEMBLE, FOUND, LEARNED, MAJORITY, REFERENCE, Row
from nas.run.config import RunConfig
from nas.run.session import Setup
from nas.run.store import Run
from nas.training import metrics
from nas.types import (
    Averages,
    ComparableTraining,
    Evaluator,
    FinalTraining,
    TrainedNetwork,
    TrainingEvaluator,
    Watched,
    as_comparable,
)
from search_spaces import Space, Task

_MOST = 4.0
"""By how much the plain network may have more or fewer epochs than the recipe: beyond that, more epochs do not help a network.
Not ablated."""

_SECOND = "second training"
"""Of the network found, in place of the plain one."""
Judged = tuple[TrainedNetwork | None, TrainedNetwork]
"""A network after training on the training images alone, if it was, and after the final training."""
_NAMES = {
    FOUND: "the network found",
    REFERENCE: "the plain ResNet",
    ENSEMBLE: "the ensemble of {}",
}


def wanted(config: RunConfig, setup: Setup) -> ComparableTraining | None:
    """The evaluator of a run that ends with a comparison; None where it does not."""
    return as_comparable(setup.evaluator.training) if config.comparison else None


def make(run: Run, setup: Setup) -> None:
    """Train what is missing, compare on the test images, keep the comparison; and the plain network where it is better.

    What was done before is not done again.
    """
    training = wanted(run.config, setup)
    if training is None or store.get_meta(run, "report") is None or comparison.read(run) is not None:
        return
    past = step_log.history(run)
    # Not the architecture of the network in the run's folder: where a session was killed below, that is the plain one already.
    best = choice.handed_out(run, past, session.best(run.config, past))
    top = choice.top(run, past, best)
    arch = best.archs[top]
    searched = past.wall + choice.wall(run, past)
    images, task, metric = training.images, setup.evaluator.task, training.metric
    networks = train(run, setup, arch)
    winner = leading(networks)
    learned = baselines.fit_best(images, comparison.learned_seconds(searched), metric)
    named = [(MAJORITY, baselines.majority(images, winner.class_names)), (LEARNED, learned)]
    rows = [_row_of_baseline(kind, one, images, metric) for kind, one in named]
    others = [pair for kind, pair in networks.items() if kind != FOUND]
    if FOUND in networks and others and averaged.wanted(setup.evaluator) is not None:
        networks = {kind: pair for kind, pair in networks.items() if kind != _SECOND}
        (held_out, final), (other_held_out, other_final) = networks[FOUND], others[0]
        judged = averaged.of(held_out, other_held_out) if held_out and other_held_out else None
        networks[ENSEMBLE] = judged, averaged.of(final, other_final)
    modules = [_module(training.final_space, task, final) for _, final in networks.values()]
    times, latency_by = latency.of_networks(modules, winner.input_shape or task.input_shape)
    for (kind, (held_out, final)), module, milliseconds in zip(networks.items(), modules, times):
        spent = final.seconds + (0.0 if kind == REFERENCE else searched)
        # The search's own score is of a shorter training, on fewer images: it stands beside no other.
        valid = _valid_score(held_out, final, metric) if held_out else None
        name = _NAMES[kind].format("both networks" if REFERENCE in networks else "two trainings")
        rows.append(_row_of_network(name, kind, valid, final, module, milliseconds, spent))
    chosen = comparison.handed_out(rows)
    if ENSEMBLE in networks and not _leads(networks[chosen.kind][0], networks[ENSEMBLE][0]):
        chosen = rows[-1]
    if chosen.kind != FOUND:
        trained_network.save(run.folder, networks[chosen.kind][1])
    document = {
        "rows": [row._asdict() for row in rows],
        "sentence": comparison.sentence(
            rows, ENSEMBLE if chosen.kind == ENSEMBLE else FOUND, trained_network.steadier(training)
        ),
        "handed_out": chosen.name,
        "latency_by": latency_by,
        "metric": metric,
        "no_plain": "" if REFERENCE in networks else why_no_plain(run, setup.evaluator, training, arch),
        "searched": searched_name(training, arch, winner) if FOUND in networks else "",
        "mirrored_share": training.mirrored_share if isinstance(training, Averages) else None,
    }
    store.set_meta(run, comparison.KEY, document)


def train(run: Run, setup: Setup, arch: Tensor) -> dict[str, Judged]:
    """Of the network found, `arch` `[D]`, and of the plain one: trained on training images alone, and by the final training.

    The plain one is missing where the space has none, where it is what was found, and where it breaks a constraint of the search.
    Without it an ensemble takes a second training, as the evaluator says; then none is trained on training images alone. Where no
    ensemble may be handed out, the second training stands for the network found if validation images prefer it.

    What diverged is missing too: the network found where the plain one did not diverge. Raises `UserError` where all have.
    """
    training = wanted(run.config, setup)
    assert training is not None
    arch = final_arch(setup.evaluator, training, arch)
    asked: dict[str, FinalTraining] = {}
    plain = training.reference(arch)
    if plain is not None and not _is_same(training, plain, arch) and _keeps_constraints(run, setup.evaluator, plain):
        asked[REFERENCE] = FinalTraining(plain, share=_share(run, training, arch, plain))
    elif (averages := averaged.wanted(setup.evaluator)) is not None:
        # Without minutes the time is nobody's: what a run gives does not depend on how many cores there are.
        times = comparison.unjudged(1 if run.config.minutes is None else stages.cores_of(training))
        both = _in_time(run, training, [averages.second(arch), FinalTraining(arch)], times)
        second, found = _together(run, training, both)
        return _that_converged(training, {_SECOND: (None, second), FOUND: (None, found)})
    elif isinstance(training, Averages):
        asked[_SECOND] = training.second(arch)
    asked[FOUND] = FinalTraining(arch)
    final = _in_time(run, training, list(asked.values()))
    held_out = [one._replace(share=one.share * comparison.HELD_OUT, held_out=True) for one in final]
    # All at once, for machines with cores enough.
    made = _together(run, training, [*final, *held_out])
    finals, judged = made[: len(final)], made[len(final) :]
    pairs = _that_converged(training, dict(zip(asked, zip(judged, finals, strict=True), strict=True)))
    if _SECOND in pairs:
        pairs = {FOUND: _preferred(pairs[FOUND], pairs[_SECOND], training.metric)}
    return pairs


def _together(run: Run, training: ComparableTraining, asked: list[FinalTraining]) -> list[TrainedNetwork]:
    """Their networks, each trained as beside others, also by a session that finds the others ended."""
    return final_trainings.networks(run, training, [one._replace(beside=True) for one in asked])


def leading(networks: dict[str, Judged]) -> TrainedNetwork:
    """The network found; where it diverged the plain one."""
    return (networks.get(FOUND) or networks[REFERENCE])[1]


def _that_converged(training: TrainingEvaluator, pairs: dict[str, Judged]) -> dict[str, Judged]:
    """Those of which no training diverged; the second training of the network found stands for a first that did."""
    kept = {kind: pair for kind, pair in pairs.items() if not any(one is not None and one.diverged for one in pair)}
    if FOUND not in kept and _SECOND in kept:
        kept[FOUND] = kept.pop(_SECOND)
    if not kept:
        raise trained_network.diverged(training)
    return kept


def final_arch(evaluator: Evaluator, training: TrainingEvaluator, arch: Tensor) -> Tensor:
    """How `arch` `[D]` is trained in the end, `[D]`, where the run ends with a comparison."""
    if not isinstance(training, Averages):
        return arch
    twice, larger = averaged.wanted(evaluator) is not None, averaged.grows(evaluator) is not None
    return training.final_arch(arch, twice=twice, larger=larger)


def _in_time(
    run: Run, training: ComparableTraining, asked: list[FinalTraining], times: float = 1.0
) -> list[FinalTraining]:
    """With `times` the epochs, and fewer where one takes longer than what the minutes of a run were planned by.

    The same multiply-accumulates take a small network longer, as it sees more images for them: with width 8 and RandAugment a
    search of three minutes took four. Timed beside the training that was planned by, so that a busy machine changes little; kept
    with the run, so that what is killed goes on as it began, on other cores too.
    """
    if run.config.minutes is None or not (isinstance(training, Averages) and isinstance(training, Watched)):
        return [one._replace(share=one.share * times) for one in asked]
    kept = store.get_meta(run, comparison.SHARES)
    if kept is None or len(kept) != len(asked):
        planned = training.planned_seconds()
        shares = [min(one.share, planned / training.final_seconds(one.arch)) for one in asked]
        kept = [round(share * times, 3) for share in shares]
        store.set_meta(run, comparison.SHARES, kept)
    return [one._replace(share=share) for one, share in zip(asked, kept, strict=True)]


def _preferred(first: Judged, second: Judged, metric: str) -> Judged:
    """What is better on the validation images; of ties the first."""
    scores = [-1.0 if judged is None else _valid_score(judged, final, metric) for judged, final in (first, second)]
    return second if scores[1] > scores[0] else first


def searched_name(training: TrainingEvaluator, arch: Tensor, network: TrainedNetwork) -> str:
    """The name of `arch` `[D]` where `network` is of another training of it than the search's; else empty."""
    name = training.space.describe(training.equivalents(arch))
    return name if isinstance(training, Averages) and network.arch != name else ""


def _leads(network: TrainedNetwork | None, ensemble: TrainedNetwork | None) -> bool:
    """Whether `network` is better on the validation images than an ensemble by more than the standard error of their difference.

    By accuracy, whatever the metric of the search. A smaller lead does not count: few validation images tell two so alike apart
    badly, and an ensemble is seldom worse: where none was measured there, that of two trainings is taken.
    """
    if network is None or ensemble is None:
        return False
    lead, error = averaged.lead_and_error(ensemble, network)
    return lead > error


def _is_same(training: ComparableTraining, plain: Tensor, arch: Tensor) -> bool:
    """Whether two architectures `[D]` compute the same."""
    return torch.equal(*training.equivalents(torch.stack([plain, arch])))


def why_no_plain(run: Run, evaluator: Evaluator, training: ComparableTraining, arch: Tensor) -> str:
    """Why `train` left the plain network out, where `arch` `[D]` was found."""
    plain = training.reference(arch)
    if plain is None:
        return f"The plain ResNet has no row: the space '{training.space.name}' has none."
    if _is_same(training, plain, arch):
        return "The plain ResNet has no row: it is what the search found."
    if _keeps_constraints(run, evaluator, plain):
        return "The plain ResNet has no row: one of its trainings diverged."
    return "The plain ResNet has no row: it breaks a constraint."


def _keeps_constraints(run: Run, evaluator: Evaluator, arch: Tensor) -> bool:
    """Whether the network of `arch` `[D]` may be handed out at all."""
    evaluator = evaluator.inner if isinstance(evaluator, MultiObjective) else evaluator
    if not isinstance(evaluator, Constrained):
        return True
    return bool((evaluator.ratio(arch) <= 1).all()) and verified.keeps(run, evaluator, arch)


def _share(run: Run, training: ComparableTraining, found: Tensor, plain: Tensor) -> float:
    """Of the final epochs, so that the plain network has as much compute as that found.

    Compute is counted, not timed: a busy machine would change how long the plain network is trained. Kept with the run, as
    earlier versions did, which measured it.
    """
    kept = store.get_meta(run, comparison.PLAN)
    if kept is None:
        ratio = _compute_ratio(training, found, plain)
        kept = {"share": round(min(_MOST, max(1 / _MOST, ratio)), 2)}
        store.set_meta(run, comparison.PLAN, kept)
    return kept["share"]


def _compute_ratio(training: ComparableTraining, found: Tensor, plain: Tensor) -> float:
    try:
        return training.final_flops(found) / training.final_flops(plain)
    except Exception:  # To count, networks of somebody's space are built without memory, which their code may not bear.
        return 1.0


def _row_of_baseline(kind: str, one: Baseline, images: dict[str, tuple[Tensor, Tensor]], metric: str) -> Row:
    y_valid, y = images["valid"][1], images["test"][1]
    classes = int(images["train"][1].max()) + 1
    valid = metrics.score(metric, one.seen_valid[None], y_valid, classes).item()
    figures = metrics.classification_metrics(one.seen, y, classes)
    time_of_one = one.milliseconds if kind == LEARNED else None
    name = one.name if kind == MAJORITY else f"{one.name} (scikit-learn)"
    return _row(name, kind, None, valid, figures, one.seen == y, None, time_of_one, one.seconds)


def _valid_score(held_out: TrainedNetwork, final: TrainedNetwork, metric: str) -> float:
    seen, truth = (torch.tensor(held_out.metrics[name]) for name in ("test_predictions", "test_labels"))
    return metrics.score(metric, seen[None], truth, len(final.class_names)).item()


def _row_of_network(
    name: str,
    kind: str,
    valid: float | None,
    final: TrainedNetwork,
    module: nn.Module,
    latency_ms: float,
    seconds: float,
) -> Row:
    hits = torch.tensor(final.metrics["test_predictions"]) == torch.tensor(final.metrics["test_labels"])
    parameters = sum(weight.numel() for weight in module.parameters())
    return _row(name, kind, final.arch, valid, final.metrics, hits, parameters, latency_ms, seconds)


def _module(space: Space, task: Task, trained: TrainedNetwork) -> nn.Module:
    """As it is exported: it normalizes its images, and averages over mirror images where that is its answer."""
    network = build(
        space, trained_network.arch_of(space, trained), trained_network.as_trained(task, trained), trained.state_dict
    )
    return loader.of_module(network, trained.mean, trained.std, trained.mirror)


def _row(
    name: str,
    kind: str,
    arch: str | None,
    valid: float | None,
    figures: dict[str, Any],
    hits: Tensor,
    parameters: int | None,
    latency_ms: float | None,
    seconds: float,
) -> Row:
    confusion = figures["confusion"]
    return Row(
        name, kind, arch, None if valid is None else round(valid, 4), figures["test_accuracy"], figures["interval"],
        round(metrics.balanced_accuracy(confusion), 4), round(metrics.macro_f1(confusion), 4), parameters,
        None if latency_ms is None else round(latency_ms, 4), round(seconds, 2), "".join("01"[hit] for hit in hits.int()),
    )  # fmt: skip
