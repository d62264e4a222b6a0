"""Which metrics a report is about: those that were asked for, else the losses that the runs recorded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from barograph.compare.choice import choose_metrics as compared_by
from barograph.compare.values import EPOCH_SPLIT
from barograph.errors import MetricNotFoundError
from barograph.report.metric import Metric
from barograph.report.number import Facts

MAX_DEFAULT: Final = 4
_VALIDATION: Final = ("val", "valid", "validation", "eval", "test", "dev")


def choose_metrics(facts: Facts, wanted: Sequence[str]) -> list[Metric]:
    """The metrics of a report.

    Args:
        facts: the runs.
        wanted: as ``NAME`` (of epochs, else of the one split that has it) or ``SPLIT/NAME``; the losses, validation
            first, at most four, when empty.

    Raises:
        MetricNotFoundError: no run recorded one that is wanted, or it is on several splits; the message lists what
            was recorded.
    """
    counts = _recorded(facts)
    if wanted:
        return [_meant(name, counts) for name in wanted]
    losses = [metric for metric in counts if "loss" in metric.name.lower()]
    most = max((counts[metric] for metric in losses), default=0)
    usual = sorted((metric for metric in losses if 2 * counts[metric] >= most), key=_importance)
    named = {_plain_name(metric): metric for metric in reversed(usual)}
    return [metric for metric in usual if metric in named.values()][:MAX_DEFAULT]


def usual_metric(facts: Facts) -> list[Metric]:
    """The metric that ``barograph compare`` chooses when nobody says which, so that both say the same.

    Raises:
        MetricNotFoundError: no run has one whose name tells what is better.
    """
    finished = [facts.readers[key] for key in facts.readers if facts.counts(key)]
    found = compared_by(finished or list(facts.readers.values()))
    return [
        Metric(of="epoch", name=it.metric)
        if it.split == EPOCH_SPLIT
        else Metric(of="metric", name=it.metric, split=it.split or "")
        for it in found
    ]


def _plain_name(metric: Metric) -> str:
    """What a metric is called where splits are unknown: ``train/loss`` and ``train/train_loss`` are ``train_loss``."""
    is_told = metric.name.startswith((f"{metric.split}_", f"{metric.split}/")) and metric.split
    return (metric.name if is_told else metric.label).replace("/", "_")


def _importance(metric: Metric) -> tuple[bool, bool, str]:
    is_validation = metric.split in _VALIDATION or metric.name.lower().startswith(_VALIDATION)
    return not is_validation, metric.of == "metric", metric.label


def _recorded(facts: Facts) -> Counter[Metric]:
    """Every metric that rank 0 of some run recorded, and how many runs did."""
    counts: Counter[Metric] = Counter()
    for values in facts.values.values():
        counts.update(Metric(of="epoch", name=name) for name in values.epochs)
        counts.update(Metric(of="metric", name=name, split=split) for name, split, rank in values.metrics if rank == 0)
    return counts


def _meant(wanted: str, counts: Iterable[Metric]) -> Metric:
    known = sorted(counts, key=lambda metric: metric.label)
    exact = [metric for metric in known if metric.label == wanted]
    found = exact or [metric for metric in known if metric.name == wanted]
    if len(found) == 1:
        return found[0]
    labels = ", ".join(metric.label for metric in known) or "nothing"
    if found:
        raise MetricNotFoundError(
            f"{wanted!r} was recorded as {', '.join(metric.label for metric in found)}; name one of them in metrics"
        )
    raise MetricNotFoundError(f"no run recorded {wanted!r}; recorded were {labels}")
