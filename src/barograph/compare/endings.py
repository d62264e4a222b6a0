"""Which runs ended as they should: only those say what a configuration is worth.

An early end flatters some metrics and spoils others, so runs that did not finish are left out unless asked for.
"""

from __future__ import annotations

from collections.abc import Iterable

from barograph.read.frames import Skipped
from barograph.read.run import RunReader


def find_unfinished(readers: Iterable[RunReader]) -> list[Skipped]:
    """The runs that still run, failed, were killed or are lost, and which of these.

    Runs that were imported from a tool that does not tell how a run ended are not among them.

    Args:
        readers: any runs.
    """
    states = [(reader, reader.status()) for reader in readers]
    return [
        Skipped(path=str(reader.path), reason=status.state + (f": {status.reason}" if status.reason else ""))
        for reader, status in states
        if status.state != "finished" and not (status.state == "lost" and reader.is_imported)
    ]
