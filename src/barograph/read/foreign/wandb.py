"""Reads W&B's own files, of offline and online runs, without wandb: ``run-ID.wandb`` in a run's directory.

wandb writes 32 KiB at a time, so of a run that was killed the newest records are missing; nothing here can bring
them back. Sources: wandb_internal.proto (github.com/wandb/wandb, wandb/proto), core/internal/transactionlog for the
framing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from barograph.errors import FormatError
from barograph.facts.log import Damage
from barograph.facts.rows import HOST_SPLIT
from barograph.read.columns import unreadable
from barograph.read.foreign.fidelity import Fidelity
from barograph.read.foreign.protocol import ForeignFile, ForeignRun, ForeignText
from barograph.read.foreign.records import Gathered, count_changes, sort_record
from barograph.read.foreign.wandb_items import drop, item, items, put
from barograph.read.foreign.wire import fields, iterate_log, signed, text
from barograph.read.identity import flatten

NAME: Final = "wandb"
MAGIC: Final = b":W&B"
HEADER_BYTES: Final = 7
NO_END: Final = "no exit record: it was killed, still runs, or its end was not yet written"
VALUE_REASON: Final = "only numbers and texts are imported"
MEDIA_REASON: Final = f"{VALUE_REASON}; the files, if any, are among the run's files"
NULL_NOTE: Final = "wandb writes NaN in a configuration as null, so what is null there may have been NaN"

_HISTORY, _SUMMARY, _CONFIG, _STATS, _ARTIFACT, _ALERT, _METRIC, _OUTPUT_RAW = 2, 3, 5, 7, 8, 10, 12, 13
_RUN, _EXIT, _ENVIRONMENT = 17, 18, 26
_BOOKKEEPING: Final = ("_step", "_timestamp", "_runtime")
_TYPED: Final = "_type"
FOLDERS: Final = ("files", "logs", "tmp")


class WandbImporter:
    """Reads the directory of one W&B run, or its ``.wandb`` file."""

    name = NAME

    def recognises(self, path: Path) -> bool:
        """Whether it is a ``.wandb`` file, by its first bytes, or a directory with one."""
        return bool(_log_files(path))

    def owns(self, path: Path) -> list[Path]:
        """What wandb copied of the run's files, and event files elsewhere that it read along (``sync_tensorboard``)."""
        places = {file.parent for file in _log_files(path)}
        return [place / folder for place in places for folder in FOLDERS] + [
            folder for place in places for folder in _synced(place)
        ]

    def read(self, path: Path) -> Iterator[ForeignRun]:
        """The run of a directory or file.

        Raises:
            FormatError: there is no ``.wandb`` file.
        """
        files = _log_files(path)
        if not files:
            raise FormatError(f"{path} holds no run-*.wandb file; name a run's directory (offline-run-*) in wandb/")
        for file in files:
            yield _Reader(path, file).run()


importer: Final = WandbImporter()


def _log_files(path: Path) -> list[Path]:
    try:
        files = sorted(path.glob("*.wandb")) if path.is_dir() else [path]
        return [file for file in files if file.suffix == ".wandb" and file.is_file() and _begins(file)]
    except OSError:
        return []


def _begins(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def _synced(directory: Path) -> list[Path]:
    """Directories of event files whose numbers wandb took into the run: it keeps a link to each of the files."""
    links = [link for link in (directory / FOLDERS[0]).rglob("*tfevents*") if link.is_symlink() and link.is_file()]
    targets = {link.resolve() for link in links}
    folders = sorted({target.parent for target in targets})
    return [folder for folder in folders if targets.issuperset(folder.glob("*tfevents*"))]


class _Reader:
    """Collects what the records of one file say."""

    def __init__(self, source: Path, path: Path) -> None:
        self._source, self._path = source, path
        self._fidelity = Fidelity()
        self._gathered = Gathered(self._fidelity)
        self._run = ForeignRun(
            tool=NAME,
            source=source,
            key=path.parent.name,
            name="",
            run_id=path.stem.removeprefix("run-"),
            reason=NO_END,
            fidelity=self._fidelity,
        )
        self._console: list[str] = []
        self._defined: list[dict[str, Any]] = []
        self._summary: dict[str, Any] = {}
        self._last_t = math.nan

    def run(self) -> ForeignRun:
        """Read everything."""
        try:
            for offset, record in iterate_log(self._path, self._fidelity.damage, header_bytes=HEADER_BYTES):
                self._take_record(offset, record)
        except OSError as error:
            self._fidelity.damage.append(unreadable(self._path, error))
        run = self._run
        run.name = run.name or run.run_id
        run.metrics = self._gathered.metrics()
        run.summary = self._flat_summary()
        run.console = "".join(self._console)
        run.config = {key: value for key, value in run.config.items() if key != "_wandb"}
        if any(value is None for value in flatten(run.config).values()):
            self._fidelity.note(NULL_NOTE)
        run.seed = seed if isinstance(seed := run.config.get("seed"), int) and not isinstance(seed, bool) else None
        run.files = self._files()
        if self._defined:
            run.provenance["defined_metrics"] = self._defined
        if run.status in ("finished", "failed"):
            run.reason = run.reason if run.status == "failed" else None
            run.ended_t = self._last_t if math.isfinite(self._last_t) else None
        for folder in _synced(self._path.parent):
            self._fidelity.note(f"wandb took in the event files in {folder}: a run of their own only if named")
        if run.provenance.get("resumed"):
            self._fidelity.note(
                "wandb resumed this run: each of its directories is a run here, with the same tool's id"
            )
        self._fidelity.keep("texts", len(run.texts))
        self._fidelity.keep("settings", len(run.config))
        self._fidelity.keep("results", len(run.summary))
        self._fidelity.keep("characters of console output", len(run.console))
        return run

    def _take_record(self, offset: int, record: bytes) -> None:
        takers = {
            _HISTORY: self._take_history,
            _SUMMARY: self._take_summary,
            _CONFIG: self._take_config,
            _STATS: self._take_stats,
            _ALERT: self._take_alert,
            _METRIC: self._take_metric,
            _OUTPUT_RAW: self._take_output,
            _RUN: self._take_run,
            _EXIT: self._take_exit,
            _ENVIRONMENT: self._take_environment,
        }
        try:
            for number, _, message in fields(record):
                if number in takers:
                    takers[number](message)
                elif number == _ARTIFACT:
                    self._fidelity.lose("artifacts", "what wandb stores of them is not in the run's file")
        except (FormatError, ValueError, TypeError) as error:
            size = len(record) + HEADER_BYTES
            damage = Damage(path=str(self._path), offset=offset, size_bytes=size, reason=f"no record: {error}")
            self._fidelity.damage.append(damage)

    def _take_history(self, message: bytes) -> None:
        record: dict[str, Any] = {}
        step: float | None = None
        for number, content in items(message):
            if number == 1:
                path, value = item(content)
                put(record, path, value)
            elif number == 2:  # noqa: PLR2004 - the numbers of a HistoryRecord's fields
                step = next((signed(value) for place, _, value in fields(content) if place == 1), 0)
        own = {name: record.pop(name) for name in _BOOKKEEPING if name in record}
        step = own.get("_step", step)
        t = own.get("_timestamp", math.nan)
        self._fidelity.change("_runtime values", "the time of each record tells it", int("_runtime" in own))
        found = sort_record(record, typed_by=_TYPED)
        self._gathered.add(found.numbers, step=0 if step is None else step, t=t)
        count_changes(self._fidelity, found)
        self._run.texts += [ForeignText(name=key, text=value, step=step, t=t) for key, value in found.texts.items()]
        for value in found.others.values():
            self._fidelity.lose(*_lost(value))
        self._last_t = t

    def _take_stats(self, message: bytes) -> None:
        t, record = math.nan, {}
        for number, content in items(message):
            if number == 2:  # noqa: PLR2004 - the numbers of a StatsRecord's fields
                t = _timestamp(content)
            elif number == 3:  # noqa: PLR2004
                path, value = item(content)
                record[".".join(path)] = value
        self._last_t = t
        found = sort_record(record)
        start_t = self._run.created_t
        since_s = t - start_t if start_t is not None and math.isfinite(t) else 0.0
        self._gathered.add(found.numbers, step=since_s, t=t, split=HOST_SPLIT)
        for value in [*found.texts.values(), *found.others.values()]:
            self._fidelity.lose("values of system statistics", f"they are no numbers but {type(value).__name__}")

    def _take_summary(self, message: bytes) -> None:
        for number, content in items(message):
            path, value = item(content)
            if number == 1:
                put(self._summary, path, value)
            elif number == 2:  # noqa: PLR2004 - what was removed
                drop(self._summary, path)

    def _flat_summary(self) -> dict[str, Any]:
        results = {key: value for key, value in self._summary.items() if key not in ("_wandb", *_BOOKKEEPING)}
        found = sort_record(results, typed_by=_TYPED)
        for value in found.others.values():
            what, reason = _lost(value)
            self._fidelity.lose(f"results: {what}", reason)
        return {**found.numbers, **found.texts}

    def _take_config(self, message: bytes) -> None:
        for number, content in items(message):
            path, value = item(content)
            if number == 1:
                put(self._run.config, path, value)
            elif number == 2:  # noqa: PLR2004 - what was removed
                drop(self._run.config, path)

    def _take_run(self, message: bytes) -> None:
        run = self._run
        run.tags = []
        texts = {1: "run_id", 3: "project", 6: "group", 8: "name", 9: "notes"}
        origins = {2: "entity", 7: "job_type", 12: "sweep_id"}
        for number, _, value in fields(message):
            if number in texts and value:
                setattr(run, texts[number], text(value))
            elif number in origins and value:
                run.provenance[origins[number]] = text(value)
            match number:
                case 4:
                    self._take_config(value)
                case 10:
                    run.tags.append(text(value))
                case 13:
                    run.provenance["host"] = {"name": text(value)}
                case 17:
                    run.created_t = _timestamp(value)
                case 18 if value:
                    run.provenance["resumed"] = True
                case 21:
                    run.provenance["git"] = _git(value)
                case _:
                    pass  # settings and telemetry of wandb itself

    def _take_environment(self, message: bytes) -> None:
        provenance = self._run.provenance
        arguments = []
        program = ""
        for number, _, value in fields(message):
            match number:
                case 1:
                    provenance["platform"] = text(value)
                case 2:
                    provenance["python"] = {**provenance.get("python", {}), "version": text(value).split()[-1]}
                case 5:
                    arguments.append(text(value))
                case 6:
                    program = text(value)
                case 9:
                    provenance["git"] = _git(value)
                case 11:
                    provenance["cwd"] = text(value)
                case 14:
                    provenance["python"] = {**provenance.get("python", {}), "executable": text(value)}
                case _:
                    pass  # counts of processors and disks, which the samples of the machine tell better
        if program:
            provenance["argv"] = [program, *arguments]

    def _take_exit(self, message: bytes) -> None:
        code = next((signed(value) for number, _, value in fields(message) if number == 1), 0)
        self._run.status = "failed" if code else "finished"
        self._run.reason = f"exit code {code}"

    def _take_output(self, message: bytes) -> None:
        for number, _, value in fields(message):
            if number == 2:  # noqa: PLR2004 - the numbers of an OutputRawRecord's fields
                self._last_t = _timestamp(value)
            elif number == 3:  # noqa: PLR2004
                self._console.append(text(value))

    def _take_alert(self, message: bytes) -> None:
        parts = {number: text(value) for number, kind, value in fields(message) if kind and number <= 3}  # noqa: PLR2004
        alert = {"kind": "alert", "title": parts.get(1, ""), "text": parts.get(2, ""), "level": parts.get(3, "INFO")}
        self._run.events.append((self._last_t, "custom", alert))
        self._fidelity.keep("alerts")

    def _take_metric(self, message: bytes) -> None:
        parts: dict[int, Any] = {number: value for number, _, value in fields(message)}
        names = {1: "name", 2: "glob_name", 4: "step_metric"}
        self._defined.append({name: text(parts[number]) for number, name in names.items() if parts.get(number)})

    def _files(self) -> list[ForeignFile]:
        """What wandb keeps of the run's own files."""
        folder = self._path.parent / "files"
        found = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
        return [
            ForeignFile(name=str(path.relative_to(folder)), path=path, size_bytes=path.stat().st_size) for path in found
        ]


def _lost(value: Any) -> tuple[str, str]:
    """What a value that is neither number nor text is called, and why it is not imported."""
    if isinstance(value, Mapping) and _TYPED in value:
        return f"{value[_TYPED]} values", MEDIA_REASON
    if value is None:
        return "nulls", VALUE_REASON
    return f"{type(value).__name__} values", VALUE_REASON


def _timestamp(message: bytes) -> float:
    """Unix seconds of a ``google.protobuf.Timestamp``."""
    parts = {number: signed(value) for number, _, value in fields(message)}
    return parts.get(1, 0) + parts.get(2, 0) * 1e-9


def _git(message: bytes) -> dict[str, str]:
    names = {1: "remote", 2: "commit"}
    return {names[number]: text(value) for number, _, value in fields(message) if number in names}
