"""Seals a finished run: each rows file becomes a Parquet file with the same bits, a third to a half of its size.

No fact is ever in danger. A stream is written beside its rows file, put on the device, read back and compared by
hash; only then does it take its name, and only then is the rows file removed. Killed at any moment, the run is as
readable as before: where both files of a stream are there, readers take the rows file, and sealing again finishes.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import IO, Final

import msgspec

from barograph.errors import FormatError, MisuseError, RunBusyError
from barograph.facts.descriptor import temporary_path
from barograph.facts.rows import repair_rows
from barograph.facts.rundir import RunDir, sealed, unsealed
from barograph.facts.state import is_here, read_process
from barograph.read.archive.lock import alone
from barograph.read.archive.parquet import RowsFile, hash_rows, hash_sealed, open_rows, write_parquet, write_rows
from barograph.read.run import RunReader
from barograph.read.sealed import Sealed, read_sealed
from barograph.read.status import ENDED, LIVING, Status, read_ranks, read_status

LOCK: Final = ".seal.lock"
EMPTY: Final = "its header is not whole; it holds no rows"
_PROC: Final = Path("/proc")


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one stream.

    Attributes:
        file: its file before, relative to the run's directory.
        num_rows: how many rows it has.
        num_metrics: how many metrics a row has.
        bytes_before: size of the file.
        bytes_after: size of the file that took its place; the same as before when it was left.
        cut_bytes: bytes behind the last whole row, which are kept in a file beside it.
        left: why it was left as it is; "" when it was not.
    """

    file: str
    num_rows: int = 0
    num_metrics: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    cut_bytes: int = 0
    left: str = ""


def seal(reader: RunReader, *, dry_run: bool = False) -> list[Change]:
    """Seal every stream of a run that has ended; one that is sealed already is passed over.

    Args:
        reader: the run.
        dry_run: change nothing; the sizes are true ones all the same.

    Returns:
        What became of each rows file.

    Raises:
        RunBusyError: a process writes the run, or seals it.
        MisuseError: nothing shows that the run has ended.
        OSError: a file cannot be read or written; streams are as they were, or sealed.
    """
    refuse_unless_ended(reader.path)
    directory = reader.directory
    with _alone(directory, dry_run=dry_run):
        return [_seal_stream(directory, path, dry_run=dry_run) for path in directory.rows_files()]


def unseal(reader: RunReader, *, dry_run: bool = False) -> list[Change]:
    """Turn every sealed stream back into its rows file, bit for bit.

    Args:
        reader: the run.
        dry_run: change nothing.

    Returns:
        What became of each sealed file.

    Raises:
        RunBusyError: a process seals or unseals it.
        OSError: a file cannot be read or written; streams are as they were, or unsealed.
    """
    directory = reader.directory
    with _alone(directory, dry_run=dry_run):
        return [_unseal_stream(directory, path, dry_run=dry_run) for path in directory.sealed_files()]


def _alone(directory: RunDir, *, dry_run: bool) -> AbstractContextManager[None]:
    return nullcontext() if dry_run else alone(directory.path / LOCK, what="seals or unseals")


def refuse_unless_ended(path: Path) -> None:
    """Refuse a run of which a process may still write.

    Raises:
        RunBusyError: a process writes it.
        MisuseError: nothing shows that it has ended.
    """
    ranks: dict[int, Status] = {0: read_status(path), **read_ranks(path)}
    for rank, status in ranks.items():
        who = f"{path}{f', rank {rank}' if rank else ''}"
        if status.state in LIVING:
            raise RunBusyError(
                f"{who} is {status.state} ({status.reason}); only a run that has ended is archived: wait for it"
            )
        if status.state not in ENDED:
            raise MisuseError(
                f"{who} is {status.state} ({status.reason}), so that it may still be written; record its end, or "
                f"archive it on the machine that wrote it"
            )


def _seal_stream(directory: RunDir, path: Path, *, dry_run: bool) -> Change:
    file = str(path.relative_to(directory.path))
    size = path.stat().st_size
    try:
        rows = open_rows(path)
    except FormatError as error:
        return Change(file=file, bytes_before=size, bytes_after=size, left=str(error))
    if rows is None:
        return Change(file=file, bytes_before=size, bytes_after=size, left=EMPTY)
    known = Change(
        file=file,
        num_rows=rows.num_rows,
        num_metrics=len(rows.header.columns) - 2,
        bytes_before=size,
        bytes_after=size,
        cut_bytes=rows.torn_bytes,
    )
    writer = _living_writer(directory, rows)
    if writer is not None:
        return msgspec.structs.replace(
            known, left=f"process {writer} still has it open; seal the run when it has ended"
        )
    if dry_run:
        trial = io.BytesIO()
        write_parquet(rows, trial)
        return msgspec.structs.replace(known, bytes_after=len(trial.getvalue()))
    if rows.torn_bytes:
        repair_rows(path)
    try:
        return msgspec.structs.replace(known, bytes_after=_replace_by_sealed(directory, rows))
    except FormatError as error:
        return msgspec.structs.replace(known, left=str(error))


def _replace_by_sealed(directory: RunDir, rows: RowsFile) -> int:
    """Write, compare, name, remove; returns the size of the sealed file."""
    target = sealed(rows.path)
    if not _is_sealed_already(rows, target):
        with _new_file(target, like=rows.path) as (file, temporary):
            write_parquet(rows, file)
            _put_on_device(file)
            _compare(rows, temporary)
    refuse_unless_ended(directory.path)  # it may have been resumed meanwhile
    if rows.path.stat().st_size != rows.size_bytes:
        target.unlink()
        raise RunBusyError(f"{rows.path} grew while it was sealed; a process still writes it: wait for it")
    rows.path.unlink()
    _sync_directory(target.parent)
    return target.stat().st_size


def _compare(rows: RowsFile, written: Path) -> None:
    found = read_sealed(written)
    seen = hash_sealed(found)
    if not seen == found.rows_sha256 == hash_rows(rows):
        raise FormatError(f"{rows.path}: what was written reads back as {seen}; the rows file stays: check the disk")


def _is_sealed_already(rows: RowsFile, target: Path) -> bool:
    """Whether an earlier call was stopped between writing the sealed file and removing the rows file.

    Raises:
        FormatError: the sealed file is whole and holds something else.
    """
    try:
        found = read_sealed(target)
        is_whole = hash_sealed(found) == found.rows_sha256
    except (FormatError, FileNotFoundError):
        return False
    if is_whole and found.rows_sha256 != hash_rows(rows):
        raise FormatError(f"{target} is there and holds other rows than {rows.path.name}; move one of the two away")
    return is_whole


def _unseal_stream(directory: RunDir, path: Path, *, dry_run: bool) -> Change:
    file = str(path.relative_to(directory.path))
    size = path.stat().st_size
    try:
        source = read_sealed(path)
        known = Change(
            file=file,
            num_rows=source.num_rows,
            num_metrics=len(source.header.columns) - 2,
            bytes_before=size,
            bytes_after=source.end,
        )
        if not dry_run:
            _replace_by_rows(source)
    except FormatError as error:
        return Change(file=file, bytes_before=size, bytes_after=size, left=str(error))
    return known


def _replace_by_rows(source: Sealed) -> None:
    target = unsealed(source.path)
    if target.exists():
        rows = open_rows(target)
        if rows is None or hash_rows(rows) != source.rows_sha256:
            raise FormatError(f"{target} is there and holds something else; move one of the two files away")
    else:
        with _new_file(target, like=source.path) as (file, _):
            write_rows(source, file)
            _put_on_device(file)
    source.path.unlink()
    _sync_directory(target.parent)


@contextmanager
def _new_file(target: Path, *, like: Path) -> Iterator[tuple[IO[bytes], Path]]:
    """A file that gets its name when the block ends well, with the mode and the times of another one."""
    temporary = temporary_path(target)
    try:
        with temporary.open("wb") as file:
            yield file, temporary
        shutil.copystat(like, temporary)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_directory(target.parent)


def _put_on_device(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    """Put names on the device, so that a power cut cannot take a new file and keep the removal of the old one."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _living_writer(directory: RunDir, rows: RowsFile) -> int | None:
    """The process that wrote the stream, when it lives on this machine and has the file open: a forked child may."""
    try:
        process = read_process(directory.process(rows.header.rank))
    except FormatError:
        process = None
    if not rows.header.pid or (process is not None and not is_here(process)):
        return None
    try:
        links = list((_PROC / str(rows.header.pid) / "fd").iterdir())
    except OSError:
        return None
    return rows.header.pid if any(_is_same(link, rows.path) for link in links) else None


def _is_same(link: Path, path: Path) -> bool:
    try:
        return link.samefile(path)
    except OSError:
        return False
