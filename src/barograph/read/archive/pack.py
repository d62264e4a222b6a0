"""Many finished runs in few Parquet files, for engines that ask questions of all of them: ``part-*.parquet``.

A row is a record of metrics as it was recorded: which run, split, attempt and rank, its step and time, and a column
per metric; null where a record lacks the metric, while NaN and infinities are values. The parts are derived: the
runs stay what they are. ``parts.json`` says which run is in which part; it is replaced last, so that whoever goes by
it never sees a run twice or half. Packing again writes new and changed runs, and leaves out those that have gone.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from barograph.errors import FormatError, MisuseError
from barograph.facts.descriptor import replace_file, replacing
from barograph.facts.log import Damage
from barograph.facts.rundir import RunDir, make_dir, unsealed
from barograph.read.archive.lock import alone
from barograph.read.archive.parquet import writer_options
from barograph.read.archive.pyramid_file import Stamps
from barograph.read.arrays import ORIGIN, Floats, as_float, column_of, is_exact, read_numbers
from barograph.read.columns import find_streams, iterate_overflow
from barograph.read.run import RunReader
from barograph.read.sealed import read_sealed
from barograph.read.status import ENDED

FORMAT: Final = "barograph-parts/1"
INDEX: Final = "parts.json"
LOCK: Final = ".pack.lock"
PART_BYTES: Final = 128 << 20
GROUP_ROWS: Final = 1 << 18
GROUP_BYTES: Final = 1 << 28
"""Of the numbers in memory before they are written: of very many metrics a group has fewer rows."""
MAX_COLUMNS: Final = 2048
"""Runs with other metrics go to another part: every run has, if only empty, each column of its part."""
SMALL: Final = 2
"""A part of less than this share (one half) of a whole one is written again with new runs."""
_RATIO: Final = 0.6  # of the size of rows, measured: what decides is only where the next part begins


class Packed(msgspec.Struct, frozen=True, kw_only=True):
    """One run in a part.

    Attributes:
        path: its directory, relative to the runs' common root.
        run_id: unique for all time; "" when it has none.
        stamps: size and modification time, in nanoseconds, of each file of metrics; of a sealed stream, those of its
            rows file.
        num_rows: how many records it has.
        num_rounded: how many of its numbers are integers that a float64 cannot hold, and stand rounded.
        num_damaged: how many places of its files hold no fact.
    """

    path: str
    run_id: str
    stamps: Stamps
    num_rows: int = 0
    num_rounded: int = 0
    num_damaged: int = 0


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One Parquet file.

    Attributes:
        file: its name.
        size_bytes: its size.
        metrics: names of the columns of metrics.
        runs: whose records it holds, in their order.
    """

    file: str
    size_bytes: int
    metrics: list[str]
    runs: list[Packed]


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What ``parts.json`` holds.

    Attributes:
        parts: the files; others in the directory count for nothing.
        format: ``barograph-parts/1``.
    """

    parts: list[Part]
    format: str = FORMAT


class Packing(msgspec.Struct, frozen=True, kw_only=True):
    """What packing did.

    Attributes:
        directory: where the parts are.
        num_runs: how many runs they hold now.
        num_new: how many of them were not there.
        num_changed: how many were there and have changed.
        num_gone: how many were there, and there is no such run any more.
        left: runs that were not packed, and why.
        num_parts: how many files there are.
        num_written: how many of them were written.
        bytes_before: size of the files of metrics of all runs packed.
        bytes_after: size of the parts.
    """

    directory: str
    num_runs: int
    num_new: int
    num_changed: int
    num_gone: int
    left: dict[str, str]
    num_parts: int
    num_written: int
    bytes_before: int
    bytes_after: int


class _Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A run that is to be packed."""

    reader: RunReader
    packed: Packed
    metrics: tuple[str, ...]

    @property
    def size_bytes(self) -> int:
        return sum(size for size, _ in self.packed.stamps.values())


def pack(paths: Sequence[Path], directory: Path, *, part_bytes: int = PART_BYTES, dry_run: bool = False) -> Packing:
    """Bring parts up to date with runs; runs that have not ended are left out.

    Args:
        paths: directories of all runs that the parts are to hold.
        directory: where the parts are; made when absent.
        part_bytes: about how large a part may get; a run is never divided.
        dry_run: write nothing; sizes are then those of now.

    Raises:
        MisuseError: the directory holds other things than parts.
        RunBusyError: another process packs into it.
        OSError: a file cannot be read or written; the parts are as they were.
    """
    if dry_run:
        return _pack(paths, directory, part_bytes=part_bytes, dry_run=True)
    _read_index(directory)  # whether it is a directory of parts, before a file is made in it
    make_dir(directory)
    with alone(directory / LOCK, what="packs runs into"):
        return _pack(paths, directory, part_bytes=part_bytes, dry_run=False)


def _pack(paths: Sequence[Path], directory: Path, *, part_bytes: int, dry_run: bool) -> Packing:
    before = _read_index(directory)
    candidates, left = _candidates(paths)
    packed = {run.path: run for part in before.parts for run in part.runs}
    same = {path for path, it in candidates.items() if path in packed and packed[path].stamps == it.packed.stamps}
    kept = [part for part in before.parts if _is_kept(part, same, directory)]
    num_waiting = len(candidates) - sum(len(part.runs) for part in kept)
    if num_waiting:
        kept = [part for part in kept if part.size_bytes * SMALL >= part_bytes]
    there = {run.path for part in kept for run in part.runs}
    waiting = [it for path, it in candidates.items() if path not in there]
    parts = kept
    if not dry_run:
        parts = [*kept, *(_write_part(directory, group) for group in _grouped(waiting, part_bytes))]
        _finish(directory, before, parts)
    return Packing(
        directory=str(directory),
        num_runs=len(candidates),
        num_new=len(candidates.keys() - packed.keys()),
        num_changed=len((candidates.keys() & packed.keys()) - same),
        num_gone=len(packed.keys() - candidates.keys()),
        left=left,
        num_parts=len(parts),
        num_written=len(parts) - len(kept),
        bytes_before=sum(it.size_bytes for it in candidates.values()),
        bytes_after=sum(part.size_bytes for part in parts),
    )


def read_parts(directory: Path) -> list[Path]:
    """The files that hold all packed runs, each run once.

    Raises:
        FileNotFoundError: nothing was packed there.
        FormatError: ``parts.json`` cannot be read.
    """
    return [directory / part.file for part in _decode_index(directory / INDEX).parts]


def _read_index(directory: Path) -> Parts:
    try:
        return _decode_index(directory / INDEX)
    except FileNotFoundError:
        if directory.is_dir() and not all(path.name.startswith(".") for path in directory.iterdir()):
            raise MisuseError(
                f"{directory} holds files and no {INDEX}, so it is no directory of parts; name another one"
            ) from None
        return Parts(parts=[])


def _decode_index(path: Path) -> Parts:
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Parts)
    except msgspec.MsgspecError as error:
        raise FormatError(f"{path} cannot be read ({error}); remove its directory and pack again") from None
    if found.format != FORMAT:
        raise FormatError(f"{path}: format {found.format!r} is not {FORMAT}; use the release that wrote it")
    return found


def _candidates(paths: Sequence[Path]) -> tuple[dict[str, _Candidate], dict[str, str]]:
    """Runs that have ended, by path, and why others have none."""
    found: dict[str, _Candidate] = {}
    left: dict[str, str] = {}
    for path in paths:
        reader, name = RunReader(path), os.fspath(path.absolute())
        status = reader.status()
        if status.state not in ENDED:
            left[name] = f"it is {status.state}: {status.reason}"
            continue
        stamps = _stamps(reader.directory)
        metrics = tuple(sorted({key.name for key in reader.metric_keys()}))
        packed = Packed(path=name, run_id=reader.identity.run_id, stamps=stamps)
        found[name] = _Candidate(reader=reader, packed=packed, metrics=metrics)
    return found, left


def _stamps(directory: RunDir) -> Stamps:
    """Size and time of each stream's rows, which sealing keeps, and of ``metrics*.jsonl``."""
    stamps = {}
    for path in (*directory.stream_files(), *directory.overflow_files()):
        found, size = path.stat(), path.stat().st_size
        if path != unsealed(path):
            with contextlib.suppress(FormatError):  # a damaged one is packed as far as it can be read
                size = read_sealed(path).end
        stamps[unsealed(path).name] = (size, found.st_mtime_ns)
    return stamps


def _is_kept(part: Part, same: set[str], directory: Path) -> bool:
    file = directory / part.file
    is_whole = file.is_file() and file.stat().st_size == part.size_bytes
    return is_whole and all(run.path in same for run in part.runs)


def _grouped(candidates: list[_Candidate], part_bytes: int) -> Iterator[list[_Candidate]]:
    """Runs of one part each; those with the same metrics stand together, so that few columns are empty."""
    waiting: list[_Candidate] = []
    size, metrics = 0, set[str]()
    for candidate in sorted(candidates, key=lambda it: it.metrics):
        is_full = (size + candidate.size_bytes) * _RATIO > part_bytes
        if waiting and (is_full or len(metrics.union(candidate.metrics)) > MAX_COLUMNS):
            yield waiting
            waiting, size, metrics = [], 0, set()
        waiting.append(candidate)
        size += candidate.size_bytes
        metrics.update(candidate.metrics)
    if waiting:
        yield waiting


def _write_part(directory: Path, candidates: list[_Candidate]) -> Part:
    metrics = list(dict.fromkeys(itertools.chain.from_iterable(it.metrics for it in candidates)))
    path = directory / f"part-{secrets.token_hex(6)}.parquet"
    writer_columns = ["step", "t", *(column_of(name) for name in metrics)]
    options = writer_options(writer_columns, extremes_of=("step", "t"))
    options["use_dictionary"] = ["run_id", "run", "split"]
    options["write_statistics"] = [*ORIGIN]
    with replacing(path) as file, pq.ParquetWriter(file, _schema(metrics), **options) as writer:
        buffer = _Buffer(writer, metrics)
        runs = [buffer.add_run(candidate) for candidate in candidates]
        buffer.flush()
    return Part(file=path.name, size_bytes=path.stat().st_size, metrics=metrics, runs=runs)


def _schema(metrics: list[str]) -> pa.Schema:
    origin = {
        "run_id": pa.string(),
        "run": pa.string(),
        "split": pa.string(),
        "attempt": pa.int32(),
        "rank": pa.int32(),
    }
    numbers = {"step": pa.float64(), "t": pa.float64(), **{column_of(name): pa.float64() for name in metrics}}
    return pa.schema(
        [
            pa.field(name, kind, nullable=name not in (*origin, "step", "t"))
            for name, kind in {**origin, **numbers}.items()
        ]
    )


class _Buffer:
    """Collects records until they make a row group."""

    def __init__(self, writer: pq.ParquetWriter, metrics: list[str]) -> None:
        self._writer = writer
        self._metrics = metrics
        self._schema = _schema(metrics)
        self._tables: list[pa.Table] = []
        self._num_rows = 0
        self._group_rows = min(GROUP_ROWS, GROUP_BYTES // (8 * len(self._schema)))

    def add_run(self, candidate: _Candidate) -> Packed:
        """Add all records of a run."""
        damage: list[Damage] = []
        directory, num_rows, num_rounded = candidate.reader.directory, 0, 0
        for stream in find_streams(directory, damage):
            header, numbers = stream.header, read_numbers(stream, damage)
            places = {name: numbers[:, place] for place, name in enumerate(header.columns)}
            num_rows += self._add(candidate.packed, header.split, header.attempt, header.rank, places)
        for record in iterate_overflow(directory, damage):
            values = {"step": record.steps, "t": record.t, **record.values}
            num_rounded += sum(not is_exact(value[0]) for value in values.values())
            columns = {name: np.array([as_float(value[0])]) for name, value in values.items()}
            num_rows += self._add(candidate.packed, record.split, record.attempt, record.rank, columns)
        return msgspec.structs.replace(
            candidate.packed, num_rows=num_rows, num_rounded=num_rounded, num_damaged=len(damage)
        )

    def _add(self, run: Packed, split: str, attempt: int, rank: int, columns: Mapping[str, Floats]) -> int:
        num_rows = len(columns["step"])
        origin = dict(zip(ORIGIN, (run.run_id, run.path, split, attempt, rank), strict=False))
        arrays = [
            pa.repeat(pa.scalar(value, self._schema.field(name).type), num_rows) for name, value in origin.items()
        ]
        for name in ("step", "t", *self._metrics):
            found = columns.get(name)
            arrays.append(pa.nulls(num_rows, pa.float64()) if found is None else pa.array(np.ascontiguousarray(found)))
        self._tables.append(pa.table(arrays, schema=self._schema))
        self._num_rows += num_rows
        if self._num_rows >= self._group_rows:
            self.flush()
        return num_rows

    def flush(self) -> None:
        """Write what was collected."""
        if self._tables:
            self._writer.write_table(pa.concat_tables(self._tables), row_group_size=2 * GROUP_ROWS)
        self._tables, self._num_rows = [], 0


def _finish(directory: Path, before: Parts, parts: list[Part]) -> None:
    """Name the new parts, then remove what is not named."""
    if parts != before.parts or not (directory / INDEX).is_file():
        replace_file(directory / INDEX, msgspec.json.format(msgspec.json.encode(Parts(parts=parts)), indent=1) + b"\n")
    named = {part.file for part in parts}
    for path in (*directory.glob("part-*.parquet"), *directory.glob(".part*.tmp")):
        if path.name not in named:
            path.unlink(missing_ok=True)
