"""What a folder of images holds: splits, classes and files, in the layouts that people have.

A folder whose sub-folders hold folders of images again is never a class. Hidden files, those of systems, and whatever is no
regular file (pipes, devices, sockets) are no data.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from nas.datasets import image_files
from nas.datasets.labels import readable, summarize
from nas.datasets.split_names import split_of, split_within
from search_spaces import UserError

_SYSTEM = {"thumbs.db", "desktop.ini", "ehthumbs.db", "__macosx", "@eadir", "$recycle.bin", "system volume information",
           "lost+found", "__pycache__", "icon\r"}  # fmt: skip
_DEEPEST = 16
"""Levels of folders that are read; people have four at most."""
_TAKES = "it takes one sub-folder of images for each class"


class Folder(NamedTuple):
    """A folder and what is below it."""

    path: Path
    folders: list[Folder]
    images: list[Path]
    """Those in the folder itself."""

    def all_images(self) -> list[Path]:
        return sorted(self.images + [image for folder in self.folders for image in folder.all_images()])

    def depth(self) -> int:
        """Levels of folders down to the images: 0 where they lie in the folder itself, -1 where there are none."""
        below = [folder.depth() for folder in self.folders]
        return max([0 if self.images else -1, *(1 + depth for depth in below if depth >= 0)])


class Layout(NamedTuple):
    """Image files by split and class; `origins` says which folder a split is, `notes` what is left out."""

    splits: dict[str, dict[str, list[Path]]]
    origins: dict[str, str]
    notes: list[str]


def read_layout(root: Path) -> Layout:
    """The layout of a folder. Raises `UserError` for one that cannot be what was meant, and names what is in the way."""
    passed: Counter[str] = Counter()
    top = _scan(root, passed, ())
    notes = [f"passed over: {_count(passed)}"] if passed else []
    while len(_filled(top)) == 1 and not top.images and _filled(top)[0].depth() >= 1:
        # An archive that was unpacked into a folder of its own.
        top = _filled(top)[0]
        notes += [f"the classes are read from '{readable(str(top.path))}'"]
    parts = _split_folders(top)
    if "train" not in parts:
        classes = _without_splits(top)
        return Layout({"train": classes}, {}, notes + _loose(top) + _alike(top))
    named = {id(folder) for folder in parts.values()}
    notes += [f"'{readable(str(f.path))}' is not used" for f in _filled(top) if id(f) not in named] + _loose(top)
    splits, train = {"train": _classes(parts["train"])}, parts["train"]
    notes += _loose(train) + _alike(train)
    for split in ("valid", "test"):
        if split in parts:
            found, why = _classes_of(parts[split], tuple(splits["train"]))
            notes += [why] if why else []
            splits |= {split: found} if found else {}
    return Layout(splits, {split: readable(parts[split].path.name) for split in splits}, notes)


def images_below(root: Path) -> list[Path]:
    """All image files of a folder and of the folders in it, whatever these are called."""
    return _scan(root, Counter(), ()).all_images()


def _scan(path: Path, passed: Counter[str], above: tuple[str, ...]) -> Folder:
    real = os.path.realpath(path)
    folder = Folder(path, [], [])
    try:
        entries = sorted(os.scandir(path), key=lambda entry: entry.name) if real not in above else []
    except OSError as error:
        raise UserError(f"Folder '{readable(str(path))}' cannot be read ({error.strerror}).") from None
    for entry in entries:
        inner = path / entry.name
        if entry.name.startswith(".") or entry.name.lower() in _SYSTEM:
            passed["hidden or of the system"] += 1
        elif entry.is_dir() and len(above) >= _DEEPEST:
            passed["folders too far down"] += 1
        elif entry.is_dir():
            folder.folders.append(_scan(inner, passed, (*above, real)))
        elif not entry.is_file():
            passed["no regular files (pipes, devices, sockets, broken links)"] += 1
        elif inner.suffix.lower() in image_files.SUFFIXES or image_files.is_image(inner):
            folder.images.append(inner)
        else:
            passed[readable(inner.suffix.lower()) or "without suffix"] += 1
    return folder


def _count(passed: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in passed.most_common(6)) + (", ..." if len(passed) > 6 else "")


def _filled(folder: Folder) -> list[Folder]:
    return [inner for inner in folder.folders if inner.depth() >= 0]


def _split_folders(top: Folder) -> dict[str, Folder]:
    """The folders of splits by their names; empty where none has classes in it and is called training."""
    filled = _filled(top)
    known: dict[str, list[Folder]] = {}
    for folder in filled:
        if split := split_of(folder.path.name):
            known.setdefault(split, []).append(folder)
    # Names that say more, as `seg_train`, count where all folders of folders have such a one: `train_station` is a class.
    if all(split_within(folder.path.name) for folder in filled if folder.depth() >= 1):
        for split in {"train", "valid", "test"} - known.keys():
            if more := [folder for folder in filled if split_within(folder.path.name) == split]:
                known[split] = more
    train = [folder for folder in known.get("train", []) if folder.depth() >= 1]
    if not train:
        return {}
    for split, folders in known.items():
        if len(folders) > 1:
            names = " and ".join(f"'{readable(folder.path.name)}'" for folder in folders)
            raise UserError(
                f"'{readable(str(top.path))}' has {names}, which are both {split} by name; keep one of them."
            )
    return {split: folders[0] for split, folders in known.items()}


def _without_splits(top: Folder) -> dict[str, list[Path]]:
    """The classes of a folder that has no training folder."""
    splits = [folder for folder in _filled(top) if split_of(folder.path.name)]
    others = [folder for folder in _filled(top) if not split_of(folder.path.name)]
    strange = [folder for folder in splits if split_of(folder.path.name) != "train" or not others]
    if strange:
        raise UserError(
            f"'{readable(str(strange[0].path))}' has the name of a split, and there is no training folder with a sub-folder "
            "for each class beside it; put the classes into 'train', or give the folder another name."
        )
    return _classes(top)


def _classes(folder: Folder) -> dict[str, list[Path]]:
    """The files of each class, in the order of the classes' names."""
    if not folder.folders:
        raise UserError(f"'{readable(str(folder.path))}' has no sub-folders; {_TAKES}.")
    found: dict[str, list[Path]] = {}
    for inner in sorted(folder.folders, key=lambda inner: readable(inner.path.name)):
        if inner.depth() >= 2:
            likely = ", ".join(f"'{readable(f.path.name)}'" for f in folder.folders if f.depth() >= 1)
            raise UserError(
                f"'{readable(str(inner.path))}' holds folders of folders of images: it is no class. {likely} are perhaps "
                "splits; call them train, valid and test, with the classes below."
            )
        if inner.depth() < 0:
            known = ", ".join(sorted(image_files.SUFFIXES))
            raise UserError(f"'{readable(str(inner.path))}' has no images; fill it or remove it (known: {known}, ...).")
        if inner.folders and all(split_of(f.path.name) for f in _filled(inner)) and not inner.images:
            raise UserError(
                f"'{readable(str(inner.path))}' has a sub-folder for each split; it takes the other order, as "
                "train/CLASS and test/CLASS."
            )
        found.setdefault(readable(inner.path.name), []).extend(inner.all_images())
    return found


def _alike(folder: Folder) -> list[str]:
    """A note where all classes have sub-folders of the same names: perhaps these are the classes."""
    inside = [tuple(readable(f.path.name) for f in _filled(inner)) for inner in folder.folders if not inner.images]
    if len(inside) < len(folder.folders) or len(set(inside)) > 1 or len(inside[0]) < 2:
        return []
    outer = summarize([readable(inner.path.name) for inner in folder.folders])
    return [f"the classes are {outer}; all have the sub-folders {summarize(list(inside[0]))}, which count as one"]


def _classes_of(folder: Folder, train: tuple[str, ...]) -> tuple[dict[str, list[Path]], str]:
    """The classes of a validation or test folder, by the names of training; and why it is not used, if so."""
    name = f"'{readable(str(folder.path))}'"
    filled = _filled(folder)
    if not filled:
        return {}, f"{name} has images without classes: they are unlabeled and not used"
    # By spelling, and else without regard to case: file systems differ in what they keep of it.
    by_spelling = {known.casefold(): known for known in train} | {known: known for known in train}
    found: dict[str, list[Path]] = {known: [] for known in train}
    strange = []
    for inner in filled:
        spelled = readable(inner.path.name)
        known = by_spelling.get(spelled, by_spelling.get(spelled.casefold()))
        if known is None or inner.depth() >= 2:
            strange.append(spelled)
        else:
            found[known].extend(inner.all_images())
    if len(strange) == len(filled) == 1:
        return {}, f"{name} has no folder of a class of training, only '{strange[0]}': it is unlabeled and not used"
    if strange:
        raise UserError(
            f"{name} has '{strange[0]}', which is a class that is not in training ({summarize(list(train))}); remove it or "
            "train on it."
        )
    loose = (
        f"{len(folder.images)} images in {name} lie in no folder of a class and are not used" if folder.images else ""
    )
    return {known: files for known, files in found.items() if files}, loose


def _loose(folder: Folder) -> list[str]:
    if not folder.images:
        return []
    return [
        f"{len(folder.images)} images in '{readable(str(folder.path))}' lie in no folder of a class and are not used"
    ]
