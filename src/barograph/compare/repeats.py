"""Runs of one group that share a seed: copies of one experiment are not many experiments.

A run with the seed and the very value of another one of its group says nothing new, so it is left out and named; runs
that share a seed and differ all the same are kept, and said to share it.
"""

from __future__ import annotations

from collections import Counter

import msgspec

from barograph.compare.values import Sample
from barograph.read.frames import Skipped


def without_copies(sample: Sample) -> Sample:
    """The sample without runs that repeat another one's seed and value exactly; these join its ``skipped``.

    Four runs of one seed on a machine that computes the same each time would pass for four experiments without any
    spread, and any difference from them for an established one.

    Args:
        sample: one group in one metric.
    """
    first: dict[tuple[object, bytes], str] = {}
    kept, copies = [], []
    for place, (seed, run_dir) in enumerate(zip(sample.seeds, sample.run_dirs, strict=True)):
        found = first.setdefault((seed, sample.values[place].tobytes()), run_dir)
        if seed is None or found == run_dir:
            kept.append(place)
        else:
            reason = f"it repeats seed {seed} of {found} with the same {sample.metric!r}, so it says nothing new"
            copies.append(Skipped(path=run_dir, reason=reason))
    if not copies:
        return sample
    return msgspec.structs.replace(sample.taken(kept), skipped=[*sample.skipped, *copies])


def shared_seeds(sample: Sample) -> str:
    """A note about runs of one group that share a seed; "" when none do.

    >>> shared_seeds(Sample(values=[1.0, 2.0, 3.0], seeds=[0, 0, 1], label="lr=0.1"))
    '3 runs of lr=0.1 have 2 seeds: what a seed makes may be underestimated'
    """
    seeds = Counter(seed for seed in sample.seeds if seed is not None)
    if seeds.total() == len(seeds):
        return ""
    named = f" of {sample.label}" if sample.label else ""
    plural = "" if len(seeds) == 1 else "s"
    return f"{len(sample)} runs{named} have {len(seeds)} seed{plural}: what a seed makes may be underestimated"
