"""Watches a run from within: feeds what is wrong with it to the terminal, the text log, its files and its actions.

It runs in the companion's turn and reads the run's files like every other watcher, so that the same facts give the same
alerts. Nothing of it is imported before the first facts are there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from barograph.facts.kinds import Event
from barograph.facts.rows import HOST_SPLIT
from barograph.read.follow import Fact, Rows
from barograph.record.attempt import Attempt
from barograph.session.companion import is_hurried

if TYPE_CHECKING:
    from barograph.watch.effort import Effort
    from barograph.watch.incident import Told
    from barograph.watch.journal import Journal
    from barograph.watch.kept import Keeper
    from barograph.watch.settings import Settings
    from barograph.watch.stop import Stop
    from barograph.watch.watcher import Watcher

JOURNAL_S: Final = 1.0
"""How often it is looked whether another watcher has gone, and whether something waits to be delivered."""
CALM_S: Final = 5.0
HURRIED_S: Final = 1.0
"""How long the rest and deliveries may take at the end, and soon after a signal; what is left is the next watcher's."""
KEEP_S: Final = 60.0
"""How often what was learned is written down, so that a run that is killed and resumed need not be read again."""
_EPOCH_END: Final = "on_epoch_end"
Show = Callable[[Sequence["Told"]], None]


def _is_watched(fact: Fact) -> bool:
    """Whether a fact holds metrics of training; before the first there is nothing to watch."""
    if isinstance(fact, Event):
        return fact.moment == _EPOCH_END
    return (fact.header.split if isinstance(fact, Rows) else fact.split) != HOST_SPLIT


def _report(text: str) -> None:
    from barograph.watch.journal import warn  # noqa: PLC0415 - for runs that have something to say

    warn(text)


class Watching:
    """A consumer of the companion.

    Args:
        attempt: the attempt that is watched.
        settings: how; see ``init(watch=...)``.
        config: the run's configuration.
        shows: who is told, besides the run's files and its actions.
    """

    def __init__(self, attempt: Attempt, settings: Any, *, config: Mapping[str, Any], shows: Sequence[Show]) -> None:
        self._attempt = attempt
        self._given = settings
        self._config = config
        self._shows = list(shows)
        self._settings: Settings | None = None
        self._watcher: Watcher | None = None
        self._keeper: Keeper | None = None
        self._effort: Effort | None = None
        self._journal: Journal | None = None
        self._stop: Stop | None = None
        self._next_journal_s = 0.0

    def should_stop(self) -> bool:
        """Whether something was found at which the loop is to end."""
        return self._stop is not None and self._stop.should_stop()

    def feed(self, facts: Sequence[Fact]) -> None:
        """Look at what is new; it is read again, in the order of time."""
        if self._watcher is None and (is_hurried() or not any(map(_is_watched, facts))):
            return
        watcher = self._started()
        self._tell(watcher.poll(now_t=time.time(), effort=self._effort))
        now_s = time.monotonic()
        if self._journal is not None and now_s >= self._next_journal_s:
            self._next_journal_s = now_s + JOURNAL_S
            self._journal.poll()
        self._keep()

    def close(self) -> None:
        """Look at the rest, and deliver what waits."""
        if self._watcher is None:
            return
        limit_s = HURRIED_S if is_hurried() else CALM_S
        self._tell(self._watcher.finish(limit_s=limit_s))
        if self._journal is not None:
            self._journal.close(limit_s=limit_s)
        if self._watcher.is_whole:
            self._keep(is_last=True)

    def _keep(self, *, is_last: bool = False) -> None:
        """Keep what was learned, unless an alert of it would be lost with this process."""
        if self._watcher is None or self._keeper is None or self._attempt.is_fork:
            return
        if self._journal is None or self._journal.is_written:
            self._keeper.keep(self._watcher, is_last=is_last)

    def _started(self) -> Watcher:
        if self._watcher is None:
            from barograph.watch.effort import Effort  # noqa: PLC0415 - the same
            from barograph.watch.settings import read_settings  # noqa: PLC0415 - loaded beside training, not before it
            from barograph.watch.stop import Stop  # noqa: PLC0415 - the same
            from barograph.watch.watcher import open_kept  # noqa: PLC0415 - the same

            settings = self._settings = read_settings(self._given)
            self._effort = Effort(self._attempt.pid)
            self._stop = Stop(settings.stop_on, attempt=self._attempt.number)
            self._watcher, self._keeper = open_kept(
                self._attempt.directory, settings, config=self._config, report=_report, every_s=KEEP_S
            )
            if self._attempt.directory.alerts.exists():  # of an attempt before, perhaps not all of them delivered
                self._open_journal(settings)
        return self._watcher

    def _open_journal(self, settings: Settings) -> Journal:
        from barograph.watch.journal import open_journal  # noqa: PLC0415 - for runs that have alerts

        self._journal = open_journal(self._attempt.directory, settings)
        return self._journal

    def _tell(self, told: Sequence[Told]) -> None:
        if not told or self._settings is None or self._stop is None:
            return
        journal = self._journal or self._open_journal(self._settings)
        news = []
        for each in told:
            self._stop.take(each)
            if journal.take(each):
                news.append(each)
        if any(each.stage == "opened" and each.alert.severity != "info" for each in news):
            self._attempt.dump_flight("on_alert")
        if news:
            self._show(news)

    def _show(self, news: Sequence[Told]) -> None:
        """Tell whoever looks; one that takes nothing any more is told nothing any more, and that is all it costs."""
        for show in self._shows[:]:
            self._shows.remove(show)
            with self._attempt.guard.boundary("showing alerts", misuse=True):
                show(news)
                self._shows.append(show)
