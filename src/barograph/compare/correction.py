"""Verdicts for all comparisons that were made together: the more one looks, the more one finds by chance.

Every comparison that was looked at belongs into the list, also those that show nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from barograph.compare.power import SeedsNeeded, seeds_needed
from barograph.compare.resample import Floats
from barograph.compare.verdict import Comparison, decide
from barograph.errors import MisuseError

MAX_PLANNED: Final = 12


def holm_adjust(p: Sequence[float], *, num_comparisons: int | None = None) -> Floats:
    """Holm's adjusted p values, in the order given (Scandinavian Journal of Statistics 6:65-70, 1979).

    The chance of even one false difference among all comparisons stays below the level, however they depend on each
    other.

    Args:
        p: of the comparisons.
        num_comparisons: how many the comparisons were chosen from; those not given count as if their p were 1, which
            can only raise the others'. All are given when None.

    >>> holm_adjust([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    factors = max(num_comparisons or 0, len(values)) - np.arange(len(values))
    stepped = np.minimum(1.0, np.maximum.accumulate(values[order] * factors))
    adjusted = np.empty_like(values)
    adjusted[order] = stepped
    return adjusted


def holm(comparisons: Sequence[Comparison], *, num_comparisons: int | None = None) -> list[Comparison]:
    """Correct comparisons for their number, and give each its verdict.

    Differences, and equivalences where a margin was named, are two families, each corrected by itself: the chance of
    one false "better", "worse" or "mixed" among all is at most ``alpha``, and so is that of one false "no difference".

    Args:
        comparisons: all that were made, in any order.
        num_comparisons: how many they were chosen from after looking; as many as there are when None.

    Returns:
        The same with ``p_corrected``, ``num_comparisons``, ``verdict`` and ``reason``, in the same order.

    Raises:
        MisuseError: they were made at different levels.
    """
    if len({it.alpha for it in comparisons}) > 1:
        levels = ", ".join(str(it) for it in sorted({it.alpha for it in comparisons}))
        raise MisuseError(f"comparisons were made at the levels {levels}; correct those of one level together")
    num = max(num_comparisons or 0, len(comparisons))
    adjusted = holm_adjust([it.p for it in comparisons], num_comparisons=num)
    with_margin = [place for place, it in enumerate(comparisons) if it.p_equivalence is not None]
    margins = [p for it in comparisons if (p := it.p_equivalence) is not None]
    equivalence = holm_adjust(margins, num_comparisons=num if num_comparisons else None)
    by_place = dict(zip(with_margin, equivalence.tolist(), strict=True))
    return [
        decide(it, p_corrected=p, num_comparisons=num, p_equivalence=by_place.get(place))
        for place, (it, p) in enumerate(zip(comparisons, adjusted.tolist(), strict=True))
    ]


def plan(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Say of each "cannot tell" how many seeds would tell, at the level that the correction leaves it.

    Of many, only of the ``MAX_PLANNED`` with the lowest p: each is simulated, which takes a tenth of a second.

    Args:
        comparisons: as ``holm`` returned them.
    """
    open_ = [place for place, it in enumerate(comparisons) if it.verdict == "cannot tell"]
    nearest = set(sorted(open_, key=lambda place: comparisons[place].p)[:MAX_PLANNED])
    return [
        msgspec.structs.replace(it, seeds_needed=_seeds_needed(it)) if place in nearest else it
        for place, it in enumerate(comparisons)
    ]


def _seeds_needed(it: Comparison) -> SeedsNeeded:
    return seeds_needed(it.a, it.b, paired=it.paired, alpha=it.alpha / it.num_comparisons)
