"""The finished shards of all trainings in one file, small enough for version control, and back, bitwise.

The file is a `.tar.xz`. Nothing in it depends on the machine or the time: the same shards always give the same file.
"""

from __future__ import annotations

import io
import lzma
import re
import tarfile
from collections.abc import Iterable
from pathlib import Path

from search_spaces import UserError
from search_spaces._files import atomic_write

_MEMBER = re.compile(r"\w+-\w+/(plan\.json|\d{4}\.safetensors)")
"""What is kept, and the only names that are written to disk: no archive can write elsewhere."""


def keep(folder: Path, archive: Path) -> tuple[int, int]:
    """Add what `folder` has finished to `archive`; returns how many shards are new and how many there are."""
    here = {name: file.read_bytes() for name, file in _files(folder).items()}
    if not _shards(here):
        raise UserError(f"'{folder}' holds no finished shard to keep.")
    before = _members(archive) if archive.exists() else {}
    _same_plans(before, here, folder, archive)
    # What was kept stays as it is: a shard measured twice differs in its seconds alone.
    members = here | before
    with atomic_write(archive) as partial_file:
        partial_file.write_bytes(_packed(members))
    return _shards(members.keys() - before.keys()), _shards(members.keys())


def restore(folder: Path, archive: Path) -> tuple[int, int]:
    """Write to `folder` what it lacks of `archive`; returns how many shards are new and how many there are."""
    members, here = _members(archive), _files(folder)
    _same_plans({name: file.read_bytes() for name, file in here.items()}, members, folder, archive)
    lacking = members.keys() - here.keys()
    for name in lacking:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(folder / name) as partial_file:
            partial_file.write_bytes(members[name])
    return _shards(lacking), _shards(here.keys() | members.keys())


def _files(folder: Path) -> dict[str, Path]:
    """What there is to keep, by its name in an archive."""
    found = {file.relative_to(folder).as_posix(): file for file in sorted(folder.glob("*/*"))}
    return {name: file for name, file in found.items() if _MEMBER.fullmatch(name)}


def _same_plans(one: dict[str, bytes], other: dict[str, bytes], folder: Path, archive: Path) -> None:
    for name in one.keys() & other.keys():
        if name.endswith("plan.json") and one[name] != other[name]:
            raise UserError(
                f"'{folder / name}' is not the {name} of '{archive}'; take another folder or another archive."
            )


def _shards(names: Iterable[str]) -> int:
    return sum(name.endswith(".safetensors") for name in names)


def _packed(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as file:
        for name, content in sorted(members.items()):
            # Time and owner stay zero, as `TarInfo` has them.
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    # Numbers compress no better with more memory than preset 6 takes.
    return lzma.compress(stream.getvalue(), preset=6 | lzma.PRESET_EXTREME)


def _members(archive: Path) -> dict[str, bytes]:
    """All files of an archive, by name."""
    members = {}
    try:
        # Decompressed first: read as a stream, a file that was cut off would only seem to hold less.
        with tarfile.open(fileobj=io.BytesIO(lzma.decompress(archive.read_bytes()))) as file:
            for info in file:
                content = file.extractfile(info)
                if content is None or not _MEMBER.fullmatch(info.name):
                    raise UserError(f"'{archive}' holds '{info.name}'; an archive holds plans and shards alone.")
                members[info.name] = content.read()
    except FileNotFoundError:
        raise UserError(f"There is no archive '{archive}'.") from None
    except (tarfile.TarError, lzma.LZMAError) as error:
        raise UserError(f"'{archive}' is not a whole .tar.xz file ({error}).") from None
    return members
