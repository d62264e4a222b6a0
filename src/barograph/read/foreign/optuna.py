"""Optuna's studies, in SQLite or in a journal file: each trial is one run. The only door to optuna here.

Optuna's own storages read both, over connections and backends that cannot write. A trial's intermediate values are
its metric, by step; its final values are its summary.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from barograph.errors import FormatError
from barograph.facts.log import Damage
from barograph.read.foreign.databases import database_uri, has_tables, is_database
from barograph.read.foreign.protocol import ForeignRun, ForeignStatus
from barograph.read.foreign.records import Gathered

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.study import Study
    from optuna.trial import FrozenTrial

TABLES: Final = ("studies", "trials", "trial_intermediate_values")
JOURNAL_KEYS: Final = frozenset({"op_code", "worker_id"})
INTERMEDIATE: Final = "intermediate_value"
HEAD_BYTES: Final = 1 << 16
STATUS: Final[dict[str, tuple[ForeignStatus, str | None]]] = {
    "COMPLETE": ("finished", None),
    "PRUNED": ("finished", "pruned"),
    "FAIL": ("failed", "the objective failed"),
    "RUNNING": ("unknown", "the study has it as running; whether its process lives, nothing tells"),
    "WAITING": ("unknown", "it waits to be run"),
}


class OptunaImporter:
    """Reads one storage: a database of studies, or a journal file."""

    name = "optuna"

    def recognises(self, path: Path) -> bool:
        """Whether a file is a database with Optuna's tables, or its first line is an operation of a journal."""
        return path.is_file() and (has_tables(path, *TABLES) or _is_journal(path))

    def read(self, path: Path) -> Iterator[ForeignRun]:
        """The trials of every study, by number.

        Raises:
            FormatError: the storage is of another version than the installed Optuna, or damaged.
            ModuleNotFoundError: optuna is not installed.
        """
        import optuna  # noqa: PLC0415 - optional, and half a second

        damage: list[Damage] = []
        with _database(path) if is_database(path) else _journal(path, damage) as storage:
            for name in optuna.get_all_study_names(storage):
                study = optuna.load_study(study_name=name, storage=storage)
                for trial in sorted(study.get_trials(deepcopy=False), key=lambda trial: trial.number):
                    run = _run(path, study, trial)
                    run.fidelity.damage += damage
                    yield run


importer: Final = OptunaImporter()


def _is_journal(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            line = file.readline(HEAD_BYTES)
        first = json.loads(line) if line.startswith(b"{") else None
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(first, dict) and first.keys() >= JOURNAL_KEYS


@contextlib.contextmanager
def _database(path: Path) -> Iterator[BaseStorage]:
    import sqlalchemy.exc  # noqa: PLC0415 - it comes with optuna, which is optional
    from optuna.storages import RDBStorage  # noqa: PLC0415 - the same
    from sqlalchemy.pool import NullPool  # noqa: PLC0415 - the same

    with database_uri(path) as uri, contextlib.ExitStack() as opened:
        engine = {"creator": lambda: sqlite3.connect(uri, uri=True), "poolclass": NullPool}
        try:
            storage = RDBStorage("sqlite://", engine_kwargs=engine, skip_table_creation=True)
            opened.callback(storage.remove_session)
            yield storage
        except (RuntimeError, sqlalchemy.exc.SQLAlchemyError) as error:
            raise FormatError(
                f"{path} cannot be read as an Optuna storage ({error}); read a copy that "
                f"`optuna storage upgrade` brought to this version"
            ) from error


@contextlib.contextmanager
def _journal(path: Path, damage: list[Damage]) -> Iterator[BaseStorage]:
    from optuna.storages import JournalStorage  # noqa: PLC0415 - optuna is optional
    from optuna.storages.journal import BaseJournalBackend  # noqa: PLC0415 - the same

    class ReadOnlyJournal(BaseJournalBackend):
        """Optuna's journal file without its locks: nothing is written, and the file is not made when absent."""

        def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
            """Operations from a number on."""
            yield from operations[log_number_from:]

        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            """Refuse."""
            raise AssertionError(f"a reader wrote {logs}")

    operations = _operations(path, damage)
    try:
        yield JournalStorage(ReadOnlyJournal())
    except (KeyError, ValueError, TypeError) as error:
        raise FormatError(
            f"{path} cannot be replayed as an Optuna journal ({error!r}); copy it anew from where it was written"
        ) from error


def _operations(path: Path, damage: list[Damage]) -> list[dict[str, Any]]:
    """The operations up to the first damaged one: a journal numbers trials by replaying, so none after it is sure."""
    operations: list[dict[str, Any]] = []
    data, offset = path.read_bytes(), 0
    while offset < len(data):
        end = data.find(b"\n", offset)
        line = data[offset:end] if end >= 0 else b""
        try:
            operations.append(json.loads(line))
        except ValueError:
            rest = len(data) - offset
            reason = "the last line is torn" if end < 0 else "a damaged line; nothing after it can be replayed"
            damage.append(Damage(path=str(path), offset=offset, size_bytes=rest, reason=reason))
            break
        offset = end + 1
    return operations


def _run(path: Path, study: Study, trial: FrozenTrial) -> ForeignRun:
    status, reason = STATUS[trial.state.name]
    values = trial.values or []
    single = [] if len(study.directions) > 1 else ["value"]
    objectives = study.metric_names or single or [f"value_{place}" for place in range(len(values))]
    run = ForeignRun(
        tool=OptunaImporter.name,
        source=path,
        key=f"{study.study_name}/{trial.number}",
        name=f"{study.study_name}-trial{trial.number}",
        project=path.stem,
        group=study.study_name,
        tags=[trial.state.name.lower()],
        config=dict(trial.params),
        created_t=_unix_seconds(trial.datetime_start),
        ended_t=_unix_seconds(trial.datetime_complete),
        status=status,
        reason=reason,
        seed=trial.params["seed"] if type(trial.params.get("seed")) is int else None,
        summary={"state": trial.state.name, **dict(zip(objectives, values, strict=False))},
        provenance={
            "study": study.study_name,
            "directions": [direction.name.lower() for direction in study.directions],
            "study_attrs": study.user_attrs,
            "distributions": {name: repr(distribution) for name, distribution in trial.distributions.items()},
        },
    )
    if trial.user_attrs:
        run.summary["user_attrs"] = dict(trial.user_attrs)
    _account(run, trial, len(values))
    return run


def _account(run: ForeignRun, trial: FrozenTrial, num_values: int) -> None:
    gathered = Gathered(run.fidelity)
    for step, value in sorted(trial.intermediate_values.items()):
        gathered.add({INTERMEDIATE: value}, step=step)
    run.metrics = gathered.metrics()
    run.fidelity.keep("objective values", num_values)
    run.fidelity.keep("parameters", len(trial.params))
    run.fidelity.keep("user attributes", len(trial.user_attrs))
    run.fidelity.lose("system attributes", "the sampler's and pruner's own", len(trial.system_attrs))
    if trial.state.name == "PRUNED":
        run.fidelity.change("states", "a pruned trial is a finished run with the tag 'pruned'")
    if trial.intermediate_values:
        run.fidelity.note("Optuna keeps the intermediate values by step, without times")


def _unix_seconds(when: dt.datetime | None) -> float | None:
    """Of a time that Optuna converted to this machine's zone."""
    return None if when is None else when.timestamp()
