"""Where a number comes from, as data: a query that anybody may ask the facts again.

A query names a quantity of one run, and with ``statistic`` what is made of it over several. Nothing here knows how
numbers are shown.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

Source = Literal[
    "metric", "epoch", "summary", "config", "run", "ledger", "criterion", "check", "comparison", "inference"
]
Statistic = Literal["value", "sum", "n", "num_nonfinite", "mean", "low", "high", "std", "median", "iqm", "min", "max"]

_SOURCE_WORDS: Final = {
    "epoch": "per epoch",
    "summary": "in the run's summary",
    "config": "in the configuration",
    "ledger": "in the recorder's ledger",
    "criterion": "evidence of the criterion",
    "check": "of the check",
    "inference": "by inference",
}
_STATISTIC_WORDS: Final = {
    "n": "number of runs that have",
    "num_nonfinite": "number of runs without a finite value of",
    "low": "lower end of the 95 % interval of the mean over runs of",
    "high": "upper end of the 95 % interval of the mean over runs of",
    "std": "standard deviation over runs of",
    "iqm": "interquartile mean over runs of",
}


class Query(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is asked.

    Attributes:
        of: where it is looked up. ``metric``: what ``run.log`` recorded; ``epoch``: what epochs ended with;
            ``summary``, ``config``, ``ledger``: entries by name; ``run``: a property such as ``total_time_s``;
            ``criterion``, ``check``: what was promised and tested; ``comparison``: of all runs of the report;
            ``inference``: computed by running a model, not from facts.
        name: of the metric, entry, property or criterion.
        split: of the metric, e.g. ``val``.
        rank: which process of a distributed run.
        reduce: what is taken of a curve: ``last``, ``first``, ``min``, ``max``, ``mean``, ``count``, ``last_step``,
            ``min_step``, ``max_step``, ``num_nonfinite``, ``num_superseded``, ``num_shown`` or ``num_shown_by_time``
            (points of it in a figure); of a criterion its ``value`` or ``step``; of a check what it ``expected`` and
            ``got``; of a comparison one of its ``verdict``, ``insight``, ``impact``, ``excluded`` and ``best``.
        at: which of several checks, verdicts, insights or impacts, from 0.
        statistic: over the runs; ``value`` is that of the one run.
        settings: of a comparison, how it was made: a ``comparing.Plan`` as JSON.
        mode: whether a small or a large value is good: a run whose value is not finite counts as the worst.
    """

    of: Source
    name: str
    split: str = ""
    rank: int = 0
    reduce: str = ""
    at: int = 0
    statistic: Statistic = "value"
    mode: Literal["min", "max"] = "min"
    settings: str = ""

    def words(self) -> str:
        """The query for a person.

        >>> Query(of="metric", name="loss", split="val", reduce="min", statistic="mean").words()
        'mean over runs of: min of loss on val'
        """
        if self.of == "comparison":
            return f"{self.name} of {self.reduce} {self.at + 1} of the comparison"
        what = f"{self.reduce} of {self.name}" if self.reduce else self.name
        if self.of == "metric":
            what += f" on {self.split}" + (f", rank {self.rank}" if self.rank else "")
        elif self.of in _SOURCE_WORDS:
            what += f" {_SOURCE_WORDS[self.of]}"
        if self.statistic == "value":
            return what
        if self.of == "run" and self.name == "run":
            return "number of runs"
        return f"{_STATISTIC_WORDS.get(self.statistic, f'{self.statistic} over runs of')}: {what}"

    def text(self) -> str:
        """The query as one line of JSON, to be copied."""
        return msgspec.json.encode(self).decode()
