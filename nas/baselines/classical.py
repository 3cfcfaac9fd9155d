"""What one tries before a network: a support-vector machine and boosted trees on small pictures and on oriented gradients.

The best is chosen on validation images, fitted again to training and validation images, and tested once. All of it takes a
given time: models that do not fit into it are left out, and many images are thinned out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.baselines.hog import hog
from nas.datasets.images import pick
from nas.training import metrics

_SIDE = 16
"""Of the small pictures: 256 pixels a channel are about as many as principal components can be found of in a second."""
_COMPONENTS = 128
"""Principal components of the features: kernels and trees then take a tenth of the time. Not ablated."""
_C = 10.0
"""Of the support-vector machine: the usual second step after scikit-learn's 1.0, for features whose classes are far from
overlapping. Not ablated."""
_TREES, _STEP = 100, 100
"""Rounds of boosting, scikit-learn's default; and how many trees are added before the time is looked at: a round has one for each
class, and with 242 classes ten rounds took a minute and more."""
_CHOSEN_ON = 2000
"""Training images that choose, at most: as many as a search trains its networks on."""
_SHARE = 0.5
"""Of the time, for choosing; the rest is for fitting the one that was chosen."""


class Baseline(NamedTuple):
    """A simpler classifier, tested."""

    name: str
    seen: Tensor
    """The class of each test image, int64 `[N]`."""
    seen_valid: Tensor
    """The class of each validation image, after training on training images alone, int64 `[V]`."""
    seconds: float
    """For all that led to it, the models that were not chosen included."""
    milliseconds: float
    """Of one image."""


Splits = dict[str, tuple[Tensor, Tensor]]
"""Of `train`, `valid`, `test` the images, uint8 `[N, C, H, W]`, and their classes, int64 `[N]`."""


def majority(images: Splits, class_names: tuple[str, ...]) -> Baseline:
    """Always the commonest class of the training images."""
    commonest = int(images["train"][1].bincount().argmax())
    seen, valid = (torch.full_like(images[split][1], commonest) for split in ("test", "valid"))
    return Baseline(f"always '{class_names[commonest]}'", seen, valid, 0.0, 0.0)


def fit_best(images: Splits, seconds: float, metric: str = "accuracy") -> Baseline:
    """The model of scikit-learn that is best on the validation images; of ties the first.

    Args:
        seconds: how long it may take, about; the first model is fitted in any case.
        metric: one of `nas.training.metrics.METRICS`.
    """
    began = time.perf_counter()
    (x, y), (x_valid, y_valid), (x_test, _) = (images[split] for split in ("train", "valid", "test"))
    picked = _some(y, _CHOSEN_ON)
    until = began + _SHARE * seconds
    classes = int(y.max()) + 1
    best: tuple[float, _Candidate, float, Tensor] | None = None
    for candidate in _CANDIDATES:
        started = time.perf_counter()
        if best is not None and started >= until:
            break
        model = candidate.fit(candidate.features(x[picked]), y[picked], until)
        seen = torch.from_numpy(model.predict(candidate.features(x_valid).numpy())).long()
        took = time.perf_counter() - started
        score = metrics.score(metric, seen[None], y_valid, classes).item()
        if best is None or score > best[0]:
            best = score, candidate, took, seen
    assert best is not None
    _, chosen, took, seen_valid = best
    both, labels = torch.cat([x, x_valid]), torch.cat([y, y_valid])
    # A machine with kernels takes the square of the number of images.
    left = max(0.0, began + seconds - time.perf_counter())
    bears = int(len(picked) * max(1.0, left / max(took, 1e-3)) ** 0.5)
    picked = _some(labels, bears)
    model = chosen.fit(chosen.features(both[picked]), labels[picked], began + seconds)
    seen = torch.from_numpy(model.predict(chosen.features(x_test).numpy())).long()
    return Baseline(
        chosen.name, seen, seen_valid, time.perf_counter() - began, _milliseconds(chosen, model, x_test[:1])
    )


def _some(y: Tensor, size: int) -> Tensor:
    """`pick` of images of classes `y` `[N]`; of one class alone no machine can be fitted, then with one image of each other."""
    picked = pick(len(y), size)
    there = y[picked].unique().tolist()
    if len(there) > 1:
        return picked
    first = [int((y == label).nonzero()[0]) for label in y.unique().tolist() if label not in there]
    return torch.cat([picked, torch.tensor(first, dtype=torch.long)])


class _Candidate(NamedTuple):
    name: str
    features: Callable[[Tensor], Tensor]
    fit: Callable[[Tensor, Tensor, float], Any]
    """Features `[N, F]`, classes `[N]`, and when to be done, to a pipeline of scikit-learn."""


def _pixels(x: Tensor) -> Tensor:
    side = min(_SIDE, *x.shape[2:])
    return F.adaptive_avg_pool2d(x.float() / 255, side).flatten(1)


def _fit_svc(features: Tensor, y: Tensor, until: float) -> Any:
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import SVC

    return make_pipeline(_components(features), SVC(C=_C)).fit(features.numpy(), y.numpy())


def _fit_boosting(features: Tensor, y: Tensor, until: float) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline

    components = _components(features)
    reduced = components.fit_transform(features.numpy())
    model = HistGradientBoostingClassifier(max_iter=0, early_stopping=False, warm_start=True, random_state=0)  # pyright: ignore
    step = max(1, _STEP // len(y.unique()))
    for rounds in range(step, _TREES + 1, step):
        model.set_params(max_iter=rounds).fit(reduced, y.numpy())
        if time.perf_counter() > until:
            break
    return make_pipeline(components, model)


def _components(features: Tensor) -> Any:
    from sklearn.decomposition import PCA

    return PCA(min(_COMPONENTS, *features.shape), random_state=0)


def _milliseconds(candidate: _Candidate, model: Any, image: Tensor) -> float:
    """The least of a few: another process only ever slows one down."""

    def times() -> Iterator[float]:
        for _ in range(10):
            started = time.perf_counter()
            model.predict(candidate.features(image).numpy())
            yield 1000 * (time.perf_counter() - started)

    return min(times())


_CANDIDATES = (
    _Candidate("SVC on oriented gradients", hog, _fit_svc),
    _Candidate("SVC on small pictures", _pixels, _fit_svc),
    _Candidate("boosted trees on oriented gradients", hog, _fit_boosting),
    _Candidate("boosted trees on small pictures", _pixels, _fit_boosting),
)
"""The fastest and, on most images, best first."""
