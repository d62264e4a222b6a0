"""One run, watched: reads what is new in its files, in the order in which it happened, and says what a person is told.

The companion in the training process, ``barograph follow --watch`` beside it and ``barograph replay`` afterwards are
this one class, so that the same facts give the same alerts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from barograph import plugins
from barograph.facts.rundir import RunDir
from barograph.read.follow import Follower
from barograph.watch.detector import Detector
from barograph.watch.incident import Told
from barograph.watch.life import Life
from barograph.watch.monitor import Monitor
from barograph.watch.order import Ordered, Piece
from barograph.watch.rule_syntax import Rule
from barograph.watch.rules import rule_detectors, silences
from barograph.watch.settings import Settings

GROUP = "barograph.detectors"


def load_detectors(names: Sequence[str] | None = None) -> list[Detector]:
    """Fresh detectors by name; every one that is offered when no names are given.

    Raises:
        PluginNotFoundError: no installed distribution offers one of them.
    """
    return [plugins.load(GROUP, name)() for name in (plugins.names(GROUP) if names is None else names)]


class Watcher:
    """Watches one process of a run.

    Args:
        directory: the run.
        detectors: fresh ones; every one that is offered when not given.
        config: the run's configuration.
        roles: roles of metrics, declared.
        silences: rules about silence; see ``watch.rules.silences``.
        rank: of the process.

    Attributes:
        monitor: what is known so far.
        life: what is known of its rhythm.
    """

    def __init__(
        self,
        directory: RunDir,
        *,
        detectors: Sequence[Detector] | None = None,
        config: Mapping[str, Any] | None = None,
        roles: Mapping[str, str] | None = None,
        silences: Sequence[Rule] = (),
        rank: int = 0,
    ) -> None:
        self._follower = Follower(directory, rank=rank)
        self._ordered = Ordered()
        found = load_detectors() if detectors is None else detectors
        self.monitor = Monitor(found, config=config, roles=roles, rank=rank)
        self.life = Life(self.monitor.context, silences=silences, rank=rank)

    def poll(self, *, now_t: float | None = None) -> list[Told]:
        """What is told after one more look at the files; facts may wait for the next one.

        Args:
            now_t: unix seconds, for whoever watches while the run goes on: a silence up to now is judged, too.
        """
        facts = self._follower.poll()
        told = self._take(self._ordered.take(facts, unread_t=self._follower.unread_t))
        if now_t is not None and not facts and not self._ordered.num_waiting:
            told += self.life.wait(now_t)
        return told

    def finish(self, *, ended_t: float | None = None, limit_s: float = math.inf) -> list[Told]:
        """What is told when nothing more will be recorded: everything is read.

        Args:
            ended_t: unix seconds of the end, where it is known: the silence before it is judged, too.
            limit_s: about how long it may take; a forked child may go on to record for ever.
        """
        told: list[Told] = []
        started_s = time.monotonic()
        while time.monotonic() - started_s < limit_s and (facts := self._follower.poll()):
            told += self._take(self._ordered.take(facts, unread_t=self._follower.unread_t))
        told += self._take(self._ordered.rest())
        return told if ended_t is None else told + self.life.wait(ended_t)

    def _take(self, pieces: Iterable[Piece]) -> list[Told]:
        told: list[Told] = []
        for piece in pieces:
            silent, found = self.life.take(piece), self.monitor.take(piece)
            told += sorted((*silent, *found), key=_t_of) if silent else found
        return told


def _t_of(told: Told) -> float:
    return told.t


def open_watcher(
    directory: RunDir, settings: Settings, *, config: Mapping[str, Any] | None = None, rank: int = 0
) -> Watcher:
    """The watcher that settings ask for.

    Args:
        directory: the run.
        settings: which detectors, roles and rules.
        config: the run's configuration.
        rank: of the process.

    Raises:
        PluginNotFoundError: no installed distribution offers one of the detectors.
        MisuseError: a rule cannot be read.
    """
    rules = rule_detectors(settings.rules, roles=settings.roles)
    return Watcher(
        directory,
        detectors=[*load_detectors(settings.detector_names()), *rules],
        config=config,
        roles=settings.roles,
        silences=silences(settings.rules),
        rank=rank,
    )
