"""Which metrics to compare when nobody says which: those of held-out data whose names tell what is better."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from barograph.compare.values import EPOCH_SPLIT, infer_mode
from barograph.errors import MetricNotFoundError, MisuseError
from barograph.facts.rows import HOST_SPLIT
from barograph.read.overview import VAL_SPLITS
from barograph.read.run import RunReader

TEST_SPLIT: Final = "test"
HELD_OUT: Final = (*VAL_SPLITS, TEST_SPLIT)
TRAIN_SPLIT: Final = "train"
EPOCH_METRIC: Final = "val_loss"
_PARTS: Final = re.compile(r"[/_.\- ]")


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
    ``validation``, ``eval``, ``dev``), or named so (see ``data_of``); then ``val_loss`` of the epochs; then those of
    ``test``, which is no data to choose a configuration by as long as there is other; when there is none of these,
    those of ``train``, then of any other split. Within a split ``loss`` and ``SPLIT_loss`` come first, then other
    losses, then what most runs have, then by name. Each further metric makes the correction for many comparisons
    stricter, so it is one unless more are asked for.

    Args:
        readers: the runs.
        split: of this split only.
        most: how many at most.

    Raises:
        MetricNotFoundError: no run has such a metric; the message lists what there is.
    """
    keys = [key for reader in readers for key in reader.metric_keys() if key.rank == 0 and split in (None, key.split)]
    counts = Counter((key.split, key.name) for key in keys if _is_judged(key))
    found = _ordered({key: count for key, count in counts.items() if data_of(*key) in VAL_SPLITS})
    if not found and split in (None, EPOCH_SPLIT) and _have_val_loss(readers):
        found = [Choice(metric=EPOCH_METRIC, split=EPOCH_SPLIT)]
    found += _ordered({key: count for key, count in counts.items() if data_of(*key) == TEST_SPLIT})
    trained = {key: count for key, count in counts.items() if key[0] == TRAIN_SPLIT}
    found = found or _ordered(trained or dict(counts))
    if not found:
        logged = sorted({f"{key.name} ({key.split})" for key in keys})
        raise MetricNotFoundError(
            f"no metric of these {len(readers)} runs tells by its name whether low or high is better; name one with "
            f"its mode, of: {', '.join(logged) or 'none was logged'}"
        )
    return found[:most]


def data_of(split: str, name: str) -> str:
    """The data that a metric was computed on: its split; a name's own word where the split says ``train``.

    Frameworks that know no splits log ``val_loss``, ``eval/loss`` or ``loss/val`` beside the training loss. The first
    or last part of the name counts, when it is a word for held-out data.

    >>> data_of("train", "val_loss"), data_of("train", "loss/test"), data_of("train", "value_loss")
    ('val', 'test', 'train')
    """
    if split != TRAIN_SPLIT:
        return split
    parts = _PARTS.split(name.lower())
    return next((part for part in (parts[0], parts[-1]) if len(parts) > 1 and part in HELD_OUT), split)


def _have_val_loss(readers: Sequence[RunReader]) -> bool:
    return any(epoch.val_loss is not None for reader in readers for epoch in reader.epochs())


def _ordered(counts: Mapping[tuple[str, str], int]) -> list[Choice]:
    """The best first, of metrics by split and name with the number of runs that have each."""

    def place(key: tuple[str, str]) -> tuple[bool, bool, bool, int, str, str]:
        split, name = key
        words = [part for part in _PARTS.split(name.lower()) if part != data_of(split, name)]
        return (words != ["loss"], "loss" not in name, split == TRAIN_SPLIT, -counts[key], name, split)

    return [Choice(metric=name, split=split) for split, name in sorted(counts, key=place)]


def _is_judged(key: tuple[str, str, int]) -> bool:
    name, split, _ = key
    if split == HOST_SPLIT:
        return False
    try:
        infer_mode(name)
    except MisuseError:
        return False
    return True
