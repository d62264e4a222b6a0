"""The recorder's speed, size and safety, measured beside its floor and its peers.

``python -m bench`` makes one environment per peer, gives every subject the same work in processes of its own,
and writes what came out into ``docs/benchmarks.md``. Nothing here is imported by the library.
"""
