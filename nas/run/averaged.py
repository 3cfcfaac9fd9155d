"""The ensemble of two networks that were trained to the end: what it answers follows from their answers."""

from __future__ import annotations

import torch
from torch import Tensor

from nas.evaluators.constrained import Constrained
from nas.evaluators.multi_objective import MultiObjective
from nas.export import ensemble
from nas.training import metrics
from nas.types import Averages, Evaluator, TrainedNetwork


def wanted(evaluator: Evaluator) -> Averages | None:
    """The evaluator, if an ensemble may be handed out: not where something is constrained, as it costs as much as two."""
    inner = evaluator.inner if isinstance(evaluator, MultiObjective) else evaluator
    training = inner.training
    if isinstance(training, Averages) and training.ensemble and not isinstance(inner, Constrained):
        return training
    return None


def grows(evaluator: Evaluator) -> Averages | None:
    """The evaluator, if final networks may be larger than what was found: not where small ones are asked for."""
    return None if isinstance(evaluator, MultiObjective) else wanted(evaluator)


def of(first: TrainedNetwork, second: TrainedNetwork) -> TrainedNetwork:
    """The ensemble of two single networks that were measured on the same images; its own answers there follow from theirs."""
    # The logarithms of an image's probabilities are its logits less one number, which changes no softmax of their mean.
    logs = [one.metrics["test_probabilities"].clamp_min(torch.finfo().tiny).log() for one in (first, second)]
    truth = torch.tensor(first.metrics["test_labels"])
    return first._replace(
        state_dict=ensemble.joined([first.state_dict, second.state_dict]),
        # Of the first what is not measured anew: its losses, what a teacher was worth.
        metrics=first.metrics | metrics.test_metrics(torch.stack(logs).mean(0), truth),
        seconds=first.seconds + second.seconds,
        members=(first.arch, second.arch),
    )


def lead_and_error(ours: TrainedNetwork, theirs: TrainedNetwork) -> tuple[float, float]:
    """By how many points of accuracy `theirs` leads on the images both are measured on, and the standard error of that lead."""
    difference = 100 * (_hits(theirs) - _hits(ours))
    return difference.mean().item(), (difference.std() / len(difference) ** 0.5).item()


def _hits(network: TrainedNetwork) -> Tensor:
    seen, truth = (torch.tensor(network.metrics[name]) for name in ("test_predictions", "test_labels"))
    return (seen == truth).double()
