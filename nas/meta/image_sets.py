"""Image sets by what a user names: datasets as `--task` has them, npz files, folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from search_spaces import UserError


def named(words: Sequence[str]) -> tuple[str, ...]:
    """The datasets that words name: `npz:FILE` for a file, every npz file of a folder that has some, else `folder:DIR`.

    Raises `UserError` where there is none, or one twice.
    """
    names = [name for word in words for name in _of(word)]
    if not names:
        raise UserError("metanas learns from images: name sets by --images, as --images digits --images npz:FILE.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"--images names '{twice[0]}' twice; each set counts once.")
    return tuple(names)


def _of(word: str) -> list[str]:
    path = Path(word).expanduser()
    if path.is_dir():
        files = sorted(path.glob("*.npz"))
        return [f"npz:{file}" for file in files] or [f"folder:{path}"]
    return [f"npz:{path}"] if path.suffix == ".npz" and ":" not in word else [word]
