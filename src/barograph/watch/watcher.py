"""One run, watched: reads what is new in its files, in the order in which it happened, and says what a person is told.

The companion in the training process, ``barograph follow --watch`` beside it and ``barograph replay`` afterwards are
this one class, so that the same facts give the same alerts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from barograph import plugins
from barograph.facts.rundir import RunDir
from barograph.watch.context import flat_config
from barograph.watch.detector import Detector
from barograph.watch.effort import SPAN_S, Effort
from barograph.watch.incident import Told
from barograph.watch.kept import Keeper, Place, Reader, Report, who
from barograph.watch.life import Life, LifeState
from barograph.watch.monitor import Monitor
from barograph.watch.order import Ordered, OrderedState, Piece
from barograph.watch.rhythm import LEAST_S
from barograph.watch.rule_syntax import Rule
from barograph.watch.rules import rule_detectors, silences
from barograph.watch.settings import Settings

GROUP = "barograph.detectors"
MAX_WAITING: Final = 20_000
"""While more facts wait for their turn, what was learned is not kept: it would be as large as they are."""


class _State(msgspec.Struct, kw_only=True):
    """What a watcher has learned, as plain data."""

    monitor: bytes
    life: LifeState
    ordered: OrderedState


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
        is_whole: whether everything that there was had been read when ``finish`` was over.
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
        self._follower = Reader(directory, rank=rank)
        self._ordered = Ordered()
        self.is_whole = False
        found = load_detectors() if detectors is None else detectors
        self.monitor = Monitor(found, config=config, roles=roles, rank=rank)
        self.life = Life(self.monitor.context, silences=silences, rank=rank)

    def poll(self, *, now_t: float | None = None, effort: Effort | None = None) -> list[Told]:
        """What is told after one more look at the files; facts may wait for the next one.

        Args:
            now_t: unix seconds, for whoever watches while the run goes on: a silence up to now is judged, too.
            effort: of the process, where it can be seen: one that computes is slow, and no stall.
        """
        facts = self._follower.poll()
        told = self._take(self._ordered.take(facts, unread_t=self._follower.unread_t))
        if now_t is not None and not facts and not self._ordered.num_waiting:
            is_silent = now_t - self.life.last_t > LEAST_S - SPAN_S
            told += self.life.wait(now_t, is_computing=effort.is_computing() if effort and is_silent else None)
        return told

    def finish(self, *, ended_t: float | None = None, limit_s: float = math.inf) -> list[Told]:
        """What is told when nothing more will be recorded: everything is read.

        Args:
            ended_t: unix seconds of the end, where it is known: the silence before it is judged, too.
            limit_s: about how long it may take; a forked child may go on to record for ever.
        """
        told: list[Told] = []
        self.is_whole, started_s = False, time.monotonic()
        while not self.is_whole and time.monotonic() - started_s < limit_s:
            facts = self._follower.poll()
            self.is_whole = not facts
            told += self._take(self._ordered.take(facts, unread_t=self._follower.unread_t))
        told += self._take(self._ordered.rest())
        return told if ended_t is None else told + self.life.wait(ended_t)

    @property
    def num_records(self) -> int:
        """How many records it has seen, those of the machine not among them."""
        return self.monitor.context.num_records

    def places(self) -> list[Place]:
        """How far it has read each file.

        Raises:
            OSError: a file is gone.
        """
        return self._follower.places()

    def state(self) -> bytes | None:
        """What it has learned from what it has read; None while that cannot be kept.

        All that was told by ``poll`` is in it and is not told again by who goes on from there.
        """
        if self._ordered.num_waiting > MAX_WAITING:
            return None
        try:
            ordered = self._ordered.state(self._follower.names())
            state = _State(monitor=self.monitor.state(), life=self.life.state(), ordered=ordered)
            return msgspec.msgpack.encode(state)
        except (TypeError, OverflowError):  # a fact of other hands; a number in the configuration that needs 65 bits
            return None

    def restore(self, state: bytes, places: list[Place]) -> None:
        """Go on where another watcher of the run with the same detectors left off; this one has read nothing yet.

        Args:
            state: of the other.
            places: how far it had read then.

        Raises:
            ValueError: the state is none of this version's; nothing was changed.
        """
        found = msgspec.msgpack.decode(state, type=_State)
        fresh = self.monitor.state()
        try:
            self.monitor.restore(found.monitor)
            self._ordered.restore(found.ordered, self._follower.go_on(places))
        except (msgspec.MsgspecError, KeyError, ValueError, TypeError) as error:
            self.monitor.restore(fresh)
            self._ordered = Ordered()
            self._follower.go_on([])
            raise ValueError(f"{type(error).__name__}: {error}") from None
        finally:
            self.life.restore(LifeState(), context=self.monitor.context)
        self.life.restore(found.life, context=self.monitor.context)

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


def open_kept(
    directory: RunDir,
    settings: Settings,
    *,
    report: Report,
    config: Mapping[str, Any] | None = None,
    rank: int = 0,
    **keeping: Any,
) -> tuple[Watcher, Keeper]:
    """The same, going on from what was kept of the run, and who keeps what it learns.

    Args:
        directory: the run.
        settings: which detectors, roles and rules.
        report: told why what was kept is not used.
        config: the run's configuration.
        rank: of the process.
        keeping: see ``Keeper``.

    Raises:
        PluginNotFoundError: no installed distribution offers one of the detectors.
        MisuseError: a rule cannot be read.
    """
    watcher = open_watcher(directory, settings, config=config, rank=rank)
    mine = who(
        watcher.monitor.detectors,
        config=flat_config(config or {}),
        roles=sorted(settings.roles.items()),
        rules=list(settings.rules),
    )
    keeper = Keeper(directory, mine, report=report, rank=rank, **keeping)
    keeper.restore(watcher)
    return watcher, keeper
