"""One run, read: who it is, how it is, and everything that was recorded. Nothing is written, nothing is changed.

Files are read when they are asked for, each time anew, so a run that is still being written may be read too. What a
file holds never raises; places that hold no fact are counted in ``damage``.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from barograph.errors import FormatError, MetricNotFoundError
from barograph.facts.events import to_event
from barograph.facts.kinds import Event, OnCheck, OnEpochEnd, OnExample, Payload, parse
from barograph.facts.log import Damage
from barograph.facts.rundir import RunDir, default_root
from barograph.facts.state import ExitRecord, read_exit, read_process
from barograph.read import identity as identities
from barograph.read import metrics
from barograph.read.backlog import read_backlog
from barograph.read.catalog import find_run
from barograph.read.columns import iterate_records, unreadable
from barograph.read.digest import AttemptInfo, Digest
from barograph.read.edits import Edit, apply_edits, filled_in, keys_set, read_edits
from barograph.read.follow import Fact, Follower
from barograph.read.identity import RunIdentity
from barograph.read.metrics import MetricKey, MetricSummary, Point
from barograph.read.status import Status, read_status

if TYPE_CHECKING:
    from barograph.read.arrays import Series

P = TypeVar("P", bound=Payload)


def open_run(path: str | os.PathLike[str], *, root: str | os.PathLike[str] | None = None) -> RunReader:
    """Open a run for reading.

    Args:
        path: the run's directory; or its id or name, or as much of the beginning or end of one as no other run below
            ``root`` has.
        root: where names are looked up; ``BAROGRAPH_ROOT``, else ``./runs``, when not given.

    Raises:
        RunNotFoundError: there is no such run, or there are several; the message lists those that come near.
    """
    return RunReader(find_run(os.fspath(path), default_root() if root is None else root))


class RunReader:
    """A recorded run.

    Args:
        path: the run's directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.directory = RunDir(path)
        self._damage: dict[tuple[str, int], Damage] = {}
        self._misfits: dict[tuple[float, int], str] = {}

    @property
    def misfits(self) -> list[str]:
        """Events met so far whose payload is not as their moment asks, and what is wrong with each."""
        return list(self._misfits.values())

    @property
    def damage(self) -> list[Damage]:
        """Places that hold no fact, met by what was read so far, in the order in which they were met."""
        return list(self._damage.values())

    def note(self, damage: list[Damage]) -> None:
        """Keep places that hold no fact, each once."""
        for found in damage:
            self._damage.setdefault((found.path, found.offset), found)

    @cached_property
    def record(self) -> dict[str, Any]:
        """What ``run.json`` holds: identity and provenance; empty when there is none."""
        damage: list[Damage] = []
        record = identities.read_run_json(self.directory, damage)
        self.note(damage)
        return record

    @cached_property
    def edits(self) -> list[Edit]:
        """What people changed about the run afterwards, oldest first."""
        damage: list[Damage] = []
        edits = read_edits(self.directory, damage)
        self.note(damage)
        return edits

    @cached_property
    def identity(self) -> RunIdentity:
        """Who the run is: name, group, tags and notes as edited, all else as recorded."""
        return apply_edits(self.recorded_identity, self.edits)

    @cached_property
    def recorded_identity(self) -> RunIdentity:
        """Who the run said it was when it started."""
        damage: list[Damage] = []
        identity = identities.identify(self.directory, self.record, damage)
        self.note(damage)
        return identity

    @property
    def is_imported(self) -> bool:
        """Whether another tool recorded the run; such a source may not tell how a run ended."""
        return "imported_from" in self.provenance

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the run came from: command line, commit, packages, machine."""
        provenance = self.record.get("provenance")
        return provenance if isinstance(provenance, dict) else {}

    @property
    def config(self) -> dict[str, Any]:
        """The configuration: as recorded, with the keys that were filled in afterwards."""
        return self._config[0]

    @property
    def backfilled(self) -> dict[str, Any]:
        """What of ``config`` was not recorded but filled in afterwards, by dotted name."""
        return self._config[1]

    @cached_property
    def _config(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return filled_in(self.recorded_config, keys_set(self.edits))

    @cached_property
    def recorded_config(self) -> dict[str, Any]:
        """The exact configuration, from ``config.yaml``, else from Hydra's."""
        damage: list[Damage] = []
        config = identities.read_config(self.directory, damage)
        self.note(damage)
        return config

    def status(self) -> Status:
        """What the run is doing."""
        return read_status(self.path)

    def started_t(self) -> float | None:
        """Unix seconds at which the latest attempt began; None when nothing tells."""
        path = self.directory.process()
        try:
            process = read_process(path)
        except (FormatError, OSError) as error:
            self.note([unreadable(path, error)])
            process = None
        return self.identity.created_t if process is None else process.started_t

    def exit_record(self) -> ExitRecord | None:
        """How the last attempt that ended by itself said it ended."""
        path = self.directory.exit()
        try:
            return read_exit(path)
        except (FormatError, OSError) as error:
            self.note([unreadable(path, error)])
            return None

    def events(self, moment: str | None = None) -> Iterator[Event]:
        """The events, rank 0's first, each rank's in the order in which they were recorded.

        Args:
            moment: only those of this moment.
        """
        for path in self.directory.events_files():
            damage: list[Damage] = []
            for record in iterate_records(path, damage):
                event = to_event(record)
                if moment in (None, event.moment):
                    yield event
            self.note(damage)

    def digest(self) -> Digest:
        """What the events come to."""
        return Digest(self.events())

    def attempts(self) -> list[AttemptInfo]:
        """Each attempt, first to last."""
        found = self.digest().attempts
        return [found[number] for number in sorted(found)]

    def examples(self) -> list[OnExample]:
        """Every recorded example."""
        return self._payloads("on_example", OnExample)

    def epochs(self) -> list[OnEpochEnd]:
        """Every epoch that ended."""
        return self._payloads("on_epoch_end", OnEpochEnd)

    def checks(self) -> list[OnCheck]:
        """Every check that ran."""
        return self._payloads("on_check", OnCheck)

    def _payloads(self, moment: str, kind: type[P]) -> list[P]:
        found = []
        for event in self.events(moment):
            try:
                found.append(parse(event, kind))
            except msgspec.ValidationError as error:
                self._misfits[event.t, event.seq] = f"event {event.seq} ({moment}): {error}"
        return found

    def metrics(self) -> list[MetricSummary]:
        """A summary of each metric: count, last, minimum and maximum with their steps, non-finite values by kind."""
        damage: list[Damage] = []
        found = metrics.summarise(self.directory, damage)
        self.note(damage)
        return found

    def curve(self, name: str, *, split: str = "train", rank: int = 0) -> list[Point]:
        """Every point of one metric; those that a later attempt recorded again are marked, none is dropped."""
        damage: list[Damage] = []
        found = metrics.points(self.directory, MetricKey(name, split, rank), damage)
        self.note(damage)
        return found

    def metric_keys(self) -> list[MetricKey]:
        """Every metric of every split and rank, the host's samples among them; only headers of rows are read."""
        damage: list[Damage] = []
        keys = metrics.keys(self.directory, damage)
        self.note(damage)
        return keys

    def series(self, name: str, *, split: str = "train", rank: int = 0) -> Series:
        """Every point of one metric as numpy arrays.

        Raises:
            MetricNotFoundError: it was not logged; the message lists what was.
        """
        from barograph.read.arrays import read_series  # noqa: PLC0415 - numpy, for those who ask for arrays

        damage: list[Damage] = []
        found = read_series(self.directory, damage=damage, names=[name], splits=[split], ranks=[rank])
        self.note(damage)
        if not found:
            raise MetricNotFoundError(metrics.not_logged(self.path, MetricKey(name, split, rank), self.metric_keys()))
        return found[0]

    def all_series(
        self, *, names: Collection[str] | None = None, splits: Collection[str] | None = None, rank: int | None = 0
    ) -> list[Series]:
        """Metrics as numpy arrays, by split, rank and name.

        Args:
            names: these only.
            splits: on these splits only; on all but ``host`` when not given.
            rank: of this rank only; None for all.
        """
        from barograph.read.arrays import read_series  # noqa: PLC0415 - the same

        damage: list[Damage] = []
        ranks = None if rank is None else (rank,)
        found = read_series(self.directory, damage=damage, names=names, splits=splits, ranks=ranks)
        self.note(damage)
        return found

    def follow(self, *, rank: int | None = None) -> Follower:
        """What reads each fact once as the run grows: ``poll()`` gives what is new."""
        return Follower(self.directory, rank=rank)

    def success(self) -> list[dict[str, Any]]:
        """The verdicts on the success criteria, as they were recorded when the last attempt ended."""
        ended = self.exit_record()
        if ended is not None:
            return ended.success
        end = self.digest().end
        return [] if end is None else end.success

    def alerts(self) -> list[dict[str, Any]]:
        """What the script itself called for a person about, then the alerts of whoever watched."""
        return self.digest().alerts + self.watched_alerts()

    def num_alerts(self) -> int:
        """How many alerts there were, of the script and of whoever watched; that an incident is over is none."""
        watched = [alert for alert in self.watched_alerts() if alert.get("stage") != "ended"]
        return len(self.digest().alerts) + len(watched)

    def watched_alerts(self) -> list[dict[str, Any]]:
        """The alerts of whoever watched, from ``alerts.jsonl``."""
        damage: list[Damage] = []
        alerts = list(iterate_records(self.directory.alerts, damage))
        self.note(damage)
        return alerts

    def facts(self, *, rank: int | None = None) -> Iterator[list[Fact]]:
        """Everything that was recorded, some megabytes at a time, as a follower of the run would have seen it.

        Args:
            rank: of this rank alone.
        """
        follower = Follower(self.directory, rank=rank)
        yield from read_backlog(follower)
        self.note(follower.damage)

    def __repr__(self) -> str:
        return f"<RunReader {self.identity.name!r} {self.identity.run_id} in {str(self.path)!r}>"
