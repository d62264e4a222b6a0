"""Who is asked about the records of one stream, and when nobody has to be: then some are taken at once.

The outcome is that of asking everybody about each record; what a detector offers to be left alone is here as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final, Protocol, runtime_checkable

from barograph.facts.rows import Row
from barograph.watch.detector import Detector
from barograph.watch.roles import HOST_SPLIT
from barograph.watch.signal import BLOCK, Scaled, Signal

EVALUATIONS: Final = frozenset({"val_loss", "val_accuracy", "quality"})
"""Roles of metrics of evaluations."""
MANY_EVALUATIONS: Final = 512
FREQUENT_SHARE: Final = 0.3
"""More evaluations than so many, and of all records more than this share, are those of training steps."""


@runtime_checkable
class Bounded(Protocol):
    """A detector with ``calm_z`` that, while it is calm, has to be asked only for values above a bound."""

    def calm_below(self, role: str) -> float:
        """Up to which value of the metric with this role ``update`` does nothing; asked while ``is_calm`` holds."""


@runtime_checkable
class Follows(Protocol):
    """A detector with ``calm_z`` that follows one metric, also through records that are taken at once.

    Attributes:
        key: ``SPLIT/NAME`` of its metric; "" while it is not known. It is looked for at the first record of a stream.
    """

    key: str

    def is_calm_over(self, columns: Sequence[Sequence[float]], place: int | None) -> bool:
        """Whether ``update`` would do no more for some records than ``pass_calm`` does; asked while ``is_calm`` holds.

        Args:
            columns: of the records, finite numbers: the step first, the time last.
            place: of its metric; None where it is not among them.
        """

    def pass_calm(self, values: Sequence[float]) -> None:
        """Take values for which ``is_calm_over`` held; ``update`` is called for the last of them."""


class StreamPlan:
    """What is done with the rows of one stream.

    Args:
        split: of the stream.
        signals: its metrics, each with its place in a row.
        detectors: those that may be asked, in the order of asking.
        count: how many of its records there were.
        is_frequent: whether its evaluations were found to come as often as training records.

    Attributes:
        split: of the stream.
        count: how many of its records there were.
        signals: its metrics, each with its place in a row.
        with_roles: the metrics that have a role, by role.
        lr: the learning rate, where it is among them.
        asked: the detectors that may be asked, in the order of asking.
        by_record: those that are asked for each record; ``by_block`` and ``nonfinite`` are the other paces.
        careful_until: at which count it is worth trying again to take some at once; infinite where it never is.
        measured: place, metric and limit of each that has statistics: how surprising it may be while nobody needs to
            be asked.
        plain: place and metric of the others.
        bounded: place and role of what has to stay below a bound that a detector gives.
        following: the detectors that follow each value of one metric.
        places: by ``SPLIT/NAME``, where a metric stands.
        has_evaluations: whether metrics of evaluations are among them.
        is_frequent: whether these come as often as training records. An evaluation is rare and each one is looked at;
            a metric that is called so and comes with each step is none, and every eighth is: the detectors of
            evaluations are asked about that one, and the others see it there only.
        without_evaluations: ``with_roles`` without those.
    """

    __slots__ = (
        *("asked", "bounded", "by_block", "by_record", "careful_until", "count", "following", "has_evaluations"),
        *("is_frequent", "lr", "measured", "nonfinite", "places", "plain", "signals", "split"),
        *("with_roles", "without_evaluations"),
    )

    def __init__(
        self,
        split: str,
        signals: list[tuple[int, Signal]],
        detectors: Sequence[Detector],
        *,
        count: int,
        is_frequent: bool = False,
    ) -> None:
        self.split = split
        self.count = count
        self.signals = signals
        self.with_roles = {signal.role: signal for _, signal in signals if signal.role}
        self.without_evaluations = {role: it for role, it in self.with_roles.items() if role not in EVALUATIONS}
        self.has_evaluations = len(self.without_evaluations) < len(self.with_roles)
        self.lr = self.with_roles.get("lr")
        self.places = {f"{split}/{it.name}": place for place, it in signals}
        self.plain = [(place, signal) for place, signal in signals if signal.scale == "plain"]
        self.asked = [it for it in detectors if "*" in it.reads or not self.with_roles.keys().isdisjoint(it.reads)]
        self.nonfinite = [detector for detector in self.asked if detector.pace == "nonfinite"]
        self._arrange(is_frequent=is_frequent)

    def see_how_often(self, num_records: int) -> None:
        """At the end of a block: whether evaluations have come so often for so long that they are none.

        Args:
            num_records: of the run so far, those of other streams among them.
        """
        if self.count >= MANY_EVALUATIONS and self.count > FREQUENT_SHARE * num_records:
            self._arrange(is_frequent=True)

    def _arrange(self, *, is_frequent: bool) -> None:
        """Find out who is asked when, and when nobody has to be."""
        self.is_frequent = is_frequent
        roles = self.without_evaluations.keys() if is_frequent else self.with_roles.keys()
        paces = [it.pace == "record" and ("*" in it.reads or not roles.isdisjoint(it.reads)) for it in self.asked]
        self.by_record = [it for it, is_by_record in zip(self.asked, paces, strict=True) if is_by_record]
        others = [it for it, is_by_record in zip(self.asked, paces, strict=True) if not is_by_record]
        self.by_block = [detector for detector in others if detector.pace != "nonfinite"]
        self.following = [it for it in self.by_record if isinstance(it, Follows)]
        is_never_calm = self.split == HOST_SPLIT or any(it.calm_z is None for it in self.by_record)
        self.careful_until = math.inf if is_never_calm else min(len(self.following), 1)
        self.measured = [(place, it, self._limit(it)) for place, it in self.signals if it.scale != "plain"]
        bounded = [(place, it.role, self._bounded(it.role)) for place, it in self.signals if it.role in roles]
        self.bounded = [found for found in bounded if found[-1]]

    def _limit(self, signal: Signal) -> float:
        limits = [it.calm_z for it in self.by_record if signal.role in it.reads and it.calm_z is not None]
        return min(limits, default=math.inf)

    def _bounded(self, role: str) -> list[Bounded]:
        return [it for it in self.by_record if role in it.reads and isinstance(it, Bounded)]

    def is_calm(self) -> bool:
        """Whether nobody who is asked for each record has anything to follow up."""
        for detector in self.by_record:  # noqa: SIM110 - all takes twice as long, and this is done for each block
            if not detector.is_calm():
                return False
        return True

    def num_unasked(self) -> int:
        """How many records there are up to the next for which somebody is to be asked in any case."""
        num = BLOCK - self.count % BLOCK
        for _, signal, _ in self.measured:
            ahead = signal.next_block - signal.count
            if ahead < num:  # noqa: PLR1730 - min takes five times as long, and this is done for each block
                num = ahead
        return num

    def pass_calm(self, columns: list[tuple[float, ...]]) -> None:
        """Let those who follow a metric take its values."""
        for follower in self.following:
            if follower.key in self.places:
                follower.pass_calm(columns[self.places[follower.key]])

    def scaled(self, chunk: list[Row], columns: list[tuple[float, ...]]) -> list[Scaled] | None:
        """The values of some records on the scale of each measured metric; None when one of them is not usual."""
        total = sum(map(sum, chunk))
        if total - total != 0.0:
            return None
        for place, role, detectors in self.bounded:
            highest = max(columns[place])
            for detector in detectors:
                if highest > detector.calm_below(role):
                    return None
        for follower in self.following:
            if not follower.is_calm_over(columns, self.places.get(follower.key)):
                return None
        scaled = []
        for place, signal, limit in self.measured:
            found = signal.scale_calm(columns[place], limit)
            if found is None:
                return None
            scaled.append(found)
        return scaled

    def num_usual(self, columns: list[tuple[float, ...]]) -> int:
        """How many of some records come before the first for which ``scaled`` finds none; 0 where that is not known."""
        for follower in self.following:
            if not follower.is_calm_over(columns, self.places.get(follower.key)):
                return 0
        num = len(columns[0])
        for column in columns:
            total = sum(column)
            if total - total != 0.0:
                num = _num_until(num, (value - value != 0.0 for value in column))
        for place, role, detectors in self.bounded:
            bound = min(detector.calm_below(role) for detector in detectors)
            if max(columns[place]) > bound:
                num = _num_until(num, (value > bound for value in columns[place]))
        for place, signal, limit in self.measured:
            while num and signal.scale_calm(columns[place][:num], limit) is None:
                num -= 1
        return num


def _num_until(most: int, are_found: Iterable[bool]) -> int:
    """The place of the first that is so; at most ``most``."""
    return min(most, next((place for place, is_found in enumerate(are_found) if is_found), most))
