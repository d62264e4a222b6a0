"""Folders that neptune-exporter wrote: ``PROJECT/RUN_part_N.parquet``, one row per value.

The schema is that of its README and ``model.py`` (https://github.com/neptune-ai/neptune-exporter): steps are
decimal(18, 6), times are in milliseconds. A forked run's file holds its own points only; those that it inherited are
taken from its ancestors up to the step of the fork and stand as earlier attempts.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from barograph.errors import FormatError
from barograph.facts.log import Damage
from barograph.read.columns import unreadable
from barograph.read.foreign.protocol import (
    ForeignFile,
    ForeignMetrics,
    ForeignRun,
    ForeignStatus,
    ForeignText,
    whereabouts,
)

if TYPE_CHECKING:
    import polars as pl

PART: Final = re.compile(r"(?:(?P<run>.+)_)?part_(?P<number>\d+)\.parquet")
MAGIC: Final = b"PAR1"
REQUIRED: Final = frozenset({"run_id", "attribute_path", "attribute_type"})
VALUES: Final = ("int_value", "float_value", "string_value", "bool_value", "datetime_value", "string_set_value")
COLUMNS: Final = ("project_id", "step", "timestamp", *VALUES, "file_value", "histogram_value")
PARAMETERS: Final = {
    "float": "float_value",
    "int": "int_value",
    "string": "string_value",
    "bool": "bool_value",
    "datetime": "datetime_value",
    "string_set": "string_set_value",
}
FILES: Final = ("file", "file_series", "file_set", "artifact")
PARENT: Final = "sys/forking/parent"
FORK_STEP: Final = "sys/forking/step"
NULL_REASON: Final = "the exporter writes NaN as an empty value: taken as NaN"

Row = dict[str, Any]


class Point(msgspec.Struct, frozen=True):
    """One value of a series of numbers."""

    step: Decimal
    t: float
    value: float


class Exported(msgspec.Struct, kw_only=True):
    """One run as its files have it.

    Attributes:
        run_id: as the rows have it.
        project_id: ``workspace/project``.
        parameters: single values by path.
        series: points by path, by step.
        texts: series of texts.
        files: files and series of files.
        num_nulls: points of ``series`` without a value.
        num_histograms: points of histograms.
        num_unknown: rows of types that the schema does not name, by type.
    """

    run_id: str
    project_id: str = ""
    parameters: dict[str, Any] = {}
    series: dict[str, list[Point]] = {}
    texts: list[ForeignText] = []
    files: list[Row] = []
    num_nulls: int = 0
    num_histograms: int = 0
    num_unknown: dict[str, int] = {}


class NeptuneImporter:
    """Reads one project's folder."""

    name = "neptune"

    def recognises(self, path: Path) -> bool:
        """Whether a directory has parts of an export."""
        return any(_is_parquet(part) for part in _parts(path))

    def read(self, path: Path) -> Iterator[ForeignRun]:
        """The project's runs, by their files' names.

        Raises:
            FormatError: a folder that looks like an export, and none of its files can be read.
            ModuleNotFoundError: polars is not installed.
        """
        project = _Project(path)
        for run_id in project.run_ids():
            yield _Conversion(path, project, run_id).run


importer: Final = NeptuneImporter()


def _parts(path: Path) -> list[Path]:
    try:
        found = [(match, entry) for entry in path.iterdir() if (match := PART.fullmatch(entry.name))]
    except OSError:
        return []
    return [entry for match, entry in sorted(found, key=lambda each: (each[0]["run"] or "", int(each[0]["number"])))]


def _is_parquet(path: Path) -> bool:
    try:
        if not path.is_file():  # to open a pipe would wait for a writer
            return False
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


class _Project:
    """The files of one project; a run is read when it is asked for, also as the ancestor of another one."""

    def __init__(self, path: Path) -> None:
        import polars as pl  # noqa: PLC0415 - looking for sources need not pay for it

        self._pl = pl
        self.damage: dict[str, list[Damage]] = {}
        self._files: dict[str, list[Path]] = {}
        reasons = []
        for part in _parts(path):
            try:
                present = pl.read_parquet_schema(part).keys()
                ids = pl.read_parquet(part, columns=["run_id"])["run_id"].unique(maintain_order=True).to_list()
            except (pl.exceptions.PolarsError, OSError) as error:
                self.damage.setdefault(part.name.rpartition("_part_")[0], []).append(unreadable(part, error))
                reasons.append(f"{part.name}: {error}")
                continue
            if REQUIRED - present:
                raise FormatError(
                    f"{part} has no column {', '.join(sorted(REQUIRED - present))}; name a folder that "
                    f"neptune-exporter wrote"
                )
            for run_id in ids:
                self._files.setdefault(run_id, []).append(part)
        if not self._files:
            raise FormatError(f"{path} has no readable part ({'; '.join(reasons)}); export the project anew")

    def run_ids(self) -> list[str]:
        return list(self._files)

    def damage_of(self, run_id: str) -> list[Damage]:
        """Parts that cannot be read and whose names say that they are this run's."""
        prefixes = {part.name.rpartition("_part_")[0] for part in self._files[run_id]}
        return [place for prefix, places in self.damage.items() if prefix in prefixes for place in places]

    def exported(self, run_id: str) -> Exported | None:
        """What the files say about a run; None when it is not in the export."""
        found = Exported(run_id=run_id)
        for part in self._files.get(run_id, ()):
            frame = self._pl.read_parquet(part).filter(self._pl.col("run_id") == run_id)
            _add_rows(found, frame)
        for points in found.series.values():
            points.sort(key=lambda point: point.step)
        return found if run_id in self._files else None


def _add_rows(found: Exported, frame: pl.DataFrame) -> None:
    missing = [name for name in COLUMNS if name not in frame.columns]
    for present in frame.iter_rows(named=True):
        row = present | dict.fromkeys(missing)
        found.project_id = found.project_id or str(row["project_id"] or "")
        path, kind = row["attribute_path"], row["attribute_type"]
        if kind in PARAMETERS:
            value = row[PARAMETERS[kind]]
            if value is not None:  # the exporter writes every attribute of the batch for every run in it
                found.parameters[path] = value
        elif kind == "float_series":
            found.num_nulls += row["float_value"] is None
            value = math.nan if row["float_value"] is None else row["float_value"]
            found.series.setdefault(path, []).append(Point(_step(row), _unix_seconds(row["timestamp"]), value))
        elif kind == "string_series":
            text = ForeignText(
                name=path,
                text=row["string_value"] or "",
                step=number(_step(row)),
                t=None if row["timestamp"] is None else _unix_seconds(row["timestamp"]),
            )
            found.texts.append(text)
        elif kind == "histogram_series":
            found.num_histograms += 1
        elif kind in FILES:
            found.files.append(row)
        else:
            found.num_unknown[kind] = found.num_unknown.get(kind, 0) + 1


def _step(row: Row) -> Decimal:
    return Decimal(0) if row["step"] is None else row["step"]


def _unix_seconds(when: dt.datetime | None) -> float:
    return math.nan if when is None else when.timestamp()


def number(step: Decimal) -> float:
    """A decimal step as a number: whole ones as int, others as the nearest float64.

    >>> number(Decimal("3.000000")), number(Decimal("0.100000"))
    (3, 0.1)
    """
    return int(step) if step % 1 == 0 else float(step)


def is_exact(step: Decimal) -> bool:
    """Whether the number reads back as the same decimal step."""
    return Decimal(repr(number(step))) == step


class _Conversion:
    """Makes one run of what was exported about it and its ancestors."""

    def __init__(self, path: Path, project: _Project, run_id: str) -> None:
        exported = project.exported(run_id)
        assert exported is not None
        parameters = dict(exported.parameters)
        self._path = path
        self._own = exported
        self.run = self._identity(parameters)
        self.run.fidelity.damage += project.damage_of(run_id)
        self.run.config = nested({path: value for path, value in parameters.items() if not path.startswith("sys/")})
        self._metrics(project)
        self._account()

    def _identity(self, parameters: dict[str, Any]) -> ForeignRun:
        system = {path: value for path, value in parameters.items() if path.startswith("sys/")}
        status, reason = _status(system)
        created = system.get("sys/creation_time")
        return ForeignRun(
            tool=NeptuneImporter.name,
            source=self._path,
            key=f"{self._own.project_id}/{self._own.run_id}",
            name=str(system.get("sys/custom_run_id") or self._own.run_id),
            project=self._own.project_id or None,
            group=system.get("sys/name"),
            tags=[*(system.get("sys/tags") or ()), *(system.get("sys/group_tags") or ())],
            notes=system.get("sys/description") or None,
            run_id=self._own.run_id,
            seed=next(
                (parameters[path] for path in ("seed", "config/seed") if type(parameters.get(path)) is int), None
            ),
            created_t=None if created is None else created.timestamp(),
            status=status,
            reason=reason,
            provenance={path: plain(value) for path, value in system.items()},
        )

    def _metrics(self, project: _Project) -> None:
        """The ancestors' points up to the forks, the oldest ancestor's as attempt 0; then the run's own."""
        lineage: list[tuple[dict[str, list[Point]], Decimal | None]] = [(self._own.series, None)]
        current, limit, seen = self._own, None, {self._own.run_id}
        while (parent := current.parameters.get(PARENT)) is not None:
            forked_at = Decimal(repr(current.parameters.get(FORK_STEP, 0)))
            limit = forked_at if limit is None else min(limit, forked_at)
            ancestor = None if parent in seen else project.exported(str(parent))
            if ancestor is None:
                self.run.fidelity.note(
                    f"the parent {parent} is not in the export: its points up to step {limit} are missing"
                )
                break
            lineage.insert(0, (ancestor.series, limit))
            seen.add(ancestor.run_id)
            current = ancestor
        blocks: list[ForeignMetrics] = []
        for attempt, (series, last) in enumerate(lineage):
            kept = {
                path: [point for point in points if last is None or point.step <= last]
                for path, points in series.items()
            }
            blocks += self._blocks({path: points for path, points in kept.items() if points}, attempt)
            num_points = sum(map(len, kept.values()))
            self.run.fidelity.keep("numbers" if last is None else "inherited numbers", num_points)
        self.run.metrics = blocks
        if len(lineage) > 1:
            reason = "points of the ancestors up to the fork stand as earlier attempts"
            self.run.fidelity.change("forks", reason, len(lineage) - 1)

    def _blocks(self, series: dict[str, list[Point]], attempt: int) -> list[ForeignMetrics]:
        """Series that have the same steps and times were logged together: one block."""
        together: dict[tuple[Any, ...], dict[str, list[Point]]] = {}
        for path, points in series.items():
            key = tuple((point.step, repr(point.t)) for point in points)
            together.setdefault(key, {})[path] = points
            rounded = sum(not is_exact(point.step) for point in points)
            self.run.fidelity.change("steps", "rounded to the nearest float64", rounded)
        blocks = []
        for same in together.values():
            points = next(iter(same.values()))
            blocks.append(
                ForeignMetrics(
                    columns={path: [point.value for point in each] for path, each in same.items()},
                    steps=[number(point.step) for point in points],
                    t=[point.t for point in points],
                    attempt=attempt,
                )
            )
        return blocks

    def _account(self) -> None:
        own, fidelity = self._own, self.run.fidelity
        self.run.texts = own.texts
        fidelity.keep("texts", len(own.texts))
        fidelity.keep("parameters", len(own.parameters))
        fidelity.change("numbers", NULL_REASON, own.num_nulls)
        fidelity.lose("histograms", "only numbers and texts are imported", own.num_histograms)
        for kind, count in own.num_unknown.items():
            fidelity.lose(f"{kind} values", "the documented schema does not have it", count)
        for row in own.files:
            self._file(row)

    def _file(self, row: Row) -> None:
        relative = (row["file_value"] or {}).get("path")
        name = row["attribute_path"] if row["step"] is None else f"{row['attribute_path']}/step_{number(row['step'])}"
        roots = (self._path, *whereabouts(self._path).parents[:2])
        told = Path(relative or "..")
        is_inside = not told.is_absolute() and ".." not in told.parts
        places = [root / folder / told for root in roots for folder in ("", "files")] if is_inside else []
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            self.run.fidelity.lose("files", "not found beside the export")
        else:
            self.run.files.append(ForeignFile(name=name, path=path, size_bytes=path.stat().st_size))


def _status(system: dict[str, Any]) -> tuple[ForeignStatus, str | None]:
    if system.get("sys/failed"):
        return "failed", "Neptune has it as failed"
    state = str(system.get("sys/state", "")).lower()
    if state in ("inactive", "idle"):
        return "finished", None
    return "unknown", f"Neptune had it as {state}" if state else None


def plain(value: Any) -> Any:
    """A parameter as data that a configuration may hold: times as text, sets as lists."""
    return value.isoformat() if isinstance(value, dt.datetime) else value


def nested(parameters: dict[str, Any]) -> dict[str, Any]:
    """Parameters by paths as a nested configuration; a path that is also a folder keeps its whole path as name.

    >>> nested({"optim/lr": 0.1, "optim": "adam", "seed": 1})
    {'optim': {'lr': 0.1}, 'optim/': 'adam', 'seed': 1}
    """
    config: dict[str, Any] = {}
    for path in sorted(parameters, key=lambda path: (-path.count("/"), path)):
        *folders, name = path.split("/")
        place = config
        for folder in folders:
            place = place.setdefault(folder, {})
        place[f"{name}/" if isinstance(place.get(name), dict) else name] = plain(parameters[path])
    return config
