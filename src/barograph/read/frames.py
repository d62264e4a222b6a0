"""Many runs as frames: one row per run, one row per epoch, every number that they logged.

    runs = barograph.load_runs("runs", select="lr < 1e-2")
    runs.table                                 one row per run
    runs.metrics(["loss"], split="train")      the curves
    runs_df, per_epoch, order = runs           the three tables that reports start from

Frames are polars'; ``to_pandas()`` is the edge. Files are read when a frame is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import polars as pl

from barograph.errors import RunNotFoundError
from barograph.facts.codec import encode
from barograph.facts.kinds import Event
from barograph.facts.rundir import RunDir
from barograph.read.arrays import as_float, is_exact
from barograph.read.assemble import assemble
from barograph.read.catalog import discover_runs, has_runs
from barograph.read.follow import is_number, whole
from barograph.read.last import last_values
from barograph.read.run import RunReader
from barograph.read.select import select_runs
from barograph.read.tables import Table, load_tables

if TYPE_CHECKING:
    import pandas as pd

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str] | RunReader]
EVENT_SCHEMA = {
    "run": pl.String,
    "seq": pl.Int64,
    "t": pl.Float64,
    "moment": pl.String,
    "attempt": pl.Int32,
    "rank": pl.Int32,
    "payload": pl.String,
}
_EPOCHS = {"epoch": pl.Int64, "attempt": pl.Int32}


class Skipped(msgspec.Struct, frozen=True, kw_only=True):
    """A run that is not among those loaded, and why."""

    path: str
    reason: str


class Runs:
    """Runs that were loaded together, oldest first; runs that were named one by one are in the order of their naming.

    Args:
        readers: the runs; one that is named twice is there once.
        skipped: those that were left out.

    Attributes:
        readers: the runs.
        skipped: those that were left out, and why.
    """

    def __init__(self, readers: Sequence[RunReader], *, skipped: Sequence[Skipped] = ()) -> None:
        unique: dict[str, RunReader] = {}
        for reader in readers:
            unique.setdefault(os.path.abspath(reader.path), reader)  # noqa: PTH100 - ".." and links are left alone
        self.readers = list(unique.values())
        self.skipped = list(skipped)

    def __len__(self) -> int:
        return len(self.readers)

    def __iter__(self) -> Iterator[Any]:
        """``runs_df, per_epoch, order``."""
        return iter((self.table, self.per_epoch, self.order))

    def __repr__(self) -> str:
        return f"<Runs: {len(self.readers)} loaded, {len(self.skipped)} skipped>"

    @cached_property
    def _tables(self) -> tuple[Table, dict[str, Table], list[str]]:
        return load_tables(self.readers)

    @cached_property
    def table(self) -> pl.DataFrame:
        """One row per run: ``run_dir``, identity, status, times, losses, ``summary.NAME``, ``config.NAME``.

        A column holds integers, floats, booleans or texts when every run that has a value has one of that type
        (integers among floats become floats where a float holds them); else the texts of its values.
        """
        return pl.DataFrame([_as_series(name, values) for name, values in self._tables[0].items()])

    @cached_property
    def per_epoch(self) -> dict[str, pl.DataFrame]:
        """By ``run_dir``, one row per epoch: ``epoch``, ``attempt``, losses, seconds and whatever was measured."""
        return {
            run: pl.DataFrame(
                [_as_series(name, values, _EPOCHS.get(name, pl.Float64)) for name, values in found.items()]
            )
            for run, found in self._tables[1].items()
        }

    @property
    def order(self) -> list[str]:
        """Every ``run_dir``, in the order of the runs."""
        return [str(reader.path) for reader in self.readers]

    def select(self, wanted: str | Mapping[str, Any]) -> Runs:
        """The runs that a condition or a mapping of columns chooses; the others are listed in ``skipped``.

        Raises:
            QueryError: a column does not exist, or the condition cannot be read.
        """
        if not self.readers:
            return self
        mask = select_runs(self.table, wanted).to_list()
        reason = f"not selected by {wanted!r}"
        left = [
            Skipped(path=str(r.path), reason=reason) for r, keep in zip(self.readers, mask, strict=True) if not keep
        ]
        kept = [reader for reader, keep in zip(self.readers, mask, strict=True) if keep]
        return Runs(kept, skipped=[*self.skipped, *left])

    def metrics(
        self,
        names: str | Iterable[str] | None = None,
        *,
        split: str | Iterable[str] | None = None,
        attempt: int | Literal["all"] | None = None,
        rank: int | Literal["all"] = 0,
    ) -> pl.DataFrame:
        """Numbers that were logged: ``run, split, attempt, rank, step, t`` and one column per metric.

        A row is one record. Where a record lacks a metric the column is null; NaN and infinities are values. A metric
        that is called like one of the first columns, or like ``run_id``, has the column ``metric.NAME``. Rows are
        in the order of runs, attempts, ranks and recording; with ``rank="all"`` those of a run are merged by
        ``(t, rank)`` for display, which says nothing about what happened first.

        Args:
            names: these metrics; every one when not given.
            split: on these splits; on all but ``host`` when not given.
            attempt: None for the effective curve (the latest attempt at each step; what it replaces is null), a number
                for one attempt as it was, or ``"all"``.
            rank: of this rank, or ``"all"``.

        Raises:
            MetricNotFoundError: no run logged one of the names; the message lists what was logged.
        """
        return assemble(self.readers, names=_texts(names), splits=_texts(split), attempt=attempt, rank=rank)

    def last_values(
        self, names: str | Iterable[str] | None = None, *, split: str | Iterable[str] | None = None, rank: int = 0
    ) -> pl.DataFrame:
        """The newest value of each metric: ``run, split, name, attempt, step, t, value``; only ends of files are read.

        Args:
            names: these metrics; every one when not given.
            split: on these splits; on all but ``host`` when not given.
            rank: of this rank.
        """
        return last_values(self.readers, names=_texts(names), splits=_texts(split), rank=rank)

    def events(self, moment: str | None = None) -> pl.DataFrame:
        """Events: ``run, seq, t, moment, attempt, rank`` and the ``payload`` as strict JSON.

        Those of several ranks are merged by ``(t, rank, seq)`` for display, which says nothing about what happened
        first; those of one rank keep their order, whatever its clock did.

        Args:
            moment: only those of this moment.
        """
        rows = [
            (
                str(reader.path),
                whole(event.seq, -1),
                as_float(event.t),
                event.moment,
                whole(event.payload.get("attempt")),
                whole(event.payload.get("rank")),
                encode(event.payload).decode("utf-8"),
            )
            for reader in self.readers
            for event in merged(reader.events(moment))
        ]
        return pl.DataFrame(rows, schema=EVENT_SCHEMA, orient="row")

    def alerts(self) -> pl.DataFrame:
        """Alerts of scripts and of whoever watched: ``run, t, level, title, text`` and the whole as strict JSON."""
        schema = {"run": pl.String, "t": pl.Float64, "level": pl.String, "title": pl.String, "text": pl.String}
        rows = [
            (
                str(reader.path),
                _float(alert.get("t")),
                _text(alert.get("level", alert.get("severity"))),
                _text(alert.get("title", alert.get("type"))),
                _text(alert.get("text", alert.get("message"))),
                encode(alert).decode("utf-8"),
            )
            for reader in self.readers
            for alert in reader.alerts()
        ]
        return pl.DataFrame(rows, schema={**schema, "alert": pl.String}, orient="row")

    def to_pandas(self) -> tuple[pd.DataFrame, dict[str, pd.DataFrame], list[str]]:
        """``runs_df, per_epoch, order`` as pandas DataFrames."""
        epochs = {run: frame.to_pandas() for run, frame in self.per_epoch.items()}
        return self.table.to_pandas(), epochs, self.order


def merged(events: Iterable[Event]) -> list[Event]:
    """The events of a run's ranks by time, each rank's in its own order."""
    peaks: dict[int, float] = {}
    keyed = []
    for event in events:
        rank = whole(event.payload.get("rank"))
        peaks[rank] = max(peaks.get(rank, 0.0), as_float(event.t))
        keyed.append(((peaks[rank], rank), event))
    return [event for _, event in sorted(keyed, key=lambda pair: pair[0])] if len(peaks) > 1 else [e for _, e in keyed]


def load_runs(runs: Paths, *, select: str | Mapping[str, Any] | None = None) -> Runs:
    """Load runs: unpack what it returns into ``runs_df, per_epoch, order``, or keep it and ask it for more.

    Args:
        runs: a directory, at or below which every run is loaded; or several runs' directories; or what another tool
            wrote (``mlflow.db``, a directory of event files), which is read through the cache, see ``foreign.adopt``.
        select: only runs that this condition (``"lr < 1e-2 and status = 'finished'"``) or mapping
            (``{"lr": [0.1, 0.2]}``) chooses; see ``Runs.select``.

    Raises:
        RunNotFoundError: there is no such directory, or one of several holds no run.
        QueryError: the condition cannot be read.
    """
    if isinstance(runs, (str, os.PathLike)):
        root = Path(runs)
        if os.path.exists(root) and not (root.is_dir() and has_runs(root)):  # noqa: PTH110 - False for a NUL, too
            from barograph.read.foreign.adopt import native_root  # noqa: PLC0415 - importers; 90 ms few need

            root = native_root(root)
        readers = [RunReader(path) for path in discover_runs(root)]
    else:
        readers = [run if isinstance(run, RunReader) else _named(Path(run)) for run in runs]
    loaded = Runs(readers)
    return loaded if select is None else loaded.select(select)


def _named(path: Path) -> RunReader:
    directory = RunDir(path)
    if not directory.is_run() and not directory.facts.is_dir():
        what = "is a directory and holds no run itself" if path.is_dir() else "does not exist"
        raise RunNotFoundError(
            f"{os.fspath(path)!r} {what}; name the directories of runs, or, not in a list, one above them all"
        )
    return RunReader(path)


def _as_series(name: str, values: Sequence[Any], dtype: Any = None) -> pl.Series:
    kinds = {type(value) for value in values if value is not None}
    if dtype is None and kinds == {int, float} and all(map(is_exact, filter(is_number, values))):
        dtype = pl.Float64
    if kinds <= {int, float} and dtype is not None and all(_fits(value, dtype) for value in values):
        return pl.Series(name, values, dtype=dtype, strict=False)
    if len(kinds) <= 1 and kinds <= {int, float, bool} and all(_fits(value, pl.Int64) for value in values):
        return pl.Series(name, values, dtype=None if kinds else pl.Null)
    texts = [None if value is None else _as_text(value) for value in values]
    return pl.Series(name, texts, dtype=pl.String)


def _fits(value: Any, dtype: Any) -> bool:
    if type(value) is not int or dtype == pl.Float64:
        return is_exact(value)
    return -(2**31) <= value < 2**31 if dtype == pl.Int32 else -(2**63) <= value < 2**63


def _as_text(value: Any) -> str:
    return encode({"": value}).decode("utf-8")[4:-1] if isinstance(value, (list, dict, bool)) else _whole_text(value)


def _texts(given: str | Iterable[str] | None) -> list[str] | None:
    return [given] if isinstance(given, str) else None if given is None else list(given)


def _text(value: Any) -> str | None:
    return None if value is None else _whole_text(value)


def _whole_text(value: Any) -> str:
    """Text that frames hold: half characters, as of file names that are not UTF-8, become escapes."""
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")


def _float(value: Any) -> float | None:
    return as_float(value) if is_number(value) else None
