"""What a follower has not read yet, up to now: ends also where a run records faster than anybody reads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from barograph.read.follow import Fact, Follower, Rows


def read_backlog(follower: Follower, *, now: Callable[[], float] = time.time) -> Iterator[list[Fact]]:
    """Yield what was recorded before this call, some megabytes at a time, and little more.

    Args:
        follower: goes on where it stands; afterwards it stands where this ended.
        now: unix seconds.
    """
    called_t = now()
    while facts := follower.poll():
        yield facts
        if max(map(newest_t, facts)) >= called_t:
            return


def newest_t(fact: Fact) -> float:
    """Unix seconds at which a fact, or the newest of its rows, was recorded."""
    return fact.rows[-1][-1] if isinstance(fact, Rows) else fact.t
