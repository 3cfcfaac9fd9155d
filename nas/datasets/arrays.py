"""A `.npz` file of images and labels, read without pickles under the names that Keras, MedMNIST and others give its arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nas.datasets import memory, pixel_scale
from nas.datasets.images import LARGEST, RawData, resize
from nas.datasets.labels import label_values, named, ranked, readable, summarize
from nas.datasets.pixel_scale import PixelScale
from nas.datasets.split_names import split_of, words
from nas.paths import expanded
from search_spaces import UserError

_IMAGES = {"x", "image", "images", "img", "imgs", "data", "pixels"}
_LABELS = {"y", "label", "labels", "target", "targets"}
_TAKES = "it takes x_train and y_train"
_WHITE = 255


def npz(where: str, image_size: int | None) -> RawData:
    """Images and labels by split, and perhaps `class_names`. Raises `UserError` for a file that holds something else."""
    path = expanded(where)
    if not path.is_file():
        raise UserError(f"There is no file '{where}'; npz: takes a file of numpy's savez with x_train and y_train.")
    arrays = read(path, where)
    keys = _keys(list(arrays))
    if len(keys.get("train", {})) < 2:
        raise UserError(f"'{where}' holds {', '.join(map(readable, arrays)) or 'nothing'}; {_TAKES}.")
    lone = {key: role for part in keys.values() if len(part) == 1 for role, key in part.items()}
    notes = [f"{key} is not used: it has no {'labels' if role == 'images' else 'images'}" for key, role in lone.items()]
    keys = {split: part for split, part in keys.items() if len(part) == 2}
    known = {key for part in keys.values() for key in part.values()} | lone.keys() | {"class_names"}
    others = [readable(key) for key in arrays if key not in known]
    notes += [f"{summarize(others)} not used"] if others else []
    values = {
        split: label_values(f"'{where}': {part['labels']}", arrays[part["labels"]]) for split, part in keys.items()
    }
    layouts = {split: _layout(part["images"], where, arrays[part["images"]]) for split, part in keys.items()}
    for split, part in keys.items():
        count, given = len(layouts[split]), len(values[split])
        if count != given or not count:
            raise UserError(
                f"'{where}' has {count} images in {part['images']} and {given} labels in {part['labels']}; "
                "it takes as many."
            )
    shapes = {x.shape[1:3] for x in layouts.values()}
    labels, classes, unlabeled = ranked(where, values)
    notes += [f"{keys[split]['images']} is not used: all its labels are -1" for split in unlabeled]
    names, wrong = named(classes, arrays.get("class_names"))
    notes += [wrong] if wrong else []
    scale, scale_notes = _common_scale(where, {split: (keys[split]["images"], layouts[split]) for split in labels})
    notes += scale_notes
    height, width = max(shapes, key=lambda shape: max(shape) / min(shape))
    notes += [f"only the middle square of the {width} x {height} images is used"] if height != width else []
    # One side for all splits: of its own each would be trained on at one size and tested at another.
    side = image_size or min(LARGEST, *layouts["train"].shape[1:3])
    notes += [
        f"{keys[split]['images']} has images of {layouts[split].shape[2]} x {layouts[split].shape[1]} pixels, which become "
        f"{side} x {side} as those of training"
        for split in labels if layouts[split].shape[1:3] != layouts["train"].shape[1:3]
    ]  # fmt: skip
    splits = {split: (resize(_channels_first(layouts[split], scale), side), labels[split]) for split in labels}
    # Shares of full light do not say which scale image files of more than 8 bits have.
    deep = scale if scale.white > _WHITE else None
    return RawData(splits, names, tuple(notes), {split: keys[split]["images"] for split in splits}, deep)


def read(path: Path, where: str) -> dict[str, np.ndarray]:
    """All arrays of a `.npz` file. Raises `UserError` for a file that is none, holds objects or does not fit in memory."""
    takes = "it takes numpy's savez, without objects"
    try:
        # Without pickles: a file from elsewhere must not run code.
        with path.open("rb") as opened:
            file = np.load(opened, allow_pickle=False)
            if isinstance(file, np.ndarray):
                raise UserError(f"'{where}' is one array (.npy); {takes}, as np.savez(FILE, x_train=..., y_train=...).")
            with file:
                size = sum(part.file_size for part in file.zip.infolist())
                memory.check(f"'{where}'", size, "Store fewer or smaller images, or bytes instead of floats.")
                return {key: file[key] for key in file.files}
    except UserError:
        raise
    # As broad as it gets: what zipfile, zlib and numpy raise at damaged bytes is of no common type.
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(f"'{where}' cannot be read as arrays ({reason}); {takes}.") from None


def _keys(names: list[str]) -> dict[str, dict[str, str]]:
    """By split, the array of `images` and that of `labels`."""
    found: dict[str, dict[str, str]] = {}
    for split_needed in (True, False):  # `x` and `y` alone are training, where nothing else is.
        for name in names:
            role = _role(name)
            if role and (role[1] is not None) == split_needed:
                found.setdefault(role[1] or "train", {}).setdefault(role[0], name)
    return found


def _role(name: str) -> tuple[str, str | None] | None:
    """Of `x_val` (`images`, `valid`); the split is None where the name has none. None: no name of images or labels."""
    parts = words(name)
    # `xtrain` is one word.
    if len(parts) == 1 and parts[0][:1] in ("x", "y") and split_of(parts[0][1:]):
        parts = [parts[0][0], parts[0][1:]]
    for role, known in (("images", _IMAGES), ("labels", _LABELS)):
        rest = [part for part in parts if part not in known]
        if len(rest) == len(parts) - 1 and len(parts) <= 2:
            split = split_of(rest[0]) if rest else None
            return (role, split) if split or not rest else None
    return None


def _layout(key: str, where: str, x: np.ndarray) -> np.ndarray:
    """As `[N, H, W, C]`."""
    if x.ndim == 3:
        x = x[..., None]
    # Channels first, as PyTorch saves them, where the last axis cannot be channels.
    if x.ndim == 4 and x.shape[-1] not in (1, 3, 4) and x.shape[1] in (1, 3, 4):
        x = x.transpose(0, 2, 3, 1)
    if x.ndim != 4 or x.shape[-1] not in (1, 3, 4) or not min(x.shape[1:]):
        raise UserError(
            f"'{where}' has {key} of shape {x.shape}; it takes N x H x W or N x H x W x 1, 3 or 4 channels."
        )
    return x


def _common_scale(where: str, parts: dict[str, tuple[str, np.ndarray]]) -> tuple[PixelScale, list[str]]:
    """The scale of the training images, which every split must have."""
    channels = {key: 3 if x.shape[-1] == 4 else x.shape[-1] for key, x in parts.values()}
    if len(set(channels.values())) > 1:
        counts = ", ".join(f"{count} in {key}" for key, count in channels.items())
        raise UserError(f"'{where}' has images of {counts} channels; it takes as many in all.")
    ranges = {split: pixel_scale.range_of(f"'{where}': {key}", x) for split, (key, x) in parts.items()}
    train = ranges["train"]
    scale = pixel_scale.scale_of(f"'{where}': {parts['train'][0]}", train)
    for split, (key, _) in parts.items():
        pixel_scale.check_alike(f"'{where}': {key}", ranges[split], train)
    usual = scale.is_usual(train)
    return scale, [] if usual else [f"pixels from {train} are read on the scale {scale.black} to {scale.white}"]


def _channels_first(x: np.ndarray, scale: PixelScale) -> Tensor:
    pixels = torch.from_numpy(np.ascontiguousarray(scale.to_bytes(x))).permute(0, 3, 1, 2)
    if pixels.shape[1] < 4:
        return pixels.contiguous()
    alpha = pixels[:, 3:].float() / 255
    return (pixels[:, :3] * alpha + _WHITE * (1 - alpha)).round().byte()
