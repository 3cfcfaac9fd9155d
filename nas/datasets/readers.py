"""The user's own images: a `.npz` file, a folder of image files, a Hugging Face dataset."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nas.datasets.images import LARGEST, RawData, resize
from search_spaces import UserError

_SPLITS = {"train": ("train", "training"), "valid": ("valid", "val", "validation"), "test": ("test", "testing")}
_IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm"}
# Pillow's modes with one channel of light; all others are converted to RGB.
_GREY = {"1", "L", "I", "I;16", "I;16L", "I;16B", "LA"}
_WHITE = 255


def npz(where: str, image_size: int | None) -> RawData:
    """`x_train`, `y_train`, and perhaps `x_valid`, `y_valid`, `x_test`, `y_test`, `class_names`, without pickles."""
    path = Path(where)
    if not path.is_file():
        raise UserError(f"There is no file '{where}'; npz: takes a file of numpy's savez with x_train and y_train.")
    try:
        # Without pickles: a file from elsewhere must not run code.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (ValueError, OSError, zipfile.BadZipFile, EOFError, AttributeError) as error:
        raise UserError(
            f"'{where}' cannot be read as arrays ({error}); it takes numpy's savez, without objects."
        ) from None
    if "x_train" not in arrays or "y_train" not in arrays:
        raise UserError(f"'{where}' holds {', '.join(arrays) or 'nothing'}; it takes x_train and y_train.")
    splits = {}
    for split in _SPLITS:
        if f"x_{split}" in arrays and f"y_{split}" in arrays:
            x, y = arrays[f"x_{split}"], _labels(f"y_{split}", where, arrays[f"y_{split}"])
            if len(x) != len(y) or not len(x):
                raise UserError(f"'{where}' has {len(x)} images in x_{split} and {len(y)} labels; it takes as many.")
            splits[split] = (resize(_pixels(f"x_{split}", where, x), image_size), y)
    names = arrays.get("class_names")
    classes = len(torch.unique(splits["train"][1]))
    return RawData(splits, tuple(map(str, names.tolist())) if names is not None and len(names) == classes else None)


def folder(where: str, image_size: int | None) -> RawData:
    """A folder of image files, one sub-folder a class, perhaps under `train`, `valid` and `test` folders."""
    root = Path(where)
    if not root.is_dir():
        raise UserError(f"There is no folder '{where}'; folder: takes one with a sub-folder of images for each class.")
    inside = {child.name.lower(): child for child in root.iterdir() if child.is_dir()}
    parts = {s: inside[n] for s, known in _SPLITS.items() for n in known if n in inside}
    parts = parts if "train" in parts else {"train": root}
    listed = {split: _by_class(part) for split, part in parts.items()}
    class_names = tuple(listed["train"])
    for split, files in listed.items():
        for name in files.keys() - set(class_names):
            raise UserError(f"'{parts[split] / name}' is a class that is not in training; remove it or train on it.")
    opened = [_header(file) for files in listed.values() for paths in files.values() for file in paths]
    sides = sorted(min(size) for size, _ in opened)
    # The median of the shorter sides: neither thumbnails nor a few huge images decide for all.
    side = image_size or min(LARGEST, sides[len(sides) // 2])
    # One image in color makes all RGB: networks take one number of channels.
    mode = "L" if all(mode in _GREY for _, mode in opened) else "RGB"
    splits = {}
    for split, files in listed.items():
        pairs = [(path, class_names.index(name)) for name, paths in files.items() for path in paths]
        x = torch.stack([resize(_read(path, mode), side)[0] for path, _ in pairs])
        splits[split] = (x, torch.tensor([label for _, label in pairs]))
    return RawData(splits, class_names)


def hugging_face(where: str, image_size: int | None) -> RawData:
    """A dataset of the Hugging Face hub with an image column and a class label; takes the extra `hf`."""
    try:
        import datasets  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError("hf: takes the package 'datasets'; pip install 'metacell[hf]' brings it.") from None
    # As broad as it gets: the package and the hub raise whatever they like, and all of it means the same to the user.
    try:
        loaded = datasets.load_dataset(where)  # pyright: ignore[reportAttributeAccessIssue]
    except Exception as error:
        raise UserError(f"Hugging Face dataset '{where}' cannot be loaded: {error}") from None
    parts = {s: loaded[n] for s, known in _SPLITS.items() for n in known if n in loaded}
    if "train" not in parts:
        raise UserError(f"Hugging Face dataset '{where}' has splits {', '.join(loaded)}; it takes one called 'train'.")
    features = parts["train"].features
    # By the class's name: the package is optional, so that its types cannot be imported here.
    image = next((k for k, f in features.items() if type(f).__name__ == "Image"), None)
    label = next((k for k, f in features.items() if type(f).__name__ == "ClassLabel"), None)
    if image is None or label is None:
        raise UserError(
            f"Hugging Face dataset '{where}' has columns {', '.join(features)}; it takes an Image and a ClassLabel."
        )
    grey = all(row.mode in _GREY for part in parts.values() for row in part[image])
    splits = {}
    for split, part in parts.items():
        x = _squares((_channels(image, "L" if grey else "RGB") for image in part[image]), image_size)
        splits[split] = (x, torch.tensor(part[label]))
    # Only the classes with images: a hub's list of names may have more than its training split.
    present = torch.unique(splits["train"][1]).tolist()
    return RawData(splits, tuple(features[label].names[i] for i in present))


def _squares(images: Iterable[Tensor], side: int | None) -> Tensor:
    small = [resize(image, side) for image in images]
    # Without a side asked for, each image keeps its own up to the largest: the smallest of them fits all.
    common = min(image.shape[-1] for image in small)
    return torch.cat([resize(image, common) for image in small])


def _by_class(root: Path) -> dict[str, list[Path]]:
    folders = sorted(f for f in root.iterdir() if f.is_dir() and not f.name.startswith("."))
    if not folders:
        raise UserError(f"'{root}' has no sub-folders; it takes one sub-folder of images for each class.")
    found = {f.name: sorted(p for p in f.rglob("*") if p.suffix.lower() in _IMAGES) for f in folders}
    for name, files in found.items():
        if not files:
            raise UserError(
                f"'{root / name}' has no images; fill it or remove it (known: {', '.join(sorted(_IMAGES))})."
            )
    return found


def _header(path: Path) -> tuple[tuple[int, int], str]:
    try:
        with Image.open(path) as image:
            return image.size, image.mode
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"'{path}' cannot be read as an image ({error}); mend or remove it.") from None


def _read(path: Path, mode: str) -> Tensor:
    try:
        with Image.open(path) as image:
            return _channels(image, mode)
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(f"'{path}' cannot be read as an image ({error}); mend or remove it.") from None


def _channels(image: Any, mode: str) -> Tensor:
    """uint8 `[1, C, H, W]`; 16 bits become 8, transparency becomes white."""
    if image.mode.startswith("I"):
        # Pillow clips 16-bit images to white when it converts them itself.
        values = np.asarray(image).astype(np.int64)
        image = Image.fromarray((values >> 8 if values.max() > 255 else values).clip(0, 255).astype(np.uint8))
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, (_WHITE,) * 4)
        image = Image.alpha_composite(paper, image)
    pixels = np.array(image.convert(mode), dtype=np.uint8)
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1)[None]


def _labels(key: str, where: str, y: np.ndarray) -> Tensor:
    flat = y.reshape(len(y), -1) if y.ndim else y.reshape(0, 1)
    if flat.shape[1] != 1 or not np.issubdtype(y.dtype, np.number) or not (flat == np.round(flat)).all():
        raise UserError(f"'{where}' has {key} of shape {y.shape}, {y.dtype}; it takes one whole number for each image.")
    return torch.from_numpy(flat[:, 0].astype(np.int64))


def _pixels(key: str, where: str, x: np.ndarray) -> Tensor:
    if x.ndim == 3:
        x = x[..., None]
    # Channels first, as PyTorch saves them, where the last axis cannot be channels.
    if x.ndim == 4 and x.shape[-1] not in (1, 3, 4) and x.shape[1] in (1, 3, 4):
        x = x.transpose(0, 2, 3, 1)
    if x.ndim != 4 or x.shape[-1] not in (1, 3, 4):
        raise UserError(
            f"'{where}' has {key} of shape {x.shape}; it takes N x H x W or N x H x W x 1, 3 or 4 channels."
        )
    pixels = torch.from_numpy(np.ascontiguousarray(_bytes(key, where, x))).permute(0, 3, 1, 2)
    if pixels.shape[1] < 4:
        return pixels.contiguous()
    alpha = pixels[:, 3:].float() / 255
    return (pixels[:, :3] * alpha + _WHITE * (1 - alpha)).round().byte()


def _bytes(key: str, where: str, x: np.ndarray) -> np.ndarray:
    if x.dtype == np.uint8:
        return x
    if x.dtype == np.bool_:
        return x.astype(np.uint8) * 255
    if x.dtype == np.uint16:
        return (x >> 8).astype(np.uint8)
    low, high = x.min(), x.max()
    if np.issubdtype(x.dtype, np.floating) and low >= 0 and high <= 1:
        return np.round(x * 255).astype(np.uint8)
    if np.issubdtype(x.dtype, np.number) and low >= 0 and high <= 255:
        return np.round(x).astype(np.uint8)
    raise UserError(f"'{where}' has {key} from {low} to {high}, {x.dtype}; it takes 0..255, or 0..1 as floats.")
