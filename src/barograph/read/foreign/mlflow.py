"""Reads MLflow's stores without MLflow: a ``mlruns`` directory, or a SQLite database, also while somebody writes it.

What MLflow itself does to numbers is said, and undone where it can be: its database holds infinities as the largest
float. Sources: mlflow/store/tracking/file_store.py and mlflow/store/tracking/dbmodels/models.py of
https://github.com/mlflow/mlflow.
"""

from __future__ import annotations

import ast
import contextlib
import math
import sqlite3
import sys
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec

from barograph.errors import FormatError
from barograph.facts.log import Damage
from barograph.read.columns import unreadable
from barograph.read.foreign.databases import TIMEOUT_S, columns_of, database_uri, has_tables, is_database
from barograph.read.foreign.documents import load_yaml
from barograph.read.foreign.fidelity import Fidelity
from barograph.read.foreign.mlflow_artifacts import ARTIFACTS, artifacts
from barograph.read.foreign.protocol import (
    ForeignMetrics,
    ForeignRun,
    ForeignStatus,
)

NAME: Final = "mlflow"
TRASH: Final = ".trash"
META: Final = "meta.yaml"
PARENT_TAG: Final = "mlflow.parentRunId"
NOTE_TAG: Final = "mlflow.note.content"
NAME_TAG: Final = "mlflow.runName"
STATUSES: Final[Mapping[str, ForeignStatus]] = {
    "FINISHED": "finished",
    "FAILED": "failed",
    "KILLED": "killed",
    "RUNNING": "running",
    "SCHEDULED": "running",
}
FILE_STATUSES: Final = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}
INFINITY_REASON: Final = "MLflow's database holds infinity as the largest float, 1.797e308; read as infinity again"
TEXT_REASON: Final = (
    "MLflow keeps every parameter as text; what Python would print so is that number, truth value or list"
)
MERGED_NOTE: Final = "MLflow's database keeps one of several equal points (same name, time in ms, step and value)"
_TABLES: Final = ("runs", "metrics", "params", "tags", "experiments")
_PARAMS: Final = "SELECT key, value FROM params WHERE run_uuid = ?"
_TAGS: Final = "SELECT key, value FROM tags WHERE run_uuid = ?"
_POINTS: Final = "SELECT key, timestamp, step, value, is_nan FROM metrics WHERE run_uuid = ? ORDER BY rowid"
_MS: Final = 1000
_HEAD_BYTES: Final = 1 << 16

Point = tuple[int, float, float]
"""Milliseconds since 1970, step, value."""


class _Run(msgspec.Struct, kw_only=True):
    """A run as either store has it."""

    run_id: str
    name: str
    experiment: str
    status: str
    start_ms: int | None
    end_ms: int | None
    is_deleted: bool
    artifacts: str
    user: str
    params: dict[str, str]
    tags: dict[str, str]
    metrics: dict[str, list[Point]]
    fidelity: Fidelity


class MlflowImporter:
    """Reads a directory of the file store, or a SQLite database."""

    name = NAME

    def recognises(self, path: Path) -> bool:
        """Whether it is a database with MLflow's tables, or a directory whose subdirectories are experiments."""
        return bool(_experiments(path)) if path.is_dir() else _is_database(path)

    def owns(self, path: Path) -> list[Path]:
        """The experiments; of a database those beside it, which hold artifacts alone."""
        if path.is_dir():
            return _experiments(path)
        beside = path.parent / "mlruns"
        return [] if _experiments(beside) else [run.parent for run in beside.glob(f"*/*/{ARTIFACTS}")]

    def read(self, path: Path) -> Iterator[ForeignRun]:
        """The runs of a store, those that were deleted among them.

        Raises:
            FormatError: it is no store of MLflow's.
        """
        if path.is_dir() and not _experiments(path):
            raise FormatError(f"{path} holds no experiment of MLflow's (*/{META}); name the directory `mlruns`")
        for run, parent in _file_runs(path) if path.is_dir() else _database_runs(path):
            yield _foreign(path, run, parent)


importer: Final = MlflowImporter()


def _foreign(source: Path, run: _Run, parent: str | None) -> ForeignRun:
    """A run of either store as everybody's."""
    own = {key: value for key, value in run.tags.items() if not key.startswith("mlflow.")}
    params = {key: _parsed(value) for key, value in run.params.items()}
    run.fidelity.change("settings", TEXT_REASON, sum(not isinstance(value, str) for value in params.values()))
    run.fidelity.keep("settings", len(params))
    run.fidelity.keep("numbers", sum(map(len, run.metrics.values())))
    run.fidelity.keep("tags", len(run.tags))
    seed = params.get("seed")
    return ForeignRun(
        tool=NAME,
        source=source,
        key=run.run_id,
        name=run.name or run.tags.get(NAME_TAG) or run.run_id,
        project=run.experiment,
        group=parent,
        tags=[f"{key}={value}" for key, value in sorted(own.items())],
        notes=run.tags.get(NOTE_TAG),
        run_id=run.run_id,
        seed=seed if isinstance(seed, int) and not isinstance(seed, bool) else None,
        config=params,
        created_t=None if run.start_ms is None else run.start_ms / _MS,
        ended_t=None if run.end_ms is None else run.end_ms / _MS,
        status=STATUSES.get(run.status, "unknown"),
        reason=None if run.status == "FINISHED" else f"{run.status or 'no status'} in MLflow",
        is_deleted=run.is_deleted,
        metrics=list(_blocks(run.metrics)),
        files=artifacts(source, run_id=run.run_id, uri=run.artifacts, fidelity=run.fidelity),
        provenance={"mlflow": {"user": run.user, **{k: v for k, v in run.tags.items() if k.startswith("mlflow.")}}},
        fidelity=run.fidelity,
    )


def _labels(names: Mapping[str, str]) -> dict[str, str]:
    """What each run is called as the group of the runs nested in it: its name, with its id where several have it."""
    counts = Counter(names.values())
    return {
        run_id: (name if counts[name] == 1 else f"{name} ({run_id[:8]})") if name else run_id
        for run_id, name in names.items()
    }


def _parent(run: _Run, labels: Mapping[str, str]) -> str | None:
    parent = run.tags.get(PARENT_TAG)
    return None if parent is None else labels.get(parent, parent)


def _blocks(metrics: Mapping[str, list[Point]]) -> Iterator[ForeignMetrics]:
    """Metrics that were logged together, at the same steps and times, as one block."""
    together: dict[tuple[tuple[int, ...], tuple[float, ...]], dict[str, list[float]]] = defaultdict(dict)
    for name, points in metrics.items():
        place = (tuple(ms for ms, _, _ in points), tuple(step for _, step, _ in points))
        together[place][name] = [value for _, _, value in points]
    for (times, steps), columns in together.items():
        yield ForeignMetrics(columns=columns, steps=steps, t=array("d", [ms / _MS for ms in times]))


def _parsed(text: str) -> Any:
    """What a parameter was before MLflow made it a text; the text itself where that is not certain.

    >>> [_parsed(text) for text in ("0.1", "1e-3", "True", "[1, 2]", "adam", "007")]
    [0.1, '1e-3', True, [1, 2], 'adam', '007']
    """
    if text in ("nan", "inf", "-inf"):
        return float(text)
    with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError):
        value = ast.literal_eval(text)
        if isinstance(value, (bool, int, float, list, dict, type(None))) and repr(value) == text:
            return value
    return text


def _is_database(path: Path) -> bool:
    """Whether a file is a database with MLflow's tables; no lock is taken, for a look at the names is enough."""
    if not is_database(path):
        return False
    uri = f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1"
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as database:
            present = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.Error:
        present = set()  # somebody writes it right now
    return present.issuperset(_TABLES) or has_tables(path, *_TABLES)


@contextlib.contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection on which every query is a transaction of its own, so that a writer never waits for long."""
    with (
        database_uri(path) as uri,
        contextlib.closing(sqlite3.connect(uri, uri=True, timeout=TIMEOUT_S, isolation_level=None)) as database,
    ):
        database.row_factory = sqlite3.Row
        try:
            yield database
        except sqlite3.DatabaseError as error:
            raise FormatError(
                f"{path} cannot be read as MLflow's database ({error}); check it with `sqlite3 {path} .tables`, or "
                f"copy it anew from where it was written"
            ) from error


def _database_runs(path: Path) -> Iterator[tuple[_Run, str | None]]:
    """The runs of a database, oldest first, and the name of the run that each is nested in."""
    with _open(path) as database:
        query = "SELECT r.*, e.name AS experiment FROM runs r LEFT JOIN experiments e USING (experiment_id)"
        rows = database.execute(f"{query} ORDER BY r.start_time, r.rowid").fetchall()
        labels = _labels({row["run_uuid"]: row["name"] or "" for row in rows})
        for row in rows:
            run = _database_run(database, row)
            yield run, _parent(run, labels)


def _database_run(database: sqlite3.Connection, row: sqlite3.Row) -> _Run:
    run_id = row["run_uuid"]
    fidelity = Fidelity()
    fidelity.note(MERGED_NOTE)
    metrics: dict[str, list[Point]] = defaultdict(list)
    num_infinite = 0
    for key, ms, step, value, is_nan in database.execute(_POINTS, (run_id,)).fetchall():
        number = math.nan if is_nan else float(value)
        if abs(number) == sys.float_info.max:
            number = math.copysign(math.inf, number)
            num_infinite += 1
        metrics[key].append((ms, step, number))
    fidelity.change("numbers", INFINITY_REASON, num_infinite)
    if columns_of(database, "inputs"):
        inputs = database.execute("SELECT count(*) FROM inputs WHERE destination_id = ?", (run_id,))
        fidelity.lose("data sets", "their descriptions are not imported", inputs.fetchone()[0])
    return _Run(
        run_id=run_id,
        name=row["name"] or "",
        experiment=row["experiment"] or str(row["experiment_id"]),
        status=row["status"] or "",
        start_ms=row["start_time"],
        end_ms=row["end_time"],
        is_deleted=row["lifecycle_stage"] == "deleted",
        artifacts=row["artifact_uri"] or "",
        user=row["user_id"] or "",
        params=dict(map(tuple, database.execute(_PARAMS, (run_id,)).fetchall())),
        tags=dict(map(tuple, database.execute(_TAGS, (run_id,)).fetchall())),
        metrics=metrics,
        fidelity=fidelity,
    )


def _experiments(path: Path) -> list[Path]:
    """The directories of experiments in a file store, deleted ones last; never raises."""
    try:
        children = sorted(child for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))
        trash = sorted((path / TRASH).iterdir()) if (path / TRASH).is_dir() else []
        return [child for child in (*children, *trash) if b"artifact_location:" in _head(child / META)]
    except OSError:
        return []


def _head(path: Path) -> bytes:
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError:
        return b""


def _run_dirs(experiment: Path) -> list[Path]:
    return sorted(child.parent for child in experiment.glob(f"*/{META}"))


def _file_runs(path: Path) -> Iterator[tuple[_Run, str | None]]:
    """The runs of a file store, experiment after experiment, and the name of the run that each is nested in."""
    runs = []
    for experiment in _experiments(path):
        damage: list[Damage] = []
        name = str(_yaml(experiment / META, damage).get("name") or experiment.name)
        for directory in _run_dirs(experiment):
            fidelity = Fidelity(damage=list(damage))
            runs.append((directory, name, _yaml(directory / META, fidelity.damage), fidelity))
    labels = _labels({directory.name: str(meta.get("run_name") or "") for directory, _, meta, _ in runs})
    for directory, name, meta, fidelity in runs:
        run = _file_run(directory, name, meta, fidelity)
        run.is_deleted |= directory.parent.parent.name == TRASH
        yield run, _parent(run, labels)


def _file_run(directory: Path, experiment: str, meta: Mapping[str, Any], fidelity: Fidelity) -> _Run:
    metrics = {name: _points(path, fidelity.damage) for name, path in _named(directory / "metrics")}
    inputs = len(list((directory / "inputs").glob(f"*/{META}")))
    fidelity.lose("data sets", "their descriptions are not imported", inputs)
    status = meta.get("status")
    return _Run(
        run_id=str(meta.get("run_id") or meta.get("run_uuid") or directory.name),
        name=str(meta.get("run_name") or ""),
        experiment=experiment,
        status=FILE_STATUSES.get(status, "") if isinstance(status, int) else str(status or ""),
        start_ms=_milliseconds(meta.get("start_time")),
        end_ms=_milliseconds(meta.get("end_time")),
        is_deleted=meta.get("lifecycle_stage") == "deleted",
        artifacts=str(meta.get("artifact_uri") or ""),
        user=str(meta.get("user_id") or ""),
        params={name: _text(path, fidelity.damage) for name, path in _named(directory / "params")},
        tags={name: _text(path, fidelity.damage) for name, path in _named(directory / "tags")},
        metrics={name: points for name, points in metrics.items() if points},
        fidelity=fidelity,
    )


def _milliseconds(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _named(folder: Path) -> Iterable[tuple[str, Path]]:
    """Files by the names they stand for, in which ``/`` makes directories."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return ((path.relative_to(folder).as_posix(), path) for path in found)


def _points(path: Path, damage: list[Damage]) -> list[Point]:
    """The lines ``milliseconds value [step [data set]]`` of a metric's file; a last one without its newline is torn."""
    points: list[Point] = []
    offset = 0
    try:
        data = path.read_bytes()
    except OSError as error:
        damage.append(unreadable(path, error))
        return points
    for line in data.splitlines(keepends=True):
        reason = "the last line is cut off"
        if line.endswith(b"\n"):
            try:
                ms, value, *rest = line.split()  # step, and the name and digest of a data set, came later
                points.append((int(ms), int(rest[0]) if rest else 0, float(value)))
                reason = ""
            except ValueError as error:
                reason = f"no point: {error}"
        if reason:
            damage.append(Damage(path=str(path), offset=offset, size_bytes=len(line), reason=reason))
        offset += len(line)
    return points


def _text(path: Path, damage: list[Damage]) -> str:
    try:
        return path.read_bytes().decode("utf-8", "backslashreplace")
    except OSError as error:
        damage.append(unreadable(path, error))
        return ""


def _yaml(path: Path, damage: list[Damage]) -> dict[str, Any]:
    try:
        found = load_yaml(path)
    except (FormatError, OSError) as error:
        damage.append(unreadable(path, error))
        return {}
    return found if isinstance(found, dict) else {}
