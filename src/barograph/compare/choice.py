"""Which metrics to compare when nobody says which: those of held-out data whose names tell what is better."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec

from barograph.compare.values import EPOCH_SPLIT, infer_mode
from barograph.errors import MetricNotFoundError, MisuseError
from barograph.facts.rows import HOST_SPLIT
from barograph.read.overview import VAL_SPLITS
from barograph.read.run import RunReader

TEST_SPLIT: Final = "test"
EPOCH_METRIC: Final = "val_loss"


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """A metric to compare.

    Attributes:
        metric: its name.
        split: where it was logged; None: see ``values.collect``.
    """

    metric: str
    split: str | None = None


def choose_metrics(readers: Sequence[RunReader], *, split: str | None = None, most: int = 1) -> list[Choice]:
    """The metrics that these runs are best compared by.

    Of all metrics whose names tell whether low or high is better: those of the splits ``val`` (also ``valid``,
    ``validation``, ``eval``, ``dev``) and ``test``; when there are none, ``val_loss`` of the epochs; when there is none
    either, those of ``train``, then of any other split. Metrics called ``loss`` come first, then those that most runs
    have, then by name. Each further metric makes the correction for many comparisons stricter, so it is one unless
    more are asked for.

    Args:
        readers: the runs.
        split: of this split only.
        most: how many at most.

    Raises:
        MetricNotFoundError: no run has such a metric; the message lists what there is.
    """
    keys = [key for reader in readers for key in reader.metric_keys() if key.rank == 0 and split in (None, key.split)]
    counts = Counter((key.split, key.name) for key in keys if _is_judged(key))
    held_out = {key: count for key, count in counts.items() if key[0] in (*VAL_SPLITS, TEST_SPLIT)}
    if (
        not held_out
        and split in (None, EPOCH_SPLIT)
        and any(epoch.val_loss is not None for reader in readers for epoch in reader.epochs())
    ):
        return [Choice(metric=EPOCH_METRIC, split=EPOCH_SPLIT)]
    trained = {key: count for key, count in counts.items() if key[0] == "train"}
    chosen = held_out or trained or dict(counts)
    if not chosen:
        logged = sorted({f"{key.name} ({key.split})" for key in keys})
        raise MetricNotFoundError(
            f"no metric of these {len(readers)} runs tells by its name whether low or high is better; name one with "
            f"its mode, of: {', '.join(logged) or 'none was logged'}"
        )
    order = sorted(chosen, key=lambda key: ("loss" not in key[1], -chosen[key], key))
    return [Choice(metric=name, split=split) for split, name in order[:most]]


def _is_judged(key: tuple[str, str, int]) -> bool:
    name, split, _ = key
    if split == HOST_SPLIT:
        return False
    try:
        infer_mode(name)
    except MisuseError:
        return False
    return True
