"""A quantity that runs recorded: what reports aggregate, draw and compare."""

from __future__ import annotations

from typing import Literal

import msgspec

from barograph.compare.values import Mode, infer_mode
from barograph.errors import MisuseError
from barograph.report.query import Query


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """A quantity that runs recorded over steps or epochs.

    Attributes:
        of: ``metric`` for what ``run.log`` recorded, ``epoch`` for what epochs ended with.
        name: as it was recorded.
        split: of a metric.
        better: whether a small or a large value is good, where somebody says so.
    """

    of: Literal["metric", "epoch"]
    name: str
    split: str = ""
    better: Mode | None = None

    @property
    def label(self) -> str:
        """``val/loss``; of an epoch's value the name alone."""
        return f"{self.split}/{self.name}" if self.split else self.name

    @property
    def x_name(self) -> str:
        """What its points stand over."""
        return "step" if self.of == "metric" else "epoch"

    @property
    def mode(self) -> Mode:
        """Whether a small or a large value is good, as ``compare.values`` tells by the name; small where it cannot.

        No verdict rests on this: a comparison refuses where the name does not tell.

        >>> Metric(of="epoch", name="val_acc").mode, Metric(of="metric", name="width").mode
        ('max', 'min')
        """
        if self.better is not None:
            return self.better
        try:
            return infer_mode(self.name)
        except MisuseError:
            return "min"

    def query(self, reduce: str) -> Query:
        """What is asked of it in one run."""
        return Query(of=self.of, name=self.name, split=self.split, reduce=reduce)
