"""The file of an index: SQLite in the local cache directory, one per root. It knows bytes, not runs.

Whatever is wrong with the file never reaches a person as an error: a damaged one is made anew, one that cannot be
used raises ``UnusableError``, which says why, and whoever asked reads the runs themselves.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

BUSY_S: Final = 0.25
MANY: Final = 500
"""Entries from which on reading all of them is quicker than asking for each."""
_CHECKSUM_BYTES: Final = 4
_TABLES: Final = """
create table if not exists about (format text not null, root text not null);
create table if not exists runs (path blob primary key, head blob not null, body blob) without rowid;
"""
_PUT: Final = """
insert into runs values (?, ?, ?)
on conflict (path) do update set head = excluded.head, body = coalesce(excluded.body, body)
"""


class UnusableError(Exception):
    """The index cannot be used now; the message says why."""


def default_cache(environ: Mapping[str, str] = os.environ) -> Path | None:
    """``BAROGRAPH_CACHE``, else ``barograph`` in ``XDG_CACHE_HOME`` or ``~/.cache``; None when there is no home."""
    if environ.get("BAROGRAPH_CACHE"):
        return Path(environ["BAROGRAPH_CACHE"])
    given = Path(environ.get("XDG_CACHE_HOME") or ".")
    if given.is_absolute():  # the standard has others ignored
        return given / "barograph"
    try:
        return Path.home() / ".cache" / "barograph"
    except RuntimeError:
        return None


def index_path(root: str | os.PathLike[str], cache: Path) -> Path:
    """Where the index of a root is."""
    digest = hashlib.sha256(os.fsencode(os.path.realpath(root))).hexdigest()
    return cache / f"runs-{digest[:16]}.sqlite"


class Store:
    """An open index.

    Args:
        path: its file; made when absent.
        form: what the entries look like; an index of another form is emptied.
        root: the runs' root, for people who look into the file.

    Raises:
        UnusableError: it can be neither opened nor made.
    """

    def __init__(self, path: Path, *, form: str, root: str) -> None:
        self.path = path
        self._form = form
        self._root = os.fsencode(root).decode("utf-8", "backslashreplace")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = self._open()
        except (sqlite3.Error, OSError) as error:
            raise UnusableError(f"{path}: {error}") from None

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.OperationalError:
            raise  # locked, or no right to write: not ours to remove
        except sqlite3.DatabaseError:
            self.path.unlink(missing_ok=True)
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None)
        try:
            database.execute("pragma synchronous = off")  # it can be rebuilt; a lost one costs a second
            found = database.execute("select count(*) from sqlite_schema where name in ('about', 'runs')").fetchone()
            if found != (2,) or database.execute("select format from about").fetchone() != (self._form,):
                self._begin_anew(database)
        except BaseException:
            database.close()
            raise
        return database

    def _begin_anew(self, database: sqlite3.Connection) -> None:
        database.executescript(f"begin immediate; drop table if exists about; drop table if exists runs; {_TABLES}")
        database.execute("insert into about values (?, ?)", (self._form, self._root))
        database.execute("commit")

    def heads(self) -> dict[bytes, bytes]:
        """The small part of every entry, by path."""
        with self._failing_gently():
            rows = self._database.execute("select path, head from runs").fetchall()
        return _whole(rows)

    def bodies(self, paths: Iterable[bytes]) -> dict[bytes, bytes]:
        """The large part of some entries, by path; entries without one are left out."""
        wanted = list(paths)
        with self._failing_gently():
            if len(wanted) > MANY:
                rows = self._database.execute("select path, body from runs where body is not null").fetchall()
            else:
                query = "select path, body from runs where path = ? and body is not null"
                rows = [row for path in wanted for row in self._database.execute(query, (path,))]
        return _whole(rows)

    def update(self, entries: Mapping[bytes, tuple[bytes, bytes | None]], gone: Iterable[bytes]) -> None:
        """Write entries, and remove those of runs that have gone, in one transaction.

        Args:
            entries: by path, the small part and the large one; without a large one that which is there stays.
            gone: paths.

        Raises:
            UnusableError: it is locked, or cannot be written, or is not of this form any more.
        """
        with self._failing_gently(), closing(self._database.cursor()) as cursor:
            cursor.execute("begin immediate")
            if cursor.execute("select format from about").fetchone() != (self._form,):
                cursor.execute("rollback")
                raise UnusableError(f"{self.path}: another version of Barograph has begun it anew")
            cursor.executemany("delete from runs where path = ?", [(path,) for path in gone])
            rows = [(path, _sealed(path, head), body and _sealed(path, body)) for path, (head, body) in entries.items()]
            cursor.executemany(_PUT, rows)
            cursor.execute("commit")

    def clear(self) -> None:
        """Forget every entry."""
        with self._failing_gently():
            self._database.execute("delete from runs")

    @contextmanager
    def _failing_gently(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:  # locked, or a full or read-only disk
            raise UnusableError(f"{self.path}: {error}") from None
        except sqlite3.DatabaseError as error:
            self.close()
            try:
                self.path.unlink(missing_ok=True)
            except OSError as why:
                raise UnusableError(f"{self.path}: {error}; it cannot be removed: {why}") from None
            raise UnusableError(f"{self.path}: {error}; it is made anew next time") from None

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def _sealed(path: bytes, data: bytes) -> bytes:
    """Data behind its checksum: SQLite has none for what stands in a table."""
    return zlib.crc32(data, zlib.crc32(path)).to_bytes(_CHECKSUM_BYTES, "big") + data


def _whole(rows: Iterable[tuple[Any, Any]]) -> dict[bytes, bytes]:
    """Data by path; what is not as it was written is left out."""
    found = {}
    for path, sealed in rows:
        if isinstance(path, bytes) and isinstance(sealed, bytes):
            data = sealed[_CHECKSUM_BYTES:]
            if zlib.crc32(data, zlib.crc32(path)) == int.from_bytes(sealed[:_CHECKSUM_BYTES], "big"):
                found[path] = data
    return found
