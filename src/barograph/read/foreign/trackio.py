"""Trackio's projects: one SQLite database each, or the Parquet files that it exports beside them.

Its tables (``metrics``, ``system_metrics``, ``configs``, ``alerts``) hold one JSON object per call, in which it writes
what is not finite as ``"NaN"``, ``"Infinity"`` and ``"-Infinity"`` (``serialize_values`` in its ``utils.py``). It
records no end of a run and no status.
"""

from __future__ import annotations

import datetime as dt
import math
import sqlite3
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import msgspec

from barograph.errors import FormatError
from barograph.facts.log import Damage
from barograph.facts.rows import HOST_SPLIT
from barograph.read.foreign.databases import columns_of, has_tables, open_database
from barograph.read.foreign.fidelity import Fidelity
from barograph.read.foreign.protocol import ForeignFile, ForeignRun, ForeignText
from barograph.read.foreign.records import Gathered, count_changes, sort_record

TABLES: Final = ("metrics", "configs", "system_metrics")
NOT_FINITE: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
TYPE_KEY: Final = "_type"
OWN_COLUMNS: Final = frozenset({"id", "run_id", "run_name", "timestamp", "step", "log_id", "space_id", "created_at"})
OTHER_TABLES: Final = {"traces": "traces", "run_artifact_links": "artifact links"}
SOURCES: Final = (
    ("metrics", "metrics", "metrics"),
    ("system", "system_metrics", "metrics"),
    ("configs", "configs", "config"),
    ("alerts", "alerts", None),
)
MEDIA: Final = "media"
_PARQUET: Final = ".parquet"
_CONFIGS: Final = "_configs.parquet"
_SYSTEM: Final = "_system.parquet"
_LEVELS: Final = {"info": "info", "warn": "warning", "error": "error"}


class Tables(msgspec.Struct, kw_only=True):
    """One run's rows, the JSON of each as a mapping under ``values``; in the order of recording.

    Attributes:
        metrics: rows with ``step``.
        system: samples of the machine.
        configs: at most one row.
        alerts: one row per alert.
        num_others: how many rows other tables have for the run, by table.
        damage: rows whose JSON cannot be read.
    """

    metrics: list[dict[str, Any]] = []
    system: list[dict[str, Any]] = []
    configs: list[dict[str, Any]] = []
    alerts: list[dict[str, Any]] = []
    num_others: dict[str, int] = {}
    damage: list[Damage] = []


class TrackioImporter:
    """Reads one project: ``PROJECT.db``, or ``PROJECT.parquet`` where there is no database."""

    name = "trackio"

    def recognises(self, path: Path) -> bool:
        """Whether a file is a database with Trackio's tables, or an export with its configs beside it."""
        if path.suffix == _PARQUET:
            configs = path.with_name(path.stem + _CONFIGS)
            return path.is_file() and configs.is_file() and not path.with_suffix(".db").exists()
        return path.suffix == ".db" and path.is_file() and has_tables(path, *TABLES)

    def read(self, path: Path) -> Iterator[ForeignRun]:
        """The project's runs, in the order in which they were made.

        Raises:
            FormatError: the file cannot be read as a database, or as Parquet.
            ModuleNotFoundError: Parquet files are read by polars, which is not installed.
        """
        runs = _parquet_runs(path) if path.suffix == _PARQUET else _database_runs(path)
        for run_id, tables in runs:
            yield _run(path, run_id, tables)


importer: Final = TrackioImporter()


def _database_runs(path: Path) -> Iterator[tuple[str, Tables]]:
    with open_database(path) as database:
        project = _Database(path, database)
        for run_id in project.run_ids():
            yield run_id, project.tables(run_id)


class _Database:
    """A project's database. Names of tables and columns in its queries are those of this module."""

    def __init__(self, path: Path, database: sqlite3.Connection) -> None:
        self._path = path
        self._database = database
        columns = {table: columns_of(database, table) for table in (*TABLES, "alerts", *OTHER_TABLES)}
        self._keys = {table: "run_id" if "run_id" in found else "run_name" for table, found in columns.items() if found}

    def run_ids(self) -> list[str]:
        """Each run by the time of its first row; before Trackio 0.24, a run was its name."""
        began: dict[str, float] = {}
        for table, key in self._keys.items():
            if table in OTHER_TABLES:
                continue
            time = "created_at" if table == "configs" else "timestamp"
            query = f"SELECT {key}, min({time}) FROM {table} GROUP BY {key}"  # noqa: S608 - see the class
            for run_id, text in self._database.execute(query):
                began[str(run_id)] = min(_unix_seconds(text), began.get(str(run_id), math.inf))
        return sorted(began, key=lambda run_id: (began[run_id], run_id))

    def tables(self, run_id: str) -> Tables:
        """Everything about one run."""
        tables = Tables()
        for field, table, blob in SOURCES:
            setattr(tables, field, self._rows(table, run_id, blob, tables.damage))
        for table in OTHER_TABLES:
            tables.num_others[table] = sum(1 for _ in self._select(table, run_id))
        return tables

    def _select(self, table: str, run_id: str) -> Iterator[sqlite3.Row]:
        if table in self._keys:
            query = f"SELECT * FROM {table} WHERE {self._keys[table]} = ? ORDER BY id"  # noqa: S608 - see the class
            yield from self._database.execute(query, (run_id,))

    def _rows(self, table: str, run_id: str, blob: str | None, damage: list[Damage]) -> list[dict[str, Any]]:
        found = []
        for row in self._select(table, run_id):
            record = dict(row)
            try:
                values = {} if blob is None else _decoded(record.pop(blob))
            except msgspec.MsgspecError as error:
                reason = f"row {record['id']} of the table {table}: {error}"
                damage.append(Damage(path=str(self._path), offset=0, size_bytes=0, reason=reason))
                continue
            found.append({**record, "values": values})
        return found


def _decoded(blob: bytes | str) -> dict[str, Any]:
    values: dict[str, Any] = msgspec.json.decode(blob, type=dict)
    return {key: _restored(value) for key, value in values.items()}


def _restored(value: Any) -> Any:
    """Trackio's words for what is not finite, at any depth, as numbers; a text that says the same is one, too."""
    if isinstance(value, dict):
        return {key: _restored(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_restored(item) for item in value]
    return NOT_FINITE.get(value, value) if isinstance(value, str) else value


def _parquet_runs(path: Path) -> Iterator[tuple[str, Tables]]:
    runs: dict[str, Tables] = {}
    for field, suffix in (("configs", _CONFIGS), ("metrics", _PARQUET), ("system", _SYSTEM)):
        for row in _parquet_rows(path.with_name(path.stem + suffix)):
            getattr(runs.setdefault(row["run_id"], Tables()), field).append(row)
    yield from runs.items()


def _parquet_rows(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    import polars as pl  # noqa: PLC0415 - databases are read without it

    try:
        rows = pl.read_parquet(path).to_dicts()
    except pl.exceptions.PolarsError as error:
        raise FormatError(f"{path} cannot be read as Parquet ({error}); export it anew with Trackio") from error
    found = []
    for row in rows:
        values = {key: value for key, value in row.items() if key not in OWN_COLUMNS and value is not None}
        record = {key: value for key, value in row.items() if key in OWN_COLUMNS}
        found.append({**record, "run_id": str(row.get("run_id") or row["run_name"]), "values": values})
    return found


def _run(path: Path, run_id: str, tables: Tables) -> ForeignRun:
    logged = [*tables.metrics, *tables.system, *tables.alerts]
    names = [row["run_name"] for row in [*logged, *tables.configs]]
    config = dict(tables.configs[-1]["values"]) if tables.configs else {}
    own = {key: config.pop(key) for key in [key for key in config if key.startswith("_")]}
    times = [_unix_seconds(row["timestamp"]) for row in logged]
    created = _unix_seconds(own.get("_Created"))
    run = ForeignRun(
        tool=TrackioImporter.name,
        source=path,
        key=f"{path.stem}/{run_id}",
        name=str(names[-1]) if names else run_id,
        project=path.stem,
        group=own.get("_Group"),
        run_id="" if run_id in names else run_id,
        seed=config.get("seed") if type(config.get("seed")) is int else None,
        config=config,
        created_t=created if math.isfinite(created) else min(times, default=None),
        provenance={key: value for key, value in own.items() if key == "_Username" and value is not None},
    )
    gathered = Gathered(run.fidelity)
    _add_metrics(run, gathered, tables.metrics)
    _add_system(run, gathered, tables.system)
    run.metrics = gathered.metrics()
    _add_alerts(run, tables.alerts)
    _account(run, tables, path)
    return run


def _add_metrics(run: ForeignRun, gathered: Gathered, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        t, step = _unix_seconds(row["timestamp"]), row["step"]
        found = sort_record(row["values"], typed_by=TYPE_KEY)
        gathered.add(found.numbers, step=step, t=t)
        run.texts += [ForeignText(name=name, text=text, step=step, t=t) for name, text in found.texts.items()]
        count_changes(run.fidelity, found)
        _lose_others(run.fidelity, found.others)


def _add_system(run: ForeignRun, gathered: Gathered, rows: list[dict[str, Any]]) -> None:
    """Samples of the machine have times and no steps: each stands at its number."""
    for place, row in enumerate(rows):
        found = sort_record(row["values"], typed_by=TYPE_KEY)
        gathered.add(found.numbers, step=place, t=_unix_seconds(row["timestamp"]), split=HOST_SPLIT)
        count_changes(run.fidelity, found)
        _lose_others(run.fidelity, {**found.others, **found.texts})
    run.fidelity.change("system records", "Trackio gives them no step: numbered in their order", len(rows))


def _lose_others(fidelity: Fidelity, others: Mapping[str, Any]) -> None:
    for value in others.values():
        kind = value.get(TYPE_KEY, "mapping") if isinstance(value, Mapping) else type(value).__name__
        what = str(kind).rpartition(".")[2]
        fidelity.lose("missing values" if value is None else f"{what} values", "only numbers and texts are imported")


def _add_alerts(run: ForeignRun, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        level = _LEVELS.get(str(row["level"]).lower(), str(row["level"]))
        payload = {"kind": "alert", "title": row["title"], "text": row["text"] or "", "level": level}
        if row["step"] is not None:
            payload["step"] = row["step"]
        run.events.append((_unix_seconds(row["timestamp"]), "custom", payload))
    run.fidelity.keep("alerts", len(rows))


def _account(run: ForeignRun, tables: Tables, path: Path) -> None:
    fidelity = run.fidelity
    fidelity.keep("texts", len(run.texts))
    fidelity.keep("configs", len(tables.configs))
    if any(row["timestamp"] == after["timestamp"] for row, after in pairwise(tables.metrics)):
        fidelity.note("Trackio stamps the records of one batch (half a second) with one time")
    fidelity.note("Trackio records no end and no status of a run")
    for table, count in tables.num_others.items():
        fidelity.lose(OTHER_TABLES[table], "not imported", count)
    fidelity.damage += tables.damage
    media = path.parent / MEDIA / path.stem / run.name
    run.files = [
        ForeignFile(name=str(file.relative_to(media)), path=file, size_bytes=file.stat().st_size)
        for file in sorted(media.rglob("*"))
        if file.is_file()
    ]


def _unix_seconds(text: Any) -> float:
    """Of a time in ISO format; Trackio writes UTC with its offset."""
    try:
        when = dt.datetime.fromisoformat(str(text))
    except ValueError:
        return math.nan
    return (when if when.tzinfo else when.replace(tzinfo=dt.UTC)).timestamp()
