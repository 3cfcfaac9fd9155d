"""What follows a search: the report column of the best, and on a dataset the winner trained to the end, a page, the export."""

from __future__ import annotations

import math
import time
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nas import component_checks
from nas.export.export import Export
from nas.run import (
    choice,
    comparison,
    data_report,
    final_trainings,
    front,
    hparams,
    leaders,
    names,
    report,
    seed_networks,
    session,
    simpler,
    stages,
    step_log,
    store,
    subject,
    test_accuracy,
    test_pictures,
    test_place,
    trained_network,
)
from nas.run.comparison import FOUND
from nas.run.markdown import code, escape
from nas.run.session import Setup
from nas.run.stages import Enter
from nas.run.store import Run
from nas.types import Averages, FinalTraining, TrainedNetwork, TrainingEvaluator
from search_spaces._files import atomic_write

PAGE = "report.md"
SECONDS = "seconds"
"""Kept with a run: what each stage after the search took."""
FOLDER = "export"
EXPORTED = "exported"
"""Kept with a run: the digest of the network in its export."""


def finish(run: Run, setup: Setup, enter: Enter = stages.nobody) -> Export | None:
    """Tell the leaders apart, read the report once; where there is data, train the winner, write `report.md` and `export/`.

    What was done before is not done again. `enter` is told which stage begins.
    """
    write_report(run, setup, enter)
    if simpler.wanted(run.config, setup):
        enter(stages.COMPARISON)
    simpler.make(run, setup)
    final_trainings.forget(run)
    hparams.write_results(run, setup)
    training, winner = setup.evaluator.training, trained_network.load(run.folder)
    front.keep_sizes(run, training.final_space if training else setup.evaluator.space, setup.evaluator.task)
    if training is None or winner is None:
        _write_html(run)
        return None
    enter(stages.EXPORT)
    test_pictures.keep(run.folder, setup.evaluator, winner)
    _write_html(run)
    with atomic_write(run.folder / PAGE) as beside:
        beside.write_text(page(run, setup, winner), encoding="utf-8")
    if _is_exported(run, winner):
        return None
    done = trained_network.write_export(
        training.final_space, setup.evaluator.task, winner, run.folder / FOLDER, force=True
    )
    store.set_meta(run, EXPORTED, trained_network.digest(run.folder))
    return done


def _write_html(run: Run) -> None:
    """The page that people open; a run without a success has none."""
    past = step_log.history(run)
    if not past.score.isnan().all():
        report.write(run)


def write_report(run: Run, setup: Setup, enter: Enter = stages.nobody) -> None:
    """Read the report column of each seed's best, once, and keep it with the run; with it the best network, trained."""
    if store.get_meta(run, "report") is not None:
        return
    past = step_log.history(run)
    leaders.choose(run, setup.evaluator, lambda: enter(stages.LEADERS))
    found = choice.handed_out(run, past, session.best(run.config, past))
    succeeded = ~found.score.isnan()
    if not succeeded.any():
        return
    if setup.evaluator.training is not None:  # A table is looked up: nothing is trained, and no such stage announced.
        enter(stages.FINAL)
    began = time.perf_counter()
    top = found.archs[choice.top(run, past, found)]
    # All final trainings of a comparison first: it then finds them where it looks for them.
    networks = simpler.train(run, setup, top) if simpler.wanted(run.config, setup) else None
    if (values := _reported(run, setup, found.archs[succeeded], top, networks)) is None:
        return
    if (training := setup.evaluator.training) is not None:
        each: dict[int, TrainedNetwork] = {}
        if networks is None:
            each = {s: _trained(run, setup, training, found.archs[s]) for s in succeeded.nonzero()[:, 0].tolist()}
            if all(one.diverged for one in each.values()):
                raise trained_network.diverged(training)
            store.set_meta(run, choice.DIVERGED, [s for s, one in each.items() if one.diverged] or None)
            best = choice.top(run, past, found)
            top, network = found.archs[best], each[best]
        else:
            network = simpler.leading(networks)
        diverged = networks is not None and FOUND not in networks
        trained_network.save(run.folder, network)
        # Before the comparison, in which a run may be killed.
        searched = "" if diverged else simpler.searched_name(training, top, network)
        store.set_meta(run, comparison.SEARCHED, searched or None)
        store.set_meta(run, SECONDS, {"final training": round(time.perf_counter() - began, 3)})
        is_top = (found.archs == top).all(-1).tolist()
        # After a comparison the plain network may be handed out in place of the best.
        kept = [s for s in succeeded.nonzero()[:, 0].tolist() if not is_top[s] or not (networks is None or diverged)]
        each |= {s: network for s in kept if is_top[s]}
        trained = {s: each[s] if s in each else _trained(run, setup, training, found.archs[s]) for s in kept}
        first, name = run.config.first_seed, {s: _name(run, setup, found.archs[s]).arch for s in kept}
        converged = {s: one for s, one in trained.items() if not one.diverged}
        seed_networks.save(run, {first + s: (name[s], one) for s, one in converged.items()})
    reports = torch.full_like(found.score, torch.nan).masked_scatter(succeeded, values.float())
    test_place.save(run, setup.evaluator, found.archs, reports)
    store.set_meta(run, "report", [None if math.isnan(v) else round(v, 4) for v in reports.tolist()])


def _reported(
    run: Run, setup: Setup, archs: Tensor, top: Tensor, networks: dict[str, simpler.Judged] | None
) -> Tensor | None:
    """The report column of `archs` `[N, D]`, `[N]`; of `top` `[D]` that of its network, where it was trained already.

    NaN where the final training diverged.
    """
    training = setup.evaluator.training
    if networks is None or training is None:
        values = setup.evaluator.report(archs)
        component_checks.refuse_wrong_report(values, archs)
        return values
    values = torch.full((len(archs),), networks[FOUND][1].tested if FOUND in networks else math.nan)
    for n in (archs != top).any(-1).nonzero()[:, 0].tolist():
        values[n] = _trained(run, setup, training, archs[n]).tested
    return values


def _trained(run: Run, setup: Setup, training: TrainingEvaluator, arch: Tensor) -> TrainedNetwork:
    """The network of what a search found, `[D]`, trained as the one handed out was."""
    comparable = simpler.wanted(run.config, setup)
    if comparable is None:
        return training.final_network(_alone(training, arch))
    final = simpler.final_arch(setup.evaluator, training, arch)
    # Kept until the comparison is made: a session that is killed before repeats no training that ended.
    return final_trainings.networks(run, comparable, [FinalTraining(final)])[0]


def _alone(training: TrainingEvaluator, top: Tensor) -> Tensor:
    """The architecture `[D]` that is trained without a comparison, of the best, `top` `[D]`."""
    return training.final_arch(top, twice=False, larger=False) if isinstance(training, Averages) else top


def page(run: Run, setup: Setup, winner: TrainedNetwork) -> str:
    """A page in Markdown: what was searched, what was found, how good it is, which classes it takes for which."""
    past = step_log.history(run)
    retrained = choice.trainings(run, past)
    plain = comparison.plain_handed_out(run)
    head = [
        f"# {escape(run.config.task)}: {winner.metrics['test_accuracy']:.2f}% of the test images right",
        *map(escape, [*test_accuracy.sentences(winner), *([plain] if plain else [])]),
        f"Found by {code(run.config.controller)} in {past.score.shape[1]} evaluations, {past.wall:.0f} s of search"
        f"{f'; {retrained} more trainings told its leaders apart' if retrained else ''}.",
        f"{escape(setup.evaluator.description)}.",
        _architecture(run, setup, past, winner),
        *choice.diverged_lines(run),
        *choice.section(run, past, session.best(run.config, past)),
        *data_report.section(run, past, setup.evaluator.training.failures() if setup.evaluator.training else []),
        *comparison.section(run),
        "## Confusion matrix",
        "Rows are the truth, columns what the network says.",
    ]
    names = [escape(name) for name in winner.class_names]
    rows = [["", *names], ["---"] * (len(names) + 1)]
    rows += [[name, *map(str, counts)] for name, counts in zip(names, winner.metrics["confusion"])]
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return "\n\n".join([*head, table]) + "\n"


def _architecture(run: Run, setup: Setup, past: step_log.History, winner: TrainedNetwork) -> str:
    """A line that names the network handed out, and what was found where it is another one."""
    found = choice.handed_out(run, past, session.best(run.config, past))
    name = _name(run, setup, found.archs[choice.top(run, past, found)])
    proposed = "" if name.proposed_as is None else f", proposed as {code(name.proposed_as)}"
    found_as = f"The search found {code(name.arch)}{proposed}."
    if comparison.plain_handed_out(run):
        return f"Architecture: {code(winner.arch)}, the plain ResNet. {found_as}"
    if winner.members:
        return f"Architectures of the ensemble: {', '.join(map(code, winner.members))}. {found_as}"
    if winner.arch != name.arch:
        return f"Architecture: {code(winner.arch)}, in the end trained otherwise than in the search. {found_as}"
    return f"Architecture: {code(winner.arch)}{proposed}"


def _name(run: Run, setup: Setup, arch: Tensor) -> names.Name:
    return names.of(subject.read(run), setup.evaluator.space, arch)


def _is_exported(run: Run, winner: TrainedNetwork) -> bool:
    """Whether the run's own export is of `winner`: a run that got more budget may hand out another one since.

    The architecture alone does not say it: the plain network is trained for as long as the network found.
    """
    return _exported_arch(run) == winner.arch and store.get_meta(run, EXPORTED) in (
        None,  # Of a run of an earlier version, which exports what it found.
        trained_network.digest(run.folder),
    )


def _exported_arch(run: Run) -> str | None:
    try:
        with safe_open(run.folder / FOLDER / "network.safetensors", framework="pt") as file:
            return (file.metadata() or {}).get("arch")
    except (OSError, SafetensorError):
        return None


def exported(run: Run) -> Path | None:
    """The folder of the run's own export, if it has one."""
    folder = run.folder / FOLDER
    return folder if folder.is_dir() else None
