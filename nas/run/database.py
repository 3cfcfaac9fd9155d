"""The SQLite file of a run: opened to write by one process alone, opened to read without a trace."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from search_spaces import UserError

_WHOLE = "What was stored before is whole; `nas resume` goes on."


def writable(path: Path) -> sqlite3.Connection:
    """A connection that writes; each transaction is one step that a kill leaves whole. Raises `UserError` where none can be."""
    if not os.access(path, os.W_OK):  # SQLite would leave files beside it that nobody could write.
        raise UserError(f"Cannot open '{path}': it cannot be written; make it writable to go on.")
    try:
        connection = sqlite3.connect(path, isolation_level=None, timeout=10)
        with closed_if_it_fails(connection):
            connection.execute("pragma trusted_schema = off")
            connection.execute("pragma journal_mode = wal")
            connection.execute("pragma synchronous = normal")
    except sqlite3.Error as error:
        raise UserError(
            f"Cannot open '{path}': {error}; it takes a run's file in a folder that can be written."
        ) from None
    return connection


def readable(path: Path) -> sqlite3.Connection:
    """A connection that only reads: no byte of the folder changes, which may be one that cannot be written."""
    try:
        if not _log(path).is_file() or not _log(path).stat().st_size:
            # Whoever writes has a log beside the file, and this one is complete: SQLite needs to make no files of its own.
            return _checked(_read_only(path, "&immutable=1"))
        try:
            return _checked(_read_only(path, ""))
        except sqlite3.OperationalError:  # To read the log it makes a file beside it, where it may.
            return _checked(_copy(path))
    except sqlite3.Error as error:
        raise UserError(f"Cannot read '{path}': {error}; it is not a run, or not a whole one.") from None


def _log(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _read_only(path: Path, options: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro{options}", uri=True, isolation_level=None, timeout=10)


def _checked(connection: sqlite3.Connection) -> sqlite3.Connection:
    with closed_if_it_fails(connection):
        connection.execute("pragma trusted_schema = off")
        try:
            connection.execute("select count(*) from sqlite_master").fetchone()
        except UnicodeDecodeError:  # The message of SQLite itself, which quotes a damaged name.
            raise sqlite3.DatabaseError("its schema is damaged") from None
    return connection


def _copy(path: Path) -> sqlite3.Connection:
    """The content of a file and its log, in memory."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    with closed_if_it_fails(connection), tempfile.TemporaryDirectory() as folder:
        for source in (path, _log(path)):
            shutil.copyfile(source, Path(folder) / source.name)
        with closing(sqlite3.connect(Path(folder) / path.name)) as copied:
            copied.backup(connection)
    return connection


@contextmanager
def closed_if_it_fails(connection: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise


@contextmanager
def transaction(connection: sqlite3.Connection, after: str = _WHOLE) -> Iterator[None]:
    """All that is written inside is stored, or nothing is. Raises `UserError` where the disk or another process is in the way.

    Args:
        after: how things stand then, in a sentence.
    """
    try:
        connection.execute("begin immediate")
        yield
        connection.execute("commit")
    except sqlite3.Error as error:
        if connection.in_transaction:
            connection.execute("rollback")
        raise UserError(f"Cannot write the run: {error}. {after}") from None
    except BaseException:
        if connection.in_transaction:
            connection.execute("rollback")
        raise
