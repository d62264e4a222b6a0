"""The index of runs: what a table of many runs needs of each, kept in the user's local cache directory.

It is derived: never beside the runs, rebuilt when it is lost, and passed over when it cannot be used. It answers as
the runs' own files would, because each run's files are looked at (not read) before its entry is believed.
"""

from __future__ import annotations

from barograph.read.index.listing import RunIndex, indexed_overviews
from barograph.read.index.store import default_cache, index_path

__all__ = ["RunIndex", "default_cache", "index_path", "indexed_overviews"]
