"""A trained network in the layout of the Hugging Face hub: configuration, weights, preprocessing, a model card, and `network.py`.

Field names are those of `PretrainedConfig` and of the image processors in the `transformers` package.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nas.export import formats, loader
from nas.export.export import build, describe, refuse_taken, with_public_name, write_source
from nas.export.loader import SPACE_SOURCE
from nas.export.metadata import About
from nas.export.read_back import compare, load_python, random_pixels
from search_spaces import Space, Task, UserError
from search_spaces._files import atomic_folder

WEIGHTS = "model.safetensors"
FILES = ("config.json", WEIGHTS, "preprocessor_config.json", "README.md", "network.py", "network.pt2", SPACE_SOURCE)
_BILINEAR = 2
"""`PIL.Image.Resampling.BILINEAR`."""


class Card(NamedTuple):
    """What a model card says beside how to load the network."""

    accuracy: float
    """On test images, in percent."""
    figures: tuple[str, ...]
    """Sentences on how good the network is."""
    data: tuple[str, ...]
    """Lines on what it was trained and tested on."""
    search: str
    """How the network was found."""


def export_hugging_face(
    space: Space,
    arch: Tensor,
    task: Task,
    state_dict: dict[str, Tensor],
    folder: Path,
    card: Card,
    *,
    mean: Tensor,
    std: Tensor,
    class_names: tuple[str, ...],
    mirror: bool = False,
    deep: tuple[int, int] | None = None,
    read_at: tuple[int, int] | None = None,
    force: bool = False,
) -> Path:
    """Write a trained network into `folder`, all or nothing; all other arguments are those of `nas.export.export`.

    Raises `UserError` for a folder that is taken, and for a network that takes other images than squares.
    """
    refuse_taken(folder, force, FILES)
    if task.input_shape[1] != task.input_shape[2]:
        raise UserError(
            f"--hf takes networks of square images; this one takes {task.input_shape[2]} x {task.input_shape[1]}."
        )
    task = with_public_name(task)
    about = describe(space, arch, task, mean, std, class_names, mirror, deep, read_at)
    network = build(space, arch, task, state_dict)
    parameters = sum(each.numel() for each in network.parameters())
    with atomic_folder(folder) as partial:
        own = write_source(partial, space, arch, task, network, about, WEIGHTS)
        if own is not None:  # A network of somebody's own space has no source but its program.
            formats.save(
                formats.trace(formats.Guarded(own), random_pixels(about)[:2]), partial / "network.pt2", about.lines
            )
        with torch.no_grad():
            expected = loader.of_module(network, mean, std, mirror)(random_pixels(about))
        compare("network.py", load_python(partial), random_pixels(about), expected)
        for name, document in (("config.json", config(about)), ("preprocessor_config.json", preprocessor(about))):
            (partial / name).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        (partial / "README.md").write_text(model_card(about, card, parameters), encoding="utf-8")
    return folder


def config(about: About) -> dict[str, Any]:
    """The document `config.json`."""
    assert about.reading is not None
    names = about.reading.class_names
    return {
        "model_type": "metacell",
        "architectures": ["Network"],
        "problem_type": "single_label_classification",
        "num_labels": len(names),
        "id2label": {str(number): name for number, name in enumerate(names)},
        "label2id": {name: number for number, name in enumerate(names)},
        "num_channels": about.input_shape[0],
        "image_size": about.input_shape[1],
        "torch_dtype": "float32",
        "arch": about.arch,
        "space": about.space,
        "task": about.task,
        "mirror": about.mirror,
    }


def preprocessor(about: About) -> dict[str, Any]:
    """The document `preprocessor_config.json`: with it a processor hands out what the network takes."""
    assert about.mean is not None
    assert about.std is not None
    channels, side, _ = about.input_shape
    lines = about.lines
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": channels == 3,
        "do_resize": True,
        "size": {"shortest_edge": side},
        "resample": _BILINEAR,
        "do_center_crop": True,
        "crop_size": {"height": side, "width": side},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        # The network does it; a processor that does it too would have its answer refused by the network's check.
        "do_normalize": False,
        "image_mean": json.loads(lines["mean"]),
        "image_std": json.loads(lines["std"]),
    }


def model_card(about: About, card: Card, parameters: int) -> str:
    """The text of `README.md`, with the header that the hub reads."""
    assert about.reading is not None
    name, names = json.dumps(about.task, ensure_ascii=False), about.reading.class_names
    data = "\n".join(f"- {_plain(line)}" for line in card.data)
    return f"""---
library_name: pytorch
pipeline_tag: image-classification
tags: [image-classification, neural-architecture-search, metacell]
model-index:
  - name: {name}
    results:
      - task: {{type: image-classification}}
        dataset: {{name: {name}, type: {name}}}
        metrics: [{{type: accuracy, value: {card.accuracy:.2f}}}]
---

# An image classifier for {_plain(about.task)}

It names one of {len(names)} classes: {_plain(", ".join(names))}. It has {parameters:,} parameters and takes images of
{about.input_shape[2]} x {about.input_shape[1]} pixels.

## How good it is

{" ".join(map(_plain, card.figures))}

## What it was trained on

{data}

## How to use it

`network.py` needs PyTorch, and Pillow to read image files:

```python
from network import classify, load

print(classify("photo.jpg"))  # The probability of each class, the likeliest first.
network = load()              # A torch.nn.Module: float32 [N, {", ".join(map(str, about.input_shape))}] from 0 to 1 to logits.
```

An image is {_plain(about.lines["preprocessing"])}. {_to_processors(len(about.reading.sizes))} The network
subtracts `image_mean` and divides by `image_std` itself, so that a processor must not (`do_normalize` is false).

## How it was found

{_plain(card.search)} Architecture: `{about.arch.replace("`", "'")}`, of the space {_plain(about.space)}.
"""


def _to_processors(steps: int) -> str:
    """What `preprocessor_config.json` says of an image that is scaled in so many steps: it has words for one."""
    if steps == 1:
        return "`preprocessor_config.json` says the same to image processors."
    return (
        "`preprocessor_config.json` says so to image processors, which scale in one step: what they hand out is nearly the same, "
        "and so are the answers."
    )


def _plain(text: str) -> str:
    """Names of others without what Markdown obeys."""
    return "".join(f"\\{c}" if c in "\\`*_<>[]#|" else c for c in text)
