"""Tables of groups whose values are known, without any recorded run."""

from __future__ import annotations

import numpy as np

from barograph.compare.best import find_best
from barograph.compare.groups import Group
from barograph.compare.stats import summarise
from barograph.compare.table import MetricTable, Row, correct
from barograph.compare.values import Sample
from barograph.compare.verdict import compare


def best_of(mode="min", baseline=None, *, paired=False, **groups):
    """The best of groups that have these values, one per seed; compared with the first unless another is named."""
    baseline = baseline or next(iter(groups))
    samples = {
        label: Sample(
            values=np.asarray(values, dtype=float),
            seeds=list(range(len(values))) if paired else (),
            metric="loss",
            split="val",
            label=label,
            mode=mode,
        )
        for label, values in groups.items()
    }
    rows = [
        Row(
            label=label,
            sample=it,
            summary=summarise(it),
            comparison=None if label == baseline else compare(it, samples[baseline]),
        )
        for label, it in samples.items()
    ]
    table = MetricTable(metric="loss", split="val", reduce="final", mode=mode, baseline=baseline, rows=rows)
    found = [Group(label=label, config={"key": label}, runs=[], seeds=[], differing=("key",)) for label in groups]
    return find_best(correct([table])[0], found)
