"""Finished runs made small and quick: sealed streams, parts of many runs, pyramids of curves.

What was recorded is never changed by it: a sealed stream holds the bits of its rows file and can be turned back into
it, and everything else here can be deleted and made again.
"""
