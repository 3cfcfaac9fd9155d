"""Folders of images by class, in the layouts that few-shot data have.

- Omniglot's (Lake et al. 2015): `images_background` and `images_evaluation`, in them alphabets, characters, drawings 105x105.
  Evaluation tests; a fifth of the background's characters, drawn by a seed, validates.
- mini-ImageNet's (Ravi & Larochelle 2017): `images`, beside it `train.csv`, `val.csv` and `test.csv` of `filename,label`.
- `train`, `val` and `test` with classes of their own in each.
- Folders of classes. Lists of their names in `train.txt`, `val.txt` and `test.txt` split them, or else a seed does.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

import torch

from nas.datasets import image_files
from nas.datasets.image_files import Broken, Header
from nas.datasets.image_folder import images_below
from nas.datasets.images import LARGEST
from nas.datasets.labels import readable
from nas.datasets.split_names import split_of
from nas.few_shot import classes
from nas.few_shot.class_arrays import by_seed
from nas.few_shot.classes import SPLITS, ClassImages
from search_spaces import UserError, _noise

_OMNIGLOT = ("images_background", "images_evaluation")
_LISTS = {"train": ("train",), "valid": ("val", "valid"), "test": ("test",)}
"""How files of lists are called, by split."""
_VALID_SHARE = 0.2
"""Of Omniglot's background characters: the share that validates elsewhere is 0.16 of all, 0.2 of those that do not test."""

Files = dict[str, list[Path]]
"""Image files by class, in the order of the classes' numbers."""


def read(root: Path, image_size: int | None, split_seed: int) -> ClassImages:
    """The classes of a folder. Raises `UserError` for one whose layout is none of these, or whose files are no images."""
    where = str(root)
    if all((root / name).is_dir() for name in _OMNIGLOT):
        return _omniglot(root, image_size, split_seed)
    tables = _lists(root, ".csv")
    if len(tables) == len(SPLITS) and (root / "images").is_dir():
        return _decode(where, _tables(root, tables), image_size)
    folders = [each for each in sorted(root.iterdir()) if each.is_dir() and not each.name.startswith(".")]
    parts = {split_of(each.name): each for each in folders}
    if {"train", "test"} <= parts.keys() and all(_sub_folders(part) for key, part in parts.items() if key):
        return _split_folders(where, {key: part for key, part in parts.items() if key}, image_size, split_seed)
    found = {name: files for name, files in by_class(folders).items() if files}
    if not found:
        raise UserError(f"'{where}' has no sub-folders of images; it takes one for each class.")
    lists = _lists(root, ".txt")
    if len(lists) == len(SPLITS):
        named = {split: _lines(file) for split, file in lists.items()}
        strange = [name for names in named.values() for name in names if name not in found]
        if strange:
            raise UserError(f"A list of '{where}' names class '{strange[0]}', and there is no folder of that name.")
        return _decode(
            where, {split: {name: found[name] for name in names} for split, names in named.items()}, image_size
        )
    return _by_seed(where, found, image_size, split_seed)


def by_class(folders: Iterable[Path]) -> Files:
    """The image files of folders by their names; two that differ in nothing but Unicode's form are one class."""
    found: Files = {}
    for each in folders:
        found.setdefault(readable(each.name), []).extend(images_below(each))
    return found


def _omniglot(root: Path, image_size: int | None, seed: int) -> ClassImages:
    def characters(folder: Path) -> Files:
        alphabets = {a: by_class(_sub_folders(a)) for a in _sub_folders(folder)}
        return {f"{readable(a.name)}/{name}": files for a, found in alphabets.items() for name, files in found.items()}

    background, evaluation = (characters(root / name) for name in _OMNIGLOT)
    if not background or not evaluation:
        raise UserError(f"'{root}' has the folders of Omniglot without alphabets and characters; unpack both archives.")
    valid = _some(len(background), _VALID_SHARE, seed)
    splits = {
        "train": {n: f for i, (n, f) in enumerate(background.items()) if i not in valid},
        "valid": {n: f for i, (n, f) in enumerate(background.items()) if i in valid},
        "test": evaluation,
    }
    # Strokes are black on white there. Ink as the high values is usual, and leaves borders of zeros as paper.
    return _decode(str(root), splits, image_size, invert=True)


def _tables(root: Path, tables: dict[str, Path]) -> dict[str, Files]:
    splits: dict[str, Files] = {}
    for split, file in tables.items():
        splits[split] = {}
        rows = csv.DictReader(io.StringIO(_text(file)))
        if not rows.fieldnames or not {"filename", "label"} <= set(rows.fieldnames):
            raise UserError(f"'{file}' has the columns {rows.fieldnames}; it takes filename and label.")
        for row in rows:
            if not row["filename"] or not row["label"]:
                raise UserError(f"'{file}' has no filename or no label in line {rows.line_num}; each row takes both.")
            splits[split].setdefault(readable(row["label"]), []).append(root / "images" / row["filename"])
    return splits


def _split_folders(where: str, parts: dict[str, Path], image_size: int | None, seed: int) -> ClassImages:
    splits = {split: by_class(_sub_folders(parts[split])) for split in SPLITS if split in parts}
    both = sorted(splits["train"].keys() & splits["test"].keys())
    if both:
        # The usual split of images: few-shot learning tests on classes that it has not trained on.
        merged: Files = {}
        for found in splits.values():
            for name, files in found.items():
                merged.setdefault(name, []).extend(files)
        return _by_seed(where, dict(sorted(merged.items())), image_size, seed)
    if "valid" not in splits:
        valid = _some(len(splits["train"]), _VALID_SHARE, seed)
        train = list(splits["train"].items())
        splits["train"] = {n: f for i, (n, f) in enumerate(train) if i not in valid}
        splits["valid"] = {n: f for i, (n, f) in enumerate(train) if i in valid}
    return _decode(where, splits, image_size)


def _by_seed(where: str, found: Files, image_size: int | None, seed: int) -> ClassImages:
    split, names = classes.split_by_seed(len(found), seed), list(found)
    splits = {
        s: {names[k]: found[names[k]] for k in torch.nonzero(split == i).flatten().tolist()}
        for i, s in enumerate(SPLITS)
    }
    return _decode(where, splits, image_size)._replace(notes=(by_seed(split, seed),))


def _decode(where: str, splits: dict[str, Files], image_size: int | None, invert: bool = False) -> ClassImages:
    """The images, in size and channels as `nas search` reads a folder."""
    both = [name for i, s in enumerate(SPLITS) for t in SPLITS[i + 1 :] for name in splits[s].keys() & splits[t].keys()]
    if both:
        raise UserError(f"Class '{both[0]}' of '{where}' is in two splits; a class trains, validates or tests.")
    files = [(split, name, path) for split in SPLITS for name, paths in splits[split].items() for path in paths]
    with image_files.quiet():
        headers = {path: image_files.header(path) for _, _, path in files}
        usable = {path: found for path, found in headers.items() if isinstance(found, Header) and found.is_usable}
        broken = [found for found in headers.values() if isinstance(found, Broken)]
        image_files.refuse(where, broken, len(files))
        if not usable:
            raise UserError(f"'{where}' has no images to train on.")
        sides = sorted(min(found.width, found.height) for found in usable.values())
        side = image_size or min(LARGEST, sides[len(sides) // 2])
        channels = 1 if all(found.is_grey for found in usable.values()) else 3
        ranges = {path: image_files.deep_range(path) for path, found in usable.items() if found.is_deep}
        image_files.refuse(where, [found for found in ranges.values() if isinstance(found, Broken)], len(files))
        whole = [found for found in ranges.values() if not isinstance(found, Broken)]
        scale = image_files.scale_of_deep(where, {"train": whole})
        read = {path: image_files.pixels(path, channels, [(side, side)], scale) for path in usable}
    image_files.refuse(where, [found for found in read.values() if isinstance(found, Broken)], len(files))
    kept = [(split, name, read[path]) for split, name, path in files if path in read]
    names = list(dict.fromkeys((split, name) for split, name, _ in kept))
    number = {name: k for k, (_, name) in enumerate(names)}
    images = torch.stack([x for _, _, x in kept if not isinstance(x, Broken)])
    split = torch.tensor([SPLITS.index(s) for s, _ in names])
    train, valid, test = split.bincount(minlength=3).tolist()
    return classes.by_class(
        where,
        255 - images if invert else images,
        torch.tensor([number[name] for _, name, _ in kept]),
        tuple(name for _, name in names),
        split,
        (f"{train} classes train, {valid} validate, {test} test, as the folder has them",),
    )._replace(inverted=invert, deep=scale and (scale.black, scale.white))


def _some(count: int, share: float, seed: int) -> set[int]:
    """That share of `count` numbers, one at least, drawn by a seed."""
    order = _noise.bits(torch.tensor([seed]), 0, count)[0].argsort(stable=True)
    return set(order[: max(1, round(share * count))].tolist())


def _lists(root: Path, suffix: str) -> dict[str, Path]:
    found = {
        s: [root / f"{n}{suffix}" for n in names if (root / f"{n}{suffix}").is_file()] for s, names in _LISTS.items()
    }
    return {split: files[0] for split, files in found.items() if files}


def _lines(file: Path) -> list[str]:
    return [readable(line.strip()) for line in _text(file).splitlines() if line.strip()]


def _text(file: Path) -> str:
    """Without the mark that some programs begin UTF-8 with. Raises `UserError` for another encoding."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"'{file}' is not UTF-8 (byte {error.start}); save it as UTF-8.") from None


def _sub_folders(folder: Path) -> list[Path]:
    return [each for each in sorted(folder.iterdir()) if each.is_dir() and not each.name.startswith(".")]
