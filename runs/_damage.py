"""Ways to damage a file: its bytes, or, with a container that stays whole, what it means. Each is a function of a generator."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy
import safetensors.torch
import torch
from safetensors import safe_open

WORDS = [
    "",
    "null",
    "-1",
    "NaN",
    "1e999",
    "[]",
    "{}",
    '"',
    "\x00",
    "\u202e",
    "../../x",
    "[red]",
    "=1+1",
    "9" * 400,
    "[" * 3000,
]
"""Texts that some reader takes for something."""


def in_bytes(file: Path, rng: random.Random) -> None:
    """Flip, cut, fill, repeat or replace bytes."""
    data = bytearray(file.read_bytes())
    at, length = (rng.randrange(len(data)), rng.randint(1, 1 + len(data) // 4)) if data else (0, 1)
    how = rng.randrange(7)
    if how == 0:
        for _ in range(rng.choice((1, 1, 3, 30)) if data else 0):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif how == 1:
        del data[at:]
    elif how == 2:
        del data[at : at + length]
    elif how == 3:
        data[at : at + length] = bytes(min(length, len(data) - at))
    elif how == 4:
        data[at:at] = rng.randbytes(rng.choice((1, 8, 500)))
    elif how == 5:
        data[at:at] = data[at : at + length]
    else:
        data = bytearray(rng.choice((b"", rng.randbytes(1000), rng.choice(WORDS).encode("utf-8", "replace"))))
    file.write_bytes(data)


def in_text(file: Path, rng: random.Random) -> None:
    """Replace, drop or repeat words between commas, quotes and line breaks."""
    text = file.read_text(encoding="utf-8", errors="replace")
    for _ in range(rng.choice((1, 1, 2, 5))):
        parts = [part for part in _split(text) if part]
        if not parts:
            break
        at = rng.randrange(len(parts))
        parts[at] = rng.choice((rng.choice(WORDS), "", parts[at] * 2, rng.choice(parts), parts[at][::-1]))
        text = "".join(parts)
    file.write_text(text, encoding="utf-8", errors="replace")


def _split(text: str) -> list[str]:
    parts, word = [], ""
    for sign in text:
        if sign in ',":\n|~{}[]; ':
            parts += [word, sign]
            word = ""
        else:
            word += sign
    return [*parts, word]


def in_tensors(file: Path, rng: random.Random) -> None:
    """Change a tensor's type, shape, values or name, or a text of the header; the file stays whole."""
    with safe_open(file, framework="pt") as opened:
        about, tensors = opened.metadata() or {}, {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    for _ in range(rng.choice((1, 1, 2))):
        if about and rng.random() < 0.4:
            key = rng.choice(sorted(about))
            about[key] = _altered(about[key], rng)
            if rng.random() < 0.15:
                del about[key]
        elif tensors:
            name = rng.choice(sorted(tensors))
            tensors |= _other(name, tensors[name], rng)
            if rng.random() < 0.15:
                del tensors[name]
    kept = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}
    file.write_bytes(safetensors.torch.save(kept, about or None))


def _altered(text: str, rng: random.Random) -> str:
    """Another text; of JSON now and then other JSON."""
    with contextlib.suppress(ValueError):
        value = json.loads(text)
        if isinstance(value, dict | list) and value and rng.random() < 0.7:
            keys = list(value) if isinstance(value, dict) else range(len(value))
            key = rng.choice(list(keys))
            other = rng.choice((None, -1, "", [], {}, True, 1e300, "x" * 300, value[key]))
            value[key] = _altered_value(value[key], rng) if rng.random() < 0.5 else other
            return json.dumps(value)
    return rng.choice((rng.choice(WORDS), text[: len(text) // 2], text + "x", text.upper()))


def _altered_value(value: object, rng: random.Random) -> object:
    if isinstance(value, dict) and value:
        return value | {rng.choice(sorted(map(str, value))): rng.choice((None, -1, "", [], True, 1e300, "x"))}
    return rng.choice((None, 0, -1, "x", [value], {"x": value}))


def _other(name: str, tensor: torch.Tensor, rng: random.Random) -> dict[str, torch.Tensor]:
    changes: list[Callable[[], dict[str, torch.Tensor]]] = [
        lambda: {name: tensor.T if tensor.dim() > 1 else tensor[None]},
        lambda: {name: tensor[: len(tensor) // 2] if tensor.dim() else tensor[None]},
        lambda: {name: tensor.to(rng.choice((torch.float64, torch.int64, torch.int8, torch.bool, torch.float16, torch.uint8)))},
        lambda: {name: -tensor.float().to(tensor.dtype) if tensor.dtype != torch.bool else tensor},
        lambda: {name: tensor - 1 if tensor.dtype != torch.bool else tensor},
        lambda: {name: torch.full(tensor.shape, rng.choice((torch.nan, torch.inf, -1e30)))},
        lambda: {name: torch.zeros(0)},
        lambda: {name: torch.tensor(1.0)},
        lambda: {name: tensor * 1000 if tensor.dtype != torch.bool else tensor},
        lambda: {name + rng.choice(("x", "/", ".y", "é")): tensor},
        lambda: {name: torch.cat([tensor, tensor]) if tensor.dim() else tensor},
    ]  # fmt: skip
    return rng.choice(changes)()


def in_database(file: Path, rng: random.Random) -> None:
    """Change, delete or add rows, or drop a table; the database stays whole."""
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        names = [row[0] for row in connection.execute("select name from sqlite_master where type = 'table'")]
        for _ in range(rng.choice((1, 1, 2))):
            table = rng.choice(names)
            columns = [row[1] for row in connection.execute(f'pragma table_info("{table}")')]
            rows = [row[0] for row in connection.execute(f'select rowid from "{table}"')]
            if not rows or rng.random() < 0.08:
                connection.execute(f'drop table "{table}"')
                return
            row, column = rng.choice(rows), rng.choice(columns)
            if rng.random() < 0.15:
                connection.execute(f'delete from "{table}" where rowid = ?', (row,))
                continue
            ((old,),) = connection.execute(f'select "{column}" from "{table}" where rowid = ?', (row,))
            with contextlib.suppress(sqlite3.IntegrityError, OverflowError):
                connection.execute(
                    f'update "{table}" set "{column}" = ? where rowid = ?', (_other_value(old, rng), row)
                )


def _other_value(old: object, rng: random.Random) -> object:
    if isinstance(old, bytes):
        with contextlib.suppress(Exception):
            tensors = safetensors.torch.load(old)
            name = rng.choice(sorted(tensors))
            changed = tensors | _other(name, tensors[name], rng)
            if rng.random() < 0.7:
                return safetensors.torch.save({n: t.clone().contiguous() for n, t in changed.items()})
        return rng.choice((old[: len(old) // 2], b"", None, "text", 3, rng.randbytes(100)))
    if isinstance(old, str):
        return rng.choice((_altered(old, rng), _altered(old, rng), _altered(old, rng), None, b"\xff", 7))
    return rng.choice((-1, 0, 2**62, None, "x", b"x", 1e308, float("inf")))


def in_arrays(file: Path, rng: random.Random) -> None:
    """Change the type, shape, values or name of an array of an .npz file."""
    with numpy.load(file) as opened:
        arrays = dict(opened)
    name = rng.choice(sorted(arrays))
    array = arrays[name]
    changes: list[Callable[[], numpy.ndarray]] = [
        lambda: array.astype(rng.choice(("float16", "float64", "int8", "uint16", "bool", "complex64", "object", "S3", "int64"))),
        lambda: array[: len(array) // 2],
        lambda: array[:0],
        lambda: array[..., None],
        lambda: array.T,
        lambda: array.reshape(-1),
        lambda: numpy.full(array.shape, rng.choice((numpy.nan, numpy.inf, -1, 1e30))),
        lambda: array.astype(float) * rng.choice((-1, 1e-3, 1e9)),
        lambda: numpy.array(3),
        lambda: numpy.concatenate([array, array]),
    ]  # fmt: skip
    with numpy.errstate(all="ignore"):
        arrays[name] = rng.choice(changes)()
    if rng.random() < 0.15:
        del arrays[name]
    if rng.random() < 0.15:
        arrays[rng.choice(("x", "y_train", "label", "x_test", "é"))] = array
    numpy.savez(file, **arrays)


def in_folder(folder: Path, rng: random.Random) -> None:
    """Damage, rename, remove or replace a file of a folder of pictures, or put something else beside it."""
    files = sorted(f for f in folder.rglob("*") if f.is_file())
    file = rng.choice(files)
    how = rng.randrange(9)
    if how < 4:
        in_bytes(file, rng)
    elif how == 4:
        file.unlink()
        file.mkdir()
    elif how == 5:
        os.mkfifo(file.with_suffix(".jpg"))
    elif how == 6:
        file.with_name(rng.choice(("a\nb.png", "[red].png", ".png", "é.PNG", "x" * 200 + ".png"))).write_bytes(
            file.read_bytes()
        )
    elif how == 7:
        file.with_suffix(".gif").symlink_to(rng.choice((folder, Path("nowhere"), file.with_suffix(".gif"))))
    else:
        shutil.rmtree(file.parent)
