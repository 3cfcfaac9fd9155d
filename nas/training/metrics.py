"""How good trained networks are.

Shapes: `P` networks, `N` images, `K` classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nas.training.network_batch import NetworkBatch
from nas.training.recipe import Images

_EVALUATED = 512
"""Images scored at once: more would only take more memory; not ablated."""


def logits(population: NetworkBatch, images: Images, *, mirror: bool = False) -> Tensor:
    """The logits of each network, float32 `[P, N, K]`.

    Args:
        mirror: the mean of an image's and of its mirror image's, as Krizhevsky et al. 2012, section 4.1, average over both.
    """
    out = []
    for first in range(0, len(images.y), _EVALUATED):
        x = images.normalised(slice(first, first + _EVALUATED))
        seen = population.logits(x)
        out.append((seen + population.logits(x.flip(-1))) / 2 if mirror else seen)
    return torch.cat(out, 1)


def predictions(population: NetworkBatch, images: Images, *, mirror: bool = False) -> Tensor:
    """The class that each network sees in each image, int64 `[P, N]`; `mirror` as in `logits`."""
    return logits(population, images, mirror=mirror).argmax(-1)


def accuracy(population: NetworkBatch, images: Images, *, mirror: bool = False) -> Tensor:
    """Percent of `images` that each network has right, float32 `[P]`; `mirror` as in `logits`."""
    return 100 * (predictions(population, images, mirror=mirror) == images.y).float().mean(1)


def score(metric: str, seen_PN: Tensor, y: Tensor, classes: int) -> Tensor:
    """How good predictions are by one of `METRICS`, in percent, float32 `[P]`."""
    if metric == "accuracy":
        return 100 * (seen_PN == y).float().mean(1)
    of_confusion = METRICS[metric]
    return torch.tensor([of_confusion(confusion(seen, y, classes).tolist()) for seen in seen_PN])


def confusion(seen: Tensor, truth: Tensor, classes: int) -> Tensor:
    """How often predictions `[N]` name each class for each true one, int64 `[K, K]`; rows are true classes."""
    counts = torch.zeros(classes, classes, dtype=torch.long, device=truth.device)
    # Accumulate: plain indexing would count a pair of classes once.
    return counts.index_put_((truth, seen), torch.ones((), dtype=torch.long, device=truth.device), accumulate=True)


def effective_images(metric: str, y: Tensor) -> int:
    """How many images `y` `[N]` tell about a classifier by `metric`: an accuracy on so many has the same standard error.

    A mean over classes has the variance (1 / K^2) sum_k p (1 - p) / n_k, where classes are equally hard, so the classes' counts
    have the weight of K^2 / sum_k 1 / n_k images. For macro F1, which has no such form, it is taken as well.
    """
    if metric == "accuracy":
        return len(y)
    counts = y.bincount()
    counts = counts[counts > 0].double()
    return max(1, round((len(counts) ** 2 / (1 / counts).sum()).item()))


def beats_chance(seen: Tensor, y: Tensor, classes: int) -> bool:
    """Whether predictions `[N]` are right more often than if they did not depend on the images, by two standard errors.

    Chance is the share in which both agree by how often each class is in them, as in Cohen's kappa (1960): one answer for all
    images is at chance.
    """
    shares = [one.bincount(minlength=classes).double() / len(y) for one in (seen, y)]
    chance = float((shares[0] * shares[1]).sum())
    return float((seen == y).double().mean()) > chance + 2 * math.sqrt(chance * (1 - chance) / len(y))


def calibration_error(p_PNK: Tensor, y: Tensor, bins: int = 15) -> Tensor:
    """Percent by which confidence and accuracy differ, float32 `[P]`: ECE = sum over bins of |B| / N |acc(B) - conf(B)|.

    Guo et al. 2017, "On calibration of modern neural networks", equation 3, with their 15 bins; bin m is ((m - 1) / M, m / M].
    """
    confidence_PN, seen_PN = p_PNK.max(-1)
    bin_PN = (confidence_PN * bins).ceil().long().clamp(1, bins) - 1
    gap_PN = (seen_PN == y).float() - confidence_PN
    return 100 * torch.zeros(len(p_PNK), bins).scatter_add_(1, bin_PN, gap_PN).abs().sum(1) / len(y)


def worst_class_accuracy(seen_PN: Tensor, y: Tensor, classes: int) -> Tensor:
    """The lowest percent correct of a class, float32 `[P]`; classes without images do not count."""
    correct_PK = torch.zeros(len(seen_PN), classes).index_add_(1, y, (seen_PN == y).float())
    count_K = y.bincount(minlength=classes)
    return 100 * (correct_PK / count_K)[:, count_K > 0].min(1).values


def classification_metrics(seen: Tensor, truth: Tensor, classes: int) -> dict[str, Any]:
    """How good predictions `[N]` are: percent right, its 95% interval (Wilson 1927), the confusion matrix `[K, K]`."""
    # Wilson's interval and not the normal one: test accuracies near 100% would get bounds above it.
    N, z = len(truth), 1.959964
    share = (seen == truth).double().mean().item()
    middle = (share + z * z / (2 * N)) / (1 + z * z / N)
    half = z / (1 + z * z / N) * math.sqrt(share * (1 - share) / N + z * z / (4 * N * N))
    return {
        "test_accuracy": round(100 * share, 3),
        "interval": [round(100 * (middle - half), 3), round(100 * (middle + half), 3)],
        "confusion": confusion(seen, truth, classes).tolist(),
    }


def test_metrics(logits: Tensor, truth: Tensor) -> dict[str, Any]:
    """How good one network is on the test images, and all of its answers: figures of later questions need no data.

    Args:
        logits: float32 `[N, K]`.
        truth: int64 `[N]`.
    """
    seen = logits.argmax(-1)
    answers = {
        "test_labels": truth.tolist(),
        "test_predictions": seen.tolist(),
        "test_probabilities": logits.softmax(-1),
    }
    return classification_metrics(seen, truth, logits.shape[-1]) | answers


def balanced_accuracy(confusion: list[list[int]]) -> float:
    """The mean over classes of the percent of each that is right; rows are true classes, those without images do not count.

    Brodersen et al. 2010, "The balanced accuracy and its posterior distribution".
    """
    shares = [row[k] / sum(row) for k, row in enumerate(confusion) if sum(row)]
    return 100 * sum(shares) / len(shares)


def macro_f1(confusion: list[list[int]]) -> float:
    """The mean over classes of the harmonic mean of precision and recall, in percent; rows are true classes.

    Classes that neither occur nor are answered do not count. Sokolova & Lapalme 2009, "A systematic analysis of performance
    measures for classification tasks", table 3, here the mean of the classes' F scores, as scikit-learn has it.
    """
    named = [sum(column) for column in zip(*confusion)]
    scores = [2 * row[k] / (sum(row) + named[k]) for k, row in enumerate(confusion) if sum(row) or named[k]]
    return 100 * sum(scores) / len(scores)


def of_all(confusion: list[list[int]]) -> float:
    """Percent of all images that are right; rows are true classes."""
    return 100 * sum(row[k] for k, row in enumerate(confusion)) / sum(map(sum, confusion))


def majority_accuracy(confusion: list[list[int]]) -> float:
    """Percent right of a network that always names the commonest class of these images; rows are true classes."""
    counts = [sum(row) for row in confusion]
    return 100 * max(counts) / sum(counts)


METRICS: dict[str, Callable[[list[list[int]]], float]] = {
    "accuracy": of_all,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
}
"""What a search can raise on images, each of a confusion matrix and in percent."""
METRIC_NAMES = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "macro_f1": "macro F1"}
"""In words."""
