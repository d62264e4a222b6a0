"""Opens other programs' SQLite files for reading, also while they are written, and leaves nothing beside them.

A database in write-ahead mode (https://sqlite.org/wal.html) has its newest facts in a ``-wal`` file, and whoever
opens it, if only to read, makes files beside it. So it is read from a copy, taken at a moment when nothing was moved
from the log to the database; one with a rollback journal is read where it lies, under SQLite's own locks, unless a
writer was killed in the middle of a transaction: then the journal is played back in a copy.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

from barograph.errors import FormatError

MAGIC: Final = b"SQLite format 3\0"
TIMEOUT_S: Final = 30.0
PROBE_BYTES: Final = 1 << 20
_WAL_VERSION: Final = 2
_VERSION_BYTE: Final = 18
_LOG: Final = "-wal"
_JOURNAL: Final = "-journal"
_MAX_COPIES: Final = 100
_PAUSE_S: Final = 0.02

Stamp = tuple[int, int]


def has_tables(path: Path, *names: str) -> bool:
    """Whether a file is a database that has all these tables, by its first megabyte; never raises.

    The text of ``CREATE TABLE`` stands in the database, or in its log while it is new.
    """
    if not is_database(path):
        return False
    probe = b"".join(_begin(part, PROBE_BYTES) for part in (path, _beside(path, _LOG)))
    tables = (re.compile(rb'CREATE TABLE "?' + re.escape(name.encode()) + rb'"?[\s(]') for name in names)
    return all(table.search(probe) for table in tables)


def is_database(path: Path) -> bool:
    """Whether a file begins as an SQLite database does; never raises."""
    return _begin(path, len(MAGIC)) == MAGIC


def _begin(path: Path, num_bytes: int) -> bytes:
    try:
        if not path.is_file():  # to open a pipe would wait for a writer
            return b""
        with path.open("rb") as file:
            return file.read(num_bytes)
    except OSError:
        return b""


@contextlib.contextmanager
def database_uri(path: Path, *, sleep: Callable[[float], None] = time.sleep) -> Iterator[str]:
    """A ``file:`` URI under which one state of a database may be read without a trace, while the context is open.

    Args:
        path: the database.
        sleep: waits some seconds for a better moment to copy.

    Raises:
        FormatError: it was changed all the time.
        OSError: the file cannot be read.
    """
    in_place = f"file:{quote(str(path.absolute()))}?mode=ro"
    if not _is_write_ahead(path) and not _needs_rollback(in_place, path):
        yield in_place
        return
    with tempfile.TemporaryDirectory(prefix="barograph-") as folder:
        copy = Path(folder) / "copy.db"
        for _ in range(_MAX_COPIES):
            if _copied(path, copy):
                yield f"file:{quote(str(copy))}"
                return
            sleep(_PAUSE_S)
    raise FormatError(f"{path} was changed during each of {_MAX_COPIES} copies; read it when less is written")


def _is_write_ahead(path: Path) -> bool:
    with path.open("rb") as file:
        header = file.read(_VERSION_BYTE + 1)
    return len(header) > _VERSION_BYTE and header[_VERSION_BYTE] == _WAL_VERSION


def _needs_rollback(uri: str, path: Path) -> bool:
    """Whether a writer is gone whose transaction somebody must take back, which needs leave to write."""
    if not _beside(path, _JOURNAL).is_file():
        return False
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=TIMEOUT_S)) as database:
        try:
            database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.OperationalError as error:
            return error.sqlite_errorname.startswith("SQLITE_READONLY")
        except sqlite3.DatabaseError:
            return False  # whoever opens it says so
    return False


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(f"{path.name}{suffix}")


def _copied(path: Path, copy: Path) -> bool:
    """Copy the database, then its log or journal; whether they belong together.

    The log may grow meanwhile, whole transactions are told by its checksums; but it must be the same log, and the
    database must not have changed.
    """
    log, log_copy = _beside(path, _LOG), _beside(copy, _LOG)
    journal, journal_copy = _beside(path, _JOURNAL), _beside(copy, _JOURNAL)
    before = _stamp(path), _head(log)
    log_copy.unlink(missing_ok=True)
    shutil.copyfile(path, copy)
    journal_copy.unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError):
        shutil.copyfile(log, log_copy)
    with contextlib.suppress(FileNotFoundError):
        shutil.copyfile(journal, journal_copy)
    return before == (_stamp(path), _head(log)) and (before[1] == b"") == (not log_copy.exists())


def _stamp(path: Path) -> Stamp:
    status = path.stat()
    return status.st_mtime_ns, status.st_size


def _head(log: Path) -> bytes:
    """The header of a log, with the salts that change whenever it is begun anew; empty when there is none."""
    try:
        with log.open("rb") as file:
            return file.read(32) or b"empty"
    except FileNotFoundError:
        return b""


@contextlib.contextmanager
def open_database(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that sees one state of the database; rows have names.

    Raises:
        FormatError: it is no database, or a damaged one.
        OSError: the file cannot be read.
    """
    with database_uri(path) as uri, contextlib.closing(sqlite3.connect(uri, uri=True, timeout=TIMEOUT_S)) as database:
        database.row_factory = sqlite3.Row
        database.isolation_level = None
        try:
            database.execute("BEGIN")
            yield database
        except sqlite3.DatabaseError as error:
            raise FormatError(
                f"{path} cannot be read as an SQLite database ({error}); check it with `sqlite3 {path} .tables`, "
                f"or copy it anew from where it was written"
            ) from error


def columns_of(database: sqlite3.Connection, table: str) -> set[str]:
    """The names of a table's columns; empty when there is no such table."""
    return {row["name"] for row in database.execute("SELECT name FROM pragma_table_info(?)", (table,))}
