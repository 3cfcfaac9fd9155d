"""Which split a folder, an array or a split of the hub is, by all the names that people give them."""

from __future__ import annotations

import re
from collections.abc import Iterable

SPLITS = {
    "train": {"train", "training", "trn"},
    "valid": {"valid", "val", "validation", "validate", "eval", "evaluation", "dev"},
    "test": {"test", "testing", "tst", "holdout"},
}
"""Each split with its words."""
_SPLIT_OF = {word: split for split, words in SPLITS.items() for word in words}
# What stands beside such a word and says no more: `Training Set`, `test_images`, `valdata`.
_FILLERS = {
    "set", "data", "dataset", "split", "image", "images", "imgs", "img", "pictures", "photos", "files", "folder", "samples"
}  # fmt: skip
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


def words(name: str) -> list[str]:
    """The words of a name, lower case: `xTrain`, `x_train` and `X-TRAIN` are `x` and `train`."""
    return [word.lower() for word in _WORDS.findall(name)]


def split_of(name: str) -> str | None:
    """`train`, `valid` or `test`, where the name says that and nothing else; else None."""
    found = _splits(name)
    others = [word for word in words(name) if _split_of_word(word) is None and word not in _FILLERS]
    return found.pop() if len(found) == 1 and not others else None


def split_within(name: str) -> str | None:
    """The same for a name that may say more, as `seg_train` and `test1` do."""
    found = _splits(name)
    return found.pop() if len(found) == 1 else None


def by_split(names: Iterable[str]) -> dict[str, str]:
    """Of names that each may stand for a split, the first for each."""
    found: dict[str, str] = {}
    for name in names:
        split = split_of(name)
        if split is not None:
            found.setdefault(split, name)
    return found


def _splits(name: str) -> set[str]:
    return {split for word in words(name) if (split := _split_of_word(word)) is not None}


def _split_of_word(word: str) -> str | None:
    for filler in sorted(_FILLERS, key=len, reverse=True):
        stem = word.removesuffix(filler)
        if stem != word and stem in _SPLIT_OF:
            return _SPLIT_OF[stem]
    return _SPLIT_OF.get(word)
