"""What was found is written down once and delivered once, whoever watches and however often it began anew.

A watcher that starts again reads the run from its beginning and finds the same alerts, with the same ids: those that
stand in ``alerts.jsonl`` are not written again. One watcher at a time writes; the others take over when it has gone.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Final

from barograph.errors import BarographWarning, FormatError
from barograph.facts.rundir import RunDir
from barograph.watch.actions.action import Action
from barograph.watch.actions.claim import ClaimedLog, Report
from barograph.watch.actions.outbox import Outbox
from barograph.watch.actions.record import ENDED, as_line
from barograph.watch.alert import SEVERITIES, Severity
from barograph.watch.incident import Told
from barograph.watch.settings import Settings

CLOSE_S: Final = 5.0
MAX_WAITING: Final = 1000
"""Alerts that wait to be written, while a disk is full or another watcher is writing them."""


def warn(text: str) -> None:
    """Say it as a warning; on stderr where warnings are errors and this thread has nobody to catch them."""
    try:
        warnings.warn(f"barograph: {text}", BarographWarning, stacklevel=2)
    except BarographWarning:
        if sys.stderr is not None:
            sys.stderr.write(f"barograph: {text}\n")


class Journal:
    """Writes down and delivers what the watchers of a run find.

    Args:
        directory: the run; nothing is written where there is no ``facts``.
        actions: what delivers; their names differ.
        min_severity: what is less severe is written down and not delivered.
        has_ends: deliver the ends of incidents too.
        report: told of what does not work, once each; warnings when not given.
        clock: unix seconds.
    """

    def __init__(
        self,
        directory: RunDir,
        *,
        actions: Sequence[Action] = (),
        min_severity: Severity = "warning",
        has_ends: bool = False,
        report: Report = warn,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._report = report
        self._least = SEVERITIES.index(min_severity)
        self._has_ends = has_ends
        self._has_reported = False
        self._has_left_out = False
        self._recorded: set[str] = set()
        self._waiting: dict[str, dict[str, Any]] = {}
        self._outbox = Outbox(directory, actions, report=report, clock=clock) if actions else None
        self._alerts = ClaimedLog(directory.alerts, directory.watch_lock, report=report)
        self.poll()
        self._known = set(self._recorded)

    @property
    def is_writer(self) -> bool:
        """Whether this one writes ``alerts.jsonl``; otherwise another watcher does, or nobody can."""
        return self._alerts.is_writer

    @property
    def num_waiting(self) -> int:
        """Alerts that are not written down: another watcher is to do it, or there is no place for them."""
        return len(self._waiting)

    @property
    def is_written(self) -> bool:
        """Whether all that was taken stands in ``alerts.jsonl``, whoever wrote it."""
        return not self._waiting and not self._has_left_out

    @property
    def outbox(self) -> Outbox | None:
        """What delivers; None without actions."""
        return self._outbox

    def take(self, told: Told) -> bool:
        """Write down and deliver something that a watcher found, unless that has been done. Returns at once.

        Returns:
            Whether it is news: it was not written down before this journal was opened, and not taken by it before.
        """
        line = as_line(told)
        key = line["id"]
        if key in self._known:
            return False
        self._known.add(key)
        if key not in self._recorded:
            if len(self._waiting) < MAX_WAITING:
                self._waiting[key] = line
            else:
                self._has_left_out = True
        self._flush()
        self._offer(line)
        return True

    def poll(self) -> None:
        """Look what another watcher has written, and take over when it has gone; to be called now and then."""
        for record in self._alerts.poll():
            key = record.get("id")
            if isinstance(key, str):  # others may write lines of their own
                self._recorded.add(key)
                self._waiting.pop(key, None)
                self._offer(record)
        self._flush()
        if self._outbox is not None and not self._alerts.is_forked:
            self._outbox.poll()

    def close(self, *, limit_s: float = CLOSE_S) -> None:
        """Write down and deliver what waits, for so long at most, and let another watcher go on.

        Args:
            limit_s: of the deliveries; what is not made then is left to the next watcher, and reported.
        """
        if self._alerts.is_forked:
            return
        self.poll()
        if self._outbox is not None:
            self._outbox.close(limit_s=limit_s)
        self._alerts.close()

    def _offer(self, line: dict[str, Any]) -> None:
        if self._outbox is None or self._alerts.is_forked:
            return
        is_end = line.get("stage") == ENDED
        severity = line.get("incident_severity" if is_end else "severity")
        rank = SEVERITIES.index(severity) if severity in SEVERITIES else SEVERITIES.index("warning")
        if rank >= self._least and (self._has_ends or not is_end):
            self._outbox.offer(line)
            self._outbox.poll()

    def _flush(self) -> None:
        if not self._alerts.is_writer or not self._waiting:
            return
        try:
            for key, line in list(self._waiting.items()):
                self._alerts.append(line)
                self._recorded.add(key)
                del self._waiting[key]
            self._alerts.sync()
        except (OSError, FormatError) as error:
            if not self._has_reported:
                self._has_reported = True
                self._report(
                    f"{self._alerts.path} cannot be written ({error}); alerts are delivered and wait to be written, "
                    f"free the cause"
                )


def open_journal(
    directory: RunDir, settings: Settings, *, report: Report = warn, clock: Callable[[], float] = time.time
) -> Journal:
    """The journal that settings ask for.

    Raises:
        MissingDependencyError: an action needs a library that is not installed.
    """
    given = settings.actions
    return Journal(
        directory,
        actions=given.make(),
        min_severity=given.min_severity,
        has_ends=given.ends,
        report=report,
        clock=clock,
    )
