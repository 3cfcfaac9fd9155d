"""The test images that a trained network has most wrong and most right, kept with the run while its data are there."""

from __future__ import annotations

import base64
import io
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nas.types import Evaluator, HasTestImages, TrainedNetwork
from search_spaces._files import atomic_write

FILE = "test_images.safetensors"
SHOWN = 12
"""Of either kind: two rows on a wide screen."""
_PLACES, _PIXELS = "places", "pixels"


class Picture(NamedTuple):
    """A test image and what the network says of it."""

    source: str
    """A PNG as a `data:` address."""
    place: int
    """In the test split, counted from 0."""
    truth: str
    answer: str
    probability: float
    """Of the answer, in percent."""


def keep(folder: Path, evaluator: Evaluator, winner: TrainedNetwork) -> None:
    """Keep the images that the page of a run shows, in place of earlier ones; nothing where images or answers are not known."""
    training = evaluator.training
    if not isinstance(training, HasTestImages) or (picked := _picked(winner)) is None:
        return
    places = torch.tensor([*picked[0], *picked[1]])
    tensors = {_PLACES: places, _PIXELS: training.test_images(places).contiguous()}
    with atomic_write(folder / FILE) as partial:
        partial.write_bytes(safetensors.torch.save(tensors, {"arch": winner.arch}))


def load(folder: Path, winner: TrainedNetwork) -> tuple[list[Picture], list[Picture]]:
    """The images with the most probable wrong answers and with the most probable right ones; none where none are kept."""
    picked = _picked(winner)
    try:
        with safe_open(folder / FILE, framework="pt") as file:
            of_this = (file.metadata() or {}).get("arch") == winner.arch
            places, pixels = file.get_tensor(_PLACES).tolist(), file.get_tensor(_PIXELS)
    except (OSError, SafetensorError):
        return [], []
    if not of_this or picked is None or pixels.dtype != torch.uint8 or pixels.dim() != 4 or len(places) != len(pixels):
        return [], []
    shown = dict(zip(places, pixels))
    wrong, right = ([_picture(winner, place, shown[place]) for place in each if place in shown] for each in picked)
    return wrong, right


def _picked(winner: TrainedNetwork) -> tuple[list[int], list[int]] | None:
    """Places of the most confident wrong answers, and of the right ones: a class each before any comes twice."""
    metrics = winner.metrics
    probabilities, labels = metrics.get("test_probabilities"), metrics.get("test_labels")
    if probabilities is None or not labels or probabilities.shape != (len(labels), len(winner.class_names)):
        return None
    truth, (confidence, seen) = torch.tensor(labels), probabilities.max(-1)
    order = confidence.argsort(descending=True, stable=True).tolist()
    wrong = [place for place in order if seen[place] != truth[place]][:SHOWN]
    count, ranked = Counter[int](), []
    for place in order:
        if seen[place] == truth[place]:
            ranked.append((count[int(truth[place])], len(ranked), place))
            count[int(truth[place])] += 1
    return wrong, [place for _, _, place in sorted(ranked)[:SHOWN]]


def _picture(winner: TrainedNetwork, place: int, pixels: Tensor) -> Picture:
    names, answer = winner.class_names, int(winner.metrics["test_probabilities"][place].argmax())
    probability = 100 * float(winner.metrics["test_probabilities"][place, answer])
    return Picture(_png(pixels), place, names[winner.metrics["test_labels"][place]], names[answer], probability)


def _png(pixels: Tensor) -> str:
    """Pixels uint8 `[C, H, W]` as a `data:` address; of other than three channels the first."""
    image = pixels.permute(1, 2, 0).numpy() if len(pixels) == 3 else pixels[0].numpy()
    written = io.BytesIO()
    Image.fromarray(image).save(written, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(written.getvalue()).decode()
